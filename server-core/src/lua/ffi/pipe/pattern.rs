//! How much of a process's output one read takes.

use bytes::BytesMut;

/// What a script asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Everything up to the end.
    All,
    /// At most so many bytes, as soon as there are any.
    Any(usize),
    /// So many bytes.
    Bytes(usize),
    /// A line, without its end.
    Line,
}

impl Pattern {
    /// The pattern of a reader's number in the exported interface.
    pub(super) fn of(number: i32, length: usize) -> Option<Self> {
        Some(match number {
            0 => Self::All,
            1 => Self::Bytes(length),
            2 => Self::Line,
            3 => Self::Any(length),
            _ => return None,
        })
    }

    /// Takes what was asked for out of the buffer, if it is there. At the end of the stream there is always an answer:
    /// `Err` with the rest when that is not what was asked for.
    pub(super) fn take(self, buffer: &mut BytesMut, at_end: bool) -> Option<Result<Vec<u8>, Vec<u8>>> {
        let length = match self {
            Self::All => at_end.then_some(buffer.len()),
            Self::Any(most) => (!buffer.is_empty()).then_some(buffer.len().min(most)),
            Self::Bytes(count) => (buffer.len() >= count).then_some(count),
            Self::Line => memchr::memchr(b'\n', buffer).map(|end| end + 1),
        };
        match length {
            Some(length) => {
                let mut taken = buffer.split_to(length).to_vec();
                if self == Self::Line {
                    taken.pop();
                    taken.retain(|&byte| byte != b'\r');
                }
                Some(Ok(taken))
            }
            None if at_end => Some(Err(self.take_rest(buffer))),
            None => None,
        }
    }

    /// Takes what is there, after a failure.
    pub(super) fn take_rest(self, buffer: &mut BytesMut) -> Vec<u8> {
        let mut rest = buffer.split().to_vec();
        if self == Self::Line {
            rest.retain(|&byte| byte != b'\r');
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::Pattern;

    fn take(pattern: Pattern, text: &str, at_end: bool) -> (Option<Result<String, String>>, String) {
        let mut buffer = BytesMut::from(text);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let taken = pattern.take(&mut buffer, at_end).map(|taken| taken.map(text).map_err(text));
        (taken, text(buffer.to_vec()))
    }

    #[test]
    fn lines_lose_their_ends_and_carriage_returns() {
        assert_eq!(take(Pattern::Line, "a\rb\r\nc", false), (Some(Ok("ab".into())), "c".into()));
        assert_eq!(take(Pattern::Line, "ab", false), (None, "ab".into()));
        assert_eq!(take(Pattern::Line, "ab\r", true), (Some(Err("ab".into())), String::new()));
    }

    #[test]
    fn bytes_wait_for_their_number_and_any_does_not() {
        assert_eq!(take(Pattern::Bytes(3), "abcd", false), (Some(Ok("abc".into())), "d".into()));
        assert_eq!(take(Pattern::Bytes(3), "ab", false), (None, "ab".into()));
        assert_eq!(take(Pattern::Bytes(3), "ab", true), (Some(Err("ab".into())), String::new()));
        assert_eq!(take(Pattern::Any(1), "ab", false), (Some(Ok("a".into())), "b".into()));
        assert_eq!(take(Pattern::Any(1), "", true), (Some(Err(String::new())), String::new()));
    }

    #[test]
    fn all_waits_for_the_end() {
        assert_eq!(take(Pattern::All, "ab", false), (None, "ab".into()));
        assert_eq!(take(Pattern::All, "ab", true), (Some(Ok("ab".into())), String::new()));
    }
}
