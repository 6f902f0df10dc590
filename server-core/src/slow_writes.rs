//! Slow peers on demand: sockets that take one byte at a time, or stop taking any.
//!
//! What an application does when a peer does not keep up is hard to test, because the system's buffers take
//! everything. With `RSTY_SLOW_WRITES=1` in the environment, each write to a client and to a peer of a script's
//! socket takes one byte, and the next one has to wait for the event loop. With `RSTY_STALL_AFTER=text`, a peer that was
//! sent this text takes nothing more, for ever. TLS, datagrams and connections of `proxy_pass` and its like are as
//! fast as always.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use crate::log::{ErrorLog, Level};
use crate::lua::socket::transport::Transport;
use crate::tls::Tls;
use crate::tls::stream::Direction;

/// Turns the mode on.
const SLOW_WRITES: &str = "RSTY_SLOW_WRITES";
/// The text after which a peer takes nothing more.
const STALL_AFTER: &str = "RSTY_STALL_AFTER";

/// The mode of this process and of its workers.
#[derive(Debug)]
struct Mode {
    stall_after: Vec<u8>,
}

static MODE: OnceLock<Option<Mode>> = OnceLock::new();

/// Reads the environment, the first time; to be called before workers have one of their own.
pub(crate) fn read_environment(log: &ErrorLog) {
    let mode = MODE.get_or_init(|| {
        let is_on = std::env::var_os(SLOW_WRITES).is_some_and(|value| !value.is_empty() && value != "0");
        let stall_after = std::env::var_os(STALL_AFTER).map(OsStringExt::into_vec).unwrap_or_default();
        is_on.then_some(Mode { stall_after })
    });
    if mode.is_some() {
        log.write(Level::Notice, format_args!("peers are made slow by the environment variable {SLOW_WRITES}"));
    }
}

/// How one socket takes bytes.
#[derive(Debug)]
pub(crate) struct Pace {
    stall_after: &'static [u8],
    /// The last bytes that were sent, as many as `stall_after` has.
    tail: RefCell<VecDeque<u8>>,
    /// A byte went out, and nobody waited since.
    is_spent: Cell<bool>,
    is_stalled: Cell<bool>,
}

impl Pace {
    /// The pace of a new socket; `None` unless the mode is on.
    pub(crate) fn of_new_socket() -> Option<Box<Self>> {
        let mode = MODE.get()?.as_ref()?;
        Some(Box::new(Self::new(&mode.stall_after)))
    }

    fn new(stall_after: &'static [u8]) -> Self {
        let tail = RefCell::new(VecDeque::with_capacity(stall_after.len()));
        Self { stall_after, tail, is_spent: Cell::new(false), is_stalled: Cell::new(false) }
    }

    /// Lets `write` have the first byte of `slices`, or says `WouldBlock` until somebody has waited.
    pub(crate) fn write(
        &self,
        slices: &[IoSlice<'_>],
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.is_stalled.get() || self.is_spent.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(&byte) = slices.iter().find_map(|slice| slice.first()) else { return Ok(0) };
        let written = write(&[byte])?;
        if written > 0 {
            self.is_spent.set(true);
            self.note(byte);
        }
        Ok(written)
    }

    /// Whether a write may be tried. Waiting takes a turn of the event loop after each byte.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_stalled.get() {
            // Whoever waits has a limit of his own.
            return Poll::Pending;
        }
        if self.is_spent.replace(false) {
            // Behind what the system reports next: to wake up at once would be to go on before anybody sees the byte.
            return pin!(tokio::task::yield_now()).poll(cx);
        }
        Poll::Ready(())
    }

    fn note(&self, byte: u8) {
        if self.stall_after.is_empty() {
            return;
        }
        let mut tail = self.tail.borrow_mut();
        if tail.len() == self.stall_after.len() {
            tail.pop_front();
        }
        tail.push_back(byte);
        if tail.iter().eq(self.stall_after) {
            self.is_stalled.set(true);
        }
    }
}

/// Gives a script's connection a pace when the mode is on.
pub(crate) fn paced(transport: Box<dyn Transport>) -> Box<dyn Transport> {
    match Pace::of_new_socket() {
        Some(pace) => Box::new(Paced { below: transport, pace }),
        None => transport,
    }
}

/// A connection with a pace.
struct Paced {
    below: Box<dyn Transport>,
    pace: Box<Pace>,
}

impl Transport for Paced {
    fn poll_read(&self, cx: &mut Context<'_>, into: &mut Vec<u8>, most: usize) -> Poll<io::Result<usize>> {
        self.below.poll_read(cx, into, most)
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(cx, Direction::Write))?;
            match self.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn try_read(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        self.below.try_read(into, most)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.pace.write(&[IoSlice::new(bytes)], |byte| self.below.try_write(byte))
    }

    fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
        if direction == Direction::Write {
            ready!(self.pace.poll(cx));
        }
        self.below.poll_ready(cx, direction)
    }

    fn clear_ready(&self, direction: Direction) {
        self.below.clear_ready(direction);
    }

    fn fd(&self) -> RawFd {
        self.below.fd()
    }

    fn set_reading(&self, reading: bool) {
        self.below.set_reading(reading);
    }

    fn set_nodelay(&self) -> bool {
        self.below.set_nodelay()
    }

    fn tls(&self) -> Option<&Tls> {
        self.below.tls()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Sends until the socket takes no more though it was waited for; the answer is what went out.
    fn send(pace: &Pace, mut slices: &mut [IoSlice<'_>]) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while slices.iter().any(|slice| !slice.is_empty()) {
            let written = pace.write(slices, |byte| {
                sent.extend_from_slice(byte);
                Ok(byte.len())
            });
            if let Ok(count) = written {
                IoSlice::advance_slices(&mut slices, count);
            } else if pace.poll(&mut cx).is_pending() && pace.poll(&mut cx).is_pending() {
                break;
            }
        }
        sent
    }

    #[test]
    fn one_byte_goes_out_each_time_that_somebody_waited() {
        let pace = Pace::new(b"");
        let slices = [IoSlice::new(b""), IoSlice::new(b"abc")];
        assert_eq!(pace.write(&slices, |byte| Ok(byte.len())).ok(), Some(1));
        let again = pace.write(&slices, |byte| Ok(byte.len()));
        assert_eq!(again.err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pace.poll(&mut cx).is_pending(), "others have a turn first");
        assert!(pace.poll(&mut cx).is_ready());
        assert_eq!(pace.write(&slices, |byte| Ok(byte.len())).ok(), Some(1));
    }

    #[test]
    fn a_byte_that_did_not_go_out_does_not_count() {
        let pace = Pace::new(b"a");
        let blocked = pace.write(&[IoSlice::new(b"a")], |_| Err(io::ErrorKind::WouldBlock.into()));
        assert!(blocked.is_err());
        assert_eq!(send(&pace, &mut [IoSlice::new(b"a")]), b"a");
    }

    #[test]
    fn a_peer_stalls_after_the_text_wherever_the_writes_end() {
        let pace = Pace::new(b"aab");
        assert_eq!(send(&pace, &mut [IoSlice::new(b"xa"), IoSlice::new(b"aa"), IoSlice::new(b"bcd")]), b"xaaab");
        assert_eq!(send(&pace, &mut [IoSlice::new(b"more")]), b"");
    }
}
