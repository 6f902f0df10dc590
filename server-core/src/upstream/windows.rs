//! What is remembered of a connection that speaks HTTP/2, from one request to the next.

use std::cell::Cell;

/// The window of flow control before anything is said about it (RFC 9113, section 6.9.2).
const DEFAULT: u32 = 65_535;
/// The largest window, which is what we grant.
const MAX: u32 = 0x7fff_ffff;

/// The windows of one connection, in bytes, and the last of its streams.
#[derive(Debug)]
pub(crate) struct Windows {
    /// What the server grants to a new stream.
    pub(crate) initial: Cell<u32>,
    /// What the server takes on all streams together.
    pub(crate) send: Cell<u32>,
    /// What the server may still send on all streams together.
    pub(crate) recv: Cell<u32>,
    last_stream: Cell<u32>,
}

impl Windows {
    /// The windows of a connection on which nothing was said.
    pub(crate) fn new() -> Self {
        Self { initial: Cell::new(DEFAULT), send: Cell::new(DEFAULT), recv: Cell::new(MAX), last_stream: Cell::new(0) }
    }

    /// The number of the next request's stream: the odd ones, in order.
    pub(crate) fn open_stream(&self) -> u32 {
        let id = match self.last_stream.get() {
            0 => 1,
            last => last.saturating_add(2),
        };
        self.last_stream.set(id);
        id
    }

    /// Whether there are numbers left for more requests.
    pub(crate) fn has_streams(&self) -> bool {
        self.last_stream.get() <= MAX - 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_odd_and_end_some_day() {
        let windows = Windows::new();
        assert_eq!([windows.open_stream(), windows.open_stream(), windows.open_stream()], [1, 3, 5]);
        assert!(windows.has_streams());
        windows.last_stream.set(MAX - 2);
        assert!(windows.has_streams());
        assert_eq!(windows.open_stream(), MAX);
        assert!(!windows.has_streams());
    }
}
