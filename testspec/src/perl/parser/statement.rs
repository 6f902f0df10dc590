//! Statements, and what takes effect while parsing: `use`, `BEGIN`, `sub`, `package`.

use std::rc::Rc;

use crate::model::Value;
use crate::perl::ast::{Block, Expr, LogicalOp, LoopVariable, Name, Sigil, Statement, StatementKind, SubDefinition};

use super::{Declared, ParseError, Parsed, Parser};

impl Parser<'_> {
    /// Parses one statement into `body`. `false` at `__END__`.
    pub(super) fn statement(&mut self, body: &mut Block) -> Parsed<bool> {
        self.space();
        let at = self.at();
        match self.cursor.byte() {
            None => return Ok(true),
            Some(b';') => {
                self.cursor.advance(1);
                return Ok(true);
            }
            Some(b'{') if !self.is_anonymous_hash() => {
                let block = self.block()?;
                body.push(Statement { at, kind: StatementKind::Block { body: block, label: None } });
                return Ok(true);
            }
            _ => {}
        }
        let label = self.label();
        if let Some(word) = self.cursor.peek_word().map(str::to_owned) {
            match word.as_str() {
                "__END__" | "__DATA__" => return Ok(false),
                _ if self.word_is_hash_key() => {}
                _ => {
                    let before = self.cursor.clone();
                    self.mark();
                    self.cursor.advance(word.len());
                    if self.keyword_statement(&word, label.clone(), at, body)? {
                        return Ok(true);
                    }
                    self.cursor = before;
                }
            }
        }
        if label.is_some() && self.cursor.byte() == Some(b'{') {
            let block = self.block()?;
            body.push(Statement { at, kind: StatementKind::Block { body: block, label } });
            return Ok(true);
        }
        self.simple_statement(at, body)?;
        Ok(true)
    }

    /// Perl's guess at a statement that starts with a brace: a word or string with `=>` or, for a string,
    /// a comma behind it makes a hash.
    fn is_anonymous_hash(&self) -> bool {
        let mut probe = self.cursor.clone();
        probe.advance(1);
        probe.skip_space();
        match probe.byte() {
            Some(b'"' | b'\'') => {
                let is_string = probe.delimited().is_some();
                probe.skip_space();
                is_string && (probe.byte() == Some(b',') || probe.starts_with(b"=>"))
            }
            Some(b'%') => matches!(probe.byte_at(1), Some(b'{' | b'$')),
            _ => probe.word().is_some() && probe.fat_comma_follows(),
        }
    }

    fn word_is_hash_key(&self) -> bool {
        let mut probe = self.cursor.clone();
        let _ = probe.word();
        probe.fat_comma_follows()
    }

    /// `LABEL:` at the cursor.
    fn label(&mut self) -> Option<Name> {
        let start = self.cursor.clone();
        let word = self.cursor.word()?;
        self.space();
        let is_label = self.cursor.byte() == Some(b':') && self.cursor.byte_at(1) != Some(b':');
        if !is_label || matches!(word.as_str(), "q" | "qq" | "qw" | "qr" | "qx" | "m" | "s" | "tr" | "y" | "default") {
            self.cursor = start;
            return None;
        }
        self.cursor.advance(1);
        self.space();
        Some(word.into())
    }

    /// A statement that starts with a keyword, which has been read. `false` if it is none.
    fn keyword_statement(&mut self, word: &str, label: Option<Name>, at: u32, body: &mut Block) -> Parsed<bool> {
        let kind = match word {
            "if" | "unless" => self.conditional(word == "unless")?,
            "while" | "until" => self.scoped(|parser| parser.while_loop(word == "until", label))?,
            "for" | "foreach" => self.scoped(|parser| parser.for_loop(label))?,
            "sub" => {
                self.space();
                let Some(name) = self.cursor.name() else {
                    return Ok(false);
                };
                let prototype = self.prototype()?;
                let full = self.qualify_sub(&name);
                if self.eat(b";") {
                    self.interpreter.declare_sub(&full, prototype);
                    return Ok(true);
                }
                // Visible in its own body.
                self.interpreter.declare_sub(&full, prototype.clone());
                let definition = self.sub_body(Some(full), prototype)?;
                self.define_sub(&definition);
                if self.braces == 0 {
                    return Ok(true);
                }
                StatementKind::Sub(definition)
            }
            "package" => {
                self.space();
                let Some(name) = self.cursor.name() else {
                    return Err(self.syntax_error());
                };
                self.space();
                if self.cursor.byte() == Some(b'{') {
                    let outer = std::mem::replace(&mut self.package, name.as_str().into());
                    let mut block = self.block()?;
                    self.package = outer;
                    block.insert(0, Statement { at, kind: StatementKind::Package(name.as_str().into()) });
                    block.push(Statement { at, kind: StatementKind::Package(Rc::clone(&self.package)) });
                    StatementKind::Block { body: block, label: None }
                } else {
                    self.package = name.as_str().into();
                    self.end_of_statement()?;
                    StatementKind::Package(Rc::clone(&self.package))
                }
            }
            "use" | "no" => {
                self.use_statement(word == "no")?;
                return Ok(true);
            }
            "BEGIN" | "UNITCHECK" | "CHECK" | "INIT" | "END" => {
                self.space();
                if self.cursor.byte() != Some(b'{') {
                    return Ok(false);
                }
                let definition = self.sub_body(None, None)?;
                self.special_block(word, &definition)?;
                return Ok(true);
            }
            "format" => return self.unsupported("a `format`"),
            _ => return Ok(false),
        };
        body.push(Statement { at, kind });
        Ok(true)
    }

    fn special_block(&mut self, word: &str, definition: &Rc<SubDefinition>) -> Parsed<()> {
        if word == "END" {
            self.interpreter.add_end_block(definition, &self.file_scope);
            return Ok(());
        }
        let run = self.interpreter.run_now(definition, &self.file_scope);
        run.map_err(|stop| ParseError::Stopped(Box::new(stop)))
    }

    fn condition(&mut self) -> Parsed<Expr> {
        self.expect(b"(")?;
        let condition = self.expression()?;
        self.expect(b")")?;
        Ok(condition)
    }

    fn conditional(&mut self, negated: bool) -> Parsed<StatementKind> {
        self.scoped(|parser| {
            let mut condition = parser.condition()?;
            if negated {
                condition = Expr::Not(Box::new(condition));
            }
            parser.introduce();
            let mut arms = vec![(condition, parser.block()?)];
            let mut otherwise = None;
            loop {
                parser.space();
                match parser.cursor.peek_word() {
                    Some("elsif") => {
                        parser.mark();
                        parser.cursor.advance(5);
                        let condition = parser.condition()?;
                        parser.introduce();
                        arms.push((condition, parser.block()?));
                    }
                    Some("else") => {
                        parser.mark();
                        parser.cursor.advance(4);
                        otherwise = Some(parser.block()?);
                        break;
                    }
                    _ => break,
                }
            }
            Ok(StatementKind::If { arms, otherwise })
        })
    }

    fn while_loop(&mut self, negated: bool, label: Option<Name>) -> Parsed<StatementKind> {
        self.expect(b"(")?;
        let condition = if self.eat(b")") {
            None
        } else {
            let condition = self.expression()?;
            self.expect(b")")?;
            Some(implied_defined(condition))
        };
        let condition = if negated { condition.map(|it| Expr::Not(Box::new(it))) } else { condition };
        self.introduce();
        let body = self.block()?;
        self.space();
        let mut step = None;
        if self.cursor.peek_word() == Some("continue") {
            self.cursor.advance(8);
            step = Some(self.block()?);
        }
        Ok(StatementKind::While { condition, body, step, label, body_first: false })
    }

    fn for_loop(&mut self, label: Option<Name>) -> Parsed<StatementKind> {
        self.space();
        let mut variable = LoopVariable::Global("main::_".into());
        if matches!(self.cursor.peek_word(), Some("my" | "our")) {
            let length = if self.cursor.peek_word() == Some("my") { 2 } else { 3 };
            self.cursor.advance(length);
            self.space();
            if self.cursor.byte() != Some(b'$') {
                return Err(self.syntax_error());
            }
            self.cursor.advance(1);
            let Some(name) = self.cursor.word() else {
                return Err(self.syntax_error());
            };
            let full: Name = format!("${name}").into();
            self.pending.push((Sigil::Scalar, name, None));
            variable = LoopVariable::My(full);
        } else if self.cursor.byte() == Some(b'$') {
            self.cursor.advance(1);
            let Some(name) = self.cursor.name() else {
                return Err(self.syntax_error());
            };
            variable = match self.variable(Sigil::Scalar, &name) {
                Expr::Lexical(_, name) => LoopVariable::Lexical(name),
                Expr::Global(_, name) => LoopVariable::Global(name),
                _ => return Err(self.syntax_error()),
            };
        } else {
            // `for (init; condition; step)`?
            self.expect(b"(")?;
            let init = if self.at_semicolon() { None } else { Some(self.list_or_nothing()?) };
            if self.eat(b";") {
                self.introduce();
                let condition = if self.at_semicolon() { None } else { Some(self.expression()?) };
                self.expect(b";")?;
                self.space();
                let step = if self.cursor.byte() == Some(b')') { None } else { Some(self.expression()?) };
                self.expect(b")")?;
                let body = self.block()?;
                return Ok(StatementKind::For { init, condition, step, body, label });
            }
            self.expect(b")")?;
            self.introduce();
            let body = self.block()?;
            let list = init.unwrap_or(Expr::List(Vec::new()));
            self.names_arguments |= walks_arguments(&list);
            return Ok(StatementKind::Foreach { variable, list, body, label });
        }
        self.expect(b"(")?;
        let list = self.list_or_nothing()?;
        self.expect(b")")?;
        self.introduce();
        let body = self.block()?;
        self.names_arguments |= walks_arguments(&list);
        Ok(StatementKind::Foreach { variable, list, body, label })
    }

    fn at_semicolon(&mut self) -> bool {
        self.space();
        self.cursor.byte() == Some(b';')
    }

    fn list_or_nothing(&mut self) -> Parsed<Expr> {
        self.space();
        if self.cursor.byte() == Some(b')') { Ok(Expr::List(Vec::new())) } else { self.expression() }
    }

    /// An expression with modifiers.
    fn simple_statement(&mut self, at: u32, body: &mut Block) -> Parsed<()> {
        let expr = self.expression()?;
        self.space();
        let modifier = self.cursor.peek_word().unwrap_or_default().to_owned();
        let kind = match modifier.as_str() {
            "if" | "unless" => {
                self.mark();
                self.cursor.advance(modifier.len());
                let condition = self.expression()?;
                let op = if modifier == "if" { LogicalOp::And } else { LogicalOp::Or };
                StatementKind::Expr(Expr::Logical(op, Box::new(condition), Box::new(expr)))
            }
            "while" | "until" => {
                self.mark();
                self.cursor.advance(5);
                let condition = implied_defined(self.expression()?);
                let condition = if modifier == "until" { Expr::Not(Box::new(condition)) } else { condition };
                let (inner, body_first) = match expr {
                    Expr::DoBlock(block) => (block, true),
                    other => (vec![Statement { at, kind: StatementKind::Expr(other) }], false),
                };
                StatementKind::While { condition: Some(condition), body: inner, step: None, label: None, body_first }
            }
            "for" | "foreach" => {
                self.mark();
                self.cursor.advance(modifier.len());
                let list = self.expression()?;
                self.names_arguments |= walks_arguments(&list);
                let inner = vec![Statement { at, kind: StatementKind::Expr(expr) }];
                let variable = LoopVariable::Global("main::_".into());
                StatementKind::Foreach { variable, list, body: inner, label: None }
            }
            _ => StatementKind::Expr(expr),
        };
        self.end_of_statement()?;
        body.push(Statement { at, kind });
        Ok(())
    }

    fn end_of_statement(&mut self) -> Parsed<()> {
        self.introduce();
        self.space();
        match self.cursor.byte() {
            None | Some(b'}') => Ok(()),
            Some(b';') => {
                self.mark();
                self.cursor.advance(1);
                Ok(())
            }
            _ => Err(self.syntax_error()),
        }
    }

    /// Makes the variables of the `my`s read so far visible.
    pub(super) fn introduce(&mut self) {
        for (sigil, name, our) in std::mem::take(&mut self.pending) {
            self.declare(sigil, &name, our);
        }
    }

    fn use_statement(&mut self, is_no: bool) -> Parsed<()> {
        self.space();
        let is_version = self.cursor.byte().is_some_and(|byte| byte.is_ascii_digit())
            || (self.cursor.byte() == Some(b'v') && self.cursor.byte_at(1).is_some_and(|byte| byte.is_ascii_digit()));
        if is_version {
            let len = self
                .cursor
                .rest()
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
                .count();
            let text = String::from_utf8_lossy(self.cursor.rest().get(..len).unwrap_or_default()).into_owned();
            self.cursor.advance(len);
            let minor = text.trim_start_matches('v').split('.').nth(1).unwrap_or("0").to_owned();
            let minor: u32 =
                if text.starts_with('v') { minor.parse() } else { minor.get(..3).unwrap_or(&minor).parse() }
                    .unwrap_or(0);
            if minor >= 12 {
                self.strict = super::Strictness { subs: true, vars: true };
            }
            return self.end_of_statement();
        }
        let Some(module) = self.cursor.name() else {
            return Err(self.syntax_error());
        };
        self.space();
        // A version behind the module's name.
        if self.cursor.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            let len = self
                .cursor
                .rest()
                .iter()
                .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_'))
                .count();
            let mut probe = self.cursor.clone();
            probe.advance(len);
            probe.skip_space();
            if !matches!(probe.byte(), Some(b',' | b'=')) {
                self.cursor = probe;
            }
        }
        self.space();
        let arguments = if matches!(self.cursor.byte(), Some(b';' | b'}') | None) {
            None
        } else {
            let list = Expr::List(vec![self.expression()?]);
            let mut values = self.interpreter.constant_list(&list, &self.unit, &self.package, &self.file_scope);
            if let Err(stop) = values {
                return Err(ParseError::Stopped(Box::new(stop)));
            }
            values.as_mut().ok().map(std::mem::take)
        };
        self.end_of_statement()?;
        self.apply_use(&module, arguments, is_no)
    }

    fn apply_use(&mut self, module: &str, arguments: Option<Vec<Value>>, is_no: bool) -> Parsed<()> {
        match module {
            "strict" => {
                let names: Vec<String> = arguments.unwrap_or_default().iter().map(Value::to_text).collect();
                let applies = |name: &str| names.is_empty() || names.iter().any(|given| given == name);
                if applies("vars") {
                    self.strict.vars = !is_no;
                }
                if applies("subs") {
                    self.strict.subs = !is_no;
                }
                return Ok(());
            }
            "vars" => {
                for name in arguments.unwrap_or_default() {
                    let name = name.to_text();
                    let bare = name.get(1..).unwrap_or_default();
                    let global = self.qualify_variable(bare);
                    if let Some(outermost) = self.scopes.first_mut() {
                        outermost.push((name.as_str().into(), Declared::Our(global)));
                    }
                }
                return Ok(());
            }
            _ if is_no => return Ok(()),
            _ => {}
        }
        let package = Rc::clone(&self.package);
        match self.interpreter.use_module(module, arguments, &package) {
            Ok(effect) => {
                if effect.strict {
                    self.strict = super::Strictness { subs: true, vars: true };
                }
                Ok(())
            }
            Err(stop) => Err(ParseError::Stopped(Box::new(stop))),
        }
    }
}

/// Whether a loop over this changes the caller's variables.
fn walks_arguments(list: &Expr) -> bool {
    match list {
        Expr::Arguments => true,
        Expr::List(items) => items.iter().any(walks_arguments),
        _ => false,
    }
}

/// `while (<$in>)` assigns to `$_`, and `while ($x = <$in>)` tests for definedness.
fn implied_defined(condition: Expr) -> Expr {
    use crate::perl::ast::AssignOp;
    use crate::perl::builtin::Builtin;
    let assignment = match condition {
        Expr::ReadLine(file) => {
            let target = Expr::Global(Sigil::Scalar, "main::_".into());
            Expr::Assign(AssignOp::Plain, Box::new(target), Box::new(Expr::ReadLine(file)))
        }
        Expr::Assign(AssignOp::Plain, target, value) if matches!(*value, Expr::ReadLine(_)) => {
            Expr::Assign(AssignOp::Plain, target, value)
        }
        other => return other,
    };
    Expr::Builtin(Builtin::Defined, vec![assignment])
}
