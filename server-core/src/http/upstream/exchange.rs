//! One request on one connection: sending and reading at the same time, each with its deadline.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;

use super::body::Framing;
use super::outgoing::{SendError, Sender};
use crate::http::code::Code;
use crate::http::inputs;
use crate::upstream::connection::Connection;

/// Deadlines of one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) send: Duration,
    pub(super) read: Duration,
    /// Between two parts of the client's body.
    pub(super) client: Duration,
}

/// What happened next on a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// The client's part of the request is at fault.
    ClientFailed(Code),
    /// This many bytes came.
    Data(usize),
    /// The server closed.
    End,
    /// The connection broke.
    Failed(io::Error),
    /// A part of the request went.
    Sent,
    /// Nothing happened for too long.
    TimedOut,
}

/// A request on a connection.
pub(super) struct Exchange {
    pub(super) connection: Rc<Connection>,
    /// Received and not used yet.
    pub(super) input: BytesMut,
    pub(super) sender: Sender,
    pub(super) timeouts: Timeouts,
    write_failed: bool,
}

impl Exchange {
    pub(super) fn new(connection: Rc<Connection>, sender: Sender, timeouts: Timeouts) -> Self {
        connection.requests.set(connection.requests.get() + 1);
        Self { connection, input: inputs::take(), sender, timeouts, write_failed: false }
    }

    /// Whether the request still waits to be sent.
    pub(super) fn is_sending(&self) -> bool {
        !self.sender.is_done() && !self.write_failed
    }

    /// Whether nothing of the exchange is left, so that its connection may serve another request. What still waits to
    /// be sent behind a complete response is tried once more.
    pub(super) fn is_spent(&mut self, framing: &Framing) -> bool {
        if !framing.keeps() || !self.input.is_empty() {
            return false;
        }
        let mut cx = Context::from_waker(Waker::noop());
        while self.is_sending() && !self.sender.awaits_client() {
            if !matches!(self.sender.poll_send(&mut cx, &self.connection), Poll::Ready(Ok(()))) {
                return false;
            }
        }
        self.sender.is_done()
    }

    /// Waits for the next event; at most `most` bytes are read. Cancel-safe.
    pub(super) async fn next(&mut self, most: usize) -> Event {
        let awaits_client = !self.write_failed && self.sender.awaits_client();
        let limit = match (awaits_client, self.is_sending()) {
            (true, _) => self.timeouts.client,
            (_, true) => self.timeouts.send,
            (_, false) => self.timeouts.read,
        };
        let deadline = crate::clock::moment() + limit;
        poll_fn(|cx| {
            let mut broken = None;
            if self.is_sending() {
                match self.sender.poll_send(cx, &self.connection) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Event::Sent),
                    Poll::Ready(Err(SendError::Client(code))) => return Poll::Ready(Event::ClientFailed(code)),
                    Poll::Ready(Err(SendError::Io(error))) => {
                        // What the server said before it stopped listening still counts.
                        self.write_failed = true;
                        broken = Some(error);
                    }
                    Poll::Pending => {}
                }
            }
            match (self.connection.poll_read(cx, &mut self.input, most), broken) {
                (Poll::Ready(Ok(0)), _) => Poll::Ready(Event::End),
                (Poll::Ready(Ok(length)), _) => Poll::Ready(Event::Data(length)),
                (Poll::Pending, Some(error)) | (Poll::Ready(Err(error)), _) => Poll::Ready(Event::Failed(error)),
                (Poll::Pending, None) if !self.connection.timer.poll(deadline, cx) => Poll::Pending,
                (Poll::Pending, None) if awaits_client => Poll::Ready(Event::ClientFailed(Code::REQUEST_TIME_OUT)),
                (Poll::Pending, None) => Poll::Ready(Event::TimedOut),
            }
        })
        .await
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        inputs::give_back(std::mem::take(&mut self.input));
    }
}
