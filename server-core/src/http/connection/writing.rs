//! The way out of a connection: what waits to be sent, sending it, and waiting until more can go.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{Connection, Stream};
use crate::http::code::Code;
use crate::http::h2;
use crate::http::output::Data;
use crate::http::output_queue::Sent;
use crate::slow_network;
use crate::tls::stream::Direction;

/// The most that goes into one TLS record.
const RECORD_SIZE: usize = 16 * 1024;

thread_local! {
    /// What becomes one record.
    static RECORD: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Writes to a socket what it takes at once.
macro_rules! write_to {
    ($stream:expr, $slices:expr) => {
        slow_network::write($stream, $slices, |slices| match slices {
            // `send` is the cheaper call, where it does.
            [slice] => $stream.try_write(slice),
            _ => $stream.try_write_vectored(slices),
        })
    };
}

impl Connection {
    /// Whether output waits for the socket.
    pub fn has_output(&self) -> bool {
        !self.output.borrow().is_empty()
    }

    /// The number of bytes that wait.
    pub fn output_len(&self) -> u64 {
        self.output.borrow().len()
    }

    /// Appends to the output without sending.
    pub fn append(&self, data: Data) {
        self.output.borrow_mut().push(data);
    }

    /// Appends bytes to the output without sending.
    pub fn append_slice(&self, bytes: &[u8]) {
        self.output.borrow_mut().push_slice(bytes);
    }

    /// Lets `write` append to the output's buffer: for the response's head.
    pub(crate) fn append_with(&self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        self.output.borrow_mut().push_with(write)
    }

    /// Sends as much as the socket takes, at most `limit` bytes. OK when nothing is left, AGAIN, or ERROR.
    pub fn send(&self, limit: u64) -> Code {
        if self.error.get() {
            return Code::ERROR;
        }
        if let Stream::Http2(stream) = &self.stream {
            return self.send_frames(stream, limit);
        }
        let mut output = self.output.borrow_mut();
        let sent = match &self.stream {
            _ if self.tls.get().is_some() => output.send(limit, |slices| self.write_tls(slices)),
            Stream::Fake => Ok(Sent { bytes: output.discard(), blocked: false }),
            Stream::Tcp(stream) => output.send(limit, |slices| write_to!(stream, slices)),
            Stream::Unix(stream) => output.send(limit, |slices| write_to!(stream, slices)),
            Stream::Datagrams(client) => output.send(limit, |slices| client.send(slices)),
            Stream::Http2(_) => Ok(Sent { bytes: 0, blocked: true }),
        };
        match sent {
            Ok(sent) => {
                self.sent.set(self.sent.get() + sent.bytes);
                if output.is_empty() { Code::OK } else { Code::AGAIN }
            }
            Err(error) => {
                output.discard();
                self.write_errno.set(error.raw_os_error());
                self.error.set(true);
                Code::ERROR
            }
        }
    }

    /// As [`Connection::send`], into frames: as much as the client's windows allow.
    fn send_frames(&self, stream: &h2::Stream, limit: u64) -> Code {
        let mut output = self.output.borrow_mut();
        if stream.is_broken() {
            output.discard();
            self.error.set(true);
            return Code::ERROR;
        }
        if stream.is_out_closed() {
            // Nothing may follow the end.
            output.discard();
            return Code::OK;
        }
        let before = stream.overhead();
        let mut left = output.len();
        let sent = output.send(limit.min(stream.room()), |slices| {
            let written = stream.write(slices, left)?;
            left -= written as u64;
            Ok(written)
        });
        if let Err(error) = &sent {
            self.write_errno.set(error.raw_os_error());
            self.error.set(true);
            return Code::ERROR;
        }
        if output.is_empty() {
            stream.write_end();
        }
        self.sent.set(self.sent.get() + sent.map_or(0, |sent| sent.bytes) + stream.overhead() - before);
        if output.is_empty() { Code::OK } else { Code::AGAIN }
    }

    /// Writes past the output: for scripts that took the connection over.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = match &self.stream {
            _ if self.tls.get().is_some() => self.write_tls(&[io::IoSlice::new(bytes)]),
            Stream::Fake | Stream::Http2(_) => return Err(io::ErrorKind::NotConnected.into()),
            Stream::Tcp(stream) => write_to!(stream, &[io::IoSlice::new(bytes)]),
            Stream::Unix(stream) => write_to!(stream, &[io::IoSlice::new(bytes)]),
            Stream::Datagrams(client) => client.send(&[io::IoSlice::new(bytes)]),
        }?;
        self.sent.set(self.sent.get() + sent as u64);
        Ok(sent)
    }

    /// Waits until the socket takes bytes.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Fake => Poll::Ready(Ok(())),
            Stream::Tcp(stream) => {
                ready!(slow_network::poll_writable(stream, cx))?;
                stream.poll_write_ready(cx)
            }
            Stream::Unix(stream) => {
                ready!(slow_network::poll_writable(stream, cx))?;
                stream.poll_write_ready(cx)
            }
            Stream::Datagrams(client) => client.poll_writable(cx),
            Stream::Http2(stream) => stream.poll_writable(cx).map(Ok),
        }
    }

    fn write_tls(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let Some((tls, _)) = self.tls.get() else { return Ok(0) };
        let written = match slices {
            [one] => tls.write(one),
            many => {
                // One record for what leaves together.
                let mut record = RECORD.take();
                record.clear();
                for slice in many {
                    let room = RECORD_SIZE - record.len();
                    record.extend_from_slice(slice.get(..room.min(slice.len())).unwrap_or_default());
                }
                let written = tls.write(&record);
                RECORD.set(record);
                written
            }
        };
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.clear_ready(tls.waits_for(Direction::Write));
        }
        written
    }

    /// Throws away what waits.
    pub fn discard_output(&self) {
        self.output.borrow_mut().discard();
    }

    /// Waits until the socket takes bytes again.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Fake => Ok(()),
            Stream::Tcp(stream) => {
                poll_fn(|cx| slow_network::poll_writable(stream, cx)).await?;
                stream.writable().await
            }
            Stream::Unix(stream) => {
                poll_fn(|cx| slow_network::poll_writable(stream, cx)).await?;
                stream.writable().await
            }
            Stream::Datagrams(client) => poll_fn(|cx| client.poll_writable(cx)).await,
            Stream::Http2(stream) => poll_fn(|cx| stream.poll_writable(cx).map(Ok)).await,
        }
    }

    /// Waits until the client took everything; each step may take as long as `timeout`. OK, REQUEST_TIME_OUT or
    /// ERROR. `limit` says how many bytes may go now; after `turn` bytes, others have theirs.
    pub(crate) async fn drain(&self, timeout: Duration, turn: u64, limit: impl Fn() -> u64) -> Code {
        while self.has_output() {
            let sent_before = self.sent.get();
            if let Some(moment) = self.delayed_until.take() {
                tokio::time::sleep_until(moment).await;
            } else {
                match tokio::time::timeout(timeout, self.writable()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Code::ERROR,
                    Err(_) => {
                        self.timed_out.set(true);
                        return Code::REQUEST_TIME_OUT;
                    }
                }
            }
            if self.send(limit().min(turn)) == Code::ERROR {
                return Code::ERROR;
            }
            if self.sent.get() - sent_before >= turn {
                tokio::task::yield_now().await;
            }
        }
        if self.error.get() { Code::ERROR } else { Code::OK }
    }

    /// Tells the client that nothing more will come.
    pub fn shutdown_write(&self) {
        if self.http2().is_some() {
            // The streams beside it go on.
            return;
        }
        if let Some((tls, _)) = self.tls.get() {
            tls.shutdown();
        }
        let fd = self.descriptor();
        if fd >= 0 && self.datagrams().is_none() {
            // A client that is gone already needs no goodbye.
            let _ = nix::sys::socket::shutdown(fd, nix::sys::socket::Shutdown::Write);
        }
    }
}
