//! What is sent: the head of the request, and its body.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};

use super::target::Destination;
use crate::http::method::{Method, Version};
use crate::http::output::Data;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::upstream::connection::Connection;

/// A request, ready to be sent as often as needed.
pub(super) struct Outgoing {
    /// Head and body.
    pieces: Vec<Data>,
    /// Whether the method is HEAD, so that no body comes back.
    pub(super) is_head: bool,
}

/// Headers of the client that are never passed on as they came.
const REPLACED: &[&str] = &[
    "Host",
    "Connection",
    "Proxy-Connection",
    "Content-Length",
    "Transfer-Encoding",
    "TE",
    "Keep-Alive",
    "Expect",
    "Upgrade",
];

impl Outgoing {
    /// Writes the request.
    pub(super) fn of(r: &Rc<Request>, destination: &Destination) -> Self {
        let conf = &r.loc().proxy;
        let method = match &*conf.method {
            Some(method) => method.eval(r),
            None => r.method_name.get(),
        };
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(&method);
        head.push(b' ');
        head.extend_from_slice(&destination.uri);
        head.extend_from_slice(if *conf.http_version == Version::HTTP_10 {
            b" HTTP/1.0\r\n"
        } else {
            b" HTTP/1.1\r\n"
        });
        let mut field = |name: &[u8], value: &[u8]| {
            head.extend_from_slice(name);
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        let set_body = conf.set_body.as_ref().map(|body| body.eval(r));
        let configured: Vec<(Bytes, Bytes)> =
            conf.set_headers.iter().map(|(name, value)| (name.eval(r), value.eval(r))).collect();
        let is_configured = |name: &[u8]| configured.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !is_configured(b"Host") {
            field(b"Host", &destination.host);
        }
        for (name, value) in configured.iter().filter(|(_, value)| !value.is_empty()) {
            field(name, value);
        }
        if !is_configured(b"Content-Length") {
            let length = match &set_body {
                Some(body) => i64::try_from(body.len()).unwrap_or(-1),
                None => r.headers_in.content_length.get(),
            };
            if length >= 0 {
                field(b"Content-Length", itoa::Buffer::new().format(length).as_bytes());
            }
        }
        if *conf.pass_request_headers {
            for header in &*r.headers_in.list.borrow() {
                let replaced = REPLACED.iter().any(|known| header.is(known.as_bytes()));
                if replaced || is_configured(&header.name) {
                    continue;
                }
                debug!(r, "http proxy header: \"{}: {}\"", header.name.escape_ascii(), header.value.escape_ascii());
                field(&header.name, &header.value);
            }
        }
        head.extend_from_slice(b"\r\n");
        debug!(r, "http proxy header:\n\"{}\"", String::from_utf8_lossy(&head));
        let is_head = &*method == Method::HEAD.name().unwrap_or_default();
        let mut pieces = vec![Data::Bytes(head.into())];
        match set_body {
            Some(body) => pieces.push(Data::Bytes(body)),
            None if *conf.pass_request_body => pieces.extend(body_of(r)),
            None => {}
        }
        Self { pieces, is_head }
    }

    /// Starts sending from the first byte.
    pub(super) fn sender(&self) -> Sender {
        Sender { pieces: self.pieces.iter().cloned().collect(), sent: 0 }
    }
}

/// The parts of the request's body.
fn body_of(r: &Request) -> Vec<Data> {
    let Some(body) = r.request_body() else { return Vec::new() };
    if let Some(file) = &*body.file.borrow() {
        return vec![Data::File { file: Rc::clone(&file.file), start: 0, end: file.len }];
    }
    body.bufs.borrow().iter().cloned().map(Data::Bytes).collect()
}

/// How far sending has come.
pub(super) struct Sender {
    pieces: VecDeque<Data>,
    /// Bytes sent.
    pub(super) sent: u64,
}

/// Bytes of a file that are read at once.
const FILE_STEP: u64 = 32 * 1024;

impl Sender {
    /// Whether everything has been sent.
    pub(super) fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Appends bytes, for a tunnel.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.pieces.push_back(Data::Bytes(bytes));
    }

    /// Sends what the connection takes now. Ready when something went, or all is done.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<io::Result<()>> {
        self.read_file()?;
        let mut written = {
            let slices: smallvec::SmallVec<[IoSlice<'_>; 4]> = self
                .pieces
                .iter()
                .map_while(|piece| match piece {
                    Data::Bytes(bytes) => Some(IoSlice::new(bytes)),
                    Data::None | Data::File { .. } => None,
                })
                .take(16)
                .collect();
            if slices.iter().all(|slice| slice.is_empty()) {
                0
            } else {
                let written = ready!(connection.poll_write(cx, &slices))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                written
            }
        };
        self.sent += written as u64;
        while let Some(Data::Bytes(bytes)) = self.pieces.front_mut() {
            let taken = written.min(bytes.len());
            bytes.advance(taken);
            written -= taken;
            if !bytes.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
        Poll::Ready(Ok(()))
    }

    /// Puts the next part of a file into memory when its turn has come.
    fn read_file(&mut self) -> io::Result<()> {
        let Some(Data::File { file, start, end }) = self.pieces.front_mut() else { return Ok(()) };
        let length = (*end - *start).min(FILE_STEP);
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, *start)?;
        *start += length;
        if *start >= *end {
            self.pieces.pop_front();
        }
        self.pieces.push_front(Data::Bytes(bytes.into()));
        Ok(())
    }
}
