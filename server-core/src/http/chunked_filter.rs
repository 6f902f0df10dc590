//! Frames a body of unknown length in chunks.

use std::fmt::Write as _;
use std::rc::Rc;

use bytes::Bytes;

use super::code::Code;
use super::method::{Method, Version};
use super::output::{BodyNext, Buf, Chain, Data, HeaderNext};
use super::request::Request;
use super::request_log::debug;

/// The header filter: decides whether the body is sent in chunks.
pub(crate) fn header(r: &Rc<Request>, next: HeaderNext) -> Code {
    let out = &r.headers_out;
    let status = out.status.get();
    let bodiless = matches!(status, 304 | 204) || status < 200 || !r.is_main() || r.method.get() == Method::HEAD;
    if !bodiless && (out.content_length.get() == -1 || r.expect_trailers.get()) {
        if r.http_version.get() >= Version::HTTP_11 && *r.loc().core.chunked_transfer_encoding {
            if r.expect_trailers.get() {
                out.clear_content_length();
            }
            r.chunked.set(true);
        } else if out.content_length.get() == -1 {
            r.keepalive.set(false);
        }
    }
    next.run(r)
}

/// The body filter.
pub(crate) fn filter(r: &Rc<Request>, mut chain: Chain, next: BodyNext) -> Code {
    if chain.is_empty() || !r.chunked.get() || r.header_only.get() {
        return next.run(r, chain);
    }
    let size: u64 = chain.iter().map(Buf::len).sum();
    debug!(r, "http chunk: {size}");
    let last = chain.iter().any(|buf| buf.last);
    chain.retain(|buf| buf.flush || buf.sync || !matches!(buf.data, Data::None));
    for buf in &mut chain {
        buf.last = false;
    }
    if size > 0 {
        let mut head = String::with_capacity(18);
        // Formatting a number into a string can't fail.
        let _ = write!(head, "{size:x}\r\n");
        chain.insert(0, Buf::bytes(head));
    }
    if last {
        let mut tail = trailer(r);
        if size == 0 {
            tail = tail.slice(2..);
        }
        let mut end = Buf::bytes(tail);
        end.last = true;
        end.last_in_chain = true;
        chain.push(end);
    } else if size > 0 {
        chain.push(Buf::bytes(Bytes::from_static(b"\r\n")));
    }
    next.run(r, chain)
}

/// The end of the last chunk, the empty chunk and the trailers.
fn trailer(r: &Request) -> Bytes {
    let trailers = r.headers_out.trailers.borrow();
    if trailers.is_empty() {
        return Bytes::from_static(b"\r\n0\r\n\r\n");
    }
    let mut text = b"\r\n0\r\n".to_vec();
    for field in trailers.iter() {
        for piece in [&*field.name, b": ", &field.value, b"\r\n"] {
            text.extend_from_slice(piece);
        }
    }
    text.extend_from_slice(b"\r\n");
    text.into()
}
