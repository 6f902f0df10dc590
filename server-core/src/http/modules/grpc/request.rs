//! The request that is sent.

use std::rc::Rc;

use bytes::Bytes;

use crate::http::h1;
use crate::http::h2::client::{Broken, RequestBlock};
use crate::http::method::Method;
use crate::http::request::Request;
use crate::http::upstream::Outgoing;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::http2::RequestSpeaker;

/// Fields of the client that HTTP/2 has no place for, or that are made anew.
const REPLACED: [&[u8]; 9] = [
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
pub(super) fn encode(r: &Rc<Request>, destination: &Destination) -> Result<Outgoing, Broken> {
    let conf = &r.loc().grpc;
    let configured: Vec<(Bytes, Bytes)> =
        conf.set_headers.iter().map(|(name, value)| (name.eval(r), value.eval(r))).collect();
    let is_configured = |name: &[u8]| configured.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let speaker = Rc::new(RequestSpeaker { r: Rc::clone(r), label: "grpc" });
    let method = r.method_name.get();
    let authority = (!is_configured(b"Host")).then_some(&destination.host[..]);
    let mut block = RequestBlock::begin(&*speaker, &method, destination.tls, &destination.uri, authority)?;
    for (name, value) in configured.iter().filter(|(_, value)| !value.is_empty()) {
        block.field(name, value)?;
    }
    let length = r.headers_in.content_length.get();
    if length >= 0 && !is_configured(b"Content-Length") {
        block.field(b"Content-Length", itoa::Buffer::new().format(length).as_bytes())?;
    }
    if asks_trailers(r) && !is_configured(b"TE") {
        block.field(b"TE", b"trailers")?;
    }
    if *conf.upstream.pass_request_headers {
        for field in &*r.headers_in.list.borrow() {
            let is_replaced = REPLACED.iter().any(|known| field.name.eq_ignore_ascii_case(known));
            if !is_replaced && !is_configured(&field.name) {
                block.field(&field.name, &field.value)?;
            }
        }
    }
    let block = block.finish().into();
    let streams = r.reading_body.get();
    let mut outgoing = Outgoing::over_http2(block, speaker, streams);
    outgoing.is_head = r.method.get() == Method::HEAD;
    if !streams {
        outgoing.push_body(r);
    }
    Ok(outgoing)
}

fn asks_trailers(r: &Request) -> bool {
    let names_them = |value: &[u8]| value.windows(b"trailers".len()).any(|word| word.eq_ignore_ascii_case(b"trailers"));
    r.headers_in.list.borrow().named(b"TE").any(|field| names_them(&field.value))
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
