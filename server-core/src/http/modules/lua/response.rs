//! From `ngx.say` to the output filters: the head when it is due, the buffer of HTTP/1.0 responses, the end.

use std::rc::Rc;

use bytes::Bytes;

use crate::http::output::{self, Buf};
use crate::http::{Code, Method, Request, Version};
use crate::lua::Ctx;
use crate::lua::session::session_debug;

/// What is to be sent.
pub(crate) enum Piece {
    /// A part of the body.
    Data(Bytes),
    /// A flush mark.
    Flush,
    /// The end of the response.
    Last,
}

/// Sends a piece, and before it the head if that is still to be sent.
pub(crate) fn send(r: &Rc<Request>, ctx: &Ctx, piece: Piece) -> Code {
    let out = &ctx.output;
    if out.raw_socket.get() || out.eof.get() {
        return Code::OK;
    }
    if r.method.get() == Method::HEAD && !r.header_only.get() {
        r.header_only.set(true);
    }
    if r.loc().lua.http10_buffering != Some(false)
        && !out.buffering.get()
        && !is_header_sent(r, ctx)
        && r.http_version.get() < Version::HTTP_11
        && r.headers_out.content_length.get() < 0
    {
        out.buffering.set(true);
    }
    let code = send_header_if_needed(r, ctx);
    if code == Code::ERROR || code.0 > 0 {
        return code;
    }
    if r.header_only.get() {
        out.eof.set(true);
        if out.buffering.get() {
            return send_http10_header(r, ctx);
        }
        return code;
    }
    match piece {
        Piece::Last => send_last(r, ctx),
        Piece::Data(data) if out.buffering.get() => {
            session_debug!(&**r, "lua buffering output bufs for the HTTP 1.0 request");
            out.buffered.borrow_mut().extend_from_slice(&data);
            Code::OK
        }
        Piece::Data(data) => output::write(r, output::chain(Buf::bytes(data))),
        Piece::Flush if out.buffering.get() => Code::OK,
        Piece::Flush => output::write(r, output::chain(Buf::flush())),
    }
}

/// Whether the head was sent, by whomever.
pub(crate) fn is_header_sent(r: &Request, ctx: &Ctx) -> bool {
    r.header_sent.get() || ctx.output.header_sent.get()
}

/// Sends the head, unless that is done or the response is buffered.
pub(crate) fn send_header_if_needed(r: &Rc<Request>, ctx: &Ctx) -> Code {
    if is_header_sent(r, ctx) {
        return Code::OK;
    }
    if r.headers_out.status.get() == 0 {
        r.headers_out.status.set(200);
    }
    if !ctx.output.mime_set.get() {
        set_content_type(r, ctx);
    }
    if !ctx.output.headers_set.get() {
        r.headers_out.clear_content_length();
        r.headers_out.clear_accept_ranges();
    }
    if ctx.output.buffering.get() {
        return Code::OK;
    }
    let code = output::send_header(r);
    ctx.output.header_sent.set(true);
    code
}

fn set_content_type(r: &Rc<Request>, ctx: &Ctx) {
    ctx.output.mime_set.set(true);
    if r.loc().lua.use_default_type != Some(false) && r.headers_out.status.get() != 304 {
        r.set_content_type();
    }
}

fn send_last(r: &Rc<Request>, ctx: &Ctx) -> Code {
    let out = &ctx.output;
    if out.buffering.get() {
        let code = send_http10_header(r, ctx);
        if code == Code::ERROR || code.is_special_response() {
            return code;
        }
        let body = out.buffered.take();
        if !body.is_empty() {
            let code = output::write(r, output::chain(Buf::bytes(body)));
            if code == Code::ERROR || code.is_special_response() {
                return code;
            }
        }
    }
    out.eof.set(true);
    session_debug!(&**r, "lua sending last buf of the response body");
    match output::write_last(r) {
        code if code == Code::ERROR || code.is_special_response() => code,
        _ => Code::OK,
    }
}

fn send_http10_header(r: &Rc<Request>, ctx: &Ctx) -> Code {
    if is_header_sent(r, ctx) {
        return Code::OK;
    }
    session_debug!(&**r, "lua sending HTTP 1.0 response headers");
    if !r.header_only.get() && r.headers_out.content_length.get() < 0 {
        r.headers_out.content_length.set(ctx.output.buffered.borrow().len() as i64);
    }
    let code = output::send_header(r);
    ctx.output.header_sent.set(true);
    code
}
