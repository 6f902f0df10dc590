//! `ngx_http_memcached_module`: responses out of memcached.
//!
//! [`value`] reads what a `get` answers with, for this module and for [`memc`](super::memc), which knows the other
//! commands.

pub(crate) mod conf;
pub(crate) mod value;

use std::rc::Rc;

use bytes::Bytes;

pub use conf::{LocConf, MainConf, SrvConf};
pub(crate) use conf::{RULES, VARIABLES};

use self::value::{Gzip, ValueReader};
use crate::http::body;
use crate::http::code::Code;
use crate::http::conf::LocConf as Loc;
use crate::http::method::Method;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::{self, Conf, Dialing, Outgoing, Protocol, Reader, Route};
use crate::log::Level;

/// `memcached_pass`
pub(super) struct MemcachedHandler;

impl Handler for MemcachedHandler {
    fn asks_server(&self) -> bool {
        true
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if !r.method.get().is_one_of(Method::GET.0 | Method::HEAD.0) {
            return Code::NOT_ALLOWED.into();
        }
        body::discard(r);
        r.set_content_type();
        upstream::answer(r, &Memcached)
    }
}

struct Memcached;

/// The key that is asked for, as it is sent.
pub(crate) struct Key(pub(crate) Bytes);

impl Dialing for Memcached {
    fn conf(&self, loc: &'static Loc) -> &'static Conf {
        &loc.memcached.upstream
    }

    fn route(&self, r: &Rc<Request>) -> Result<Route, Code> {
        let pass = r.loc().memcached.pass.as_ref().ok_or(Code::INTERNAL_SERVER_ERROR)?;
        let group = pass.group.get().cloned().ok_or(Code::INTERNAL_SERVER_ERROR)?;
        Ok(Route {
            target: pass.target.clone(),
            group: Some(group),
            uri: Bytes::new(),
            scheme: "memcached://",
            tls: false,
            default_port: 0,
        })
    }

    fn request(&self, r: &Rc<Request>, _destination: &Destination) -> Result<Outgoing, Code> {
        let key = r.loc().memcached.key.and_then(|key| r.variable(key)).filter(|key| !key.is_empty());
        let Some(key) = key else {
            r.log(Level::Error, format_args!("the \"$memcached_key\" variable is not set"));
            return Err(Code::INTERNAL_SERVER_ERROR);
        };
        let key = Bytes::from(escape(&key));
        debug!(r, "http memcached request: \"{}\"", String::from_utf8_lossy(&key));
        r.set_ctx(Rc::new(Key(key.clone())));
        Ok(Outgoing::of([&b"get "[..], &key, b"\r\n"].concat()))
    }
}

impl Protocol for Memcached {
    fn hidden(&self) -> &'static [&'static str] {
        &[]
    }

    fn intercepts_404(&self) -> bool {
        true
    }

    fn reader(&self, _outgoing: &Outgoing) -> Box<dyn Reader> {
        Box::new(ValueReader::new(Gzip::ByFlag))
    }
}

/// A key as memcached takes it: without spaces and control characters.
pub(crate) fn escape(key: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(key.len());
    for &byte in key {
        if byte <= b' ' || byte == b'%' {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_no_spaces_when_they_are_sent() {
        assert_eq!(escape(b"a b%\r\n\xff"), b"a%20b%25%0D%0A\xff");
    }
}
