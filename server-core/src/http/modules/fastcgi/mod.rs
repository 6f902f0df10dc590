//! `ngx_http_fastcgi_module`: requests answered by FastCGI servers.
//!
//! [`conf`] holds the settings and their directives, [`record`] writes and reads records, [`variables`] split URIs.

mod conf;
mod record;
mod variables;

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

pub(crate) use conf::{CACHE_RULES, RULES};
pub use conf::{LocConf, MainConf, SrvConf};
pub(crate) use record::stdin_header;
pub(crate) use variables::VARIABLES;

use self::record::{Decoder, Stdout};
use crate::http::code::Code;
use crate::http::conf::LocConf as Loc;
use crate::http::modules::cgi;
use crate::http::output::Data;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::upstream::body::Framing;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::outgoing::Encoding;
use crate::http::upstream::{self, Conf, Dialing, Failure, Head, Outgoing, Protocol, Reader, Route};
use crate::log::Level;

/// `fastcgi_pass`
pub(super) struct FastcgiHandler;

impl Handler for FastcgiHandler {
    fn asks_server(&self) -> bool {
        true
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        upstream::answer(r, &Fastcgi)
    }
}

struct Fastcgi;

impl Dialing for Fastcgi {
    fn conf(&self, loc: &'static Loc) -> &'static Conf {
        &loc.fastcgi.upstream
    }

    fn route(&self, r: &Rc<Request>) -> Result<Route, Code> {
        r.loc().fastcgi.cgi.route(r, conf::SCHEMES)
    }

    fn request(&self, r: &Rc<Request>, _destination: &Destination) -> Result<Outgoing, Code> {
        let conf = &r.loc().fastcgi;
        let pairs = cgi::pairs(r, &conf.cgi, *conf.upstream.pass_request_headers);
        let mut outgoing = Outgoing::of(record::begin(&pairs, *conf.keep_conn));
        if r.reading_body.get() && *conf.upstream.pass_request_body {
            outgoing.stream = Some(Encoding::Records);
            return Ok(outgoing);
        }
        if *conf.upstream.pass_request_body {
            let mut body = Outgoing::default();
            body.push_body(r);
            for piece in body.pieces {
                outgoing.pieces.extend(record::stdin(piece));
            }
        }
        outgoing.pieces.push(Data::Bytes(Bytes::from_static(record::STDIN_END)));
        Ok(outgoing)
    }
}

impl Protocol for Fastcgi {
    fn hidden(&self) -> &'static [&'static str] {
        cgi::HIDDEN
    }

    fn streams_body(&self, _r: &Request) -> bool {
        true
    }

    fn reader(&self, _outgoing: &Outgoing) -> Box<dyn Reader> {
        Box::new(FastcgiReader(Some(Decoder::default())))
    }
}

/// Reads a response out of records.
struct FastcgiReader(Option<Decoder>);

impl Reader for FastcgiReader {
    fn head(&mut self, r: &Rc<Request>, input: &mut BytesMut) -> Result<Option<Head>, Failure> {
        let Some(decoder) = &mut self.0 else { return Err(Failure::INVALID_HEADER) };
        let fed = decoder.feed(input);
        if decoder.log_errors(r) {
            return Err(Failure::INVALID_HEADER);
        }
        if let Err(error) = fed {
            r.log(Level::Error, format_args!("{error}"));
            return Err(Failure::INVALID_HEADER);
        }
        if let Some(head) = decoder.take_head(r)? {
            return Ok(Some(head));
        }
        if decoder.is_ended() {
            r.log(Level::Error, format_args!("upstream prematurely closed FastCGI stdout"));
            return Err(Failure::INVALID_HEADER);
        }
        Ok(None)
    }

    fn framing(&mut self, head: &Head, length: Option<u64>, _chunked: bool) -> Framing {
        let left = if matches!(head.status, 204 | 304) { Some(0) } else { length };
        // The head has been read: the decoder is there.
        Framing::Custom(Box::new(Stdout { decoder: self.0.take().unwrap_or_default(), left, is_cut: false }))
    }
}
