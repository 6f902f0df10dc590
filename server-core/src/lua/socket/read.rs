//! When a read is complete: lines, exact sizes, everything, anything, up to a pattern. Pure on bytes.

use std::rc::Rc;

use super::pattern::{Pattern, Scan};
use crate::lua::session::Notice;

/// Bytes received and not yet read.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    at: usize,
}

impl Input {
    /// What is there.
    pub(crate) fn unread(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether nothing is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Marks bytes as read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.bytes.len());
        if self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
        }
    }

    /// Puts bytes before those that are there.
    pub(crate) fn give_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes.splice(..self.at, bytes.iter().copied());
            self.at = 0;
        }
    }

    /// The buffer, for appending what arrives. What has been read is thrown out first.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        &mut self.bytes
    }
}

/// What a read wants.
#[derive(Debug)]
pub(crate) enum Want {
    /// Everything up to the end (`*a`).
    All,
    /// At least one byte, at most so many.
    Any(usize),
    /// So many bytes, still.
    Exact(usize),
    /// A line, without CR and LF (`*l`).
    Line,
    /// Everything before the pattern, or so many bytes of it.
    Until(Rc<Pattern>, Option<usize>),
}

/// How far a read got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The peer closed before the read was complete.
    Closed,
    /// Complete.
    Done,
    /// More input is needed.
    More,
}

impl Want {
    /// Says in the debug log what is done with `size` bytes.
    pub(crate) fn announce(&self, size: usize, notice: &Notice) {
        match self {
            Self::All => notice(format_args!("lua tcp socket read all")),
            Self::Any(_) => notice(format_args!("lua tcp socket read any")),
            Self::Exact(_) => notice(format_args!("lua tcp socket read chunk {size}")),
            Self::Line => notice(format_args!("lua tcp socket read line")),
            Self::Until(..) => notice(format_args!("lua tcp socket read until")),
        }
    }

    /// Takes what there is. `eof` says that nothing more will come.
    pub(crate) fn take(&mut self, input: &mut Input, out: &mut Vec<u8>, eof: bool) -> Progress {
        let available = input.unread();
        if available.is_empty() {
            return match self {
                Self::All if eof => Progress::Done,
                _ if eof => Progress::Closed,
                _ => Progress::More,
            };
        }
        let (used, done) = match self {
            Self::All => {
                out.extend_from_slice(available);
                (available.len(), false)
            }
            Self::Any(most) => {
                let used = available.len().min(*most);
                out.extend_from_slice(&available[..used]);
                (used, true)
            }
            Self::Exact(rest) => {
                let used = available.len().min(*rest);
                out.extend_from_slice(&available[..used]);
                *rest -= used;
                (used, *rest == 0)
            }
            Self::Line => {
                let end = memchr::memchr(b'\n', available);
                let line = &available[..end.unwrap_or(available.len())];
                out.extend(line.iter().copied().filter(|byte| *byte != b'\r'));
                (line.len() + usize::from(end.is_some()), end.is_some())
            }
            Self::Until(pattern, limit) => {
                let mut rest = available;
                let scan = pattern.scan(&mut rest, out, limit.as_mut());
                (available.len() - rest.len(), scan == Scan::Done)
            }
        };
        input.consume(used);
        match (done, eof && input.is_empty(), &self) {
            (true, ..) | (false, true, Self::All) => Progress::Done,
            (false, true, _) => Progress::Closed,
            (false, false, _) => Progress::More,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        Input { bytes: bytes.to_vec(), at: 0 }
    }

    fn take(want: &mut Want, from: &mut Input, eof: bool) -> (Progress, Vec<u8>) {
        let mut out = Vec::new();
        (want.take(from, &mut out, eof), out)
    }

    #[test]
    fn a_line_loses_every_carriage_return_and_keeps_the_rest() {
        let mut from = input(b"a\rb\r\nnext");
        assert_eq!(take(&mut Want::Line, &mut from, false), (Progress::Done, b"ab".to_vec()));
        assert_eq!(from.unread(), b"next");
        assert_eq!(take(&mut Want::Line, &mut from, true), (Progress::Closed, b"next".to_vec()));
    }

    #[test]
    fn sizes_are_exact_or_at_most() {
        let mut from = input(b"abcdef");
        assert_eq!(take(&mut Want::Exact(2), &mut from, false), (Progress::Done, b"ab".to_vec()));
        assert_eq!(take(&mut Want::Any(3), &mut from, false), (Progress::Done, b"cde".to_vec()));
        assert_eq!(take(&mut Want::Exact(2), &mut from, false), (Progress::More, b"f".to_vec()));
        assert_eq!(take(&mut Want::Any(3), &mut from, true), (Progress::Closed, vec![]));
    }

    #[test]
    fn everything_ends_well_at_the_end() {
        let mut from = input(b"abc");
        assert_eq!(take(&mut Want::All, &mut from, false), (Progress::More, b"abc".to_vec()));
        assert_eq!(take(&mut Want::All, &mut from, true), (Progress::Done, vec![]));
        assert_eq!(take(&mut Want::All, &mut input(b"x"), true), (Progress::Done, b"x".to_vec()));
    }

    #[test]
    fn bytes_given_back_come_first() {
        let mut from = input(b"xyz");
        from.consume(1);
        from.give_back(b"ab");
        assert_eq!(from.unread(), b"abyz");
        from.buffer().extend_from_slice(b"!");
        assert_eq!(from.unread(), b"abyz!");
    }
}
