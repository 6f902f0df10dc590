//! The head of a response, its trailers and what is said before it, as blocks of header fields.

use std::rc::Rc;

use bytes::Bytes;

use super::frame;
use super::hpack::{self, name};
use super::stream::Stream;
use crate::http::code::Code;
use crate::http::date;
use crate::http::header::{Header, HeaderId};
use crate::http::modules::core::ServerTokens;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::special_response;

/// Sends the head. `location` is what a `Location` of ours was completed to.
pub(crate) fn send_head(r: &Rc<Request>, stream: &Stream, location: Option<&[u8]>) -> Code {
    if stream.is_broken() {
        r.conn().error.set(true);
        return Code::ERROR;
    }
    let ends = r.header_only.get() || (r.headers_out.content_length.get() == 0 && !r.expect_trailers.get());
    stream.set_chunk_size(*r.loc().http2.chunk_size);
    let size = send_block(stream, ends, |block| encode(r, location, block));
    debug!(r, "http2:{} HEADERS frame: len:{size} fin:{}", stream.id, u8::from(ends));
    r.header_size.set(size as u64);
    r.conn().sent.set(r.conn().sent.get() + size as u64);
    if ends {
        stream.close_out();
    }
    Code::OK
}

/// Says `103 Early Hints` with these fields.
pub(crate) fn send_hints<'a>(stream: &Stream, fields: impl Iterator<Item = &'a Header>) {
    if stream.is_broken() {
        return;
    }
    send_block(stream, false, |block| {
        hpack::push_status(block, 103);
        fields.for_each(|field| hpack::push_field(block, &field.name, &field.value));
    });
}

/// Ends the response behind what waits to be sent.
pub(crate) fn end(r: &Request, stream: &Stream) {
    let mut block = Vec::new();
    for field in r.headers_out.trailers.borrow().iter() {
        hpack::push_field(&mut block, &field.name, &field.value);
    }
    stream.end_with(block);
}

/// Makes a block and queues it; says how many bytes its frames have.
fn send_block(stream: &Stream, ends: bool, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let session = stream.session();
    let mut block = session.block.borrow_mut();
    block.clear();
    if session.must_empty_table.replace(false) {
        hpack::push_empty_table(&mut block);
    }
    write(&mut block);
    let mut size = 0;
    session.push(|out| size = frame::push_headers(out, stream.id, &block, ends, session.frame_size()));
    size
}

fn encode(r: &Request, location: Option<&[u8]>, block: &mut Vec<u8>) {
    let out = &r.headers_out;
    let core = &r.loc().core;
    let list = out.list.borrow();
    let mut number = itoa::Buffer::new();
    hpack::push_status(block, out.status.get());
    if !list.contains(HeaderId::Server) && !out.hide_server.get() {
        let product = special_response::product(r);
        if *core.server_tokens == ServerTokens::Build {
            hpack::push_known(block, name::SERVER, format!("{product} (rsty)").as_bytes());
        } else {
            hpack::push_known(block, name::SERVER, product.as_bytes());
        }
    }
    if !list.contains(HeaderId::Date) && !out.hide_date.get() {
        hpack::push_known(block, name::DATE, &date::now());
    }
    if !out.content_type.is_empty() {
        let kind = out.content_type.get();
        // A media type that came with parameters is complete.
        if out.charset.is_empty() || kind.contains(&b';') {
            hpack::push_known(block, name::CONTENT_TYPE, &kind);
        } else {
            let kind = [&kind[..], b"; charset=", &out.charset.borrow()].concat();
            hpack::push_known(block, name::CONTENT_TYPE, &kind);
        }
    }
    if out.content_length.get() >= 0 && !list.contains(HeaderId::ContentLength) {
        hpack::push_known(block, name::CONTENT_LENGTH, number.format(out.content_length.get()).as_bytes());
    }
    if out.last_modified.get() != -1 && !list.contains(HeaderId::LastModified) {
        hpack::push_known(block, name::LAST_MODIFIED, &date::http_time(out.last_modified.get()));
    }
    if let Some(location) = location {
        hpack::push_known(block, name::LOCATION, location);
    }
    for field in list.iter() {
        if field.id == HeaderId::Location && location.is_some() {
            continue;
        }
        debug!(r, "http2 output header: \"{}: {}\"", field.name.escape_ascii(), field.value.escape_ascii());
        hpack::push_field(block, &field.name, &one_line(&field.value));
    }
}

/// A value without line ends, which must not stand in a field here.
fn one_line(value: &Bytes) -> Bytes {
    if memchr::memchr3(0, b'\r', b'\n', value).is_none() {
        return value.clone();
    }
    value.iter().map(|&byte| if matches!(byte, 0 | b'\r' | b'\n') { b' ' } else { byte }).collect::<Vec<_>>().into()
}
