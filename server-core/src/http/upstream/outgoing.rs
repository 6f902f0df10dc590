//! What is sent to a server: bytes and parts of files, and perhaps a body that the client is still sending.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};

use crate::http::body;
use crate::http::code::Code;
use crate::http::modules::fastcgi::stdin_header;
use crate::http::output::Data;
use crate::http::request::Request;
use crate::upstream::connection::Connection;

/// A request, ready to be sent as often as needed.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Everything, in order.
    pub(crate) pieces: Vec<Data>,
    /// Whether the method is HEAD, so that no body comes back.
    pub(crate) is_head: bool,
    /// Whether the server may switch to another protocol.
    pub(crate) upgrades: bool,
    /// A body follows that has not been read yet.
    pub(crate) stream: Option<Encoding>,
    /// All of the request, when the reader of the response frames it.
    pub(crate) http2: Option<Box<Http2Request>>,
}

/// A request over HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2Request {
    /// The method.
    pub(crate) method: http::Method,
    /// Scheme, host and path.
    pub(crate) uri: http::Uri,
    /// The headers.
    pub(crate) headers: http::HeaderMap,
    /// The body.
    pub(crate) body: Vec<Data>,
    /// The body in place of that, when the client is still sending it.
    pub(crate) feed: Option<Rc<Feed>>,
}

/// A body on its way from the client to whoever frames it.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    parts: RefCell<VecDeque<Bytes>>,
    ended: Cell<bool>,
}

impl Feed {
    fn is_full(&self) -> bool {
        self.parts.borrow().len() >= PARTS_MAX
    }

    /// The next part, when it is there.
    pub(crate) fn take(&self) -> Option<Bytes> {
        self.parts.borrow_mut().pop_front()
    }

    /// Whether nothing more will come.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get() && self.parts.borrow().is_empty()
    }
}

/// How a body is sent on while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// In chunks.
    Chunked,
    /// As it is.
    Plain,
    /// In FastCGI records.
    Records,
    /// By the reader of the response, which finds it in a [`Feed`].
    Frames,
}

impl Outgoing {
    /// A request without body.
    pub(crate) fn of(head: impl Into<Bytes>) -> Self {
        Self { pieces: vec![Data::Bytes(head.into())], ..Self::default() }
    }

    /// Appends the request's body, as far as it is here.
    pub(crate) fn push_body(&mut self, r: &Request) {
        let Some(body) = r.request_body() else { return };
        if let Some(file) = &*body.file.borrow() {
            self.pieces.push(Data::File { file: Rc::clone(&file.file), start: 0, end: file.len });
            return;
        }
        self.pieces.extend(body.bufs.borrow().iter().cloned().map(Data::Bytes));
    }

    /// Starts sending from the first byte.
    pub(super) fn sender(&self, r: &Rc<Request>) -> Sender {
        let feed = self.http2.as_ref().and_then(|request| request.feed.clone());
        let stream = self.stream.map(|encoding| Stream { r: Rc::clone(r), encoding, feed, ended: false });
        Sender { pieces: self.pieces.iter().cloned().collect(), sent: 0, stream }
    }
}

/// A body that the client is still sending.
struct Stream {
    r: Rc<Request>,
    encoding: Encoding,
    feed: Option<Rc<Feed>>,
    ended: bool,
}

impl Stream {
    /// Whether there is no room for more at its other end.
    fn is_held_up(&self) -> bool {
        self.feed.as_ref().is_some_and(|feed| feed.is_full())
    }
}

/// How far sending has come.
pub(super) struct Sender {
    pieces: VecDeque<Data>,
    /// Bytes sent.
    pub(super) sent: u64,
    stream: Option<Stream>,
}

/// Why sending can't go on.
#[derive(Debug)]
pub(super) enum SendError {
    /// The client's part of the request is at fault; the code with which the request ends.
    Client(Code),
    /// The connection broke.
    Io(io::Error),
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Bytes of a file, or of a body on its way through, that are handled at once.
const STEP: usize = 32 * 1024;

/// Parts of a client's body that go on together.
const PARTS_MAX: usize = 16;
/// Pieces that may wait before more is taken from a client.
const PIECES_MAX: usize = 4;

impl Sender {
    /// Whether everything has been sent.
    pub(super) fn is_done(&self) -> bool {
        self.pieces.is_empty() && self.stream.as_ref().is_none_or(|stream| stream.ended)
    }

    /// Whether the client must send something before more can be sent.
    pub(super) fn awaits_client(&self) -> bool {
        self.pieces.is_empty() && self.stream.as_ref().is_some_and(|stream| !stream.ended && !stream.is_held_up())
    }

    /// Whether there is room for what the client sends.
    fn takes_from_client(&self) -> bool {
        self.pieces.len() < PIECES_MAX
            && self.stream.as_ref().is_some_and(|stream| !stream.ended && !stream.is_held_up())
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.pieces.push_back(Data::Bytes(bytes));
    }

    /// Sends what the connection takes now. Ready when something went, or all is done.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<Result<(), SendError>> {
        if self.takes_from_client() && self.poll_client(cx)?.is_pending() && self.pieces.is_empty() {
            return Poll::Pending;
        }
        if self.pieces.is_empty() && self.stream.as_ref().is_some_and(Stream::is_held_up) {
            // What the server says makes room.
            return Poll::Pending;
        }
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
                    return Poll::Ready(Err(SendError::Io(io::ErrorKind::WriteZero.into())));
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
        let length = (*end - *start).min(STEP as u64);
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, *start)?;
        *start += length;
        if *start >= *end {
            self.pieces.pop_front();
        }
        self.pieces.push_front(Data::Bytes(bytes.into()));
        Ok(())
    }

    /// Takes what the client has sent of its body, or waits for it.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        let mut parts: smallvec::SmallVec<[Bytes; 4]> = smallvec::SmallVec::new();
        while !stream.ended && parts.len() < PARTS_MAX {
            match body::take_part(&stream.r, STEP).map_err(SendError::Client)? {
                Some(part) if part.is_empty() => stream.ended = true,
                Some(part) => parts.push(part),
                None if parts.is_empty() => ready!(body::poll_more(&stream.r, cx)).map_err(SendError::Client)?,
                None => break,
            }
        }
        let length: usize = parts.iter().map(Bytes::len).sum();
        match stream.encoding {
            Encoding::Frames => {
                if let Some(feed) = &stream.feed {
                    feed.parts.borrow_mut().extend(parts);
                    feed.ended.set(stream.ended);
                }
            }
            Encoding::Plain => self.pieces.extend(parts.into_iter().map(Data::Bytes)),
            Encoding::Records => {
                for part in parts {
                    let head = Bytes::copy_from_slice(&stdin_header(part.len()));
                    self.pieces.extend([head, part].map(Data::Bytes));
                }
                if stream.ended {
                    // The record without content is the end.
                    self.pieces.push_back(Data::Bytes(Bytes::copy_from_slice(&stdin_header(0))));
                }
            }
            Encoding::Chunked => {
                if length > 0 {
                    self.pieces.push_back(Data::Bytes(Bytes::from(format!("{length:x}\r\n"))));
                    self.pieces.extend(parts.into_iter().map(Data::Bytes));
                }
                let end: &[u8] = match (length > 0, stream.ended) {
                    (true, true) => b"\r\n0\r\n\r\n",
                    (true, false) => b"\r\n",
                    (false, _) => b"0\r\n\r\n",
                };
                self.pieces.push_back(Data::Bytes(Bytes::from_static(end)));
            }
        }
        Poll::Ready(Ok(()))
    }
}
