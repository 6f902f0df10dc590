//! The request that is sent.

use std::rc::Rc;

use bytes::Bytes;

use crate::http::cache::{CacheConf, CacheUse, Status};
use crate::http::h2::client::{Broken, RequestBlock};
use crate::http::header::HeaderId;
use crate::http::method::{Method, Version};
use crate::http::output::Data;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::upstream::Outgoing;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::http_head::parse_head;
use crate::http::upstream::http2::RequestSpeaker;
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

/// What both versions of the protocol have to say.
struct Plan<'a> {
    r: &'a Rc<Request>,
    method: Bytes,
    /// The cache that keeps the response.
    cache: Option<Rc<CacheUse>>,
    set_body: Option<Bytes>,
    /// Fields that the configuration sets; those without value are left out.
    configured: Vec<(Bytes, Bytes)>,
    /// The body is sent on while it is read.
    streams: bool,
}

impl<'a> Plan<'a> {
    fn of(r: &'a Rc<Request>) -> Self {
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
        let set_body = conf.set_body.as_ref().map(|body| body.eval(r));
        let configured = conf.set_headers.iter().map(|(name, value)| (name.eval(r), value.eval(r))).collect();
        let streams = r.reading_body.get() && set_body.is_none() && *conf.upstream.pass_request_body;
        Self { r, method, cache, set_body, configured, streams }
    }

    fn is_configured(&self, name: &[u8]) -> bool {
        self.configured.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The body's length, as far as it is known.
    fn length(&self) -> i64 {
        match &self.set_body {
            Some(body) => i64::try_from(body.len()).unwrap_or(-1),
            None => self.r.headers_in.content_length.get(),
        }
    }

    /// Gives all fields to `field`, in order; `framing` are those about the body's framing.
    fn each_field(&self, framing: Option<(&[u8], &[u8])>, mut field: impl FnMut(&[u8], &[u8])) {
        let conf = &self.r.loc().proxy;
        if let Some((modified, tag)) = self.cache.as_ref().and_then(|used| conditions(used, &conf.upstream.cache)) {
            for (name, value) in [(&b"If-Modified-Since"[..], modified), (b"If-None-Match", tag)] {
                if let Some(value) = value.filter(|_| !self.is_configured(name)) {
                    field(name, &value);
                }
            }
        }
        for (name, value) in self.configured.iter().filter(|(_, value)| !value.is_empty()) {
            field(name, value);
        }
        if let Some((name, value)) = framing.filter(|(name, _)| !self.is_configured(name)) {
            field(name, value);
        }
        if !*conf.upstream.pass_request_headers {
            return;
        }
        for header in &*self.r.headers_in.list.borrow() {
            let replaced = REPLACED.iter().any(|known| header.is(known.as_bytes()));
            let conditional = self.cache.is_some() && CONDITIONS.iter().any(|known| header.is(known.as_bytes()));
            if !replaced && !conditional && !self.is_configured(&header.name) {
                field(&header.name, &header.value);
            }
        }
    }

    /// Puts the body, as far as it is here, behind the head.
    fn finish(self, outgoing: &mut Outgoing) {
        outgoing.is_head = &*self.method == Method::HEAD.name().unwrap_or_default();
        match self.set_body {
            Some(body) => outgoing.pieces.push(Data::Bytes(body)),
            None if self.streams => {}
            None if *self.r.loc().proxy.upstream.pass_request_body => outgoing.push_body(self.r),
            None => {}
        }
    }
}

/// Writes a request of HTTP/1.
pub(super) fn write(r: &Rc<Request>, destination: &Destination) -> Outgoing {
    let plan = Plan::of(r);
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(&plan.method);
    head.push(b' ');
    head.extend_from_slice(&destination.uri);
    let is_http10 = *r.loc().proxy.http_version == Version::HTTP_10;
    head.extend_from_slice(if is_http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    let mut field = |name: &[u8], value: &[u8]| {
        head.extend_from_slice(name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    if !plan.is_configured(b"Host") {
        field(b"Host", &destination.host);
    }
    let encoding = if r.headers_in.chunked.get() { Encoding::Chunked } else { Encoding::Plain };
    let stream = plan.streams.then_some(encoding);
    let mut number = itoa::Buffer::new();
    let framing: Option<(&[u8], &[u8])> = match plan.length() {
        _ if stream == Some(Encoding::Chunked) => Some((b"Transfer-Encoding", b"chunked")),
        length @ 0.. => Some((b"Content-Length", number.format(length).as_bytes())),
        _ => None,
    };
    plan.each_field(framing, |name, value| {
        debug!(r, "http proxy header: \"{}: {}\"", name.escape_ascii(), value.escape_ascii());
        field(name, value);
    });
    head.extend_from_slice(b"\r\n");
    debug!(r, "http proxy header:\n\"{}\"", String::from_utf8_lossy(&head));
    let mut outgoing = Outgoing::of(head);
    // Nobody may switch protocols unless the client asked for it in a version that knows how.
    let knows_how = r.http_version.get() >= Version::HTTP_11 && r.conn().http2().is_none();
    outgoing.upgrades = knows_how && r.headers_in.value(HeaderId::Upgrade).is_some();
    outgoing.stream = stream;
    plan.finish(&mut outgoing);
    outgoing
}

/// Makes a request of HTTP/2. What can't be sent is logged.
pub(super) fn encode(r: &Rc<Request>, destination: &Destination) -> Result<Outgoing, Broken> {
    let plan = Plan::of(r);
    let speaker = Rc::new(RequestSpeaker { r: Rc::clone(r), label: "http proxy" });
    let authority = (!plan.is_configured(b"Host")).then_some(&destination.host[..]);
    let mut block = RequestBlock::begin(&*speaker, &plan.method, destination.tls, &destination.uri, authority)?;
    let mut number = itoa::Buffer::new();
    let framing: Option<(&[u8], &[u8])> = match plan.length() {
        _ if plan.streams && r.headers_in.chunked.get() => None,
        length @ 0.. => Some((b"Content-Length", number.format(length).as_bytes())),
        _ => None,
    };
    let mut encoded = Ok(());
    plan.each_field(framing, |name, value| {
        if encoded.is_ok() {
            encoded = block.field(name, value);
        }
    });
    encoded?;
    let block = block.finish().into();
    let mut outgoing = Outgoing::over_http2(block, speaker, plan.streams);
    plan.finish(&mut outgoing);
    Ok(outgoing)
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
