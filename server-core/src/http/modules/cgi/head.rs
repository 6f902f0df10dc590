//! The head of a CGI response: fields without a status line, among them perhaps `Status`.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::conf::value::number;
use crate::http::header::HeaderId;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::upstream::body::Framing;
use crate::http::upstream::http_head::{self, InvalidField, Parsed};
use crate::http::upstream::{Failure, Head, Reader};
use crate::log::Level;

/// Reads a response of fields, or of a status line and fields, and a body up to the end of the connection.
pub(crate) struct CgiReader;

impl Reader for CgiReader {
    fn head(&mut self, r: &Rc<Request>, input: &mut BytesMut) -> Result<Option<Head>, Failure> {
        let Some((head, length)) = parse_cgi(r, input)? else { return Ok(None) };
        // It was parsed from these bytes.
        drop(input.split_to(length.min(input.len())));
        Ok(Some(head))
    }

    fn framing(&mut self, head: &Head, length: Option<u64>, _chunked: bool) -> Framing {
        match length {
            _ if matches!(head.status, 204 | 304) => Framing::Ended,
            Some(length) => Framing::Length(length),
            None => Framing::ToEnd,
        }
    }
}

/// A head at the front of `input`, and how long it is; `None` asks for more.
pub(crate) fn parse_cgi(r: &Request, input: &[u8]) -> Result<Option<(Head, usize)>, Failure> {
    /// What the fields would stand behind in HTTP.
    const LINE: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let has_line = input.starts_with(b"HTTP/");
    if !has_line && input.len() < 5 && b"HTTP/".starts_with(input) {
        return Ok(None);
    }
    let (text, added) =
        if has_line { (Bytes::copy_from_slice(input), 0) } else { (Bytes::from([LINE, input].concat()), LINE.len()) };
    let (head, length) = match http_head::parse(&text) {
        Ok(Parsed::More) => return Ok(None),
        Ok(Parsed::Head(head, length)) => (head, length - added),
        Ok(Parsed::NoHead) => {
            r.log(Level::Error, format_args!("upstream sent no valid head"));
            return Err(Failure::INVALID_HEADER);
        }
        Err(InvalidField(shown, byte)) => {
            let code = format!("\\x{byte:02x}...\"");
            r.log_bytes(Level::Error, &[b"upstream sent invalid header: \"", &shown, code.as_bytes()]);
            return Err(Failure::INVALID_HEADER);
        }
    };
    let mut status = head.status;
    let mut status_line = if has_line { head.status_line } else { Bytes::new() };
    if let Some(field) = head.fields.named(b"Status").next() {
        let digits = field.value.get(..3).and_then(number).and_then(|status| u16::try_from(status).ok());
        let Some(number) = digits.filter(|status| (100..1000).contains(status)) else {
            r.log_bytes(Level::Error, &[b"upstream sent invalid status \"", &field.value, b"\""]);
            return Err(Failure::INVALID_HEADER);
        };
        status = number;
        // Without a reason there is none to pass on.
        status_line = if field.value.len() > 3 { field.value.clone() } else { Bytes::new() };
    } else if !has_line && head.fields.contains(HeaderId::Location) {
        status = 302;
    }
    debug!(r, "http cgi status {status}");
    Ok(Some((Head { status, status_line, keeps: false, fields: head.fields.into(), ..Head::default() }, length)))
}
