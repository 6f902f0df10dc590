//! The request that is sent.

use std::rc::Rc;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::http::code::Code;
use crate::http::h1;
use crate::http::header::HeaderId;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::outgoing::{Http2Request, Outgoing};
use crate::log::Level;

/// Headers that HTTP/2 has no place for, or that are made anew.
const REPLACED: &[&[u8]] = &[
    b"connection",
    b"content-length",
    b"expect",
    b"host",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
];

/// Makes a request. What can't be sent is logged.
pub(super) fn head(r: &Rc<Request>, destination: &Destination) -> Result<Http2Request, Code> {
    let conf = &r.loc().grpc;
    let configured: Vec<(Bytes, Bytes)> =
        conf.set_headers.iter().map(|(name, value)| (name.eval(r), value.eval(r))).collect();
    let is_configured = |name: &[u8]| configured.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let host = configured.iter().find(|(name, value)| name.eq_ignore_ascii_case(b"Host") && !value.is_empty());
    let host = host.map_or(&destination.host, |(_, value)| value);
    let mut headers = HeaderMap::new();
    let mut outgoing = Outgoing::default();
    outgoing.push_body(r);
    let body = outgoing.pieces;
    let length = r.headers_in.content_length.get();
    if length >= 0 && !is_configured(b"Content-Length") {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let asks_trailers = |value: &Bytes| value.split(|byte| *byte == b',').any(|word| word.trim_ascii() == b"trailers");
    if r.headers_in.list.borrow().named(b"TE").any(|field| asks_trailers(&field.value)) && !is_configured(b"TE") {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    for (name, value) in configured.iter().filter(|(name, value)| {
        let is_framing = REPLACED.iter().any(|known| name.eq_ignore_ascii_case(known));
        !value.is_empty() && (!is_framing || name.eq_ignore_ascii_case(b"TE"))
    }) {
        add(r, &mut headers, name, value)?;
    }
    for field in &*r.headers_in.list.borrow() {
        let is_replaced = REPLACED.iter().any(|known| field.name.eq_ignore_ascii_case(known));
        if !is_replaced && field.id != HeaderId::Host && !is_configured(&field.name) {
            add(r, &mut headers, &field.name, &field.value)?;
        }
    }
    let method = Method::from_bytes(&r.method_name.get()).map_err(|_| refuse(r, "method", &r.method_name.get()))?;
    let feed = r.reading_body.get().then(Rc::default);
    Ok(Http2Request { method, uri: uri(r, destination, host)?, headers, body, feed })
}

fn uri(r: &Request, destination: &Destination, host: &Bytes) -> Result<Uri, Code> {
    let path = &destination.uri;
    debug!(r, "grpc header: \":path: {}\"", path.escape_ascii());
    debug!(r, "grpc header: \":authority: {}\"", host.escape_ascii());
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if destination.tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(Authority::from_maybe_shared(host.clone()).map_err(|_| refuse(r, "host", host))?);
    parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path.clone()).map_err(|_| refuse(r, "address", path))?);
    Uri::from_parts(parts).map_err(|_| refuse(r, "address", path))
}

/// The address that is asked for: as the client wrote it, unless it was changed since.
pub(super) fn path(r: &Request) -> Bytes {
    if r.valid_unparsed_uri.get() {
        return r.unparsed_uri.get();
    }
    let mut path = h1::uri::escape(&r.uri.get());
    if !r.args.is_empty() {
        path.push(b'?');
        path.extend_from_slice(&r.args.borrow());
    }
    path.into()
}

fn add(r: &Request, headers: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Code> {
    let known = HeaderName::from_bytes(name).map_err(|_| refuse(r, "header", name))?;
    let text = HeaderValue::from_bytes(value).map_err(|_| refuse(r, "header", name))?;
    debug!(r, "grpc header: \"{}: {}\"", known.as_str(), value.escape_ascii());
    headers.append(known, text);
    Ok(())
}

fn refuse(r: &Request, what: &str, text: &[u8]) -> Code {
    r.log_bytes(Level::Error, &[what.as_bytes(), b" \"", text, b"\" can not be sent over HTTP/2"]);
    Code::BAD_REQUEST
}
