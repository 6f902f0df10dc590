//! The condition of `if ( … )`: from words to its parts. Pure.

use rsty_diag::Diagnostic;

use crate::conf::{Directive, Word};
use crate::http::regex::Case;

/// What a file test looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileTest {
    /// `-f`
    File,
    /// `-d`
    Directory,
    /// `-e`
    Exists,
    /// `-x`
    Executable,
}

/// Whether the result of a test is turned around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sense {
    Plain,
    Negated,
}

/// A condition as written; names of variables are without `$`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// `($name)`
    Variable(Vec<u8>),
    /// `($name = value)`, `($name != value)`
    Equal { variable: Vec<u8>, value: Vec<u8>, sense: Sense },
    /// `($name ~ pattern)` and its kin
    Regex { variable: Vec<u8>, pattern: Vec<u8>, case: Case, sense: Sense },
    /// `(-f path)` and its kin
    File { test: FileTest, path: Vec<u8>, sense: Sense },
}

/// Reads the words of an `if` directive; errors have nginx's texts.
pub(crate) fn parse(directive: &Directive) -> Result<Condition, Diagnostic> {
    let mut words: Vec<Vec<u8>> = directive.args.iter().map(|word| word.text.to_vec()).collect();
    let invalid = |index: usize| {
        let word: Option<&Word> = directive.args.get(index).or(directive.args.last());
        let text = word.map(Word::lossy).unwrap_or_default();
        let message = format!("invalid condition \"{text}\"");
        match word {
            Some(word) => directive.error_at(word, "invalid_condition", message),
            None => directive.error("invalid_condition", message),
        }
    };
    let mut first = 0;
    match words.first_mut() {
        Some(word) if word.first() == Some(&b'(') => {
            word.remove(0);
            if word.is_empty() {
                first = 1;
            }
        }
        _ => return Err(invalid(0)),
    }
    let last = words.len() - 1;
    match words.last_mut() {
        Some(word) if word.last() == Some(&b')') => {
            word.pop();
            if word.is_empty() {
                words.pop();
            }
        }
        _ => return Err(invalid(last)),
    }
    let Some(parts) = words.get(first..) else { return Err(invalid(first)) };
    match parts {
        [subject] => match subject.strip_prefix(b"$") {
            Some(name) if !name.is_empty() => Ok(Condition::Variable(name.to_vec())),
            _ => Err(invalid(first)),
        },
        [operator, path] => match file_test(operator) {
            Some((test, sense)) => Ok(Condition::File { test, path: path.clone(), sense }),
            None => Err(invalid(first)),
        },
        [subject, operator, value] => {
            let Some(variable) = subject.strip_prefix(b"$").filter(|name| !name.is_empty()) else {
                return Err(invalid(first));
            };
            let (variable, value) = (variable.to_vec(), value.clone());
            let regex =
                |case, sense| Condition::Regex { variable: variable.clone(), pattern: value.clone(), case, sense };
            Ok(match operator.as_slice() {
                b"=" => Condition::Equal { variable, value, sense: Sense::Plain },
                b"!=" => Condition::Equal { variable, value, sense: Sense::Negated },
                b"~" => regex(Case::Sensitive, Sense::Plain),
                b"~*" => regex(Case::Insensitive, Sense::Plain),
                b"!~" => regex(Case::Sensitive, Sense::Negated),
                b"!~*" => regex(Case::Insensitive, Sense::Negated),
                _ => {
                    let message = format!("unexpected \"{}\" in condition", String::from_utf8_lossy(operator));
                    return Err(directive.error("invalid_condition", message));
                }
            })
        }
        _ => Err(invalid(first)),
    }
}

fn file_test(operator: &[u8]) -> Option<(FileTest, Sense)> {
    let (operator, sense) = match operator.strip_prefix(b"!") {
        Some(rest) => (rest, Sense::Negated),
        None => (operator, Sense::Plain),
    };
    let test = match operator {
        b"-f" => FileTest::File,
        b"-d" => FileTest::Directory,
        b"-e" => FileTest::Exists,
        b"-x" => FileTest::Executable,
        _ => return None,
    };
    Some((test, sense))
}

#[cfg(test)]
mod tests {
    use rsty_diag::{Source, Span};

    use super::*;
    use crate::conf::Block;

    fn condition(words: &[&str]) -> Result<Condition, String> {
        let span = Span::new(0, 0);
        let word = |text: &str| Word { text: text.as_bytes().into(), span, quoted: false };
        let directive = Directive {
            name: word("if"),
            args: words.iter().map(|text| word(text)).collect(),
            block: Block::None,
            head_end: 0,
            source: Source::new("nginx.conf", ""),
            span,
        };
        parse(&directive).map_err(|error| error.message)
    }

    #[test]
    fn all_forms_of_conditions_are_read() {
        let name = || b"a".to_vec();
        assert_eq!(condition(&["($a)"]), Ok(Condition::Variable(name())));
        assert_eq!(condition(&["(", "$a", ")"]), Ok(Condition::Variable(name())));
        let equal = |sense| Condition::Equal { variable: name(), value: b"b".to_vec(), sense };
        assert_eq!(condition(&["($a", "=", "b)"]), Ok(equal(Sense::Plain)));
        assert_eq!(condition(&["(", "$a", "!=", "b", ")"]), Ok(equal(Sense::Negated)));
        let regex = |case, sense| Condition::Regex { variable: name(), pattern: b"^b".to_vec(), case, sense };
        assert_eq!(condition(&["($a", "~", "^b)"]), Ok(regex(Case::Sensitive, Sense::Plain)));
        assert_eq!(condition(&["($a", "!~*", "^b)"]), Ok(regex(Case::Insensitive, Sense::Negated)));
        let file = Condition::File { test: FileTest::Executable, path: b"/p".to_vec(), sense: Sense::Negated };
        assert_eq!(condition(&["(!-x", "/p)"]), Ok(file));
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let empty = Condition::Equal { variable: b"a".to_vec(), value: Vec::new(), sense: Sense::Plain };
        assert_eq!(condition(&["($a", "=", "", ")"]), Ok(empty));
    }

    #[test]
    fn bad_conditions_have_nginx_texts() {
        for (words, message) in [
            (&["$a"][..], "invalid condition \"$a\""),
            (&["($a", "=="], "invalid condition \"==\""),
            (&["($a", "==", "b)"], "unexpected \"==\" in condition"),
            (&["(a)"], "invalid condition \"(a)\""),
            (&["(", ")"], "invalid condition \")\""),
        ] {
            assert_eq!(condition(words), Err(message.to_owned()));
        }
    }
}
