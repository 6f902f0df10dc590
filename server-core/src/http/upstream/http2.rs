//! Responses over HTTP/2, for all who ask servers that way.

use std::fmt::Arguments;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::body::{BodyError, Framing, Unframe};
use super::conf::{Conf, Failure};
use super::early_hints;
use super::outgoing::Outgoing;
use super::protocol::{Head, Reader};
use crate::http::h2::client::{self, Broken, Piece, Speaker};
use crate::http::header::HeaderList;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::log::Level;

/// Writes what happens into a request's log.
pub(crate) struct RequestSpeaker {
    pub(crate) r: Rc<Request>,
    /// What stands before debug lines: `grpc`, `http proxy`.
    pub(crate) label: &'static str,
}

impl Speaker for RequestSpeaker {
    fn is_debug(&self) -> bool {
        self.r.logs(Level::Debug)
    }

    fn debug(&self, message: Arguments<'_>) {
        debug!(self.r, "{} {message}", self.label);
    }

    fn error(&self, pieces: &[&[u8]]) {
        self.r.log_bytes(Level::Error, pieces);
    }
}

/// Reads one response.
pub(crate) struct Http2Reader {
    /// `None` when the body is being read, or there was no request.
    inner: Option<client::Reader>,
    conf: &'static Conf,
    hidden: &'static [&'static str],
    lengths: Lengths,
    is_head: bool,
}

/// What a response that ends with its head says about its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lengths {
    /// As much as its fields do.
    AsTold,
    /// That there is nothing.
    Known,
}

impl Http2Reader {
    /// Reads the response to a request. `hidden` are the fields that stay here by default.
    pub(crate) fn new(
        outgoing: &Outgoing,
        conf: &'static Conf,
        hidden: &'static [&'static str],
        lengths: Lengths,
    ) -> Self {
        let inner = outgoing.http2.as_ref().map(|head| client::Reader::new(Rc::clone(&head.flow), conf.head_max()));
        Self { inner, conf, hidden, lengths, is_head: outgoing.is_head }
    }
}

impl Reader for Http2Reader {
    fn head(&mut self, r: &Rc<Request>, input: &mut BytesMut) -> Result<Option<Head>, Failure> {
        let Some(inner) = &mut self.inner else { return Err(Failure::INVALID_HEADER) };
        loop {
            match inner.next(input).map_err(|Broken| Failure::INVALID_HEADER)? {
                Piece::Hints(fields) => early_hints::pass_on(r, &fields, self.conf, self.hidden),
                Piece::Head(status, fields) => {
                    let is_all = self.lengths == Lengths::Known && inner.is_done();
                    return Ok(Some(head_of(status, fields, is_all)));
                }
                Piece::Data(_) | Piece::Nothing => return Ok(None),
            }
        }
    }

    fn sets_limits(&self) -> bool {
        true
    }

    fn framing(&mut self, head: &Head, length: Option<u64>, _chunked: bool) -> Framing {
        let Some(mut inner) = self.inner.take() else { return Framing::Ended };
        let is_empty = self.is_head || matches!(head.status, 204 | 304);
        inner.expect(if is_empty { Some(0) } else { length });
        Framing::Custom(Box::new(Body(inner)))
    }
}

fn head_of(status: u16, fields: HeaderList, is_all: bool) -> Head {
    Head { status, keeps: true, is_all, fields: fields.into(), ..Head::default() }
}

/// The body of a response, and what follows it.
struct Body(client::Reader);

impl Unframe for Body {
    fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        match self.0.next(input) {
            Ok(Piece::Data(part)) => Ok(Some(part)),
            Ok(Piece::Head(..) | Piece::Hints(_) | Piece::Nothing) => Ok(None),
            Err(Broken) => Err(BodyError::Logged),
        }
    }

    fn is_ended(&self) -> bool {
        self.0.is_done()
    }

    fn keeps(&self) -> bool {
        self.0.keeps()
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn take_trailers(&mut self) -> Vec<u8> {
        self.0.take_trailers()
    }
}
