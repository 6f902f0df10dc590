//! One TLS connection over a socket that somebody else owns.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;

use bytes::BufMut;
use openssl::ssl::{Ssl, SslContextRef, SslRef};

use super::sys::{self, Failure, Step};

/// A direction in which a socket may have to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Bytes must arrive.
    Read,
    /// Bytes must leave.
    Write,
}

/// A connection. It is used by reference; nothing here waits.
pub struct Tls {
    ssl: Ssl,
    established: Cell<bool>,
    failed: Cell<bool>,
    /// What a read or a write waits for when that is not its own direction.
    crossed: Cell<Option<Direction>>,
}

impl Tls {
    /// A connection over a socket, before its handshake.
    pub(crate) fn new(context: &SslContextRef, fd: RawFd) -> Option<Self> {
        let mut ssl = Ssl::new(context).ok()?;
        if !sys::set_fd(&mut ssl, fd) {
            return None;
        }
        Some(Self { ssl, established: Cell::new(false), failed: Cell::new(false), crossed: Cell::new(None) })
    }

    /// The connection as OpenSSL knows it.
    pub fn ssl(&self) -> &SslRef {
        &self.ssl
    }

    /// As [`Tls::ssl`], to be set up before the handshake.
    pub(crate) fn ssl_mut(&mut self) -> &mut SslRef {
        &mut self.ssl
    }

    /// Whether the handshake is complete.
    pub fn is_established(&self) -> bool {
        self.established.get()
    }

    /// Goes on with the handshake.
    pub(crate) fn handshake(&self) -> Step {
        let step = sys::handshake(&self.ssl);
        match step {
            Step::Done(_) => self.established.set(true),
            Step::Failed(_) => self.failed.set(true),
            _ => {}
        }
        step
    }

    /// Reads what there is into the room of a buffer, at most `most` bytes; 0 is the end. `WouldBlock` means to wait for
    /// [`Tls::waits_for`].
    pub(crate) fn read(&self, into: &mut impl BufMut, most: usize) -> io::Result<usize> {
        self.result(sys::read(&self.ssl, into, most), Direction::Read)
    }

    /// Writes what fits.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match self.result(sys::write(&self.ssl, bytes), Direction::Write) {
            Ok(0) => Err(io::ErrorKind::BrokenPipe.into()),
            result => result,
        }
    }

    fn result(&self, step: Step, own: Direction) -> io::Result<usize> {
        self.crossed.set(None);
        match step {
            Step::Done(count) => return Ok(count),
            Step::Closed => return Ok(0),
            Step::WantRead if own == Direction::Write => self.crossed.set(Some(Direction::Read)),
            Step::WantWrite if own == Direction::Read => self.crossed.set(Some(Direction::Write)),
            Step::Failed(failure) => {
                self.failed.set(true);
                return Err(error_of(&failure));
            }
            _ => {}
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// The direction that an operation which would block waits for.
    pub(crate) fn waits_for(&self, own: Direction) -> Direction {
        self.crossed.get().unwrap_or(own)
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn shutdown(&self) {
        if self.established.get() && !self.failed.get() {
            sys::shutdown(&self.ssl);
        }
    }
}

/// What a failure is to those who only know sockets.
fn error_of(failure: &Failure) -> io::Error {
    match failure.errno {
        // An end without goodbye counts as an end.
        0 => io::ErrorKind::ConnectionAborted.into(),
        errno => io::Error::from_raw_os_error(errno),
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.shutdown();
    }
}
