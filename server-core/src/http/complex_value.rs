//! Strings with variables (`$name`, `${name}`, `$1`), compiled when the configuration is read.

use bytes::{Bytes, BytesMut};
use rsty_diag::Diagnostic;

use super::conf::Scope;
use super::request::Request;
use super::variables::{VarIndex, Variables};
use crate::conf::{Directive, Word};

/// One piece of a compiled string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A capture of the last regular expression.
    Capture(usize),
    /// Text as it is.
    Literal(Bytes),
    /// A variable.
    Variable(VarIndex),
}

/// A compiled string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComplexValue {
    source: Bytes,
    parts: Box<[Part]>,
}

/// Why a string can't be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompileError {
    /// `${` without `}`.
    #[error("the closing bracket in \"{0}\" variable is missing")]
    BracketMissing(String),
    /// `$` without a name.
    #[error("invalid variable name in \"{0}\"")]
    InvalidName(String),
}

impl ComplexValue {
    /// Compiles a string.
    pub fn compile(variables: &mut Variables, text: &[u8]) -> Result<Self, CompileError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'$', rest) {
            let (literal, tail) = rest.split_at(at);
            push_literal(&mut parts, literal);
            let (name, after) = variable_name(&tail[1..], text)?;
            parts.push(match name {
                [digit @ b'0'..=b'9'] => Part::Capture(usize::from(digit - b'0')),
                _ => Part::Variable(variables.index(name)),
            });
            rest = after;
        }
        push_literal(&mut parts, rest);
        Ok(Self { source: Bytes::copy_from_slice(text), parts: parts.into() })
    }

    /// Compiles a word of a directive.
    pub fn of_word(scope: &mut Scope<'_>, directive: &Directive, word: &Word) -> Result<Self, Diagnostic> {
        Self::compile(&mut scope.main.core.variables, &word.text)
            .map_err(|error| directive.error_at(word, "invalid_variable", error.to_string()))
    }

    /// A string without variables, whatever it contains.
    pub fn literal(text: impl Into<Bytes>) -> Self {
        let source: Bytes = text.into();
        let mut parts = Vec::new();
        push_literal(&mut parts, &source);
        Self { source, parts: parts.into() }
    }

    /// The value in a request.
    pub fn eval(&self, r: &Request) -> Bytes {
        match &*self.parts {
            [] => Bytes::new(),
            [Part::Literal(text)] => text.clone(),
            [Part::Variable(index)] => r.fresh_variable(*index).unwrap_or_default(),
            [Part::Capture(number)] => r.capture(*number).unwrap_or_default(),
            parts => {
                let mut value = BytesMut::new();
                for part in parts {
                    match part {
                        Part::Literal(text) => value.extend_from_slice(text),
                        Part::Variable(index) => {
                            value.extend_from_slice(&r.fresh_variable(*index).unwrap_or_default());
                        }
                        Part::Capture(number) => value.extend_from_slice(&r.capture(*number).unwrap_or_default()),
                    }
                }
                value.freeze()
            }
        }
    }

    /// The text, when there are no variables in it.
    pub fn constant(&self) -> Option<&Bytes> {
        static EMPTY: Bytes = Bytes::new();
        match &*self.parts {
            [] => Some(&EMPTY),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The text as it was written.
    pub fn source(&self) -> &Bytes {
        &self.source
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &[u8]) {
    if !text.is_empty() {
        parts.push(Part::Literal(Bytes::copy_from_slice(text)));
    }
}

/// Splits the text behind a `$` into a variable's name and the rest.
fn variable_name<'a>(tail: &'a [u8], whole: &[u8]) -> Result<(&'a [u8], &'a [u8]), CompileError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let [digit @ b'1'..=b'9', ..] = tail
        && digit.is_ascii_digit()
    {
        return Ok(tail.split_at(1));
    }
    if let Some(inner) = tail.strip_prefix(b"{") {
        let length = inner.iter().position(|&byte| !is_name(byte)).unwrap_or(inner.len());
        let (name, rest) = inner.split_at(length);
        if rest.first() != Some(&b'}') {
            return Err(CompileError::BracketMissing(lossy(name)));
        }
        if name.is_empty() {
            return Err(CompileError::InvalidName(lossy(whole)));
        }
        return Ok((name, &rest[1..]));
    }
    let length = tail.iter().position(|&byte| !is_name(byte)).unwrap_or(tail.len());
    if length == 0 {
        return Err(CompileError::InvalidName(lossy(whole)));
    }
    Ok(tail.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<Vec<Part>, CompileError> {
        ComplexValue::compile(&mut Variables::default(), text.as_bytes()).map(|value| value.parts.into_vec())
    }

    #[test]
    fn text_variables_and_captures_are_told_apart() {
        let literal = |text: &'static str| Part::Literal(Bytes::from_static(text.as_bytes()));
        assert_eq!(
            parts("a$b-${c}d$1x"),
            Ok(vec![
                literal("a"),
                Part::Variable(VarIndex(0)),
                literal("-"),
                Part::Variable(VarIndex(1)),
                literal("d"),
                Part::Capture(1),
                literal("x"),
            ])
        );
    }

    #[test]
    fn a_missing_bracket_or_name_is_rejected() {
        assert_eq!(parts("${a"), Err(CompileError::BracketMissing("a".into())));
        assert_eq!(parts("a$"), Err(CompileError::InvalidName("a$".into())));
        assert_eq!(parts("$-"), Err(CompileError::InvalidName("$-".into())));
    }
}
