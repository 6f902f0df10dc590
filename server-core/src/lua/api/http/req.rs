//! `ngx.req`: protocol version, raw head, URI.

use super::control::{escape_for_log, unsafe_byte};
use super::{expect_arguments, real_request, real_request_or};
use crate::http::Version;
use crate::lua::Phase;
use crate::lua::session::session_debug;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Reply, State, c_function};

/// Into `ngx.req`.
pub(super) fn inject(state: State) {
    sys::set_function(state, c"http_version", http_version);
    sys::set_function(state, c"raw_header", raw_header);
    sys::set_function(state, c"set_uri", set_uri);
}

c_function! {
    fn http_version(state) {
        let (r, _) = real_request_or("no request object found")?;
        let version = match r.http_version.get() {
            Version::HTTP_09 => Some(0.9),
            Version::HTTP_10 => Some(1.0),
            Version::HTTP_11 => Some(1.1),
            Version::HTTP_20 => Some(2.0),
            _ => None,
        };
        // SAFETY: a slot is free.
        unsafe {
            match version {
                Some(version) => lua_pushnumber(state, version),
                None => lua_pushnil(state),
            }
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn raw_header(state) {
        let without_request_line = sys::top(state) > 0 && sys::truth(state, 1);
        let (r, _) = real_request_or("no request object found")?;
        let r = r.main_ref();
        if r.http_version.get() >= Version::HTTP_20 {
            return Err("http2 requests not supported yet".into());
        }
        if without_request_line {
            sys::push(state, &r.raw_fields.borrow());
        } else {
            sys::push(state, &[&*r.raw_line.borrow(), &r.raw_fields.borrow()].concat());
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn set_uri(state) {
        let count = expect_arguments(state, 1, 3, "1, 2 or 3 arguments")?;
        let (r, ctx) = real_request()?;
        let target = sys::check_bytes(state, 1)?;
        if target.is_empty() {
            return Err("attempt to use zero-length uri".into());
        }
        let boolean = |index: i32| {
            if sys::kind(state, index) == LUA_TBOOLEAN {
                Ok(sys::truth(state, index))
            } else {
                Err(sys::type_error(state, index, "boolean"))
            }
        };
        let binary = count >= 3 && boolean(3)?;
        if !binary && let Some(byte) = unsafe_byte(target) {
            let shown = escape_for_log(target);
            let message = format!(
                "unsafe byte \"0x{byte:02x}\" in uri \"{shown}\" (maybe you want to set the 'binary' argument?)"
            );
            return Err(message.into());
        }
        let jump = count >= 2 && boolean(2)?;
        if jump {
            ctx.phase.get().require(Phase::REWRITE.or(Phase::SERVER_REWRITE))?;
            session_debug!(&*r, "lua set uri jump to \"{}\"", String::from_utf8_lossy(target));
            ctx.check_abortable()?;
            sys::check_yieldable(state)?;
        }
        r.uri.set(target.to_vec());
        r.internal.set(true);
        r.valid_unparsed_uri.set(false);
        r.set_extension();
        r.uri_changed.set(jump);
        if jump {
            ctx.jump.set(true);
            return Ok(Reply::Yield(0));
        }
        Ok(Reply::Return(0))
    }
}
