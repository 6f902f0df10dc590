//! `ngx_http_grpc_module`: requests answered by servers that speak gRPC, which is HTTP/2 with trailers.
//!
//! [`conf`] holds the settings and their directives, [`request`] makes a request out of the client's, [`session`] is
//! HTTP/2 on buffers. Each request has a connection of its own.

mod conf;
mod request;
mod session;

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use self::session::Session;
pub use conf::{LocConf, MainConf, SrvConf};
pub(crate) use conf::{RULES, TLS_RULES};

use crate::http::code::Code;
use crate::http::conf::LocConf as Loc;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::upstream::body::{BodyError, Framing, Unframe};
use crate::http::upstream::destination::Destination;
use crate::http::upstream::outgoing::Encoding;
use crate::http::upstream::{self, Conf, Dialing, Failure, Head, Outgoing, Protocol, Reader, Route};
use crate::log::Level;

/// `grpc_pass`
pub(super) struct GrpcHandler;

impl Handler for GrpcHandler {
    fn asks_server(&self) -> bool {
        true
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        upstream::answer(r, &Grpc)
    }
}

struct Grpc;

impl Dialing for Grpc {
    fn conf(&self, loc: &'static Loc) -> &'static Conf {
        &loc.grpc.upstream
    }

    fn alpn(&self) -> Option<&'static [u8]> {
        Some(b"\x02h2")
    }

    fn route(&self, r: &Rc<Request>) -> Result<Route, Code> {
        conf::route(r)
    }

    fn request(&self, r: &Rc<Request>, destination: &Destination) -> Result<Outgoing, Code> {
        let head = request::head(r, destination)?;
        // Everything is sent by the session, which frames it.
        let stream = head.feed.is_some().then_some(Encoding::Frames);
        Ok(Outgoing { http2: Some(Box::new(head)), stream, ..Outgoing::default() })
    }
}

impl Protocol for Grpc {
    fn hidden(&self) -> &'static [&'static str] {
        conf::HIDDEN
    }

    fn streams_body(&self, _r: &Request) -> bool {
        true
    }

    fn reader(&self, outgoing: &Outgoing) -> Box<dyn Reader> {
        Box::new(GrpcReader(outgoing.http2.as_ref().and_then(|request| Session::begin(request).ok())))
    }
}

/// Reads a response out of frames; `None` is a session that could not be begun, or that reads the body now.
struct GrpcReader(Option<Session>);

impl Reader for GrpcReader {
    fn head(&mut self, r: &Rc<Request>, input: &mut BytesMut) -> Result<Option<Head>, Failure> {
        let Some(session) = &mut self.0 else { return Err(Failure::INVALID_HEADER) };
        session.head(input).map_err(|error| {
            r.log(Level::Error, format_args!("upstream sent an invalid HTTP/2 response: {error}"));
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            if refused { Failure::ERROR } else { Failure::INVALID_HEADER }
        })
    }

    fn take_outgoing(&mut self) -> Option<Bytes> {
        self.0.as_mut().and_then(Session::take_outgoing)
    }

    fn framing(&mut self, _head: &Head, _length: Option<u64>, _chunked: bool) -> Framing {
        match self.0.take() {
            Some(session) => Framing::Custom(Box::new(Body { session, trailers: None })),
            None => Framing::Ended,
        }
    }
}

/// The body of a response, and what follows it.
struct Body {
    session: Session,
    trailers: Option<Vec<u8>>,
}

impl Unframe for Body {
    fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        let broken =
            |error: h2::Error| BodyError::Protocol(format!("upstream sent an invalid HTTP/2 response: {error}"));
        let part = self.session.data(input).map_err(broken)?;
        if part.is_none() && self.trailers.is_none() {
            self.trailers = self.session.trailers().map_err(broken)?;
        }
        Ok(part)
    }

    fn take_outgoing(&mut self) -> Option<Bytes> {
        self.session.take_outgoing()
    }

    fn is_ended(&self) -> bool {
        self.trailers.is_some()
    }

    fn keeps(&self) -> bool {
        false
    }

    fn take_trailers(&mut self) -> Vec<u8> {
        self.trailers.clone().unwrap_or_default()
    }
}
