//! HTTP/1 to servers behind us.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::conf::{HIDDEN, Pass, Redirect};
use super::directives::default_rule;
use super::{cookies, request, target};
use crate::http::cache::conf::any_says_yes;
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::LocConf;
use crate::http::h1::chunked::Decoder;
use crate::http::h2;
use crate::http::header::{Header, HeaderId, HeaderList};
use crate::http::method::Version;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::upstream::body::Framing;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::http_head::{self, InvalidField, Parsed, ResponseHead};
use crate::http::upstream::{self, Conf, Dialing, Failure, Head, Outgoing, Protocol, Reader, Route};
use crate::log::Level;

/// `proxy_pass`
pub(super) struct ProxyHandler;

impl Handler for ProxyHandler {
    fn asks_server(&self) -> bool {
        true
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        upstream::answer(r, &Http)
    }
}

struct Http;

impl Dialing for Http {
    fn conf(&self, loc: &'static LocConf) -> &'static Conf {
        &loc.proxy.upstream
    }

    fn route(&self, r: &Rc<Request>) -> Result<Route, Code> {
        target::route(r)
    }

    fn request(&self, r: &Rc<Request>, destination: &Destination) -> Result<Outgoing, Code> {
        Ok(request::write(r, destination))
    }
}

impl Protocol for Http {
    fn hidden(&self) -> &'static [&'static str] {
        HIDDEN
    }

    fn reader(&self, outgoing: &Outgoing) -> Box<dyn Reader> {
        if outgoing.is_head { Box::new(HttpReader::<true>) } else { Box::new(HttpReader::<false>) }
    }

    fn streams_body(&self, r: &Request) -> bool {
        // Without chunks, the length must be known.
        !r.headers_in.chunked.get() || *r.loc().proxy.http_version >= Version::HTTP_11
    }

    fn rewrite_address(&self, r: &Rc<Request>, value: &Bytes, start: usize) -> Option<Bytes> {
        rewrite(r, value, start)
    }

    fn rewrite_cookie(&self, r: &Rc<Request>, value: &Bytes) -> Option<Bytes> {
        cookies::rewrite(r, &r.loc().proxy, value)
    }
}

/// What `proxy_redirect` makes of the address from `start` on; `None` when no rule fits.
fn rewrite(r: &Rc<Request>, value: &Bytes, start: usize) -> Option<Bytes> {
    let conf = &r.loc().proxy;
    if conf.redirect_off == Some(true) {
        return None;
    }
    let apply = |rule: &Redirect| {
        let address = value.slice(start..);
        let rewritten: Bytes = match rule {
            Redirect::Prefix(pattern, replacement) => {
                let pattern = pattern.eval(r);
                let rest = address.strip_prefix(&pattern[..])?;
                [&replacement.eval(r)[..], rest].concat().into()
            }
            Redirect::Regex(regex, replacement) => match regex.exec(r, &address) {
                Ok(true) => ComplexValue::eval(replacement, r),
                Ok(false) | Err(_) => return None,
            },
        };
        Some(Bytes::from([&value[..start], &rewritten].concat()))
    };
    if let Some(rules) = &conf.redirects {
        return rules.iter().find_map(apply);
    }
    match conf.pass.as_deref() {
        Some(Pass::Fixed { url, target, location, .. }) => apply(&default_rule(url, target, location)),
        Some(Pass::Variable(_)) | None => None,
    }
}

/// Passes on what a server says before its response, when `early_hints` wants that.
fn pass_hints(r: &Request, fields: &HeaderList) {
    const FRAMING: [HeaderId; 5] = [
        HeaderId::Connection,
        HeaderId::ContentLength,
        HeaderId::KeepAlive,
        HeaderId::TransferEncoding,
        HeaderId::Upgrade,
    ];
    let wanted = r.is_main() && !r.header_sent.get() && r.http_version.get() >= Version::HTTP_11;
    if !wanted || !any_says_yes(&r.loc().core.early_hints, r) {
        return;
    }
    let conf = &r.loc().proxy.upstream;
    if let Some(stream) = r.conn().http2() {
        let passed = |field: &&Header| !FRAMING.contains(&field.id) && !conf.hides(&field.name, HIDDEN);
        let mut passed = fields.iter().filter(passed).peekable();
        if passed.peek().is_some() {
            h2::response::send_hints(stream, passed);
        }
        return;
    }
    let mut head = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
    let empty = head.len();
    for field in fields.iter().filter(|field| !FRAMING.contains(&field.id) && !conf.hides(&field.name, HIDDEN)) {
        for part in [&field.name[..], b": ", &field.value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    if head.len() > empty {
        debug!(r, "http send early hints \"{}\"", r.uri.borrow().escape_ascii());
        head.extend_from_slice(b"\r\n");
        r.conn().append_slice(&head);
        // Whoever sends the response notices a connection that is broken.
        let _ = r.conn().send(u64::MAX);
    }
}

/// Reads a response; that to a HEAD request has no body.
struct HttpReader<const IS_HEAD: bool>;

impl<const IS_HEAD: bool> Reader for HttpReader<IS_HEAD> {
    fn head(&mut self, r: &Rc<Request>, input: &mut BytesMut) -> Result<Option<Head>, Failure> {
        loop {
            match http_head::find(input) {
                Ok(Parsed::More) => return Ok(None),
                Ok(Parsed::NoHead) => {
                    r.log(Level::Error, format_args!("upstream sent no valid HTTP/1.0 header"));
                    r.http_version.set(Version::HTTP_09);
                    return Ok(Some(Head { missing: true, ..Head::default() }));
                }
                Ok(Parsed::Head(places, length)) => {
                    let head = places.head(&input.split_to(length).freeze());
                    // Other interim responses are for us alone.
                    if head.status == 103 {
                        pass_hints(r, &head.fields);
                    }
                    if (100..200).contains(&head.status) && head.status != 101 {
                        continue;
                    }
                    debug!(r, "http proxy status {} \"{}\"", head.status, head.status_line.escape_ascii());
                    for field in &head.fields {
                        let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
                        debug!(r, "http proxy header: \"{name}: {value}\"");
                    }
                    debug!(r, "http proxy header done");
                    let ResponseHead { status, status_line, is_http11, fields } = head;
                    return Ok(Some(Head {
                        status,
                        status_line,
                        keeps: is_http11,
                        missing: false,
                        fields: fields.into(),
                    }));
                }
                Err(InvalidField(shown, byte)) => {
                    let code = format!("\\x{byte:02x}...\"");
                    r.log_bytes(Level::Error, &[b"upstream sent invalid header: \"", &shown, code.as_bytes()]);
                    return Err(Failure::INVALID_HEADER);
                }
            }
        }
    }

    fn framing(&mut self, head: &Head, length: Option<u64>, chunked: bool) -> Framing {
        if IS_HEAD || matches!(head.status, 204 | 304) {
            Framing::Ended
        } else if chunked {
            Framing::Chunked(Box::new(Decoder::keeping_trailers()))
        } else {
            length.map_or(Framing::ToEnd, Framing::Length)
        }
    }
}
