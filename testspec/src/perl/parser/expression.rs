//! Expressions by operator precedence.

use crate::perl::ast::{AssignOp, Expr, LogicalOp, MatchPattern, MethodName, Sigil, Step};
use crate::perl::builtin::Builtin;
use crate::perl::cursor::is_word_start;

use super::operator::{Operator, level};
use super::{ParseError, Parsed, Parser};

impl Parser<'_> {
    /// A full expression, commas and `and`/`or` included.
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.nested(|parser| parser.at_least(level::LOW_OR))
    }

    /// An expression that stops at a comma.
    pub(super) fn assignment(&mut self) -> Parsed<Expr> {
        self.nested(|parser| parser.at_least(level::ASSIGN))
    }

    /// Whether the cursor is at something that ends a list.
    pub(super) fn at_list_end(&mut self) -> bool {
        self.space();
        match self.cursor.byte() {
            None | Some(b')' | b']' | b'}' | b';' | b':' | b'=' | b'?' | b',' | b'|' | b'*' | b'>' | b'^') => true,
            Some(b'.') => !self.cursor.byte_at(1).is_some_and(|byte| byte.is_ascii_digit()),
            Some(b'!') => matches!(self.cursor.byte_at(1), Some(b'=' | b'~')),
            Some(b'&') => self.cursor.byte_at(1) == Some(b'&'),
            Some(_) => {
                let is_operator = matches!(
                    self.cursor.peek_word(),
                    Some(
                        "or" | "and"
                            | "if"
                            | "unless"
                            | "while"
                            | "until"
                            | "foreach"
                            | "for"
                            | "xor"
                            | "x"
                            | "eq"
                            | "ne"
                            | "cmp"
                            | "lt"
                            | "gt"
                            | "le"
                            | "ge"
                    )
                );
                is_operator && !self.word_is_key()
            }
        }
    }

    fn word_is_key(&self) -> bool {
        let mut probe = self.cursor.clone();
        let _ = probe.word();
        probe.fat_comma_follows()
    }

    /// Items separated by commas, up to what ends a list.
    pub(super) fn comma_list(&mut self) -> Parsed<Vec<Expr>> {
        let mut items = Vec::new();
        loop {
            if self.at_list_end() && self.cursor.byte() != Some(b',') && !self.cursor.starts_with(b"=>") {
                break;
            }
            if self.eat_comma() {
                continue;
            }
            items.push(self.assignment()?);
            if !self.eat_comma() {
                break;
            }
        }
        Ok(items)
    }

    fn eat_comma(&mut self) -> bool {
        self.eat(b",") || self.eat(b"=>")
    }

    /// An expression of operators that bind at least as strongly as `least`.
    pub(super) fn at_least(&mut self, least: u8) -> Parsed<Expr> {
        self.space();
        if least <= level::LOW_NOT && self.cursor.peek_word() == Some("not") && !self.word_is_key() {
            self.mark();
            self.cursor.advance(3);
            let operand = self.nested(|parser| parser.at_least(level::LOW_NOT))?;
            return self.operators(Expr::Not(Box::new(operand)), least);
        }
        let term = self.nested(Self::unary)?;
        self.operators(term, least)
    }

    fn operators(&mut self, mut left: Expr, least: u8) -> Parsed<Expr> {
        loop {
            self.space();
            let Some((operator, len, binds)) = Operator::at(&self.cursor) else {
                return Ok(left);
            };
            if binds < least {
                return Ok(left);
            }
            let start = self.cursor.pos();
            self.last_token = start;
            self.cursor.advance(len);
            left = match operator {
                Operator::Arrow => self.arrow(left)?,
                Operator::Increment => Expr::Step(Step::PostIncrement, Box::new(left)),
                Operator::Decrement => Expr::Step(Step::PostDecrement, Box::new(left)),
                Operator::Assign(op) => {
                    let right = self.right(level::ASSIGN)?;
                    self.assigned(op, left, right)?
                }
                Operator::Binary(op) => {
                    let right_least = if binds == level::POWER { level::UNARY } else { binds + 1 };
                    let right = self.right(right_least)?;
                    Expr::Binary(op, Box::new(left), Box::new(right))
                }
                Operator::Logical(op) => {
                    let right = self.right(binds + 1)?;
                    Expr::Logical(op, Box::new(left), Box::new(right))
                }
                Operator::Range => {
                    let right = self.right(binds + 1)?;
                    Expr::Range(Box::new(left), Box::new(right))
                }
                Operator::Repeat => {
                    let times = self.right(binds + 1)?;
                    let is_list = matches!(left, Expr::List(_));
                    Expr::Repeat { what: Box::new(left), times: Box::new(times), is_list }
                }
                Operator::Bind { negated } => {
                    let right = self.right(binds + 1)?;
                    bound(left, right, negated)
                }
                Operator::Ternary => {
                    let yes = self.assignment()?;
                    self.expect(b":")?;
                    let no = self.right(level::ASSIGN)?;
                    Expr::Ternary(Box::new(left), Box::new(yes), Box::new(no))
                }
                Operator::Comma => {
                    let mut items = vec![left];
                    let rest = self.comma_list()?;
                    items.extend(rest);
                    Expr::List(items)
                }
            };
        }
    }

    fn right(&mut self, least: u8) -> Parsed<Expr> {
        self.nested(|parser| parser.at_least(least))
    }

    fn assigned(&mut self, op: AssignOp, left: Expr, right: Expr) -> Parsed<Expr> {
        if !is_assignable(&left) {
            let what = match op {
                AssignOp::Plain => "scalar assignment",
                _ => "assignment",
            };
            let message = self.message(&format!("Can't modify constant item in {what}"), "near this");
            return Err(ParseError::Perl(message));
        }
        Ok(Expr::Assign(op, Box::new(left), Box::new(right)))
    }

    /// Prefix operators and terms with their subscripts.
    fn unary(&mut self) -> Parsed<Expr> {
        self.space();
        let Some(byte) = self.cursor.byte() else {
            return Err(self.syntax_error());
        };
        let next = self.cursor.byte_at(1);
        match byte {
            b'!' => {
                self.mark();
                self.cursor.advance(1);
                let operand = self.right(level::UNARY)?;
                Ok(Expr::Not(Box::new(operand)))
            }
            b'~' => {
                self.mark();
                self.cursor.advance(1);
                let operand = self.right(level::UNARY)?;
                Ok(Expr::BitNot(Box::new(operand)))
            }
            b'\\' => {
                self.mark();
                self.cursor.advance(1);
                let operand = self.right(level::UNARY)?;
                Ok(Expr::Reference(Box::new(operand)))
            }
            b'+' if next == Some(b'+') => {
                self.cursor.advance(2);
                let operand = self.right(level::STEP)?;
                Ok(Expr::Step(Step::PreIncrement, Box::new(operand)))
            }
            b'-' if next == Some(b'-') => {
                self.cursor.advance(2);
                let operand = self.right(level::STEP)?;
                Ok(Expr::Step(Step::PreDecrement, Box::new(operand)))
            }
            b'+' => {
                self.mark();
                self.cursor.advance(1);
                self.right(level::UNARY)
            }
            b'-' => {
                if let Some(test) = self.file_test()? {
                    return Ok(test);
                }
                self.mark();
                self.cursor.advance(1);
                if self.cursor.byte().is_some_and(is_word_start) {
                    // `-base` is a string.
                    let start = self.cursor.pos();
                    if let Some(word) = self.cursor.word() {
                        let is_call = self.cursor.byte() == Some(b'(') || self.cursor.starts_with(b"::");
                        if !is_call && !self.is_known_function(&word) {
                            return Ok(Expr::Constant(format!("-{word}").as_str().into()));
                        }
                    }
                    self.cursor.reset(start);
                }
                let operand = self.right(level::POWER)?;
                Ok(Expr::Negate(Box::new(operand)))
            }
            _ => {
                let term = self.term()?;
                self.subscripts(term)
            }
        }
    }

    /// `-e FILE` and friends.
    fn file_test(&mut self) -> Parsed<Option<Expr>> {
        let letter = match (self.cursor.byte_at(1), self.cursor.byte_at(2)) {
            (Some(letter @ (b'e' | b'f' | b'd' | b'r' | b'w' | b'x' | b's' | b'z' | b'l' | b'S')), next)
                if !next.is_some_and(crate::perl::cursor::is_word) =>
            {
                letter
            }
            _ => return Ok(None),
        };
        let mut probe = self.cursor.clone();
        probe.advance(2);
        if probe.fat_comma_follows() {
            return Ok(None);
        }
        self.mark();
        self.cursor.advance(2);
        let operand =
            if self.at_list_end() { self.variable(Sigil::Scalar, "_") } else { self.right(level::UNARY_NAMED + 1)? };
        Ok(Some(Expr::FileTest(letter, Box::new(operand))))
    }

    /// Subscripts that follow a term directly: `[…]`, `{…}`, `(…)` behind another subscript, `->…`.
    pub(super) fn subscripts(&mut self, mut term: Expr) -> Parsed<Expr> {
        loop {
            let is_subscripted = matches!(term, Expr::Index(..) | Expr::Key(..) | Expr::Method { .. })
                || matches!(&term, Expr::Call { callee: crate::perl::ast::Callee::Dynamic(_), .. });
            self.space();
            match self.cursor.byte() {
                Some(b'[') if is_subscripted && !matches!(term, Expr::Method { .. }) => {
                    let index = self.index()?;
                    term = Expr::Index(Box::new(Expr::Deref(Sigil::Array, Box::new(term))), Box::new(index));
                }
                Some(b'{') if is_subscripted && !matches!(term, Expr::Method { .. }) => {
                    let key = self.hash_key()?;
                    term = Expr::Key(Box::new(Expr::Deref(Sigil::Hash, Box::new(term))), Box::new(key));
                }
                Some(b'(') if is_subscripted && !matches!(term, Expr::Method { .. }) => {
                    let arguments = self.call_arguments()?;
                    term = dynamic_call(term, arguments);
                }
                Some(b'-') if self.cursor.starts_with(b"->") => {
                    self.mark();
                    self.cursor.advance(2);
                    term = self.arrow(term)?;
                }
                _ => return Ok(term),
            }
        }
    }

    /// What follows `->`.
    fn arrow(&mut self, left: Expr) -> Parsed<Expr> {
        self.space();
        let result = match self.cursor.byte() {
            Some(b'[') => {
                let index = self.index()?;
                Expr::Index(Box::new(Expr::Deref(Sigil::Array, Box::new(left))), Box::new(index))
            }
            Some(b'{') => {
                let key = self.hash_key()?;
                Expr::Key(Box::new(Expr::Deref(Sigil::Hash, Box::new(left))), Box::new(key))
            }
            Some(b'(') => {
                let arguments = self.call_arguments()?;
                dynamic_call(left, arguments)
            }
            Some(b'@') if self.cursor.byte_at(1) == Some(b'*') => {
                self.cursor.advance(2);
                Expr::Deref(Sigil::Array, Box::new(left))
            }
            Some(b'%') if self.cursor.byte_at(1) == Some(b'*') => {
                self.cursor.advance(2);
                Expr::Deref(Sigil::Hash, Box::new(left))
            }
            Some(b'$') if self.cursor.byte_at(1) == Some(b'*') => {
                self.cursor.advance(2);
                Expr::Deref(Sigil::Scalar, Box::new(left))
            }
            Some(b'$') => {
                self.cursor.advance(1);
                let Some(name) = self.cursor.name() else {
                    return Err(self.syntax_error());
                };
                let variable = self.variable(Sigil::Scalar, &name);
                self.method(left, MethodName::Dynamic(Box::new(variable)))?
            }
            Some(byte) if is_word_start(byte) => {
                self.mark();
                let name = self.cursor.name().unwrap_or_default();
                self.method(left, MethodName::Static(name.into()))?
            }
            _ => return Err(self.syntax_error()),
        };
        self.subscripts(result)
    }

    fn method(&mut self, invocant: Expr, name: MethodName) -> Parsed<Expr> {
        let arguments = if self.cursor.byte() == Some(b'(') { self.call_arguments()? } else { Vec::new() };
        Ok(Expr::Method { invocant: Box::new(invocant), name, arguments })
    }

    /// `(…)` behind a function.
    pub(super) fn call_arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(b"(")?;
        let arguments = self.comma_list()?;
        self.close_list(arguments)
    }

    /// The closing parenthesis of a list; weak operators inside the list end up in one item.
    fn close_list(&mut self, mut items: Vec<Expr>) -> Parsed<Vec<Expr>> {
        self.space();
        if self.cursor.byte() != Some(b')') && Operator::at(&self.cursor).is_some() {
            let whole = if items.len() == 1 { items.remove(0) } else { Expr::List(items) };
            items = vec![self.operators(whole, level::LOW_OR)?];
        }
        self.expect(b")")?;
        Ok(items)
    }

    /// `[EXPR]`.
    pub(super) fn index(&mut self) -> Parsed<Expr> {
        self.expect(b"[")?;
        let index = self.expression()?;
        self.expect(b"]")?;
        Ok(index)
    }

    /// `{KEY}`: a bare word is a string.
    pub(super) fn hash_key(&mut self) -> Parsed<Expr> {
        self.expect(b"{")?;
        self.space();
        let start = self.cursor.pos();
        let minus = self.cursor.byte() == Some(b'-');
        if minus {
            self.cursor.advance(1);
        }
        if let Some(word) = self.cursor.word() {
            self.space();
            if self.cursor.byte() == Some(b'}') {
                self.cursor.advance(1);
                let word = if minus { format!("-{word}") } else { word };
                return Ok(Expr::Constant(word.as_str().into()));
            }
        }
        self.cursor.reset(start);
        let key = self.expression()?;
        self.expect(b"}")?;
        Ok(match key {
            // `$h{1, 2}` has one key, joined by `$;`.
            Expr::List(mut items) if items.len() > 1 => {
                items.insert(0, Expr::Global(Sigil::Scalar, "main::;".into()));
                Expr::Builtin(Builtin::Join, items)
            }
            key => key,
        })
    }
}

fn dynamic_call(callee: Expr, arguments: Vec<Expr>) -> Expr {
    Expr::Call { callee: crate::perl::ast::Callee::Dynamic(Box::new(callee)), arguments, current_arguments: false }
}

/// `LEFT =~ RIGHT`.
fn bound(left: Expr, right: Expr, negate: bool) -> Expr {
    let target = Some(Box::new(left));
    match right {
        Expr::Match { target: None, pattern, negated } => Expr::Match { target, pattern, negated: negated != negate },
        Expr::Substitute { target: None, pattern, replacement, flags } => {
            Expr::Substitute { target, pattern, replacement, flags }
        }
        Expr::Transliterate { target: None, from, to, flags } => Expr::Transliterate { target, from, to, flags },
        other => Expr::Match { target, pattern: Box::new(MatchPattern::Dynamic(other)), negated: negate },
    }
}

fn is_assignable(expr: &Expr) -> bool {
    match expr {
        Expr::Arguments
        | Expr::ArrayLast(_)
        | Expr::ArraySlice(..)
        | Expr::Assign(..)
        | Expr::Declare(..)
        | Expr::Deref(..)
        | Expr::Glob(..)
        | Expr::Global(..)
        | Expr::HashSlice(..)
        | Expr::Index(..)
        | Expr::Key(..)
        | Expr::Lexical(..)
        | Expr::Local(_)
        | Expr::Ternary(..)
        | Expr::Step(..)
        | Expr::Builtin(Builtin::Pos | Builtin::Substr | Builtin::Undef, _)
        | Expr::State { .. } => true,
        Expr::Logical(LogicalOp::And | LogicalOp::Or, _, right) => is_assignable(right),
        Expr::List(items) => items.iter().all(is_assignable),
        _ => false,
    }
}
