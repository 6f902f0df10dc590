//! Quote-like terms: strings, patterns, here-documents, and interpolation in them.

use std::rc::Rc;

use crate::model::{Regex, Value};
use crate::perl::ast::{Case, Expr, MatchPattern, Part, Pattern, Sigil};
use crate::perl::cursor::{Cursor, Delimited, closing, is_word, is_word_start};

use super::{ParseError, Parsed, Parser};

/// Where text is interpolated; backslashes mean other things in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Pattern,
    Text,
}

impl Parser<'_> {
    /// A delimited text at the cursor; `what` names it in the message about a missing end.
    pub(super) fn quoted(&mut self, what: &str) -> Parsed<Delimited> {
        let open = self.cursor.byte().unwrap_or(b' ');
        self.mark();
        let message = if what == "string" {
            let close = char::from(closing(open));
            let quote = if close == '"' { '\'' } else { '"' };
            self.complaint(&format!("Can't find string terminator {quote}{close}{quote} anywhere before EOF"))
        } else {
            self.complaint(&format!("{what} not terminated"))
        };
        self.cursor.delimited().ok_or(ParseError::Perl(message))
    }

    /// `q`, `'…'`: only the delimiter and the backslash can be escaped.
    pub(super) fn single_quoted(&mut self) -> Parsed<Value> {
        let text = self.quoted("string")?;
        Ok(Value::str(unescape_delimiters(&text.content, text.open, true)))
    }

    /// `qq`, `"…"`.
    pub(super) fn double_quoted(&mut self) -> Parsed<Expr> {
        let text = self.quoted("string")?;
        let content = if text.open == b'"' || text.open == b'{' {
            text.content
        } else {
            unescape_delimiters(&text.content, text.open, false)
        };
        let parts = self.interpolated(content, text.start, Mode::Text)?;
        Ok(interpolated_text(parts))
    }

    /// `` `…` ``, `qx`.
    pub(super) fn backticks(&mut self) -> Parsed<Expr> {
        let text = self.quoted("string")?;
        if text.open == b'\'' {
            return Ok(Expr::Backticks(vec![Part::Literal(text.content)]));
        }
        Ok(Expr::Backticks(self.interpolated(text.content, text.start, Mode::Text)?))
    }

    /// `qw`.
    pub(super) fn quoted_words(&mut self) -> Parsed<Expr> {
        let text = self.quoted("string")?;
        let content = unescape_delimiters(&text.content, text.open, true);
        let words = content.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        Ok(Expr::List(words.map(|word| Expr::Constant(Value::str(word))).collect()))
    }

    /// `//`, `m//`.
    pub(super) fn match_literal(&mut self) -> Parsed<Expr> {
        let text = self.quoted("Search pattern")?;
        let flags = self.flags();
        let pattern = self.pattern(text, flags)?;
        Ok(Expr::Match { target: None, pattern: Box::new(MatchPattern::Literal(pattern)), negated: false })
    }

    /// `qr//`.
    pub(super) fn qr_literal(&mut self) -> Parsed<Expr> {
        let start = self.last_token;
        let text = self.quoted("Search pattern")?;
        let flags = self.flags();
        let pattern = self.pattern(text, flags)?;
        self.last_token = start;
        Ok(match pattern.fixed {
            Some(regex) => Expr::Constant(Value::Regex(regex)),
            None => Expr::Qr(pattern),
        })
    }

    /// `s///`.
    pub(super) fn substitution(&mut self) -> Parsed<Expr> {
        let text = self.quoted("Substitution pattern")?;
        let replacement = self.second_part(&text, "Substitution replacement")?;
        let flags = self.flags();
        let pattern = self.pattern(text, flags.clone())?;
        let replacement = if flags.contains('e') {
            let body = self.inside(replacement.content, replacement.start, |parser| {
                parser.braces += 1;
                let body = parser.scoped(|parser| {
                    let mut body = Vec::new();
                    loop {
                        parser.space();
                        if parser.cursor.is_at_end() {
                            return Ok(body);
                        }
                        parser.statement(&mut body)?;
                    }
                });
                parser.braces -= 1;
                body
            })?;
            Expr::DoBlock(body)
        } else if replacement.open == b'\'' {
            Expr::Constant(Value::str(replacement.content))
        } else {
            let content = unescape_delimiters(&replacement.content, replacement.open, false);
            interpolated_text(self.interpolated(content, replacement.start, Mode::Text)?)
        };
        Ok(Expr::Substitute { target: None, pattern, replacement: Box::new(replacement), flags })
    }

    /// `tr///`, `y///`.
    pub(super) fn transliteration(&mut self) -> Parsed<Expr> {
        let text = self.quoted("Transliteration pattern")?;
        let second = self.second_part(&text, "Transliteration replacement")?;
        let flags = self.flags();
        let expand = |content: &[u8]| expand_ranges(&plain_escapes(content));
        let (from, to) = (expand(&text.content), expand(&second.content));
        Ok(Expr::Transliterate { target: None, from, to, flags })
    }

    /// `<<"EOT"`, `<< 'EOT'`, `<<EOT`, `<<\EOT`, `<<~EOT`. The cursor is behind `<<`.
    pub(super) fn here_document(&mut self) -> Parsed<Expr> {
        let indented = self.cursor.byte() == Some(b'~');
        if indented {
            self.cursor.advance(1);
        }
        let spaces = self.cursor.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if matches!(self.cursor.byte_at(spaces), Some(b'"' | b'\'')) {
            self.cursor.advance(spaces);
        }
        let (terminator, interpolates) = match self.cursor.byte() {
            Some(quote @ (b'"' | b'\'')) => (self.quoted("string")?.content, quote == b'"'),
            // A backslash before the word is another spelling of single quotes.
            Some(b'\\') => {
                self.cursor.advance(1);
                (self.cursor.word().unwrap_or_default().into_bytes(), false)
            }
            _ => (self.cursor.word().unwrap_or_default().into_bytes(), true),
        };
        let start = self.cursor.line_end(self.cursor.pos()) + 1;
        let Some(content) = self.cursor.heredoc(&terminator, indented) else {
            let name = String::from_utf8_lossy(&terminator).into_owned();
            let text = format!("Can't find string terminator \"{name}\" anywhere before EOF");
            return Err(ParseError::Perl(self.complaint(&text)));
        };
        if !interpolates {
            return Ok(Expr::Constant(Value::str(content)));
        }
        Ok(interpolated_text(self.interpolated(content, start, Mode::Text)?))
    }

    fn second_part(&mut self, first: &Delimited, what: &str) -> Parsed<Delimited> {
        if closing(first.open) == first.open {
            // The closing delimiter opens the second part.
            let pos = self.cursor.pos();
            self.cursor.reset(pos - 1);
        } else {
            self.space();
        }
        self.quoted(what)
    }

    fn flags(&mut self) -> String {
        let len = self.cursor.rest().iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let flags = String::from_utf8_lossy(self.cursor.rest().get(..len).unwrap_or_default()).into_owned();
        // `qr/x/and …`: letters that are no flags belong to the next word.
        if !flags.bytes().all(|flag| b"msixpodualngcer".contains(&flag)) {
            return String::new();
        }
        self.cursor.advance(len);
        flags
    }

    fn pattern(&mut self, text: Delimited, flags: String) -> Parsed<Pattern> {
        let is_bracket = closing(text.open) != text.open;
        let content = if is_bracket { text.content } else { unescape_delimiters(&text.content, text.open, false) };
        let parts = if text.open == b'\'' {
            vec![Part::Literal(content)]
        } else {
            self.interpolated(content, text.start, Mode::Pattern)?
        };
        let fixed = match parts.as_slice() {
            [] => Some(Regex::new(Vec::new(), &flags)),
            [Part::Literal(source)] => Some(Regex::new(source.clone(), &flags)),
            _ => None,
        };
        Ok(Pattern { parts, flags, fixed })
    }

    /// Parses a text that stands inside the unit, `start` bytes into the current text.
    fn inside<T>(&mut self, text: Vec<u8>, start: usize, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let outer = std::mem::replace(&mut self.cursor, Cursor::new(Rc::from(text)));
        let (base, token) = (self.base, self.last_token);
        self.base += start;
        self.last_token = 0;
        let result = self.nested(parse);
        self.cursor = outer;
        self.base = base;
        self.last_token = token;
        result
    }

    /// Splits a text into literal and interpolated parts.
    pub(super) fn interpolated(&mut self, text: Vec<u8>, start: usize, mode: Mode) -> Parsed<Vec<Part>> {
        if memchr::memchr3(b'$', b'@', b'\\', &text).is_none() {
            return Ok(if text.is_empty() { Vec::new() } else { vec![Part::Literal(text)] });
        }
        self.inside(text, start, |parser| {
            let mut parts = Vec::new();
            while !parser.cursor.is_at_end() {
                parts.append(&mut parser.parts(mode, false)?);
            }
            Ok(parts)
        })
    }

    /// Reads a text as double quotes would.
    pub(super) fn interpolated_text_parts(&mut self, text: Vec<u8>, start: usize) -> Parsed<Vec<Part>> {
        self.interpolated(text, start, Mode::Text)
    }

    /// Parts up to the end of the text, or of the `\Q`…`\E` group that the caller opened.
    fn parts(&mut self, mode: Mode, in_quote: bool) -> Parsed<Vec<Part>> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        while let Some(byte) = self.cursor.byte() {
            let part = match byte {
                b'\\' => match self.cursor.byte_at(1) {
                    Some(letter @ (b'U' | b'L' | b'Q' | b'u' | b'l' | b'E')) => {
                        self.cursor.advance(2);
                        let case = match letter {
                            b'U' => Case::Upper,
                            b'L' => Case::Lower,
                            b'Q' => Case::Quote,
                            b'u' => Case::UpperFirst,
                            b'l' => Case::LowerFirst,
                            _ => break,
                        };
                        let inner = self.nested(|parser| parser.parts(mode, in_quote || case == Case::Quote))?;
                        flush(&mut literal, &mut parts);
                        parts.push(Part::Case(case, inner));
                        if matches!(case, Case::UpperFirst | Case::LowerFirst) {
                            break;
                        }
                        continue;
                    }
                    _ if mode == Mode::Pattern => {
                        let len = if in_quote { 1 } else { 2 };
                        literal.extend_from_slice(self.cursor.rest().get(..len).unwrap_or(b"\\"));
                        self.cursor.advance(len);
                        continue;
                    }
                    _ => {
                        self.cursor.advance(1);
                        self.escape(&mut literal)?;
                        continue;
                    }
                },
                b'$' => self.scalar_part(mode)?,
                b'@' => self.array_part()?,
                _ => None,
            };
            if let Some(part) = part {
                flush(&mut literal, &mut parts);
                parts.push(part);
            } else {
                literal.push(byte);
                self.cursor.advance(1);
            }
        }
        flush(&mut literal, &mut parts);
        Ok(parts)
    }

    /// The character that a backslash escape means; the cursor is behind the backslash.
    fn escape(&mut self, out: &mut Vec<u8>) -> Parsed<()> {
        let Some(letter) = self.cursor.byte() else {
            out.push(b'\\');
            return Ok(());
        };
        self.cursor.advance(1);
        let byte = match letter {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'a' => 7,
            b'e' => 27,
            b'f' => 12,
            b'b' => 8,
            b'x' => {
                let code = if self.cursor.byte() == Some(b'{') {
                    let digits = self.cursor.delimited().map(|text| text.content).unwrap_or_default();
                    number_in(&digits, 16)
                } else {
                    self.digits(2, 16)
                };
                push_code(out, code);
                return Ok(());
            }
            b'o' if self.cursor.byte() == Some(b'{') => {
                let digits = self.cursor.delimited().map(|text| text.content).unwrap_or_default();
                push_code(out, number_in(&digits, 8));
                return Ok(());
            }
            b'N' if self.cursor.starts_with(b"{U+") => {
                let digits = self.cursor.delimited().map(|text| text.content).unwrap_or_default();
                push_code(out, number_in(digits.get(2..).unwrap_or_default(), 16));
                return Ok(());
            }
            b'c' => {
                let control = self.cursor.byte().map_or(0, |byte| byte.to_ascii_uppercase() ^ 64);
                self.cursor.advance(1);
                control
            }
            b'0'..=b'7' => {
                let pos = self.cursor.pos();
                self.cursor.reset(pos - 1);
                push_code(out, self.digits(3, 8));
                return Ok(());
            }
            other => other,
        };
        out.push(byte);
        Ok(())
    }

    fn digits(&mut self, most: usize, radix: u32) -> u32 {
        let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
        let len = self.cursor.rest().iter().take(most).take_while(is_digit).count();
        let code = number_in(self.cursor.rest().get(..len).unwrap_or_default(), radix);
        self.cursor.advance(len);
        code
    }

    /// A scalar at `$`, with its subscripts; `None` where the sign stands for itself.
    fn scalar_part(&mut self, mode: Mode) -> Parsed<Option<Part>> {
        let next = self.cursor.byte_at(1);
        let starts = match next {
            Some(byte) if is_word(byte) => true,
            Some(b'{') => true,
            Some(b':') => self.cursor.byte_at(2) == Some(b':') && self.cursor.byte_at(3).is_some_and(is_word_start),
            // `$+{name}`: a named group.
            Some(b'+') => mode == Mode::Text && self.cursor.byte_at(2) == Some(b'{'),
            Some(b'$') => {
                mode == Mode::Text || self.cursor.byte_at(2).is_some_and(|byte| is_word_start(byte) || byte == b'{')
            }
            Some(b'&' | b'`' | b'\'' | b'@' | b'!' | b'/' | b',' | b';' | b'.' | b'0') => mode == Mode::Text,
            _ => false,
        };
        if next == Some(b'#')
            && mode == Mode::Text
            && self.cursor.byte_at(2).is_some_and(|byte| is_word_start(byte) || matches!(byte, b'$' | b'{'))
        {
            return self.last_index_part().map(Some);
        }
        if next.is_none() && mode == Mode::Text {
            return Err(self.final_dollar());
        }
        if !starts {
            return Ok(None);
        }
        // In a pattern, `${2,3}`-like text is no variable.
        if mode == Mode::Pattern
            && next == Some(b'{')
            && self.cursor.byte_at(2).is_some_and(|byte| byte.is_ascii_digit() || byte == b',')
        {
            return Ok(None);
        }
        let of = self.scalar_name()?;
        let (is_index, is_key) = match (&of, self.cursor.byte()) {
            (_, Some(b'[')) => (self.is_index(mode, of.as_ref().ok().map(String::as_str)), false),
            (_, Some(b'{')) => (false, self.is_key(mode, of.as_ref().ok().map(String::as_str))),
            _ => (false, false),
        };
        let mut term = if is_index {
            let array = self.container(Sigil::Array, of);
            let index = self.index()?;
            Expr::Index(Box::new(array), Box::new(index))
        } else if is_key {
            let hash = self.container(Sigil::Hash, of);
            let key = self.hash_key()?;
            Expr::Key(Box::new(hash), Box::new(key))
        } else {
            self.container(Sigil::Scalar, of)
        };
        let mut is_subscripted = is_index || is_key;
        loop {
            let arrow = if self.cursor.starts_with(b"->") { 2 } else { 0 };
            match self.cursor.byte_at(arrow) {
                Some(b'[') if arrow > 0 || (is_subscripted && self.is_index(mode, None)) => {
                    self.cursor.advance(arrow);
                    let index = self.index()?;
                    term = Expr::Index(Box::new(Expr::Deref(Sigil::Array, Box::new(term))), Box::new(index));
                }
                Some(b'{') if arrow > 0 || (is_subscripted && self.is_key(mode, None)) => {
                    self.cursor.advance(arrow);
                    let key = self.hash_key()?;
                    term = Expr::Key(Box::new(Expr::Deref(Sigil::Hash, Box::new(term))), Box::new(key));
                }
                _ => break,
            }
            is_subscripted = true;
        }
        Ok(Some(Part::Scalar(term)))
    }

    /// The variable behind `$` at the cursor: its name, or the expression of the reference to it.
    fn scalar_name(&mut self) -> Parsed<Result<String, Expr>> {
        self.cursor.advance(1);
        match self.cursor.byte() {
            Some(b'{') => {
                let start = self.cursor.pos();
                self.cursor.advance(1);
                self.space();
                let caret = if self.cursor.byte() == Some(b'^') { "^" } else { "" };
                self.cursor.advance(caret.len());
                let name = match self.cursor.name() {
                    Some(name) => Some(name),
                    None => self.punctuation_or_digits(),
                };
                if let Some(name) = name {
                    self.space();
                    if self.cursor.byte() == Some(b'}') {
                        self.cursor.advance(1);
                        return Ok(Ok(format!("{caret}{name}")));
                    }
                }
                self.cursor.reset(start);
                self.expect(b"{")?;
                let inner = self.expression()?;
                self.expect(b"}")?;
                Ok(Err(inner))
            }
            Some(b'$')
                if self.cursor.byte_at(1).is_some_and(|byte| is_word_start(byte) || matches!(byte, b'$' | b'{')) =>
            {
                let of = self.scalar_name()?;
                Ok(Err(self.container(Sigil::Scalar, of)))
            }
            _ => Ok(Ok(match self.cursor.name() {
                Some(name) => name,
                None => self.punctuation_or_digits().unwrap_or_default(),
            })),
        }
    }

    /// `$#x`, `$#$x`, `$#{…}` at the cursor.
    fn last_index_part(&mut self) -> Parsed<Part> {
        // What follows `#` reads like a scalar's name behind `$`.
        self.cursor.advance(1);
        let of = self.scalar_name()?;
        let array = self.container(Sigil::Array, of);
        Ok(Part::Scalar(Expr::ArrayLast(Box::new(array))))
    }

    /// A `$` at the end of a text.
    fn final_dollar(&self) -> ParseError {
        let mut message = self.message("Final $ should be \\$ or $name", "within string");
        message.extend_from_slice(&self.message(
            "syntax error",
            &format!("near \"\"{}\"\"", String::from_utf8_lossy(self.cursor.slice(0, usize::MAX))),
        ));
        ParseError::Perl(message)
    }

    /// The name of a variable such as `$1` or `$!`.
    pub(super) fn punctuation_or_digits(&mut self) -> Option<String> {
        let digits = self.cursor.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let len = if digits > 0 { digits } else { usize::from(self.cursor.byte()?.is_ascii_punctuation()) };
        if len == 0 || matches!(self.cursor.byte(), Some(b'}' | b')' | b'(')) {
            return None;
        }
        let name = String::from_utf8_lossy(self.cursor.rest().get(..len)?).into_owned();
        self.cursor.advance(len);
        Some(name)
    }

    /// Whether `[` behind an interpolated variable is a subscript.
    fn is_index(&mut self, mode: Mode, plain: Option<&str>) -> bool {
        let rest = self.cursor.rest();
        let Some(end) = memchr::memchr(b']', rest) else {
            return false;
        };
        let inner = rest.get(1..end).unwrap_or_default();
        let number = inner.strip_prefix(b"-").unwrap_or(inner);
        let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
        let name = number.strip_prefix(b"$").map(|name| name.strip_prefix(b"#").unwrap_or(name));
        let is_variable = name.and_then(<[u8]>::first).is_some_and(|byte| is_word_start(*byte));
        match (mode, plain) {
            (Mode::Text, _) => is_number || is_variable,
            (Mode::Pattern, None) => is_number || is_variable,
            (Mode::Pattern, Some(name)) => (is_number || is_variable) && self.is_declared(Sigil::Array, name),
        }
    }

    fn is_key(&mut self, mode: Mode, plain: Option<&str>) -> bool {
        match (mode, plain) {
            (Mode::Text, _) => true,
            (Mode::Pattern, None) => !self.cursor.byte_at(1).is_some_and(|byte| byte.is_ascii_digit() || byte == b','),
            (Mode::Pattern, Some(name)) => self.is_declared(Sigil::Hash, name),
        }
    }

    fn is_declared(&self, sigil: Sigil, name: &str) -> bool {
        let full = format!("{}{name}", char::from(sigil.byte()));
        self.lookup(&full).is_some() || self.interpreter.has_variable(sigil, &self.qualify_variable(name))
    }

    /// An array at `@`.
    fn array_part(&mut self) -> Parsed<Option<Part>> {
        let starts = match self.cursor.byte_at(1) {
            Some(byte) if is_word_start(byte) => true,
            Some(b'{' | b'$') => true,
            Some(b':') => self.cursor.byte_at(2) == Some(b':'),
            _ => false,
        };
        if !starts {
            return Ok(None);
        }
        let term = self.array_term()?;
        Ok(Some(Part::Join(term)))
    }
}

/// The expression for a text of parts.
pub(super) fn interpolated_text(mut parts: Vec<Part>) -> Expr {
    match parts.as_mut_slice() {
        [] => Expr::Constant(Value::str("")),
        [Part::Literal(text)] => Expr::Constant(Value::str(std::mem::take(text))),
        _ => Expr::Interpolated(parts),
    }
}

fn flush(literal: &mut Vec<u8>, parts: &mut Vec<Part>) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
}

/// Removes backslashes before delimiters, and before backslashes where `and_backslash`.
fn unescape_delimiters(content: &[u8], open: u8, and_backslash: bool) -> Vec<u8> {
    let close = closing(open);
    let mut out = Vec::with_capacity(content.len());
    let mut at = 0;
    while let Some(&byte) = content.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match content.get(at) {
            Some(&next) if next == open || next == close => out.push(next),
            Some(b'\\') if and_backslash => out.push(b'\\'),
            Some(&next) => out.extend_from_slice(&[b'\\', next]),
            None => out.push(b'\\'),
        }
        at += 1;
    }
    out
}

/// The escapes that `tr` knows.
fn plain_escapes(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = content.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let letter = content.get(at).copied().unwrap_or(b'\\');
        at += 1;
        match letter {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'x' => {
                let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
                let len = content.iter().skip(at).take(2).take_while(is_digit).count();
                push_code(&mut out, number_in(content.get(at..at + len).unwrap_or_default(), 16));
                at += len;
            }
            b'0'..=b'7' => {
                let is_digit = |byte: &&u8| matches!(byte, b'0'..=b'7');
                let len = 1 + content.iter().skip(at).take(2).take_while(is_digit).count();
                push_code(&mut out, number_in(content.get(at - 1..at - 1 + len).unwrap_or_default(), 8));
                at += len - 1;
            }
            other => out.push(other),
        }
    }
    out
}

fn expand_ranges(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = content.get(at) {
        match (content.get(at + 1), content.get(at + 2)) {
            (Some(b'-'), Some(&end)) if end >= byte => {
                out.extend(byte..=end);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn number_in(digits: &[u8], radix: u32) -> u32 {
    let text: String =
        digits.iter().map(|byte| char::from(*byte)).filter(|c| !c.is_whitespace() && *c != '_').collect();
    u32::from_str_radix(&text, radix).unwrap_or(0)
}

/// A code below 256 is one byte; others become UTF-8.
fn push_code(out: &mut Vec<u8>, code: u32) {
    match u8::try_from(code) {
        Ok(byte) => out.push(byte),
        Err(_) => push_char(out, code),
    }
}

fn push_char(out: &mut Vec<u8>, code: u32) {
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
