//! What tells one protocol from another.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::body::Framing;
use super::conf::{Conf, Failure};
use super::destination::Destination;
use super::outgoing::Outgoing;
use crate::http::code::Code;
use crate::http::conf::LocConf;
use crate::http::header::HeaderList;
use crate::http::request::Request;
use crate::upstream::address::Target;
use crate::upstream::group::Group;

/// Where one request goes.
pub(crate) struct Route {
    /// Host, port and more, as the URL has them.
    pub(crate) target: Target,
    /// The servers, when the configuration names them.
    pub(crate) group: Option<Rc<Group>>,
    /// What is asked for.
    pub(crate) uri: Bytes,
    /// What stands before server and URI in messages.
    pub(crate) scheme: &'static str,
    /// Whether through TLS.
    pub(crate) tls: bool,
    /// The port that needs not be written.
    pub(crate) default_port: u16,
}

/// The head of a response.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// The status.
    pub(crate) status: u16,
    /// Status and reason as they came: `404 Not Found`; empty when the protocol has none.
    pub(crate) status_line: Bytes,
    /// Whether the connection may serve more requests, as far as this says.
    pub(crate) keeps: bool,
    /// There was none: everything is body.
    pub(crate) missing: bool,
    /// The fields.
    pub(crate) fields: Rc<HeaderList>,
}

/// How a server is chosen and reached.
pub(crate) trait Dialing: Sync {
    /// The settings.
    fn conf(&self, loc: &'static LocConf) -> &'static Conf;

    /// The protocols that are offered inside TLS, as OpenSSL wants them.
    fn alpn(&self) -> Option<&'static [u8]> {
        None
    }

    /// Where a request goes. An error is logged.
    fn route(&self, r: &Rc<Request>) -> Result<Route, Code>;

    /// What a server is told before the TLS handshake.
    fn preamble(&self, _r: &Request) -> Vec<u8> {
        Vec::new()
    }

    /// Writes a request; nothing for who is only connected. An error is logged.
    fn request(&self, _r: &Rc<Request>, _destination: &Destination) -> Result<Outgoing, Code> {
        Ok(Outgoing::default())
    }
}

/// A protocol of requests and responses: `http`, `fastcgi`, `memcached`.
pub(crate) trait Protocol: Dialing {
    /// Headers of responses that stay here unless the configuration says otherwise.
    fn hidden(&self) -> &'static [&'static str];

    /// Who reads the response to a request.
    fn reader(&self, outgoing: &Outgoing) -> Box<dyn Reader>;

    /// Whether an answer that there is nothing becomes an error page.
    fn intercepts_404(&self) -> bool {
        false
    }

    /// Whether a request's body may be passed on while it is read.
    fn streams_body(&self, _r: &Request) -> bool {
        false
    }

    /// The address in a header, from `start` on, as clients must see it; `None` leaves it.
    fn rewrite_address(&self, _r: &Rc<Request>, _value: &Bytes, _start: usize) -> Option<Bytes> {
        None
    }

    /// A cookie as clients must see it; `None` leaves it.
    fn rewrite_cookie(&self, _r: &Rc<Request>, _value: &Bytes) -> Option<Bytes> {
        None
    }
}

/// Reads one response.
pub(crate) trait Reader {
    /// Takes the head from the front of the input; `None` asks for more. A failure is logged.
    fn head(&mut self, r: &Rc<Request>, input: &mut BytesMut) -> Result<Option<Head>, Failure>;

    /// What the server must get now, for protocols in which both sides talk all the time.
    fn take_outgoing(&mut self) -> Option<Bytes> {
        None
    }

    /// How the body behind a head is framed. `length` and `chunked` are what the head says about it.
    fn framing(&mut self, head: &Head, length: Option<u64>, chunked: bool) -> Framing;
}
