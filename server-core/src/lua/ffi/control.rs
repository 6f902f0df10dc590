//! The course of a request: `ngx.exit`, `ngx.get_phase`, `ngx.ctx`.

use std::ffi::{c_char, c_int};
use std::rc::Rc;

use super::request::log_error;
use super::{DONE, ERROR, ErrorOut, NO_REQ_CTX, OK, export, store, write_error};
use crate::http::request::Request;
use crate::lua::phase::Phase;
use crate::lua::session::session_debug;
use crate::lua::sys::StackGuard;
use crate::lua::sys::raw::{LUA_NOREF, LUA_REGISTRYINDEX, LUA_TTABLE, lua_getfield_, lua_type, luaL_unref};
use crate::lua::vm::Vm;
use crate::lua::{Ctx, current};

const AGAIN: c_int = -2;
const STATUS_OK: c_int = 200;
const SPECIAL_RESPONSE: c_int = 300;
const REQUEST_TIME_OUT: c_int = 408;
const CLOSE: c_int = 444;
const CLIENT_CLOSED_REQUEST: c_int = 499;

/// The phases in which the request can be ended.
const EXIT: Phase = Phase::YIELDABLE.or(Phase::HEADER_FILTER).or(Phase::BALANCER).or(Phase::SSL_SESSION_STORE);
/// Those in which `ngx.exit` returns to its caller.
const EXIT_RETURNS: Phase = Phase::HEADER_FILTER.or(Phase::BALANCER).or(Phase::SSL_SESSION_STORE);

/// The phases of a TLS handshake, which share one `ngx.ctx`.
const HANDSHAKE: Phase =
    Phase::SSL_CLIENT_HELLO.or(Phase::SSL_CERT).or(Phase::SSL_SESSION_FETCH).or(Phase::SSL_SESSION_STORE);

export! {
    /// Ends the phase or the request: 0 when the caller has to yield, -4 when it returns.
    ngx_http_lua_ffi_exit, ngx_stream_lua_ffi_exit(r: *const Request, status: c_int, err: *mut u8, err_len: *mut usize) -> c_int {
        // SAFETY: the contract of the parent module.
        match exit(unsafe { r.as_ref() }, status) {
            Ok(code) => code,
            Err(text) => {
                // SAFETY: the contract of the parent module.
                unsafe { write_error(err, err_len, text.as_bytes()) };
                ERROR
            }
        }
    }

    /// The bit of the running phase.
    ngx_http_lua_ffi_get_phase(_r: *const Request, err: *mut *mut c_char) -> c_int {
        match current::ctx() {
            Some(ctx) => ctx.phase.get().0 as c_int,
            None => {
                // SAFETY: the contract of the parent module.
                unsafe { err.report(c"no request context") };
                ERROR
            }
        }
    }

    /// The reference of `ngx.ctx`, negative when there is none yet.
    ngx_http_lua_ffi_get_ctx_ref, ngx_stream_lua_ffi_get_ctx_ref(r: *const Request, in_ssl_phase: *mut c_int, ssl_ctx_ref: *mut c_int) -> c_int {
        let Some(ctx) = current::ctx() else { return NO_REQ_CTX };
        if ctx.ctx_ref.get() < 0 {
            // SAFETY: the contract of the parent module.
            unsafe {
                let side = r.as_ref().and_then(|r| r.conn().tls_connection().tls()).map(|(_, side)| side);
                store(in_ssl_phase, c_int::from(ctx.phase.get().is_in(HANDSHAKE)));
                store(ssl_ctx_ref, side.map_or(LUA_NOREF, |side| side.ctx_ref.get()));
            }
        }
        ctx.ctx_ref.get()
    }

    /// Keeps the reference of `ngx.ctx`, which is given back when the request ends.
    ngx_http_lua_ffi_set_ctx_ref, ngx_stream_lua_ffi_set_ctx_ref(r: *const Request, reference: c_int) -> c_int {
        let Some(ctx) = current::ctx() else { return ERROR };
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { r.as_ref() }) else { return ERROR };
        keep_ctx(r, ctx, reference);
        OK
    }
}

/// Keeps the reference of a request's `ngx.ctx` until the request ends.
pub(crate) fn keep_ctx(r: &Request, ctx: &Ctx, reference: c_int) {
    ctx.ctx_ref.set(reference);
    let vm = Rc::clone(&ctx.vm);
    if ctx.phase.get().is_in(HANDSHAKE)
        && let Some((_, side)) = r.conn().tls_connection().tls()
    {
        // It stays with the connection, whose requests see it.
        side.ctx_ref.set(reference);
        side.at_end.replace(Some(Box::new(move || release_ctx(&vm, reference))));
        return;
    }
    r.at_end(move || release_ctx(&vm, reference));
}

/// Where Lua keeps the tables of `ngx.ctx`, in the registry.
const CTX_TABLES: &std::ffi::CStr = c"ngx_lua_ctx_tables";

fn release_ctx(vm: &Vm, reference: c_int) {
    super::worker::debug(format_args!("lua release ngx.ctx at ref {reference}"));
    let state = vm.state();
    // SAFETY: raw accesses to a plain table on the main state; the guard restores the stack.
    unsafe {
        let _guard = StackGuard::new(state);
        lua_getfield_(state, LUA_REGISTRYINDEX, CTX_TABLES.as_ptr());
        if lua_type(state, -1) == LUA_TTABLE {
            luaL_unref(state, -1, reference);
        }
    }
}

fn exit(r: Option<&Request>, status: c_int) -> Result<c_int, String> {
    if status == AGAIN || status == DONE {
        return Err("bad argument to 'ngx.exit': does not accept NGX_AGAIN or NGX_DONE".to_owned());
    }
    let (Some(ctx), Some(session), Some(r)) = (current::ctx(), current::session(), r) else {
        return Err("no request ctx found".to_owned());
    };
    let phase = ctx.phase.get();
    if !phase.is_in(EXIT) {
        return Err(format!("API disabled in the context of {}", phase.name()));
    }
    let always = [ERROR, CLOSE, REQUEST_TIME_OUT, CLIENT_CLOSED_REQUEST];
    if ctx.pending_subrequests.get() > 0 && !always.contains(&status) {
        return Err("attempt to abort with pending subrequests".to_owned());
    }
    // A session has no status that could have been sent.
    let sent = !r.conn().is_stream() && (r.header_sent.get() || ctx.output.header_sent.get());
    let mut status = status;
    if sent && status >= SPECIAL_RESPONSE && !always.contains(&status) {
        let before = r.headers_out.status.get();
        if status != c_int::from(before) {
            log_error(format_args!(
                "attempt to set status {status} via ngx.exit after sending out the response status {before}"
            ));
        }
        status = STATUS_OK;
    }
    ctx.exit_code.set(status);
    ctx.exited.set(true);
    session_debug!(session, "lua exit with code {status}");
    Ok(if phase.is_in(EXIT_RETURNS) { DONE } else { OK })
}
