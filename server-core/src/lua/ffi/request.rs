//! The request itself: method, status, flags, start time, and the request pointer of all other areas.

use std::cell::RefCell;
use std::ffi::{c_char, c_int};

use bytes::Bytes;

use super::{BAD_CONTEXT, DECLINED, NO_REQ_CTX, OK, bytes, export, store};
use crate::http::method::{Method, Version};
use crate::http::request::Request;
use crate::lua::current;
use crate::lua::session::{level, session_log};

/// The request behind Lua's pointer, if it has a client.
///
/// # Safety
/// A pointer that is not null is the one Lua got for the request that it is serving.
pub(super) unsafe fn client_request<'a>(r: *const Request) -> Option<&'a Request> {
    // SAFETY: the caller's promise: requests outlive the Lua code that serves them.
    unsafe { r.as_ref() }.filter(|r| !r.conn().is_fake())
}

/// The request whose variables scripts may see: a client's, or in `stream { }` that of a handshake.
///
/// # Safety
/// As that of [`client_request`].
pub(super) unsafe fn request_with_variables<'a>(r: *const Request) -> Option<&'a Request> {
    // SAFETY: the caller's promise.
    unsafe { r.as_ref() }.filter(|r| {
        let conn = r.conn();
        !conn.is_fake() || (conn.is_stream() && conn.handshake_of.get().is_some())
    })
}

thread_local! {
    static HELD: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

/// Keeps values that are handed out by address until the next call of this function. Lua copies them at once.
pub(super) fn hold(values: impl IntoIterator<Item = Bytes>) {
    HELD.with_borrow_mut(|held| {
        held.clear();
        held.extend(values);
    });
}

/// Writes an error line about the running request.
pub(super) fn log_error(message: std::fmt::Arguments<'_>) {
    if let Some(session) = current::session() {
        session_log!(session, level::ERR, "{message}");
    }
}

export! {
    /// The method's bit.
    ngx_http_lua_ffi_req_get_method(r: *const Request) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { client_request(r) }.map_or(BAD_CONTEXT, |r| r.method.get().0 as c_int)
    }

    /// The method as the client wrote it.
    ngx_http_lua_ffi_req_get_method_name(r: *const Request, name: *mut *const u8, len: *mut usize) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { client_request(r) }) else { return BAD_CONTEXT };
        let method = r.method_name.get();
        // SAFETY: the contract of the parent module; the text is kept.
        unsafe {
            store(name, method.as_ptr());
            store(len, method.len());
        }
        hold([method]);
        OK
    }

    /// Changes the method; only those with a bit are known.
    ngx_http_lua_ffi_req_set_method(r: *const Request, method: c_int) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { client_request(r) }) else { return BAD_CONTEXT };
        let method = Method(method as u32);
        match method.name() {
            Some(name) if method != Method::CONNECT => {
                r.method.set(method);
                r.method_name.set(Bytes::from_static(name));
                OK
            }
            _ => DECLINED,
        }
    }

    /// When the request began, in seconds since the epoch.
    ngx_http_lua_ffi_req_start_time, ngx_stream_lua_ffi_req_start_time(r: *const Request) -> f64 {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { r.as_ref() }) else { return 0.0 };
        r.started.get().epoch_msec() as f64 / 1000.0
    }

    /// Whether only the server itself may ask for this.
    ngx_http_lua_ffi_req_is_internal(r: *const Request) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { client_request(r) }.map_or(BAD_CONTEXT, |r| c_int::from(r.internal.get()))
    }

    /// Whether it is a subrequest.
    ngx_http_lua_ffi_is_subrequest(r: *const Request) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { client_request(r) }.map_or(BAD_CONTEXT, |r| c_int::from(!r.is_main()))
    }

    /// Whether the response's head was sent.
    ngx_http_lua_ffi_headers_sent(r: *const Request) -> c_int {
        if current::ctx().is_none() {
            return NO_REQ_CTX;
        }
        // SAFETY: the contract of the parent module.
        unsafe { client_request(r) }.map_or(BAD_CONTEXT, |r| c_int::from(r.header_sent.get()))
    }

    /// The response's status, zero when there is none yet.
    ngx_http_lua_ffi_get_resp_status, ngx_stream_lua_ffi_get_resp_status(r: *const Request) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { client_request(r) }) else { return BAD_CONTEXT };
        match (r.err_status.get(), r.headers_out.status.get()) {
            (0, 0) if r.http_version.get() == Version::HTTP_09 => 9,
            (0, status) | (status, _) => c_int::from(status),
        }
    }

    /// Sets the response's status.
    ngx_http_lua_ffi_set_resp_status(r: *const Request, status: c_int) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { client_request(r) }.map_or(BAD_CONTEXT, |r| set_status(r, status, &[]))
    }

    /// Sets the response's status and reason phrase.
    ngx_http_lua_ffi_set_resp_status_and_reason
    (r: *const Request, status: c_int, reason: *const c_char, len: usize) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { client_request(r).map_or(BAD_CONTEXT, |r| set_status(r, status, bytes(reason.cast(), len))) }
    }

    /// Makes the response independent of `If-…` headers.
    ngx_http_lua_ffi_bypass_if_checks(r: *const Request) -> c_int {
        // SAFETY: the contract of the parent module.
        if let Some(r) = unsafe { client_request(r) } {
            r.disable_not_modified.set(true);
        }
        OK
    }
}

fn set_status(r: &Request, status: c_int, reason: &[u8]) -> c_int {
    if r.header_sent.get() {
        log_error(format_args!("attempt to set ngx.status after sending out response headers"));
        return DECLINED;
    }
    let Some(number) = u16::try_from(status).ok().filter(|number| (100..=999).contains(number)) else {
        log_error(format_args!("invalid HTTP status code {status}"));
        return DECLINED;
    };
    r.headers_out.status.set(number);
    r.err_status.set(0);
    match number {
        101 => r.headers_out.status_line.set(Bytes::from_static(b"101 Switching Protocols")),
        _ if !reason.is_empty() => {
            r.headers_out.status_line.set([number.to_string().as_bytes(), b" ", reason].concat());
        }
        _ => r.headers_out.status_line.clear(),
    }
    OK
}
