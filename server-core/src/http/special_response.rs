//! Answers that the server gives by itself: error pages and redirects.

use std::rc::Rc;

use bytes::Bytes;

use super::code::Code;
use super::header::HeaderId;
use super::method::{Method, Version};
use super::modules::core::{ErrorPage, ServerTokens};
use super::output::{self, Buf};
use super::request::Request;
use super::request_log::debug;
use super::{body, redirect};
use crate::dev;

/// `ngx_http_special_response_handler`: an `error_page` if there is one, else the standard page.
pub(crate) fn handle(r: &Rc<Request>, error: Code) -> Code {
    debug!(
        r,
        "http special response: {}, \"{}?{}\"",
        error.0,
        r.uri.borrow().escape_ascii(),
        r.args.borrow().escape_ascii()
    );
    let status = u16::try_from(error.0).unwrap_or(500);
    r.err_status.set(status);
    if matches!(status, 400 | 413 | 414 | 495..=497 | 500 | 501) {
        r.keepalive.set(false);
    }
    if matches!(status, 400 | 495..=497) {
        r.lingering_close.set(false);
    }
    r.headers_out.content_type.clear();
    let loc = r.loc();
    if !r.error_page.get() && !loc.core.error_pages.is_empty() && r.uri_changes.get() != 0 {
        if !*loc.core.recursive_error_pages {
            r.error_page.set(true);
        }
        if let Some(page) = loc.core.error_pages.iter().find(|page| page.status == status) {
            return send_error_page(r, page);
        }
    }
    r.expect_tested.set(true);
    body::discard(r);
    if *loc.core.msie_refresh && r.headers_in.msie.get() && matches!(status, 301 | 302) {
        return send_refresh(r);
    }
    if (494..=497).contains(&status) {
        r.err_status.set(400);
    }
    send_page(r, status)
}

/// A filter answers in place of the handler; what modules keep stays.
pub(crate) fn instead(r: &Rc<Request>, code: Code) -> Code {
    r.headers_out.reset();
    r.filter_finalize.set(true);
    match handle(r, code) {
        // What was pending in the handlers behind us must not follow.
        Code::OK | Code::DONE => Code::ERROR,
        code => code,
    }
}

fn send_error_page(r: &Rc<Request>, page: &ErrorPage) -> Code {
    if page.overwrite.is_some_and(|status| status != 0 && status != 200) {
        r.expect_tested.set(true);
    }
    if let Some(status) = page.overwrite {
        r.err_status.set(status);
    }
    let target = page.value.eval(r);
    match target.first() {
        Some(b'/') => {
            let (uri, args) = match memchr::memchr(b'?', &target) {
                Some(at) if page.value.constant().is_none() => (target.slice(..at), target.slice(at + 1..)),
                _ => (target, page.args.clone()),
            };
            if r.method.get() != Method::HEAD {
                r.method.set(Method::GET);
                r.method_name.set(Bytes::from_static(b"GET"));
            }
            redirect::internal(r, uri, Some(args))
        }
        Some(b'@') => redirect::named(r, &target),
        _ => {
            r.expect_tested.set(true);
            body::discard(r);
            let overwrite = page.overwrite.unwrap_or(0);
            let status = if matches!(overwrite, 301 | 302 | 303 | 307 | 308) { overwrite } else { 302 };
            r.err_status.set(status);
            r.headers_out.redirect_to(target);
            if *r.loc().core.msie_refresh && r.headers_in.msie.get() {
                return send_refresh(r);
            }
            send_page(r, status)
        }
    }
}

/// The standard page of a status.
fn send_page(r: &Rc<Request>, status: u16) -> Code {
    let out = &r.headers_out;
    let loc = r.loc();
    let mut page = Vec::new();
    let shown = if status == 500 && r.is_main() && dev::is_on() { dev::error_page(r) } else { None };
    if let Some(shown) = shown {
        page = shown;
        out.content_type.set(Bytes::from_static(b"text/html; charset=utf-8"));
        out.add("Cache-Control", Bytes::from_static(b"no-store"));
    } else if let Some((title, note)) = page_text(status) {
        for piece in ["<html>\r\n<head><title>", title, "</title></head>\r\n<body>\r\n<center><h1>"] {
            page.extend_from_slice(piece.as_bytes());
        }
        let heading = if note.is_empty() { title } else { "400 Bad Request" };
        page.extend_from_slice(heading.as_bytes());
        page.extend_from_slice(b"</h1></center>\r\n");
        if !note.is_empty() {
            for piece in ["<center>", note, "</center>\r\n"] {
                page.extend_from_slice(piece.as_bytes());
            }
        }
        page.extend_from_slice(b"<hr><center>");
        page.extend_from_slice(product(r).as_bytes());
        page.extend_from_slice(b"</center>\r\n</body>\r\n</html>\r\n");
        let head = &r.headers_in;
        if *loc.core.msie_padding
            && (head.msie.get() || head.chrome.get())
            && r.http_version.get() >= Version::HTTP_10
            && status >= 400
        {
            for _ in 0..6 {
                page.extend_from_slice(b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n");
            }
        }
        out.content_type.set(Bytes::from_static(b"text/html"));
    }
    out.list.borrow_mut().remove_known(HeaderId::ContentLength);
    out.content_length.set(page.len() as i64);
    out.clear_accept_ranges();
    out.clear_last_modified();
    out.clear_etag();
    let code = output::send_header(r);
    if code == Code::ERROR || r.header_only.get() {
        return code;
    }
    if page.is_empty() {
        return output::write_last(r);
    }
    output::write(r, output::chain(Buf::bytes(page).ending(r)))
}

/// A page that sends old browsers elsewhere.
fn send_refresh(r: &Rc<Request>) -> Code {
    let location = r.headers_out.value(HeaderId::Location).unwrap_or_default();
    let mut page = b"<html><head><meta http-equiv=\"Refresh\" content=\"0; URL=".to_vec();
    // What could end the attribute, or begin something else, is escaped.
    for &byte in &location {
        match byte {
            0..=b' ' | b'"' | b'\'' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f.. => {
                page.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
            byte => page.push(byte),
        }
    }
    page.extend_from_slice(b"\"></head><body></body></html>\r\n");
    let out = &r.headers_out;
    r.err_status.set(200);
    out.content_type.set(Bytes::from_static(b"text/html"));
    out.clear_location();
    out.list.borrow_mut().remove_known(HeaderId::ContentLength);
    out.content_length.set(page.len() as i64);
    out.clear_accept_ranges();
    out.clear_last_modified();
    out.clear_etag();
    let code = output::send_header(r);
    if code == Code::ERROR || r.header_only.get() {
        return code;
    }
    output::write(r, output::chain(Buf::bytes(page).ending(r)))
}

/// `ngx_http_send_response`: a short answer, or a redirect to the address that `text` is.
pub(crate) fn send(r: &Rc<Request>, status: i32, content_type: Option<Bytes>, text: Bytes) -> Code {
    let code = body::discard(r);
    if code != Code::OK {
        return code;
    }
    let out = &r.headers_out;
    out.status.set(u16::try_from(status).unwrap_or(500));
    if matches!(status, 301 | 302 | 303 | 307 | 308) {
        out.redirect_to(text);
        return Code(status);
    }
    out.content_length.set(text.len() as i64);
    match content_type {
        Some(content_type) => out.content_type.set(content_type),
        None => r.set_content_type(),
    }
    let code = output::send_header(r);
    if code == Code::ERROR || code.0 > 0 || r.header_only.get() {
        return code;
    }
    let sync = text.is_empty() && !r.is_main();
    let body = if text.is_empty() { Buf::default() } else { Buf::bytes(text) };
    output::write(r, output::chain(Buf { sync, ..body.ending(r) }))
}

/// A header filter refuses: answers with an error page in place of the response
/// (`ngx_http_filter_finalize_request`).
pub(crate) fn filter_finalize(r: &Rc<Request>, error: Code) -> Code {
    r.clear_ctx();
    instead(r, error)
}

/// The product that signs pages and fills the `Server` header.
pub(crate) fn product(r: &Request) -> &'static str {
    let identity = r.conn().cycle().identity();
    match *r.loc().core.server_tokens {
        ServerTokens::Off => identity.product(),
        ServerTokens::On | ServerTokens::Build => identity.product_and_version(),
    }
}

/// Title of the standard page, and a note below it.
fn page_text(status: u16) -> Option<(&'static str, &'static str)> {
    Some(match status {
        301 => ("301 Moved Permanently", ""),
        302 => ("302 Found", ""),
        303 => ("303 See Other", ""),
        307 => ("307 Temporary Redirect", ""),
        308 => ("308 Permanent Redirect", ""),
        400 => ("400 Bad Request", ""),
        401 => ("401 Authorization Required", ""),
        402 => ("402 Payment Required", ""),
        403 => ("403 Forbidden", ""),
        404 | 498 => ("404 Not Found", ""),
        405 => ("405 Not Allowed", ""),
        406 => ("406 Not Acceptable", ""),
        407 => ("407 Proxy Authentication Required", ""),
        408 => ("408 Request Time-out", ""),
        409 => ("409 Conflict", ""),
        410 => ("410 Gone", ""),
        411 => ("411 Length Required", ""),
        412 => ("412 Precondition Failed", ""),
        413 => ("413 Request Entity Too Large", ""),
        414 => ("414 Request-URI Too Large", ""),
        415 => ("415 Unsupported Media Type", ""),
        416 => ("416 Requested Range Not Satisfiable", ""),
        421 => ("421 Misdirected Request", ""),
        429 => ("429 Too Many Requests", ""),
        494 => ("400 Request Header Or Cookie Too Large", "Request Header Or Cookie Too Large"),
        495 => ("400 The SSL certificate error", "The SSL certificate error"),
        496 => ("400 No required SSL certificate was sent", "No required SSL certificate was sent"),
        497 => ("400 The plain HTTP request was sent to HTTPS port", "The plain HTTP request was sent to HTTPS port"),
        500 => ("500 Internal Server Error", ""),
        501 => ("501 Not Implemented", ""),
        502 => ("502 Bad Gateway", ""),
        503 => ("503 Service Temporarily Unavailable", ""),
        504 => ("504 Gateway Time-out", ""),
        505 => ("505 HTTP Version Not Supported", ""),
        507 => ("507 Insufficient Storage", ""),
        _ => return None,
    })
}
