//! Terms: literals, variables, calls.

use std::rc::Rc;

use crate::model::Value;
use crate::perl::ast::{Callee, Declarator, Expr, Jump, ListOp, Name, Paren, Sigil, StatementKind, SubDefinition};
use crate::perl::builtin::{Arity, Builtin};
use crate::perl::cursor::{is_word, is_word_start};

use super::operator::level;
use super::{Parsed, Parser};

impl Parser<'_> {
    /// A term without subscripts behind `->`.
    pub(super) fn term(&mut self) -> Parsed<Expr> {
        self.space();
        let Some(byte) = self.cursor.byte() else {
            return Err(self.syntax_error());
        };
        match byte {
            b'0'..=b'9' => self.number(),
            b'.' if self.cursor.byte_at(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            b'"' => self.double_quoted(),
            b'\'' => Ok(Expr::Constant(self.single_quoted()?)),
            b'`' => self.backticks(),
            b'/' => self.match_literal(),
            b'<' => self.angle(),
            b'$' => self.scalar_term(),
            b'@' => self.array_term(),
            b'%' => self.hash_term(),
            b'&' => self.ampersand(),
            b'(' => self.parenthesized(),
            b'[' => {
                self.expect(b"[")?;
                let items = self.comma_list()?;
                self.expect_close(b"]")?;
                Ok(Expr::AnonArray(items))
            }
            b'{' => {
                self.expect(b"{")?;
                let items = self.comma_list()?;
                self.expect_close(b"}")?;
                Ok(Expr::AnonHash(items))
            }
            b'*' if self.cursor.byte_at(1).is_some_and(|next| is_word_start(next) || next == b'{') => {
                self.cursor.advance(1);
                match self.after_sigil()? {
                    Ok(name) => Ok(self.file_handle(&name)),
                    Err(name) => Ok(Expr::Glob(Box::new(name), self.package.clone())),
                }
            }
            _ if is_word_start(byte) || self.cursor.starts_with(b"::") => self.word_term(),
            _ => Err(self.syntax_error()),
        }
    }

    fn expect_close(&mut self, close: &[u8]) -> Parsed<()> {
        self.space();
        if self.cursor.is_at_end() {
            return Err(self.missing_bracket());
        }
        self.expect(close)
    }

    /// `<$fh>`, `<FH>`, `<>`, or a here-document.
    fn angle(&mut self) -> Parsed<Expr> {
        if self.cursor.starts_with(b"<<") {
            // Blanks may stand before a terminator in quotes.
            let blanks = self.cursor.rest().iter().skip(2).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let next = self.cursor.byte_at(2 + blanks);
            let is_quoted = next.is_some_and(|byte| matches!(byte, b'"' | b'\''));
            if is_quoted
                || (blanks == 0 && next.is_some_and(|byte| is_word_start(byte) || matches!(byte, b'\\' | b'~')))
            {
                self.mark();
                self.cursor.advance(2);
                return self.here_document();
            }
        }
        let text = self.quoted("<> operator")?;
        let content = String::from_utf8_lossy(&text.content).into_owned();
        if let Some(name) = content.strip_prefix('$')
            && name.bytes().all(is_word)
        {
            let variable = self.variable(Sigil::Scalar, name);
            return Ok(Expr::ReadLine(Box::new(variable)));
        }
        if content.bytes().all(is_word) {
            let name = if content.is_empty() { "STDIN" } else { &content };
            let handle = self.file_handle(name);
            return Ok(Expr::ReadLine(Box::new(handle)));
        }
        let pattern = super::quote::interpolated_text(self.interpolated_text_parts(text.content, text.start)?);
        Ok(Expr::Builtin(Builtin::Glob, vec![pattern]))
    }

    /// The expression for a bareword file handle.
    pub(super) fn file_handle(&mut self, name: &str) -> Expr {
        let name = self.qualify_variable(name);
        Expr::Global(Sigil::Scalar, format!("*{name}").into())
    }

    fn parenthesized(&mut self) -> Parsed<Expr> {
        self.expect(b"(")?;
        let items = if self.eat(b")") {
            Vec::new()
        } else {
            let inner = self.expression()?;
            self.expect(b")")?;
            match inner {
                Expr::List(items) => items,
                other => vec![other],
            }
        };
        self.space();
        if self.cursor.byte() == Some(b'[') {
            let index = self.index_list()?;
            return Ok(Expr::ListSlice(Box::new(Expr::List(items)), Box::new(index)));
        }
        Ok(Expr::List(items))
    }

    fn index_list(&mut self) -> Parsed<Expr> {
        self.expect(b"[")?;
        let items = self.comma_list()?;
        self.expect(b"]")?;
        Ok(Expr::List(items))
    }

    /// What stands behind a sigil: a name, or the expression in braces or behind further `$`.
    fn after_sigil(&mut self) -> Parsed<Result<String, Expr>> {
        match self.cursor.byte() {
            Some(b'{') => {
                let start = self.cursor.pos();
                self.cursor.advance(1);
                self.space();
                let caret = if self.cursor.byte() == Some(b'^') { "^" } else { "" };
                self.cursor.advance(caret.len());
                if let Some(name) = self.cursor.name() {
                    self.space();
                    if self.cursor.byte() == Some(b'}') {
                        self.cursor.advance(1);
                        return Ok(Ok(format!("{caret}{name}")));
                    }
                }
                self.cursor.reset(start + 1);
                self.space();
                if self.cursor.byte() == Some(b'{') {
                    // `%{{ a => 1 }}`: what is dereferenced is a new hash.
                    let inner = self.expression()?;
                    self.expect(b"}")?;
                    return Ok(Err(inner));
                }
                self.cursor.reset(start);
                let body = self.block()?;
                let inner = match <[_; 1]>::try_from(body) {
                    Ok([statement]) => match statement.kind {
                        StatementKind::Expr(expr) => expr,
                        kind => Expr::DoBlock(vec![crate::perl::ast::Statement { at: statement.at, kind }]),
                    },
                    Err(body) => Expr::DoBlock(body),
                };
                Ok(Err(inner))
            }
            Some(b'$')
                if self
                    .cursor
                    .byte_at(1)
                    .is_some_and(|byte| is_word_start(byte) || matches!(byte, b'$' | b'{' | b':')) =>
            {
                self.cursor.advance(1);
                Ok(Err(match self.after_sigil()? {
                    Ok(name) => self.variable(Sigil::Scalar, &name),
                    Err(inner) => Expr::Deref(Sigil::Scalar, Box::new(inner)),
                }))
            }
            Some(b'^') if self.cursor.byte_at(1).is_some_and(|byte| byte.is_ascii_uppercase()) => {
                self.cursor.advance(1);
                let letter = self.cursor.byte().map(char::from).unwrap_or_default();
                self.cursor.advance(1);
                Ok(Ok(format!("^{letter}")))
            }
            _ => match self.cursor.name() {
                Some(name) => Ok(Ok(name)),
                None => match self.punctuation_or_digits() {
                    Some(name) => Ok(Ok(name)),
                    None => Err(self.syntax_error()),
                },
            },
        }
    }

    pub(super) fn container(&mut self, sigil: Sigil, of: Result<String, Expr>) -> Expr {
        match of {
            Ok(name) => self.variable(sigil, &name),
            Err(inner) => Expr::Deref(sigil, Box::new(inner)),
        }
    }

    pub(super) fn scalar_term(&mut self) -> Parsed<Expr> {
        self.mark();
        self.cursor.advance(1);
        if self.cursor.byte() == Some(b'#')
            && self.cursor.byte_at(1).is_some_and(|byte| is_word_start(byte) || matches!(byte, b'{' | b'$'))
        {
            self.cursor.advance(1);
            let of = self.after_sigil()?;
            let array = self.container(Sigil::Array, of);
            return Ok(Expr::ArrayLast(Box::new(array)));
        }
        let of = self.after_sigil()?;
        self.space();
        match self.cursor.byte() {
            Some(b'[') => {
                let array = self.container(Sigil::Array, of);
                self.names_arguments |= matches!(array, Expr::Arguments);
                let index = self.index()?;
                Ok(Expr::Index(Box::new(array), Box::new(index)))
            }
            Some(b'{') => {
                let hash = self.container(Sigil::Hash, of);
                let key = self.hash_key()?;
                Ok(Expr::Key(Box::new(hash), Box::new(key)))
            }
            _ => Ok(self.container(Sigil::Scalar, of)),
        }
    }

    /// `@x`, `@$x`, `@{…}` and slices. The cursor is at `@`.
    pub(super) fn array_term(&mut self) -> Parsed<Expr> {
        self.mark();
        self.cursor.advance(1);
        let of = self.after_sigil()?;
        match self.cursor.byte() {
            Some(b'[') => {
                let array = self.container(Sigil::Array, of);
                let index = self.index_list()?;
                Ok(Expr::ArraySlice(Box::new(array), Box::new(index)))
            }
            Some(b'{') => {
                let hash = self.container(Sigil::Hash, of);
                self.expect(b"{")?;
                let keys = self.comma_list()?;
                self.expect(b"}")?;
                Ok(Expr::HashSlice(Box::new(hash), Box::new(Expr::List(keys))))
            }
            _ => Ok(self.container(Sigil::Array, of)),
        }
    }

    fn hash_term(&mut self) -> Parsed<Expr> {
        self.mark();
        self.cursor.advance(1);
        let of = self.after_sigil()?;
        Ok(self.container(Sigil::Hash, of))
    }

    /// `&name`, `&$code`, `&name(…)`.
    fn ampersand(&mut self) -> Parsed<Expr> {
        self.mark();
        self.cursor.advance(1);
        let callee = match self.after_sigil()? {
            Ok(name) => Callee::Named(self.qualify_sub(&name)),
            Err(inner) => Callee::Dynamic(Box::new(inner)),
        };
        self.space();
        if self.cursor.byte() == Some(b'(') {
            let arguments = self.call_arguments()?;
            return Ok(Expr::Call { callee, arguments, current_arguments: false });
        }
        Ok(Expr::Call { callee, arguments: Vec::new(), current_arguments: true })
    }

    pub(super) fn is_known_function(&self, word: &str) -> bool {
        Builtin::find(word).is_some() || self.interpreter.has_sub(&self.qualify_sub(word))
    }

    fn word_term(&mut self) -> Parsed<Expr> {
        self.mark();
        let start = self.cursor.pos();
        let Some(mut name) = self.cursor.name() else {
            return Err(self.syntax_error());
        };
        if self.cursor.fat_comma_follows() && !name.contains("::") {
            return Ok(Expr::Constant(name.as_str().into()));
        }
        if let Some(core) = name.strip_prefix("CORE::") {
            name = core.replacen("GLOBAL::", "", 1);
        }
        if let Some(term) = self.quote_like(&name)? {
            return Ok(term);
        }
        match name.as_str() {
            "my" | "our" => return self.declaration(if name == "my" { Declarator::My } else { Declarator::Our }),
            "state" => return self.state_declaration(),
            "local" => {
                let what = self.nested(|parser| parser.at_least(level::UNARY))?;
                return Ok(Expr::Local(Box::new(what)));
            }
            "sub" => return self.anonymous_sub(),
            "do" => {
                self.space();
                if self.cursor.byte() == Some(b'{') {
                    return Ok(Expr::DoBlock(self.block()?));
                }
                let file = self.nested(|parser| parser.at_least(level::UNARY_NAMED + 1))?;
                return Ok(Expr::DoFile(Box::new(file)));
            }
            "eval" => return self.eval_term(),
            "map" => return self.list_op(ListOp::Map),
            "grep" => return self.list_op(ListOp::Grep),
            "sort" => return self.list_op(ListOp::Sort),
            "print" | "printf" | "say" => {
                if let Some((builtin, _)) = Builtin::find(&name) {
                    return self.print_term(builtin);
                }
            }
            "return" => {
                let value = if self.at_list_end() { None } else { Some(Box::new(self.return_value()?)) };
                return Ok(Expr::Return(value));
            }
            "last" | "next" | "redo" => {
                let jump = match name.as_str() {
                    "last" => Jump::Last,
                    "next" => Jump::Next,
                    _ => Jump::Redo,
                };
                self.space();
                let is_label = self
                    .cursor
                    .peek_word()
                    .is_some_and(|word| !matches!(word, "if" | "unless" | "while" | "for" | "or" | "and"));
                let label = if is_label { self.cursor.word().map(Into::into) } else { None };
                return Ok(Expr::Jump(jump, label));
            }
            "wantarray" => {
                self.eat(b"()");
                return Ok(Expr::WantArray);
            }
            "require" => {
                self.space();
                if self.cursor.byte().is_some_and(is_word_start) {
                    let module = self.cursor.name().unwrap_or_default();
                    return Ok(Expr::Require(Box::new(Expr::Constant(module.as_str().into()))));
                }
                let file = self.nested(|parser| parser.at_least(level::UNARY_NAMED + 1))?;
                return Ok(Expr::Require(Box::new(file)));
            }
            "__FILE__" => return Ok(Expr::Constant(Value::str(self.unit.name.as_bytes()))),
            "__LINE__" => return Ok(Expr::Constant(Value::Int(self.line() as i64))),
            "__PACKAGE__" => return Ok(Expr::Constant(Value::str(self.package.as_bytes()))),
            "STDIN" | "STDOUT" | "STDERR" => return Ok(self.file_handle(&name)),
            "if" | "unless" | "while" | "until" | "foreach" | "for" | "else" | "elsif" | "x" | "eq" | "ne" | "and"
            | "or" | "cmp" | "lt" | "gt" | "le" | "ge" => {
                self.cursor.reset(start);
                return Err(self.syntax_error());
            }
            _ => {}
        }
        if let Some((builtin, arity)) = Builtin::find(&name) {
            return self.builtin_call(builtin, arity);
        }
        self.user_call(name, start)
    }

    /// `q`, `qq`, `qr`, … at a delimiter.
    fn quote_like(&mut self, name: &str) -> Parsed<Option<Expr>> {
        if !matches!(name, "q" | "qq" | "qw" | "qr" | "qx" | "m" | "s" | "tr" | "y") {
            return Ok(None);
        }
        let direct = self.cursor.byte();
        // A blank may stand before the delimiter, but then `#` starts a comment.
        if direct.is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.space();
        }
        match self.cursor.byte() {
            None | Some(b',' | b';' | b')') => return Ok(None),
            Some(b'=') if self.cursor.byte_at(1) == Some(b'>') || direct != Some(b'=') => return Ok(None),
            Some(byte) if is_word(byte) => return Ok(None),
            Some(_) => {}
        }
        let term = match name {
            "q" => Expr::Constant(self.single_quoted()?),
            "qq" => self.double_quoted()?,
            "qw" => {
                let words = self.quoted_words()?;
                if self.cursor.byte() == Some(b'[') {
                    let index = self.index_list()?;
                    Expr::ListSlice(Box::new(words), Box::new(index))
                } else {
                    words
                }
            }
            "qr" => self.qr_literal()?,
            "qx" => self.backticks()?,
            "m" => self.match_literal()?,
            "s" => self.substitution()?,
            _ => self.transliteration()?,
        };
        Ok(Some(term))
    }

    fn declaration(&mut self, declarator: Declarator) -> Parsed<Expr> {
        self.space();
        let paren = if self.eat(b"(") { Paren::Yes } else { Paren::No };
        let mut names: Vec<(Sigil, Name)> = Vec::new();
        loop {
            self.space();
            if paren == Paren::Yes && self.eat(b")") {
                break;
            }
            let sigil = match self.cursor.byte() {
                Some(b'$') => Sigil::Scalar,
                Some(b'@') => Sigil::Array,
                Some(b'%') => Sigil::Hash,
                Some(b'u') if paren == Paren::Yes && self.cursor.peek_word() == Some("undef") => {
                    self.cursor.advance(5);
                    names.push((Sigil::Scalar, "".into()));
                    self.eat(b",");
                    continue;
                }
                _ => return Err(self.syntax_error()),
            };
            self.cursor.advance(1);
            let Some(name) = self.cursor.name() else {
                return Err(self.syntax_error());
            };
            let entry = match declarator {
                Declarator::My => {
                    self.pending.push((sigil, name.clone(), None));
                    format!("{}{name}", char::from(sigil.byte())).into()
                }
                Declarator::Our => {
                    let global = self.qualify_variable(&name);
                    // A package variable is visible at once; nothing can be shadowed half-way.
                    self.declare(sigil, &name, Some(Rc::clone(&global)));
                    global
                }
            };
            names.push((sigil, entry));
            if paren == Paren::No {
                break;
            }
            self.eat(b",");
        }
        Ok(Expr::Declare(declarator, names, paren))
    }

    /// `state $x = EXPR`: the value is that of the first time.
    fn state_declaration(&mut self) -> Parsed<Expr> {
        self.space();
        let sigil = match self.cursor.byte() {
            Some(b'$') => Sigil::Scalar,
            Some(b'@') => Sigil::Array,
            Some(b'%') => Sigil::Hash,
            Some(b'(') => return self.unsupported("a list of `state` variables"),
            _ => return Err(self.syntax_error()),
        };
        self.cursor.advance(1);
        let Some(word) = self.cursor.name() else {
            return Err(self.syntax_error());
        };
        let name: Name = format!("{}{word}", char::from(sigil.byte())).into();
        self.pending.push((sigil, word, None));
        self.space();
        let assigns = self.cursor.byte() == Some(b'=') && !matches!(self.cursor.byte_at(1), Some(b'=' | b'~'));
        let init = if assigns {
            self.cursor.advance(1);
            Some(Box::new(self.assignment()?))
        } else {
            None
        };
        Ok(Expr::State { id: self.interpreter.next_state(), name, init })
    }

    fn anonymous_sub(&mut self) -> Parsed<Expr> {
        let prototype = self.prototype()?;
        let definition = self.sub_body(None, prototype)?;
        Ok(Expr::AnonSub(definition))
    }

    /// `($$)` behind `sub`; a signature is left for [`Self::sub_body`].
    pub(super) fn prototype(&mut self) -> Parsed<Option<Rc<str>>> {
        self.space();
        if self.cursor.byte() != Some(b'(') || self.at_signature() {
            return Ok(None);
        }
        let text = self.quoted("Prototype")?;
        let text: String = text.content.iter().map(|byte| char::from(*byte)).filter(|c| !c.is_whitespace()).collect();
        Ok(Some(text.into()))
    }

    /// The rest of a subroutine, from its signature if it has one.
    pub(super) fn sub_body(&mut self, name: Option<Name>, prototype: Option<Rc<str>>) -> Parsed<Rc<SubDefinition>> {
        let package = Rc::clone(&self.package);
        let outer = std::mem::replace(&mut self.names_arguments, false);
        self.subs += 1;
        let body = self.scoped(|parser| {
            parser.space();
            let mut body = Vec::new();
            if parser.cursor.byte() == Some(b'(') {
                let shown = name.as_deref().map_or_else(|| format!("{package}::__ANON__"), str::to_owned);
                body = parser.signature(&shown)?;
            }
            body.append(&mut parser.block()?);
            Ok(body)
        });
        self.subs -= 1;
        let aliases = std::mem::replace(&mut self.names_arguments, outer);
        Ok(Rc::new(SubDefinition { name, package, prototype, body: body?, aliases, unit: Rc::clone(&self.unit) }))
    }

    fn eval_term(&mut self) -> Parsed<Expr> {
        self.space();
        if self.cursor.byte() == Some(b'{') {
            return Ok(Expr::EvalBlock(self.block()?));
        }
        let text = if self.at_list_end() {
            self.variable(Sigil::Scalar, "_")
        } else {
            self.nested(|parser| parser.at_least(level::UNARY_NAMED + 1))?
        };
        Ok(Expr::EvalText { text: Box::new(text), package: Rc::clone(&self.package), strict: self.strict.vars })
    }

    fn return_value(&mut self) -> Parsed<Expr> {
        let mut items = self.comma_list()?;
        Ok(if items.len() == 1 { items.remove(0) } else { Expr::List(items) })
    }

    fn builtin_call(&mut self, builtin: Builtin, arity: Arity) -> Parsed<Expr> {
        self.space();
        let takes_handle = matches!(
            builtin,
            Builtin::Open
                | Builtin::Close
                | Builtin::Eof
                | Builtin::Binmode
                | Builtin::Fileno
                | Builtin::Readline
                | Builtin::Select
                | Builtin::Opendir
                | Builtin::Readdir
                | Builtin::Closedir
                | Builtin::Read
        );
        if self.cursor.byte() == Some(b'(') {
            if takes_handle {
                self.expect(b"(")?;
                let mut arguments = self.handle_argument();
                arguments.append(&mut self.comma_list()?);
                self.expect(b")")?;
                return Ok(Expr::Builtin(builtin, arguments));
            }
            let mut arguments = self.call_arguments()?;
            if arity == Arity::Unary && arguments.is_empty() {
                arguments.extend(self.default_argument(builtin));
            }
            return Ok(Expr::Builtin(builtin, arguments));
        }
        let arguments = match arity {
            Arity::None => Vec::new(),
            Arity::List => {
                let mut arguments = if takes_handle { self.handle_argument() } else { Vec::new() };
                arguments.append(&mut self.comma_list()?);
                arguments
            }
            Arity::Unary => {
                let handle = if takes_handle { self.handle_argument() } else { Vec::new() };
                let ends = self.at_list_end()
                    || (self.cursor.byte() == Some(b'<') && builtin != Builtin::Chomp && builtin != Builtin::Scalar);
                if !handle.is_empty() {
                    handle
                } else if ends
                    || (self.cursor.byte() == Some(b'/')
                        && matches!(builtin, Builtin::Shift | Builtin::Pop | Builtin::Undef))
                {
                    self.default_argument(builtin).into_iter().collect()
                } else {
                    vec![self.nested(|parser| parser.at_least(level::UNARY_NAMED + 1))?]
                }
            }
        };
        Ok(Expr::Builtin(builtin, arguments))
    }

    /// A bareword file handle as first argument.
    fn handle_argument(&mut self) -> Vec<Expr> {
        self.space();
        let Some(word) = self.cursor.peek_word().map(str::to_owned) else {
            return Vec::new();
        };
        if !word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_') {
            return Vec::new();
        }
        self.cursor.advance(word.len());
        let handle = self.file_handle(&word);
        self.eat(b",");
        vec![handle]
    }

    /// What a function of one argument works on without one.
    fn default_argument(&mut self, builtin: Builtin) -> Option<Expr> {
        match builtin {
            Builtin::Shift | Builtin::Pop if self.subs > 0 => Some(Expr::Arguments),
            Builtin::Shift | Builtin::Pop => Some(Expr::Global(Sigil::Array, "main::ARGV".into())),
            Builtin::Caller
            | Builtin::Eof
            | Builtin::Exit
            | Builtin::Gmtime
            | Builtin::Localtime
            | Builtin::Rand
            | Builtin::Sleep
            | Builtin::Srand
            | Builtin::Umask
            | Builtin::Undef => None,
            _ => Some(Expr::Global(Sigil::Scalar, "main::_".into())),
        }
    }

    /// A word that is no keyword: a subroutine, a class or a bareword.
    fn user_call(&mut self, name: String, start: usize) -> Parsed<Expr> {
        if let Some(class) = name.strip_suffix("::") {
            return Ok(Expr::Constant(class.into()));
        }
        let after_name = self.cursor.pos();
        self.space();
        let qualified = self.qualify_sub(&name);
        if self.cursor.byte() == Some(b'(') {
            let arguments = self.call_arguments()?;
            return Ok(Expr::Call { callee: Callee::Named(qualified), arguments, current_arguments: false });
        }
        let known = self.interpreter.sub_prototype(&qualified);
        if self.cursor.starts_with(b"->") && (known.is_none() || name.contains("::")) {
            return Ok(Expr::Constant(name.as_str().into()));
        }
        if let Some(prototype) = known {
            let arguments = self.unparenthesized_arguments(prototype.as_deref())?;
            return Ok(Expr::Call { callee: Callee::Named(qualified), arguments, current_arguments: false });
        }
        match self.cursor.byte() {
            // `new Class(…)`.
            Some(byte) if is_word_start(byte) && super::operator::Operator::at(&self.cursor).is_none() => {
                let word = self.cursor.peek_word().unwrap_or_default();
                let is_modifier = matches!(word, "if" | "unless" | "for" | "foreach" | "while" | "until");
                if !is_modifier && !self.is_known_function(word) {
                    let class = self.cursor.name().unwrap_or_default();
                    let arguments = if self.cursor.byte() == Some(b'(') { self.call_arguments()? } else { Vec::new() };
                    let invocant = Box::new(Expr::Constant(class.as_str().into()));
                    let name = crate::perl::ast::MethodName::Static(name.into());
                    return Ok(Expr::Method { invocant, name, arguments });
                }
            }
            Some(b'"' | b'\'') => {
                self.last_token = start;
                return Err(self.syntax_error());
            }
            _ => {}
        }
        self.cursor.reset(after_name);
        if self.strict.subs && !name.starts_with(|c: char| c.is_uppercase() && name.contains("::")) {
            let message = self.complaint(&format!("Bareword \"{name}\" not allowed while \"strict subs\" in use"));
            self.errors.push(message);
        }
        Ok(Expr::Constant(name.as_str().into()))
    }

    fn unparenthesized_arguments(&mut self, prototype: Option<&str>) -> Parsed<Vec<Expr>> {
        match prototype {
            Some("") => Ok(Vec::new()),
            Some("$" | ";$" | "_") => {
                if self.at_list_end() {
                    return Ok(Vec::new());
                }
                Ok(vec![self.nested(|parser| parser.at_least(level::UNARY_NAMED + 1))?])
            }
            Some(prototype) if prototype.starts_with('&') && self.cursor.byte() == Some(b'{') => {
                let code = self.sub_body(None, None)?;
                self.eat(b",");
                let mut arguments = vec![Expr::AnonSub(code)];
                arguments.append(&mut self.comma_list()?);
                Ok(arguments)
            }
            _ => self.comma_list(),
        }
    }
}
