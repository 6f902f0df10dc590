//! HTTP/2 on buffers: what has come from the server is put in, what it has to get is taken out.
//!
//! The protocol itself is that of the `h2` crate. It believes to have a socket; that is two buffers here, so that
//! sending, receiving, deadlines and attempts stay those of all protocols to servers behind us.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Error, Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::header::HeaderList;
use crate::http::output::Data;
use crate::http::upstream::Head;
use crate::http::upstream::outgoing::{Feed, Http2Request};

/// What the server may send of a body before we have passed it on.
const WINDOW: u32 = 256 * 1024;
/// The longest head of a response, unpacked.
const HEAD_MAX: u32 = 64 * 1024;
/// Bytes of a request's body that are framed at once.
const STEP: usize = 16 * 1024;

/// The buffers in place of a socket.
#[derive(Default)]
struct Wire {
    inbound: BytesMut,
    outbound: BytesMut,
}

struct End(Rc<RefCell<Wire>>);

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inbound = &mut self.0.borrow_mut().inbound;
        if inbound.is_empty() {
            // Whoever puts more in asks again.
            return Poll::Pending;
        }
        let length = inbound.len().min(out.remaining());
        out.put_slice(&inbound.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().outbound.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One request on a connection of its own.
pub(super) struct Session {
    wire: Rc<RefCell<Wire>>,
    connection: Connection<End, Bytes>,
    /// As long as it is there, the connection is not told to end.
    _client: SendRequest<Bytes>,
    response: ResponseFuture,
    receiving: Option<RecvStream>,
    sending: Option<SendStream<Bytes>>,
    /// What is left of the request's body.
    body: VecDeque<Data>,
    /// Where more of it comes from.
    feed: Option<Rc<Feed>>,
}

impl Session {
    /// Writes the beginning of a connection and the request, as far as that is possible before the server says more.
    pub(super) fn begin(request: &Http2Request) -> Result<Self, Error> {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut builder = Builder::new();
        builder.enable_push(false).initial_window_size(WINDOW).max_header_list_size(HEAD_MAX);
        let handshake = pin!(builder.handshake::<_, Bytes>(End(Rc::clone(&wire))));
        let Poll::Ready(done) = handshake.poll(&mut cx) else { return Err(Reason::INTERNAL_ERROR.into()) };
        let (mut client, connection) = done?;
        let mut head = http::Request::new(());
        *head.method_mut() = request.method.clone();
        *head.uri_mut() = request.uri.clone();
        *head.headers_mut() = request.headers.clone();
        *head.version_mut() = http::Version::HTTP_2;
        let body: VecDeque<Data> = request.body.iter().cloned().collect();
        let feed = request.feed.clone();
        let is_bodiless = body.is_empty() && feed.is_none();
        let (response, stream) = client.send_request(head, is_bodiless)?;
        let sending = (!is_bodiless).then_some(stream);
        let mut session = Self { wire, connection, _client: client, response, receiving: None, sending, body, feed };
        session.advance()?;
        Ok(session)
    }

    /// Bytes for the server.
    pub(super) fn take_outgoing(&mut self) -> Option<Bytes> {
        if self.feed.is_some() && self.sending.is_some() {
            // What the client sent since; an error comes again when the response is read.
            let _ = self.advance();
        }
        let outbound = self.wire.borrow_mut().outbound.split().freeze();
        (!outbound.is_empty()).then_some(outbound)
    }

    /// Takes what has come; the head, when it is there.
    pub(super) fn head(&mut self, input: &mut BytesMut) -> Result<Option<Head>, Error> {
        self.receive(input)?;
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(response) = Pin::new(&mut self.response).poll(&mut cx) else { return Ok(None) };
        let (head, receiving) = response?.into_parts();
        self.receiving = Some(receiving);
        let mut fields = HeaderList::default();
        for (name, value) in &head.headers {
            fields.add(Bytes::copy_from_slice(name.as_str().as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
        }
        Ok(Some(Head { status: head.status.as_u16(), fields: fields.into(), ..Head::default() }))
    }

    /// Takes what has come; the next part of the body, when one is there.
    pub(super) fn data(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, Error> {
        self.receive(input)?;
        let Some(receiving) = &mut self.receiving else { return Ok(None) };
        let mut cx = Context::from_waker(Waker::noop());
        match receiving.poll_data(&mut cx) {
            Poll::Ready(Some(part)) => {
                let part = part?;
                receiving.flow_control().release_capacity(part.len())?;
                // The server is told that it may send more.
                self.advance()?;
                Ok(Some(part))
            }
            Poll::Ready(None) | Poll::Pending => Ok(None),
        }
    }

    /// The lines behind the body, perhaps none, when it has ended.
    pub(super) fn trailers(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(receiving) = &mut self.receiving else { return Ok(None) };
        let mut cx = Context::from_waker(Waker::noop());
        if !receiving.is_end_stream() {
            let Poll::Ready(trailers) = receiving.poll_trailers(&mut cx) else { return Ok(None) };
            let mut lines = Vec::new();
            for (name, value) in &trailers?.unwrap_or_default() {
                for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    lines.extend_from_slice(part);
                }
            }
            return Ok(Some(lines));
        }
        Ok(Some(Vec::new()))
    }

    fn receive(&mut self, input: &mut BytesMut) -> Result<(), Error> {
        self.wire.borrow_mut().inbound.unsplit(input.split());
        self.advance()
    }

    /// Handles what is there in both directions.
    fn advance(&mut self) -> Result<(), Error> {
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            let polled = Pin::new(&mut self.connection).poll(&mut cx);
            // Streams that were complete before the connection broke stay so; the others tell their own errors.
            let framed = self.frame_body()?;
            if polled.is_ready() || !framed {
                return Ok(());
            }
        }
    }

    /// Frames as much of the request's body as the server takes now. Whether there is something new to write.
    fn frame_body(&mut self) -> Result<bool, Error> {
        let mut framed = false;
        while let Some(stream) = &mut self.sending {
            if self.body.is_empty()
                && let Some(feed) = &self.feed
            {
                match feed.take() {
                    Some(part) => self.body.push_back(Data::Bytes(part)),
                    None if feed.is_ended() => self.body.push_back(Data::None),
                    None => break,
                }
            }
            let Some(part) = take_part(&mut self.body, |wanted| {
                stream.reserve_capacity(wanted);
                stream.capacity().min(wanted)
            }) else {
                break;
            };
            let last = self.body.is_empty() && self.feed.as_ref().is_none_or(|feed| feed.is_ended());
            stream.send_data(part.map_err(|_| Error::from(Reason::INTERNAL_ERROR))?, last)?;
            framed = true;
            if last {
                self.sending = None;
            }
        }
        Ok(framed)
    }
}

/// Takes bytes from the front of a body, as many as `may_take` of the wanted number allows; `None` when that is none.
fn take_part(body: &mut VecDeque<Data>, may_take: impl FnOnce(usize) -> usize) -> Option<io::Result<Bytes>> {
    let (part, rest_is_empty) = match body.front_mut()? {
        Data::None => (Ok(Bytes::new()), true),
        Data::Bytes(bytes) => {
            let length = may_take(bytes.len().min(STEP));
            if length == 0 && !bytes.is_empty() {
                return None;
            }
            (Ok(bytes.split_to(length)), bytes.is_empty())
        }
        Data::File { file, start, end } => {
            let wanted = (*end - *start).min(STEP as u64);
            let length = may_take(usize::try_from(wanted).unwrap_or(STEP));
            if length == 0 && wanted > 0 {
                return None;
            }
            let mut bytes = vec![0; length];
            let read = file.read_exact_at(&mut bytes, *start);
            *start += length as u64;
            (read.map(|()| Bytes::from(bytes)), *start >= *end)
        }
    };
    if rest_is_empty {
        body.pop_front();
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: impl Into<Bytes>) -> Http2Request {
        Http2Request {
            method: http::Method::POST,
            uri: "http://a.test/x".parse().expect("an address"),
            headers: http::HeaderMap::new(),
            body: vec![Data::Bytes(body.into())],
            feed: None,
        }
    }

    /// A frame: its kind, flags and stream.
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    }

    #[test]
    fn a_response_is_read_from_frames_however_they_are_cut() {
        let all = [
            frame(4, 0, 0, b""),
            // `:status: 200`, from the static table.
            frame(1, 4, 1, &[0x88]),
            frame(0, 0, 1, b"hello"),
            // A literal field without indexing.
            frame(1, 5, 1, b"\x00\x01a\x01b"),
        ]
        .concat();
        for cut in 0..all.len() {
            let mut session = Session::begin(&request("ask")).expect("a session");
            let sent = session.take_outgoing().expect("a request");
            assert!(sent.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") && sent.ends_with(b"ask"));
            let (mut head, mut body, mut trailers) = (None, Vec::new(), None);
            for part in [&all[..cut], &all[cut..]] {
                let mut input = BytesMut::from(part);
                if head.is_none() {
                    head = session.head(&mut input).expect("a head");
                }
                if head.is_some() {
                    while let Some(part) = session.data(&mut input).expect("a body") {
                        body.extend_from_slice(&part);
                    }
                    trailers = session.trailers().expect("an end");
                }
            }
            assert_eq!(head.map(|head| head.status), Some(200), "{cut}");
            assert_eq!((&body[..], trailers.as_deref()), (&b"hello"[..], Some(&b"a: b\r\n"[..])), "{cut}");
        }
    }

    #[test]
    fn a_long_body_waits_until_the_server_takes_more() {
        let mut session = Session::begin(&request(vec![b'x'; 100_000])).expect("a session");
        let first = session.take_outgoing().expect("a request").len();
        assert!((65_535..70_000).contains(&first), "{first}");
        let more = [frame(4, 0, 0, b""), frame(8, 0, 0, &[0, 1, 0, 0]), frame(8, 0, 1, &[0, 1, 0, 0])].concat();
        assert!(session.head(&mut BytesMut::from(&more[..])).expect("no error").is_none());
        let rest = session.take_outgoing().expect("the rest").len();
        assert!(rest > 100_000 - 65_535, "{rest}");
    }

    #[test]
    fn what_is_no_http2_is_an_error() {
        let mut session = Session::begin(&request("ask")).expect("a session");
        assert!(session.head(&mut BytesMut::from(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..])).is_err());
    }
}
