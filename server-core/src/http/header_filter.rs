//! The last header filter: encodes the response's head.

use std::rc::Rc;

use bytes::Bytes;

use super::code::Code;
use super::date;
use super::header::HeaderId;
use super::method::{Method, Version};
use super::modules::core::ServerTokens;
use super::output::HeaderNext;
use super::request::Request;
use super::request_log::debug;
use super::{h2, special_response, write_filter};

/// The header filter.
pub(crate) fn filter(r: &Rc<Request>, _next: HeaderNext) -> Code {
    if r.header_sent.replace(true) {
        return Code::OK;
    }
    if !r.is_main() {
        // Whoever captures an answer to HEAD gets no body either.
        if r.subrequest_in_memory.get() && r.method.get() == Method::HEAD {
            r.header_only.set(true);
        }
        return Code::OK;
    }
    if r.http_version.get() < Version::HTTP_10 {
        return Code::OK;
    }
    let out = &r.headers_out;
    if r.method.get() == Method::HEAD {
        r.header_only.set(true);
    }
    if !matches!(out.status.get(), 200 | 206 | 304) {
        // Only the one that is derived: a header in the list was set by somebody who wants it.
        out.last_modified.set(-1);
    }
    if out.status_line.is_empty() {
        match out.status.get() {
            204 => {
                r.header_only.set(true);
                out.content_type.clear();
                out.clear_last_modified();
                out.clear_content_length();
            }
            304 => r.header_only.set(true),
            _ => {}
        }
    }
    if r.keepalive.get() && crate::process::is_exiting() {
        // The worker closes the connection behind this response; the client may as well know.
        r.keepalive.set(false);
    }
    let location = complete_location(r);
    if let Some(stream) = r.conn().http2() {
        let completed = if location == Place::Early { r.headers_out.value(HeaderId::Location) } else { None };
        return h2::response::send_head(r, stream, completed.as_deref());
    }
    let size = r.conn().append_with(|head| encode(r, location, head));
    r.header_size.set(size as u64);
    write_filter::send_when_worth(r, false, r.header_only.get())
}

fn encode(r: &Rc<Request>, location: Place, head: &mut Vec<u8>) {
    let out = &r.headers_out;
    let core = &r.loc().core;
    let begin = head.len();
    let list = out.list.borrow();
    let mut number = itoa::Buffer::new();
    head.extend_from_slice(b"HTTP/1.1 ");
    if !out.status_line.is_empty() {
        head.extend_from_slice(&out.status_line.borrow());
    } else if let Some(line) = status_line(out.status.get()) {
        head.extend_from_slice(line.as_bytes());
    } else {
        let status = out.status.get();
        if status < 100 {
            head.extend_from_slice(if status < 10 { b"00" } else { b"0" });
        }
        head.extend_from_slice(number.format(status).as_bytes());
        head.push(b' ');
    }
    head.extend_from_slice(b"\r\n");
    if !list.contains(HeaderId::Server) && !out.hide_server.get() {
        head.extend_from_slice(b"Server: ");
        head.extend_from_slice(special_response::product(r).as_bytes());
        if *core.server_tokens == ServerTokens::Build {
            head.extend_from_slice(b" (rsty)");
        }
        head.extend_from_slice(b"\r\n");
    }
    if !list.contains(HeaderId::Date) && !out.hide_date.get() {
        head.extend_from_slice(b"Date: ");
        head.extend_from_slice(&date::now());
        head.extend_from_slice(b"\r\n");
    }
    if !out.content_type.is_empty() {
        head.extend_from_slice(b"Content-Type: ");
        head.extend_from_slice(&out.content_type.borrow());
        // A media type that came with parameters is complete.
        if !out.charset.is_empty() && !out.content_type.borrow().contains(&b';') {
            head.extend_from_slice(b"; charset=");
            head.extend_from_slice(&out.charset.borrow());
        }
        head.extend_from_slice(b"\r\n");
    }
    if out.content_length.get() >= 0 && !list.contains(HeaderId::ContentLength) {
        head.extend_from_slice(b"Content-Length: ");
        head.extend_from_slice(number.format(out.content_length.get()).as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if out.last_modified.get() != -1 && !list.contains(HeaderId::LastModified) {
        head.extend_from_slice(b"Last-Modified: ");
        head.extend_from_slice(&date::http_time(out.last_modified.get()));
        head.extend_from_slice(b"\r\n");
    }
    let location = if location == Place::Early { list.first(HeaderId::Location) } else { None };
    if let Some(location) = location {
        head.extend_from_slice(b"Location: ");
        head.extend_from_slice(&location.value);
        head.extend_from_slice(b"\r\n");
    }
    if r.chunked.get() {
        head.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if out.status.get() == 101 {
        head.extend_from_slice(b"Connection: upgrade\r\n");
    } else if r.keepalive.get() {
        head.extend_from_slice(b"Connection: keep-alive\r\n");
        if *core.keepalive_header > 0 {
            head.extend_from_slice(b"Keep-Alive: timeout=");
            head.extend_from_slice(number.format(*core.keepalive_header).as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    } else {
        head.extend_from_slice(b"Connection: close\r\n");
    }
    for field in list.iter() {
        if field.id == HeaderId::Location && location.is_some() {
            continue;
        }
        head.extend_from_slice(&field.name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(&field.value);
        head.extend_from_slice(b"\r\n");
    }
    debug!(r, "{}", String::from_utf8_lossy(&head[begin..]));
    head.extend_from_slice(b"\r\n");
}

/// Where a `Location` stands in the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before `Connection`: it was completed here.
    Early,
    /// Where it stands in the list.
    InList,
}

/// Completes a `Location` of ours that is only a path.
fn complete_location(r: &Request) -> Place {
    let out = &r.headers_out;
    let core = &r.loc().core;
    if !*core.absolute_redirect || !out.redirects_locally.get() {
        return Place::InList;
    }
    let Some(location) = out.value(HeaderId::Location).filter(|location| location.first() == Some(&b'/')) else {
        return Place::InList;
    };
    let (scheme, usual_port) = if r.conn().is_tls() { ("https://", 443) } else { ("http://", 80) };
    let mut absolute = scheme.as_bytes().to_vec();
    if *core.server_name_in_redirect {
        absolute.extend_from_slice(&r.srv().core.server_name);
    } else if !r.headers_in.server.is_empty() {
        absolute.extend_from_slice(&r.headers_in.server.borrow());
    } else {
        absolute.extend_from_slice(&r.conn().local().host_text());
    }
    let port = r.conn().local().port();
    if *core.port_in_redirect && port != usual_port && port != 0 {
        absolute.push(b':');
        absolute.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
    absolute.extend_from_slice(&location);
    if let Some(field) = out.list.borrow_mut().iter_mut().find(|field| field.id == HeaderId::Location) {
        field.value = absolute.into();
        field.name = Bytes::from_static(b"Location");
    }
    Place::Early
}

/// Status and reason; `None` for statuses that are sent as bare numbers.
pub(crate) fn status_line(status: u16) -> Option<&'static str> {
    Some(match status {
        200 => "200 OK",
        201 => "201 Created",
        202 => "202 Accepted",
        204 => "204 No Content",
        206 => "206 Partial Content",
        301 => "301 Moved Permanently",
        302 => "302 Moved Temporarily",
        303 => "303 See Other",
        304 => "304 Not Modified",
        307 => "307 Temporary Redirect",
        308 => "308 Permanent Redirect",
        400 => "400 Bad Request",
        401 => "401 Unauthorized",
        402 => "402 Payment Required",
        403 => "403 Forbidden",
        404 => "404 Not Found",
        405 => "405 Not Allowed",
        406 => "406 Not Acceptable",
        407 => "407 Proxy Authentication Required",
        408 => "408 Request Time-out",
        409 => "409 Conflict",
        410 => "410 Gone",
        411 => "411 Length Required",
        412 => "412 Precondition Failed",
        413 => "413 Request Entity Too Large",
        414 => "414 Request-URI Too Large",
        415 => "415 Unsupported Media Type",
        416 => "416 Requested Range Not Satisfiable",
        421 => "421 Misdirected Request",
        429 => "429 Too Many Requests",
        500 => "500 Internal Server Error",
        501 => "501 Not Implemented",
        502 => "502 Bad Gateway",
        503 => "503 Service Temporarily Unavailable",
        504 => "504 Gateway Time-out",
        505 => "505 HTTP Version Not Supported",
        507 => "507 Insufficient Storage",
        _ => return None,
    })
}
