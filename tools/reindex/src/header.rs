//! Block headers that carry a test's number, and the slips that people make in them.

/// A header of the form `=== TEST 5: name`, or one that was meant so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header<'t> {
    /// The digits.
    pub(crate) number: Option<&'t [u8]>,
    /// Letters or digits that are stuck to the number, as in `51a`.
    pub(crate) suffix: &'t [u8],
    /// The name behind the colon.
    pub(crate) name: &'t [u8],
    /// Whether it is spelt as it should be: `=== TEST 5: name`.
    pub(crate) exact: bool,
}

impl<'t> Header<'t> {
    /// Reads a header line; `None` for a block that has just a name.
    pub(crate) fn read(line: &'t [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"===")?;
        let word = rest.trim_ascii_start();
        let blanks = rest.len() - word.len();
        let (test, rest) = word.split_at_checked(4)?;
        if blanks == 0 || !test.eq_ignore_ascii_case(b"TEST") || rest.first().is_some_and(u8::is_ascii_alphanumeric) {
            return None;
        }
        // `TEST: 17: name` has a colon too many.
        let (colon_first, rest) = match rest.strip_prefix(b":") {
            Some(after) => (true, after),
            None => (false, rest),
        };
        let after_blanks = rest.trim_ascii_start();
        let digits = after_blanks.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, after) = after_blanks.split_at(digits);
        let suffix_length = after.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let (suffix, after) = after.split_at(suffix_length);
        let counts = digits > 0 && (!colon_first || after.trim_ascii_start().starts_with(b":"));
        if !counts {
            // `TEST: name` is a numbered block whose number was left out; `TEST name` without a number is a name.
            let only_name = !colon_first;
            return (!only_name).then(|| Self {
                number: None,
                suffix: b"",
                name: rest.strip_prefix(b" ").unwrap_or(rest),
                exact: false,
            });
        }
        let name = after.trim_ascii_start().strip_prefix(b":").unwrap_or(after);
        let has_colon = after.starts_with(b":");
        let exact = test == b"TEST" && !colon_first && blanks == 1 && rest.starts_with(b" ") && has_colon;
        let name = name.strip_prefix(b" ").unwrap_or(name);
        Some(Self { number: Some(number), suffix, name, exact: exact && suffix.is_empty() })
    }

    /// The canonical header with a number, or without one.
    pub(crate) fn written(&self, number: Option<i64>, trim: bool) -> Vec<u8> {
        let mut out = b"=== TEST".to_vec();
        if let Some(number) = number {
            out.extend_from_slice(format!(" {number}").as_bytes());
        }
        out.push(b':');
        let name = if trim { self.name.trim_ascii() } else { self.name };
        if !name.is_empty() {
            out.push(b' ');
            out.extend_from_slice(name);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str) -> Option<String> {
        Header::read(line.as_bytes()).map(|header| String::from_utf8(header.written(Some(9), false)).expect("text"))
    }

    #[test]
    fn slips_are_understood() {
        for line in [
            "=== TEST 5: a",
            "=== test 05: a",
            "===  TEST\t5 : a",
            "=== TEST: 5: a",
            "=== TEST 51b: a",
            "=== TEST 5 a",
            "=== TEST: a",
        ] {
            assert_eq!(written(line).as_deref(), Some("=== TEST 9: a"), "{line}");
        }
        assert_eq!(written("=== TEST 5:").as_deref(), Some("=== TEST 9:"));
    }

    #[test]
    fn names_are_no_numbered_headers() {
        for line in ["=== a", "===TEST 5: a", "=== TESTS 5", "=== TEST foo", "=== TEST", "==== TEST 5: a", "=== TEST5"]
        {
            assert_eq!(Header::read(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn writing_is_stable() {
        for line in
            ["=== TEST 5:  a ", "=== TEST:: x", "=== TEST 1: 2: x", "=== TEST: 3", "=== TEST : x", "=== TEST 7.1: a"]
        {
            if let Some(once) = written(line) {
                assert_eq!(written(&once).as_deref(), Some(once.as_str()), "{line}");
            }
        }
    }
}
