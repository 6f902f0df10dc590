//! Perl regular expressions on bytes.
//!
//! A pattern keeps its source and flags apart from the compiled form, because specs interpolate one
//! pattern into another and print patterns in test names. It is compiled at its first use.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

/// Why a pattern can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compile or run the pattern: {0}")]
pub struct RegexError(pub String);

/// Start and end of each group of a match by number; 0 is the whole.
pub type Groups = Vec<Option<(usize, usize)>>;

/// A pattern as `qr//` makes it. Cheap to clone; clones share the compiled form.
#[derive(Clone)]
pub struct Regex {
    inner: Rc<Inner>,
}

struct Inner {
    source: Vec<u8>,
    flags: String,
    compiled: OnceCell<Result<pcre2::bytes::Regex, RegexError>>,
}

impl Regex {
    /// A pattern with flags out of `imsxn`; others are ignored. Nothing is compiled yet.
    pub fn new(source: impl Into<Vec<u8>>, flags: &str) -> Self {
        let flags = ['m', 's', 'i', 'x', 'n'].into_iter().filter(|flag| flags.contains(*flag)).collect();
        Self { inner: Rc::new(Inner { source: source.into(), flags, compiled: OnceCell::new() }) }
    }

    /// The pattern without delimiters and flags.
    pub fn source(&self) -> &[u8] {
        &self.inner.source
    }

    /// The flags, in the order in which Perl prints them.
    pub fn flags(&self) -> &str {
        &self.inner.flags
    }

    /// The text that Perl prints for the pattern: `(?^s:…)`.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = b"(?^".to_vec();
        text.extend_from_slice(self.inner.flags.as_bytes());
        text.push(b':');
        text.extend_from_slice(&self.inner.source);
        if self.inner.flags.contains('x') && self.inner.source.contains(&b'#') {
            text.push(b'\n');
        }
        text.push(b')');
        text
    }

    /// Whether the pattern occurs in `subject`.
    pub fn is_match(&self, subject: &[u8]) -> Result<bool, RegexError> {
        self.compiled()?.is_match(subject).map_err(|error| RegexError(error.to_string()))
    }

    /// The first occurrence at or behind `from`, as byte offsets.
    pub fn find_at(&self, subject: &[u8], from: usize) -> Result<Option<(usize, usize)>, RegexError> {
        if from > subject.len() {
            return Ok(None);
        }
        let found = self.compiled()?.find_at(subject, from).map_err(|error| RegexError(error.to_string()))?;
        Ok(found.map(|found| (found.start(), found.end())))
    }

    /// The first occurrence at or behind `from` with its groups, as byte offsets; group 0 is the whole.
    pub fn captures_at(&self, subject: &[u8], from: usize) -> Result<Option<Groups>, RegexError> {
        if from > subject.len() {
            return Ok(None);
        }
        let regex = self.compiled()?;
        let mut groups = regex.capture_locations();
        let found = regex.captures_read_at(&mut groups, subject, from);
        let found = found.map_err(|error| RegexError(error.to_string()))?;
        Ok(found.map(|_| (0..groups.len()).map(|index| groups.get(index)).collect()))
    }

    /// Names of the groups by number, where they have one.
    pub fn group_names(&self) -> Result<&[Option<String>], RegexError> {
        Ok(self.compiled()?.capture_names())
    }

    /// Compiles the pattern if it has not been, to learn whether it is valid.
    pub fn check(&self) -> Result<(), RegexError> {
        self.compiled().map(|_| ())
    }

    fn compiled(&self) -> Result<&pcre2::bytes::Regex, RegexError> {
        self.inner.compiled.get_or_init(|| self.compile()).as_ref().map_err(Clone::clone)
    }

    fn compile(&self) -> Result<pcre2::bytes::Regex, RegexError> {
        let flag = |flag| self.inner.flags.contains(flag);
        pcre2::bytes::RegexBuilder::new()
            .caseless(flag('i'))
            .multi_line(flag('m'))
            .dotall(flag('s'))
            .extended(flag('x'))
            .build(&ascii_pattern(&self.inner.source))
            .map_err(|error| RegexError(error.to_string()))
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "qr{}", String::from_utf8_lossy(&self.to_text()))
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source() && self.flags() == other.flags()
    }
}

/// The pattern with bytes above ASCII written as `\xNN`: the engine takes text, and matches bytes. A
/// limit on backtracking stands in front, so that no pattern can hang a run.
fn ascii_pattern(source: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(source.len() + 32);
    text.push_str("(*LIMIT_MATCH=20000000)");
    let mut escaped = false;
    for &byte in source {
        if byte.is_ascii() {
            text.push(char::from(byte));
        } else {
            // `\` before a byte above ASCII only quotes it.
            if escaped {
                text.pop();
            }
            let _ = write!(text, "\\x{{{byte:x}}}");
        }
        escaped = byte == b'\\' && !escaped;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shows_flags_as_perl_does() {
        assert_eq!(Regex::new("a.b", "").to_text(), b"(?^:a.b)");
        assert_eq!(Regex::new("a.b", "xis").to_text(), b"(?^six:a.b)");
    }

    #[test]
    fn bytes_above_ascii_match_as_bytes() {
        let regex = Regex::new(b"[\xe5\xe6]\xff\\\xfe".to_vec(), "");
        assert_eq!(regex.find_at(b"..\xe6\xff\xfe", 0), Ok(Some((2, 5))));
    }

    #[test]
    fn a_pattern_inside_a_pattern_keeps_its_flags() {
        let inner = Regex::new("a.b", "s").to_text();
        let outer = Regex::new([b"^".as_slice(), &inner, b".$"].concat(), "");
        assert_eq!(outer.is_match(b"a\nbc"), Ok(true));
        assert_eq!(outer.is_match(b"a\nb\nc"), Ok(false));
    }

    #[test]
    fn an_invalid_pattern_is_an_error_at_use() {
        assert!(Regex::new("(", "").is_match(b"x").is_err());
    }

    #[test]
    fn catastrophic_backtracking_ends() {
        let subject = vec![b'a'; 5000];
        let _ = Regex::new("(a*)*(a*)*(a*)*b", "").is_match(&subject);
    }
}
