//! The filters: the head of a 206 or 416, and the parts of the body.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;

use super::super::calendar::parse_http_date;
use super::spec::{Selection, select};
use crate::http::code::Code;
use crate::http::header::HeaderId;
use crate::http::method::Version;
use crate::http::output::{BodyNext, Buf, Chain, Data, HeaderNext};
use crate::http::request::Request;
use crate::log::Level;

/// What the head promised and the body has to keep.
#[derive(Default)]
struct Ranges {
    parts: Vec<Part>,
    /// The head of each part of several, up to its range.
    boundary: Bytes,
    end: Bytes,
    /// The offset of the next byte of the whole body.
    offset: Cell<u64>,
}

#[derive(Clone)]
struct Part {
    start: u64,
    end: u64,
    content_range: Bytes,
}

thread_local! {
    static BOUNDARY: Cell<u64> = const { Cell::new(0) };
}

/// Decides whether a part is sent, and changes the head accordingly.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let out = &r.headers_out;
    let max_ranges = *r.loc().core.max_ranges;
    if r.http_version.get() < Version::HTTP_10
        || out.status.get() != 200
        || !r.is_main() && !r.subrequest_ranges.get()
        || out.content_length.get() < 0
        || !r.allow_ranges.get()
        || max_ranges == 0
    {
        return next.run(r);
    }
    if !r.is_main() {
        // What the main request answers with decides.
        if let Some(ranges) = r.main_ref().ctx::<Ranges>() {
            let offset = Cell::new(out.content_offset.get().unsigned_abs());
            r.set_ctx(Rc::new(Ranges { parts: ranges.parts.clone(), offset, ..Ranges::default() }));
        }
        return next.run(r);
    }
    let length = out.content_length.get().unsigned_abs();
    let limit = if r.single_range.get() { 1 } else { max_ranges };
    let selection = match r.headers_in.value(HeaderId::Range) {
        Some(value) if value.len() >= 7 && if_range_holds(r) => select(&value, length, limit),
        _ => Selection::Everything,
    };
    match selection {
        Selection::Everything => {
            out.add("Accept-Ranges", "bytes");
            next.run(r)
        }
        Selection::NotSatisfiable => {
            out.status.set(416);
            out.set("Content-Range", format!("bytes */{length}"));
            out.clear_content_length();
            Code::RANGE_NOT_SATISFIABLE
        }
        Selection::Parts(parts) => {
            out.status.set(206);
            out.status_line.clear();
            let offset = out.content_offset.get().unsigned_abs();
            let ranges = match parts[..] {
                [(start, end)] => one_part(r, start, end, length),
                _ => several_parts(r, &parts, length),
            };
            ranges.offset.set(offset);
            r.set_ctx(Rc::new(ranges));
            next.run(r)
        }
    }
}

/// Whether `If-Range`, if there is one, names the current version.
fn if_range_holds(r: &Request) -> bool {
    let Some(condition) = r.headers_in.value(HeaderId::IfRange) else { return true };
    if condition.len() >= 2 && condition.ends_with(b"\"") {
        return r.headers_out.value(HeaderId::Etag).is_some_and(|etag| etag == condition);
    }
    let modified = r.headers_out.last_modified.get();
    modified != -1 && parse_http_date(&condition) == Some(modified)
}

fn one_part(r: &Request, start: u64, end: u64, length: u64) -> Ranges {
    let out = &r.headers_out;
    out.set("Content-Range", format!("bytes {start}-{}/{length}", end - 1));
    out.clear_content_length();
    out.content_length.set((end - start) as i64);
    out.content_offset.set(start as i64);
    let part = Part { start, end, content_range: Bytes::new() };
    Ranges { parts: vec![part], boundary: Bytes::new(), end: Bytes::new(), offset: Cell::new(0) }
}

fn several_parts(r: &Request, parts: &[(u64, u64)], length: u64) -> Ranges {
    let out = &r.headers_out;
    let number = BOUNDARY.get().wrapping_add(1);
    BOUNDARY.set(number);
    let mut boundary = format!("\r\n--{number:020}").into_bytes();
    let content_type = out.content_type.get();
    if !content_type.is_empty() {
        boundary.extend_from_slice(b"\r\nContent-Type: ");
        boundary.extend_from_slice(&content_type);
        let charset = out.charset.get();
        if !charset.is_empty() && !content_type.contains(&b';') {
            boundary.extend_from_slice(b"; charset=");
            boundary.extend_from_slice(&charset);
        }
    }
    boundary.extend_from_slice(b"\r\nContent-Range: bytes ");
    let end = Bytes::from(format!("\r\n--{number:020}--\r\n"));
    let parts: Vec<Part> = parts
        .iter()
        .map(|&(start, end)| {
            let content_range = format!("{start}-{}/{length}\r\n\r\n", end - 1).into();
            Part { start, end, content_range }
        })
        .collect();
    let size = |part: &Part| boundary.len() as u64 + part.content_range.len() as u64 + part.end - part.start;
    let total = parts.iter().map(size).sum::<u64>() + end.len() as u64;
    out.content_type.set(format!("multipart/byteranges; boundary={number:020}"));
    out.charset.clear();
    out.clear_content_length();
    out.content_length.set(total as i64);
    out.list.borrow_mut().remove_known(HeaderId::ContentRange);
    Ranges { parts, boundary: boundary.into(), end, offset: Cell::new(0) }
}

/// Cuts the parts out of the body.
pub(crate) fn body_filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    if chain.is_empty() {
        return next.run(r, chain);
    }
    let Some(ranges) = r.ctx::<Ranges>() else { return next.run(r, chain) };
    match &ranges.parts[..] {
        [part] => {
            let cut = chain.into_iter().filter_map(|buf| cut_one(r, &ranges, part, buf)).collect();
            next.run(r, cut)
        }
        _ => match cut_several(r, &ranges, chain) {
            Ok(chain) => next.run(r, chain),
            Err(code) => code,
        },
    }
}

fn cut_one(r: &Request, ranges: &Ranges, part: &Part, mut buf: Buf) -> Option<Buf> {
    let start = ranges.offset.get();
    let last = start + buf.len();
    ranges.offset.set(last);
    if buf.is_empty() {
        return (part.end > start).then_some(buf);
    }
    if part.end <= start || part.start >= last {
        return None;
    }
    let from = part.start.saturating_sub(start);
    let to = part.end.min(last) - start;
    buf.data = slice(&buf.data, from, to);
    if part.end <= last {
        buf = buf.ending(r);
    }
    Some(buf)
}

/// Several parts are possible only while the whole body is one buffer.
fn cut_several(r: &Request, ranges: &Ranges, chain: Chain) -> Result<Chain, Code> {
    let Some(body) = chain.iter().find(|buf| !buf.is_empty()) else { return Ok(chain) };
    if ranges.offset.get() != 0 || ranges.parts.iter().any(|part| part.end > body.len()) {
        r.log(Level::Alert, format_args!("range in overlapped buffers"));
        return Err(Code::ERROR);
    }
    ranges.offset.set(body.len());
    let mut out = Chain::new();
    for part in &ranges.parts {
        out.push(Buf::bytes(ranges.boundary.clone()));
        out.push(Buf::bytes(part.content_range.clone()));
        out.push(Buf { data: slice(&body.data, part.start, part.end), ..Buf::default() });
    }
    out.push(Buf::bytes(ranges.end.clone()).ending(r));
    Ok(out)
}

fn slice(data: &Data, from: u64, to: u64) -> Data {
    match data {
        Data::None => Data::None,
        Data::Bytes(bytes) => Data::Bytes(bytes.slice(from as usize..to as usize)),
        Data::File { file, start, .. } => Data::File { file: Rc::clone(file), start: start + from, end: start + to },
    }
}
