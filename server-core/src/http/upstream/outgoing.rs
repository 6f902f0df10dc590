//! What is sent to a server: bytes and parts of files, and perhaps a body that the client is still sending.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};

use crate::http::body;
use crate::http::code::Code;
use crate::http::h2::client::{Flow, Framer, Speaker};
use crate::http::modules::fastcgi::stdin_header;
use crate::http::output::Data;
use crate::http::request::Request;
use crate::upstream::connection::Connection;
use crate::upstream::windows::Windows;

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
    /// Over HTTP/2, the head; `pieces` are the body then.
    pub(crate) http2: Option<Http2Head>,
}

/// The head of a request over HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2Head {
    /// The header fields, encoded.
    block: Rc<[u8]>,
    /// What sending and receiving share.
    pub(super) flow: Rc<Flow>,
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
    /// In frames of HTTP/2.
    Frames,
}

impl Outgoing {
    /// A request without body.
    pub(crate) fn of(head: impl Into<Bytes>) -> Self {
        Self { pieces: vec![Data::Bytes(head.into())], ..Self::default() }
    }

    /// A request over HTTP/2 with these header fields, as yet without body; when it `streams`, one follows that has not
    /// been read.
    pub(crate) fn over_http2(block: Rc<[u8]>, speaker: Rc<dyn Speaker>, streams: bool) -> Self {
        let http2 = Some(Http2Head { block, flow: Rc::new(Flow::new(speaker)) });
        Self { http2, stream: streams.then_some(Encoding::Frames), ..Self::default() }
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

    /// Starts sending over a connection, from the first byte.
    pub(super) fn sender(&self, r: &Rc<Request>, connection: &Connection) -> Sender {
        let stream = self.stream.map(|encoding| Stream { r: Rc::clone(r), encoding, ended: false });
        let mut pieces: VecDeque<Data> = self.pieces.iter().cloned().collect();
        let framer = self.http2.as_ref().map(|head| {
            head.flow.begin(Rc::clone(connection.windows.get_or_init(|| Rc::new(Windows::new()))));
            let body = std::mem::take(&mut pieces);
            Framer::new(Rc::clone(&head.flow), Rc::clone(&head.block), body, stream.is_some())
        });
        Sender { pieces, sent: 0, stream, framer }
    }
}

/// A body that the client is still sending.
struct Stream {
    r: Rc<Request>,
    encoding: Encoding,
    ended: bool,
}

/// How far sending has come.
pub(super) struct Sender {
    pieces: VecDeque<Data>,
    /// Bytes sent.
    pub(super) sent: u64,
    stream: Option<Stream>,
    /// Who cuts everything into frames, over HTTP/2.
    framer: Option<Framer>,
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
        self.pieces.is_empty()
            && self.stream.as_ref().is_none_or(|stream| stream.ended)
            && self.framer.as_ref().is_none_or(Framer::is_done)
    }

    /// Whether the client must send something before more can be sent.
    pub(super) fn awaits_client(&self) -> bool {
        self.pieces.is_empty()
            && self.stream.as_ref().is_some_and(|stream| !stream.ended)
            && self.framer.as_ref().is_none_or(|framer| framer.waiting() == 0 && !framer.has_frames())
    }

    /// Whether there is room for what the client sends.
    fn takes_from_client(&self) -> bool {
        self.pieces.len() < PIECES_MAX
            && self.stream.as_ref().is_some_and(|stream| !stream.ended)
            && self.framer.as_ref().is_none_or(|framer| framer.waiting() < PIECES_MAX)
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.pieces.push_back(Data::Bytes(bytes));
    }

    /// Sends what the connection takes now. Ready when something went, or all is done.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<Result<(), SendError>> {
        let awaits_client = self.takes_from_client() && self.poll_client(cx)?.is_pending();
        match &mut self.framer {
            Some(framer) => {
                framer.advance(&mut self.pieces)?;
                if self.pieces.is_empty() && !self.is_done() {
                    // The client, or what the server says about its windows, makes this go on.
                    return Poll::Pending;
                }
            }
            None if awaits_client && self.pieces.is_empty() => return Poll::Pending,
            None => {}
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
                if let Some(framer) = &mut self.framer {
                    framer.extend(parts);
                    if stream.ended {
                        framer.close();
                    }
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
