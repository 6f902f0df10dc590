//! A network that takes one byte at a time and, once asked to, none at all: for specs of what happens then.
//!
//! Suites of nginx modules have such blocks, and preload OpenResty's library `mockeagain` for them. That library works
//! beneath `poll`, and this server waits by other means; so `rsty test` asks the built-in server itself, by two
//! variables of its environment. Sockets of streams are slow to be written, connections over TLS and datagrams are not.
//!
//! | variable | meaning |
//! |---|---|
//! | `RSTY_SLOW_NETWORK` | anything: a write takes one byte, and the next one has to wait for a turn of the event loop |
//! | `RSTY_SLOW_NETWORK_STALL` | a socket that has sent this text takes nothing more |

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use crate::lua::next_turn::next_turn;

/// What the environment asks for, read when the server starts. Workers have their own environment.
static WANTED: OnceLock<Option<Slowness>> = OnceLock::new();

struct Slowness {
    /// The text behind which a socket takes nothing more; empty for none.
    stall: Vec<u8>,
}

/// A socket that has been written.
#[derive(Default)]
struct Socket {
    /// The last bytes, as many as the text to stall behind has.
    sent: Vec<u8>,
    is_stalled: bool,
    /// The next write has to wait.
    is_blocked: bool,
    /// Who waits for that, and whether the turn that ends the wait has been asked for.
    waiting: Option<Waker>,
}

thread_local! {
    /// By the socket's inode, which no other socket gets while the process lives.
    static SOCKETS: RefCell<HashMap<u64, Socket>> = RefCell::default();
}

/// Reads the environment. Called once, before any worker starts.
pub(crate) fn configure() {
    let wanted = std::env::var_os("RSTY_SLOW_NETWORK")
        .map(|_| Slowness { stall: std::env::var_os("RSTY_SLOW_NETWORK_STALL").unwrap_or_default().into_vec() });
    let _ = WANTED.set(wanted);
}

fn wanted() -> Option<&'static Slowness> {
    WANTED.get().and_then(Option::as_ref)
}

/// Whether writes are slow: then a socket may be ready though it took nothing.
pub(crate) fn is_on() -> bool {
    wanted().is_some()
}

/// Writes `slices` by `write`, or as little of them as the network takes.
pub(crate) fn write(
    socket: &impl AsFd,
    slices: &[IoSlice<'_>],
    write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    match wanted() {
        None => write(slices),
        Some(slowness) => write_slowly(slowness, socket, slices, write),
    }
}

#[cold]
fn write_slowly(
    slowness: &Slowness,
    socket: &impl AsFd,
    slices: &[IoSlice<'_>],
    write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    let Some(first) = slices.iter().find(|slice| !slice.is_empty()) else { return write(slices) };
    let inode = inode(socket)?;
    SOCKETS.with_borrow_mut(|sockets| {
        let state = sockets.entry(inode).or_default();
        if state.is_stalled || state.is_blocked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let byte = first[0];
        let written = write(&[IoSlice::new(&[byte])])?;
        state.is_blocked = true;
        state.remember(byte, slowness);
        Ok(written)
    })
}

impl Socket {
    fn remember(&mut self, byte: u8, slowness: &Slowness) {
        let length = slowness.stall.len();
        if length == 0 {
            return;
        }
        if self.sent.len() == length {
            self.sent.remove(0);
        }
        self.sent.push(byte);
        self.is_stalled = self.sent == slowness.stall;
    }
}

/// Waits until the network takes the next byte; whether the socket does is another question.
pub(crate) fn poll_writable(socket: &impl AsFd, cx: &Context<'_>) -> Poll<io::Result<()>> {
    if is_on() { wait(socket, cx) } else { Poll::Ready(Ok(())) }
}

#[cold]
fn wait(socket: &impl AsFd, cx: &Context<'_>) -> Poll<io::Result<()>> {
    let inode = inode(socket)?;
    SOCKETS.with_borrow_mut(|sockets| {
        let state = sockets.entry(inode).or_default();
        if state.is_stalled {
            return Poll::Pending;
        }
        if !state.is_blocked {
            return Poll::Ready(Ok(()));
        }
        if state.waiting.replace(cx.waker().clone()).is_none() {
            tokio::task::spawn_local(unblock(inode));
        }
        Poll::Pending
    })
}

async fn unblock(inode: u64) {
    next_turn().await;
    let waiting = SOCKETS.with_borrow_mut(|sockets| {
        let state = sockets.entry(inode).or_default();
        state.is_blocked = false;
        state.waiting.take()
    });
    if let Some(waker) = waiting {
        waker.wake();
    }
}

fn inode(socket: &impl AsFd) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(socket)?.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_stalls_behind_the_text_and_not_before() {
        let slowness = Slowness { stall: b"stop".to_vec() };
        let mut socket = Socket::default();
        for byte in *b"don't sto" {
            socket.remember(byte, &slowness);
            assert!(!socket.is_stalled);
        }
        socket.remember(b'p', &slowness);
        assert!(socket.is_stalled);
    }

    #[test]
    fn without_a_text_nothing_stalls() {
        let slowness = Slowness { stall: Vec::new() };
        let mut socket = Socket::default();
        socket.remember(b'x', &slowness);
        assert!(!socket.is_stalled);
    }
}
