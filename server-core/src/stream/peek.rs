//! `peek` of the client's socket: bytes that stay for whoever reads them.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use tokio::time::Instant;

use crate::http::Request;

/// How looking ahead ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peeked {
    /// There are as many bytes as were asked for.
    Enough,
    /// There will not be: the client closed, failed or took too long. The session ends.
    Ended,
    /// The buffer (`preread_buffer_size`) is too small for that.
    Full,
}

/// Whether there are so many bytes that may be looked at.
pub(crate) fn has(r: &Request, count: usize) -> bool {
    count <= *r.loc().stream.preread_buffer_size && r.conn().input.borrow().len() >= count
}

/// Waits until the client sent so many bytes.
pub(crate) async fn wait_for(r: &Rc<Request>, count: usize) -> Peeked {
    let conn = r.conn();
    let conf = &r.loc().stream;
    let deadline = Instant::now() + *conf.preread_timeout;
    loop {
        if has(r, count) {
            return Peeked::Enough;
        }
        // A datagram is all there will be.
        if conn.input.borrow().len() >= *conf.preread_buffer_size || conn.datagrams().is_some() {
            return Peeked::Full;
        }
        match conn.try_read() {
            Ok(0) => return Peeked::Ended,
            Ok(read) => {
                r.request_length.set(r.request_length.get() + read as u64);
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Peeked::Ended,
        }
        let ready = poll_fn(|cx| match conn.poll_read_ready(cx) {
            Poll::Ready(ready) => Poll::Ready(ready),
            Poll::Pending if conn.poll_deadline(deadline, cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        });
        if ready.await.is_err() {
            return Peeked::Ended;
        }
    }
}
