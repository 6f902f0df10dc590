//! The connecting side: TLS below a cosocket.

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::stream::{Direction, Tls};
use super::sys::{Failure, Step};
use crate::lua::socket::transport::Transport;

/// A TLS connection over another transport.
pub(crate) struct TlsTransport {
    // Before the socket: the goodbye must still find it open.
    tls: Tls,
    below: Rc<dyn Transport>,
}

/// Why a handshake did not come about.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The peer closed.
    Closed,
    /// OpenSSL says so.
    Failed(Failure),
    /// The socket does.
    Io(io::Error),
}

impl TlsTransport {
    /// Wraps a connection that is set up for a handshake.
    pub(crate) fn new(tls: Tls, below: Rc<dyn Transport>) -> Self {
        Self { tls, below }
    }

    /// Goes on with the handshake.
    pub(crate) fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        loop {
            let direction = match self.tls.handshake() {
                Step::Done(_) => return Poll::Ready(Ok(())),
                Step::WantRead => Direction::Read,
                Step::WantWrite => Direction::Write,
                Step::Closed | Step::WantHello | Step::WantCertificate | Step::WantVerify => {
                    return Poll::Ready(Err(HandshakeError::Closed));
                }
                Step::Failed(failure) => return Poll::Ready(Err(HandshakeError::Failed(failure))),
            };
            self.below.clear_ready(direction);
            if let Err(error) = ready!(self.below.poll_ready(cx, direction)) {
                return Poll::Ready(Err(HandshakeError::Io(error)));
            }
        }
    }

    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        own: Direction,
        mut operation: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match operation() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            let direction = self.tls.waits_for(own);
            self.below.clear_ready(direction);
            ready!(self.below.poll_ready(cx, direction))?;
        }
    }
}

impl Transport for TlsTransport {
    fn poll_read(&self, cx: &mut Context<'_>, into: &mut Vec<u8>, most: usize) -> Poll<io::Result<usize>> {
        self.poll(cx, Direction::Read, || Transport::try_read(self, into, most))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, Direction::Write, || self.tls.write(bytes))
    }

    fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
        self.below.poll_ready(cx, direction)
    }

    fn clear_ready(&self, direction: Direction) {
        self.below.clear_ready(direction);
    }

    fn try_read(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        into.reserve(most);
        self.tls.read(into, most)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.tls.write(bytes)
    }

    fn fd(&self) -> RawFd {
        self.below.fd()
    }

    fn tls(&self) -> Option<&Tls> {
        Some(&self.tls)
    }
}
