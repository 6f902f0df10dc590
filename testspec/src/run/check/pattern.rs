//! Patterns of the log sections.

use crate::model::{Regex, Value};

/// Something to look for in a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// These very bytes.
    Literal(Vec<u8>),
    /// A regular expression; where it does not match, its own text counts too.
    Regex(Regex),
}

/// The patterns of a log section: lines of a text, one expression, or the defined elements of a list.
pub fn patterns(value: &Value) -> Vec<Pattern> {
    match value {
        Value::Array(items) => items.borrow().iter().filter(|item| item.is_defined()).map(Pattern::of).collect(),
        Value::Regex(regex) => vec![Pattern::Regex(regex.clone())],
        text => lines(&text.to_bytes()).into_iter().map(|line| Pattern::Literal(line.to_vec())).collect(),
    }
}

impl Pattern {
    /// The pattern that one value stands for.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Regex(regex) => Self::Regex(regex.clone()),
            text => Self::Literal(text.to_bytes().to_vec()),
        }
    }

    /// The first place in `line`.
    pub fn find<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Literal(text) => literal(line, text),
            Self::Regex(regex) => match regex.find_at(line, 0) {
                Ok(Some((from, to))) => line.get(from..to),
                // An expression that can't be compiled or takes too long has its text left, like one that misses.
                Ok(None) | Err(_) => literal(line, &regex.to_text()),
            },
        }
    }

    /// Whether `line` holds it.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.find(line).is_some()
    }

    /// The pattern as it is printed.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Regex(regex) => regex.to_text(),
        }
    }
}

fn literal<'a>(line: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    memchr::memmem::find(line, text).and_then(|at| line.get(at..at + text.len()))
}

/// The lines of a text, without empty ones behind the first.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let mut index = 0;
    lines.retain(|line| {
        index += 1;
        index == 1 || !line.is_empty()
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_text_is_a_literal() {
        let found = patterns(&Value::from("[error]\n\nb.c\n"));
        assert_eq!(found, [Pattern::Literal(b"[error]".to_vec()), Pattern::Literal(b"b.c".to_vec())]);
        assert!(patterns(&Value::from("")).is_empty());
    }

    #[test]
    fn undefined_elements_do_not_count() {
        let list = Value::array(vec![Value::Undef, Value::from("a"), Value::Regex(Regex::new("b+", ""))]);
        let found = patterns(&list);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].find(b"abbb\n"), Some(b"bbb".as_slice()));
    }

    #[test]
    fn an_expression_that_misses_is_tried_as_text() {
        let pattern = Pattern::Regex(Regex::new("a[b", ""));
        assert!(pattern.matches(b"x (?^:a[b) y"));
        assert!(!pattern.matches(b"a"));
    }
}
