//! `ngx_http_grpc_module`: requests answered by servers that speak gRPC, which is HTTP/2 with trailers.
//!
//! [`conf`] holds the settings and their directives, [`request`] makes a request out of the client's.

mod conf;
mod request;

use std::rc::Rc;

pub use conf::{LocConf, MainConf, SrvConf};
pub(crate) use conf::{RULES, TLS_RULES};

use crate::http::code::Code;
use crate::http::conf::LocConf as Loc;
use crate::http::h2::client::Broken;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::http2::{Http2Reader, Lengths};
use crate::http::upstream::{self, Conf, Dialing, Outgoing, Protocol, Reader, Route};

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
        request::encode(r, destination).map_err(|Broken| Code::INTERNAL_SERVER_ERROR)
    }
}

impl Protocol for Grpc {
    fn hidden(&self) -> &'static [&'static str] {
        conf::HIDDEN
    }

    fn streams_body(&self, _r: &Request) -> bool {
        true
    }

    fn reader(&self, r: &Request, outgoing: &Outgoing) -> Box<dyn Reader> {
        Box::new(Http2Reader::new(outgoing, self.conf(r.loc()), conf::HIDDEN, Lengths::Known))
    }
}
