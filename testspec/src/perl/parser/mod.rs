//! The parser: statements by recursive descent, expressions by operator precedence.
//!
//! Perl is parsed while it runs: `use`, `BEGIN` and `sub` take effect at the point where they stand,
//! and decide how the rest is read. So the parser holds the interpreter, and knows at each point which
//! names are lexical, which subroutines exist, and whether the code is strict.

mod expression;
mod list_operator;
mod number;
mod operator;
mod quote;
mod signature;
mod statement;
mod term;

use std::rc::Rc;

use super::ast::{Block, Expr, Name, Sigil, SubDefinition, Unit};
use super::cursor::Cursor;
use super::interpreter::{Interpreter, Scope};

/// Why a text can't be compiled.
#[derive(Debug)]
pub(crate) enum ParseError {
    /// What Perl would say: lines for `$@`.
    Perl(Vec<u8>),
    /// The code compiled so far died (`BEGIN`, `use`), or ended the file.
    Stopped(Box<super::interpreter::Stop>),
    /// Perl that is outside the subset.
    Unsupported { what: String, at: usize },
}

pub(crate) type Parsed<T> = Result<T, ParseError>;

/// What a name means in a scope of the source.
#[derive(Clone, Debug)]
enum Declared {
    Lexical,
    Our(Name),
}

/// Rules that `use strict` and `no strict` change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strictness {
    pub subs: bool,
    pub vars: bool,
}

/// The state of compiling one unit.
pub(crate) struct Parser<'a> {
    cursor: Cursor,
    interpreter: &'a mut Interpreter,
    unit: Rc<Unit>,
    /// Offset of the cursor's text in the unit; not zero inside interpolated text.
    base: usize,
    package: Name,
    strict: Strictness,
    /// Names declared, by scope from the outermost.
    scopes: Vec<Vec<(Name, Declared)>>,
    /// The scope of the unit at run time: variables of the file exist before they are executed, for
    /// `BEGIN` and `sub` to use.
    file_scope: Rc<Scope>,
    /// Variables of `my`s in the statement being read; visible from the next statement or block.
    pending: Vec<(Sigil, String, Option<Name>)>,
    /// Nested braces.
    braces: usize,
    subs: usize,
    depth: usize,
    /// Whether the subroutine being read names elements of `@_`.
    names_arguments: bool,
    /// Messages that don't stop parsing.
    errors: Vec<Vec<u8>>,
    /// Offset of the last complete token, for "near".
    last_token: usize,
}

impl<'a> Parser<'a> {
    /// A parser for a unit; `visible` are the lexical names around a string `eval`.
    pub(crate) fn new(
        interpreter: &'a mut Interpreter,
        unit: Rc<Unit>,
        package: Name,
        strict: bool,
        file_scope: Rc<Scope>,
    ) -> Self {
        let visible = file_scope.visible().into_iter();
        let outer = visible.map(|(name, our)| (name, our.map_or(Declared::Lexical, Declared::Our))).collect();
        Self {
            cursor: Cursor::new(Rc::clone(&unit.text)),
            interpreter,
            unit,
            base: 0,
            package,
            strict: Strictness { subs: strict, vars: strict },
            scopes: vec![outer, Vec::new()],
            file_scope,
            pending: Vec::new(),
            braces: 0,
            subs: 0,
            depth: 0,
            names_arguments: false,
            errors: Vec::new(),
            last_token: 0,
        }
    }

    /// Parses the whole unit.
    pub(crate) fn program(mut self) -> Parsed<Block> {
        self.cursor.skip_pod();
        let mut body = Vec::new();
        loop {
            self.space();
            if self.cursor.is_at_end() {
                break;
            }
            if self.cursor.byte() == Some(b'}') {
                let text = self.near(self.cursor.pos() + 1);
                self.errors.push(self.message("Unmatched right curly bracket", "at end of line"));
                self.errors.push(text);
                return Err(self.failed());
            }
            match self.statement(&mut body) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(self.with_earlier_errors(error)),
            }
        }
        if self.errors.is_empty() { Ok(body) } else { Err(self.failed()) }
    }

    fn failed(&mut self) -> ParseError {
        ParseError::Perl(self.errors.concat())
    }

    fn with_earlier_errors(&mut self, error: ParseError) -> ParseError {
        match error {
            ParseError::Perl(text) => {
                self.errors.push(text);
                self.failed()
            }
            other => other,
        }
    }

    /// The place in the unit.
    fn at(&self) -> u32 {
        u32::try_from(self.base + self.cursor.pos()).unwrap_or(u32::MAX)
    }

    fn line(&self) -> usize {
        self.unit.line(self.base + self.cursor.pos())
    }

    fn space(&mut self) {
        self.cursor.skip_space();
    }

    /// Skips blanks and reads `text` if it follows.
    fn eat(&mut self, text: &[u8]) -> bool {
        self.space();
        if self.cursor.starts_with(text) {
            self.mark();
            self.cursor.advance(text.len());
            return true;
        }
        false
    }

    /// Remembers the start of a token.
    fn mark(&mut self) {
        self.last_token = self.cursor.pos();
    }

    fn expect(&mut self, text: &[u8]) -> Parsed<()> {
        if self.eat(text) {
            return Ok(());
        }
        if self.cursor.is_at_end() && matches!(text, b"}" | b"]") {
            return Err(self.missing_bracket());
        }
        Err(self.syntax_error())
    }

    /// `TEXT at UNIT line N, WHERE`.
    fn message(&self, text: &str, place: &str) -> Vec<u8> {
        format!("{text} at {} line {}, {place}\n", self.unit.name, self.line()).into_bytes()
    }

    /// A message that stands for itself: `TEXT at UNIT line N.`
    fn complaint(&self, text: &str) -> Vec<u8> {
        format!("{text} at {} line {}.\n", self.unit.name, self.line()).into_bytes()
    }

    /// A syntax error at the next token, which Perl shows with the token before it.
    fn syntax_error(&mut self) -> ParseError {
        self.space();
        if self.cursor.is_at_end() {
            return ParseError::Perl(self.message("syntax error", "at EOF"));
        }
        let end = self.token_end();
        ParseError::Perl(self.near(end))
    }

    fn missing_bracket(&self) -> ParseError {
        let mut message = self.message("syntax error", "at EOF");
        message.extend_from_slice(&self.message("Missing right curly or square bracket", "at end of line"));
        ParseError::Perl(message)
    }

    fn near(&self, end: usize) -> Vec<u8> {
        let start = self.last_token.max(end.saturating_sub(200)).min(end);
        let text = self.cursor.slice(start, end);
        let mut message = format!("syntax error at {} line {}, near \"", self.unit.name, self.line()).into_bytes();
        message.extend_from_slice(text);
        message.extend_from_slice(b"\"\n");
        message
    }

    /// Where the token at the cursor ends.
    fn token_end(&mut self) -> usize {
        let start = self.cursor.pos();
        let mut probe = self.cursor.clone();
        let end = match probe.byte() {
            Some(b'"' | b'\'' | b'`') => probe.delimited().map(|_| probe.pos()),
            Some(byte) if super::cursor::is_word(byte) => {
                let len = probe.rest().iter().take_while(|byte| super::cursor::is_word(**byte)).count();
                Some(start + len)
            }
            _ => None,
        };
        end.unwrap_or(start + 1)
    }

    fn unsupported<T>(&self, what: impl Into<String>) -> Parsed<T> {
        Err(ParseError::Unsupported { what: what.into(), at: self.base + self.cursor.pos() })
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= self.interpreter.limits.depth {
            return self.unsupported("code nested this deeply");
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Parses with a new scope for `my`.
    fn scoped<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.scopes.push(Vec::new());
        let result = parse(self);
        self.scopes.pop();
        result
    }

    /// `{ … }` as a scope.
    fn block(&mut self) -> Parsed<Block> {
        self.expect(b"{")?;
        self.nested(|parser| {
            parser.braces += 1;
            let package = Rc::clone(&parser.package);
            let strict = parser.strict;
            // A block inside an expression does not see the `my`s of the statement around it.
            let pending = std::mem::take(&mut parser.pending);
            let body = parser.scoped(Self::statements_to_brace);
            parser.pending = pending;
            parser.package = package;
            parser.strict = strict;
            parser.braces -= 1;
            body
        })
    }

    fn statements_to_brace(&mut self) -> Parsed<Block> {
        let mut body = Vec::new();
        loop {
            self.space();
            if self.eat(b"}") {
                return Ok(body);
            }
            if self.cursor.is_at_end() {
                return Err(self.missing_bracket());
            }
            if !self.statement(&mut body)? {
                return Err(self.syntax_error());
            }
        }
    }

    fn declare(&mut self, sigil: Sigil, name: &str, our: Option<Name>) -> Name {
        let full: Name = format!("{}{name}", char::from(sigil.byte())).into();
        if our.is_none() && self.braces == 0 && self.subs == 0 {
            self.file_scope.predeclare(&full);
        } else if let Some(our) = &our
            && self.braces == 0
            && self.subs == 0
        {
            self.file_scope.declare_our(&full, our);
        }
        let declared = our.map_or(Declared::Lexical, Declared::Our);
        if let Some(scope) = self.scopes.last_mut() {
            scope.push((Rc::clone(&full), declared));
        }
        full
    }

    fn lookup(&self, full: &str) -> Option<(Name, Declared)> {
        let mut entries = self.scopes.iter().rev().flat_map(|scope| scope.iter().rev());
        entries.find(|(name, _)| &**name == full).cloned()
    }

    /// The variable that a name in the source means.
    fn variable(&mut self, sigil: Sigil, name: &str) -> Expr {
        if sigil == Sigil::Array && name == "_" {
            return Expr::Arguments;
        }
        let full = format!("{}{name}", char::from(sigil.byte()));
        if let Some((name, declared)) = self.lookup(&full) {
            return match declared {
                Declared::Lexical => Expr::Lexical(sigil, name),
                Declared::Our(global) => Expr::Global(sigil, global),
            };
        }
        let global = self.qualify_variable(name);
        let is_plain = !name.contains("::") && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if self.strict.vars
            && is_plain
            && !is_always_main(name)
            && !matches!(name, "a" | "b")
            && !self.interpreter.has_variable(sigil, &global)
        {
            let text = format!(
                "Global symbol \"{full}\" requires explicit package name (did you forget to declare \"my {full}\"?)"
            );
            let message = self.complaint(&text);
            if self.errors.len() < 10 {
                self.errors.push(message);
            }
        }
        Expr::Global(sigil, global)
    }

    fn qualify_variable(&self, name: &str) -> Name {
        if let Some(rest) = name.strip_prefix("::") {
            return format!("main::{rest}").into();
        }
        if name.contains("::") {
            return name.into();
        }
        if is_always_main(name) || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return format!("main::{name}").into();
        }
        format!("{}::{name}", self.package).into()
    }

    fn qualify_sub(&self, name: &str) -> Name {
        if let Some(rest) = name.strip_prefix("::") {
            return format!("main::{rest}").into();
        }
        if name.contains("::") {
            return name.into();
        }
        format!("{}::{name}", self.package).into()
    }

    fn define_sub(&mut self, definition: &Rc<SubDefinition>) {
        self.interpreter.define_sub(definition, &self.file_scope);
    }
}

/// Names that live in package main wherever they are used.
fn is_always_main(name: &str) -> bool {
    matches!(name, "ENV" | "ARGV" | "INC" | "SIG" | "STDIN" | "STDOUT" | "STDERR" | "_" | "0")
}
