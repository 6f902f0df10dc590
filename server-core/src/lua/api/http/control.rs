//! `ngx.exec`, `ngx.redirect`, `ngx.on_abort`. (`ngx.exit` is a Lua function over the exported C ABI.)

use super::args::push_query;
use super::uri::{self, Refusals};
use super::{request, request_or};
use crate::http::modules::lua::response;
use crate::lua::Phase;
use crate::lua::api::coroutine::new_coroutine;
use crate::lua::ctx::Exec;
use crate::lua::session::session_debug;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Error, Reply, State, c_function};
use crate::lua::thread::{Kind, Status};

pub(super) fn inject(state: State) {
    sys::set_function(state, c"redirect", redirect);
    sys::set_function(state, c"exec", exec);
    inject_stream(state);
}

/// What a connection without URIs has.
pub(super) fn inject_stream(state: State) {
    sys::set_function(state, c"get_phase", get_phase);
    sys::set_function(state, c"on_abort", on_abort);
}

c_function! {
    /// The running phase's short name, for the subsystem whose Lua layer does not define it.
    pub(super) fn get_phase(state) {
        let name = crate::lua::current::ctx().map_or(Some("init"), |ctx| ctx.phase.get().short_name());
        let Some(name) = name else { return Err("unknown phase".into()) };
        sys::push(state, name.as_bytes());
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// Goes on with another location, internally.
    fn exec(state) {
        let count = sys::top(state);
        if count != 1 && count != 2 {
            return Err(format!("expecting one or two arguments, but got {count}").into());
        }
        let (r, ctx) = request_or("no request object found")?;
        let target = sys::check_bytes(state, 1)?;
        if target.is_empty() {
            return Err("The uri argument is empty".into());
        }
        ctx.phase.get().require(Phase::OUTPUT)?;
        ctx.check_abortable()?;
        let (path, mut args) = uri::parse(&r, target, Refusals::Logged).ok_or("unsafe uri")?;
        let more = if count == 2 { query_argument(state, 2, true)? } else { Vec::new() };
        if !more.is_empty() {
            if !args.is_empty() {
                args.push(b'&');
            }
            args.extend_from_slice(&more);
        }
        if response::is_header_sent(&r, ctx) {
            return Err("attempt to call ngx.exec after sending out response headers".into());
        }
        sys::check_yieldable(state)?;
        session_debug!(
            &*r,
            "lua exec \"{}?{}\"",
            String::from_utf8_lossy(&path),
            String::from_utf8_lossy(&args)
        );
        ctx.exec.replace(Some(Exec { uri: path, args }));
        Ok(Reply::Yield(0))
    }
}

/// A query string given as string, number or table.
pub(super) fn query_argument(state: State, index: i32, nil_is_empty: bool) -> Result<Vec<u8>, Error> {
    match sys::kind(state, index) {
        LUA_TNUMBER | LUA_TSTRING => Ok(sys::bytes(state, index).unwrap_or_default().to_vec()),
        LUA_TTABLE => {
            let mut query = Vec::new();
            push_query(state, index, &mut query)?;
            Ok(query)
        }
        LUA_TNIL if nil_is_empty => Ok(Vec::new()),
        _ => {
            let kind = sys::type_name(state, index);
            let message = format!("string, number, or table expected, but got {kind}");
            Err(Error::Argument(index, message.into()))
        }
    }
}

c_function! {
    /// Answers with a redirect.
    fn redirect(state) {
        let count = sys::top(state);
        if count != 1 && count != 2 {
            return Err("expecting one or two arguments".into());
        }
        let target = sys::check_bytes(state, 1)?;
        let status = if count == 2 { sys::check_number(state, 2)? as i32 } else { 302 };
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Err("only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, \
                        ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and ngx.HTTP_TEMPORARY_REDIRECT are allowed"
                .into());
        }
        let (r, ctx) = request_or("no request object found")?;
        ctx.phase.get().require(Phase::OUTPUT)?;
        ctx.check_abortable()?;
        if response::is_header_sent(&r, ctx) {
            return Err("attempt to call ngx.redirect after sending out the headers".into());
        }
        if let Some(byte) = unsafe_byte(target) {
            let shown = escape_for_log(target);
            return Err(format!("unsafe byte \"0x{byte:02x}\" in redirect uri \"{shown}\"").into());
        }
        sys::check_yieldable(state)?;
        r.headers_out.set("Location", target.to_vec());
        r.headers_out.redirects_locally.set(false);
        r.headers_out.status.set(status as u16);
        ctx.exit_code.set(status);
        ctx.exited.set(true);
        session_debug!(&*r, "lua redirect to \"{}\" with code {status}", String::from_utf8_lossy(target));
        Ok(Reply::Yield(0))
    }
}

c_function! {
    /// Registers the function that is called when the client goes away.
    fn on_abort(state) {
        let (r, ctx) = request()?;
        if r.conn().is_fake() {
            return Err(format!("API disabled in the context of {}", ctx.phase.get().name()).into());
        }
        if ctx.on_abort.borrow().is_some() {
            return sys::fail(state, "duplicate call");
        }
        if r.loc().lua.check_client_abort != Some(true) {
            return sys::fail(state, "lua_check_client_abort is off");
        }
        let thread = new_coroutine(state, ctx, Kind::Light)?;
        thread.status.set(Status::Suspended);
        thread.parent.replace(ctx.current_thread());
        ctx.on_abort.replace(Some(thread));
        sys::succeed(state)
    }
}

/// The first control byte (tab excepted) in a URI, if any.
pub(super) fn unsafe_byte(uri: &[u8]) -> Option<u8> {
    uri.iter().copied().find(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
}

/// Text for a message: quotes, backslashes and bytes outside of ASCII as `\xXX`.
pub(super) fn escape_for_log(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\' {
            text.push_str(&format!("\\x{byte:02X}"));
        } else {
            text.push(char::from(byte));
        }
    }
    text
}
