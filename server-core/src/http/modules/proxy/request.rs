//! The request that is sent.

use std::rc::Rc;

use bytes::Bytes;

use crate::http::cache::{CacheConf, CacheUse, Status};
use crate::http::header::HeaderId;
use crate::http::method::{Method, Version};
use crate::http::output::Data;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::upstream::Outgoing;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::http_head::parse_head;
use crate::http::upstream::outgoing::Encoding;

/// Headers of the client that are never passed on as they came.
const REPLACED: &[&str] = &[
    "Host",
    "Connection",
    "Proxy-Connection",
    "Content-Length",
    "Transfer-Encoding",
    "TE",
    "Keep-Alive",
    "Expect",
    "Upgrade",
];

/// Headers that would get less than a whole response, which is what a cache wants.
const CONDITIONS: &[&str] =
    &["If-Modified-Since", "If-Unmodified-Since", "If-None-Match", "If-Match", "Range", "If-Range"];

/// Writes a request.
pub(super) fn write(r: &Rc<Request>, destination: &Destination) -> Outgoing {
    let conf = &r.loc().proxy;
    let method = match &*conf.method {
        Some(method) => method.eval(r),
        None => r.method_name.get(),
    };
    let cache = r.ctx::<CacheUse>().filter(|_| conf.upstream.cache.is_on());
    // A whole response serves requests for heads as well.
    let converts = cache.is_some() && *conf.upstream.cache.convert_head && r.method.get() == Method::HEAD;
    let method = if converts { Bytes::from_static(b"GET") } else { method };
    // What is not going to be kept is asked for as the client did.
    let cache = cache.filter(|used| used.keeps.get());
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(&method);
    head.push(b' ');
    head.extend_from_slice(&destination.uri);
    let is_http10 = *conf.http_version == Version::HTTP_10;
    head.extend_from_slice(if is_http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    let mut field = |name: &[u8], value: &[u8]| {
        head.extend_from_slice(name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    let set_body = conf.set_body.as_ref().map(|body| body.eval(r));
    let configured: Vec<(Bytes, Bytes)> =
        conf.set_headers.iter().map(|(name, value)| (name.eval(r), value.eval(r))).collect();
    let is_configured = |name: &[u8]| configured.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if !is_configured(b"Host") {
        field(b"Host", &destination.host);
    }
    if let Some((modified, tag)) = cache.as_ref().and_then(|used| conditions(used, &conf.upstream.cache)) {
        for (name, value) in [(&b"If-Modified-Since"[..], modified), (b"If-None-Match", tag)] {
            if let Some(value) = value.filter(|_| !is_configured(name)) {
                field(name, &value);
            }
        }
    }
    for (name, value) in configured.iter().filter(|(_, value)| !value.is_empty()) {
        field(name, value);
    }
    let streams = r.reading_body.get() && set_body.is_none() && *conf.upstream.pass_request_body;
    let stream = streams.then(|| if r.headers_in.chunked.get() { Encoding::Chunked } else { Encoding::Plain });
    if stream == Some(Encoding::Chunked) {
        if !is_configured(b"Transfer-Encoding") {
            field(b"Transfer-Encoding", b"chunked");
        }
    } else if !is_configured(b"Content-Length") {
        let length = match &set_body {
            Some(body) => i64::try_from(body.len()).unwrap_or(-1),
            None => r.headers_in.content_length.get(),
        };
        if length >= 0 {
            field(b"Content-Length", itoa::Buffer::new().format(length).as_bytes());
        }
    }
    if *conf.upstream.pass_request_headers {
        for header in &*r.headers_in.list.borrow() {
            let replaced = REPLACED.iter().any(|known| header.is(known.as_bytes()));
            let conditional = cache.is_some() && CONDITIONS.iter().any(|known| header.is(known.as_bytes()));
            if replaced || conditional || is_configured(&header.name) {
                continue;
            }
            debug!(r, "http proxy header: \"{}: {}\"", header.name.escape_ascii(), header.value.escape_ascii());
            field(&header.name, &header.value);
        }
    }
    head.extend_from_slice(b"\r\n");
    debug!(r, "http proxy header:\n\"{}\"", String::from_utf8_lossy(&head));
    let mut outgoing = Outgoing::of(head);
    outgoing.is_head = &*method == Method::HEAD.name().unwrap_or_default();
    // Nobody may switch protocols unless the client asked for it in a version that knows how.
    let knows_how = r.http_version.get() >= Version::HTTP_11 && r.conn().http2().is_none();
    outgoing.upgrades = knows_how && r.headers_in.value(HeaderId::Upgrade).is_some();
    outgoing.stream = stream;
    match set_body {
        Some(body) => outgoing.pieces.push(Data::Bytes(body)),
        None if streams => {}
        None if *conf.upstream.pass_request_body => outgoing.push_body(r),
        None => {}
    }
    outgoing
}

/// The date and the tag of an expired response that the server may confirm.
fn conditions(used: &CacheUse, conf: &CacheConf) -> Option<(Option<Bytes>, Option<Bytes>)> {
    if used.status.get() != Status::Expired || !*conf.revalidate {
        return None;
    }
    let entry = used.entry.borrow();
    let head = parse_head(&entry.as_ref()?.head).filter(|head| matches!(head.status, 200 | 206))?;
    Some((head.fields.value(HeaderId::LastModified), head.fields.value(HeaderId::Etag)))
}
