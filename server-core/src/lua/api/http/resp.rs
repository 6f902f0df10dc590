//! `ngx.resp.get_headers`.

use super::args::add_multi;
use super::real_request_or;
use crate::lua::session::session_debug;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Reply, State, c_function};

/// Headers that are read when the caller says nothing.
const MAX_HEADERS: i64 = 100;

/// Into `ngx.resp`.
pub(super) fn inject(state: State) {
    sys::set_function(state, c"get_headers", get_headers);
}

c_function! {
    fn get_headers(state) {
        let count = sys::top(state);
        let max = if count >= 1 && sys::kind(state, 1) != LUA_TNIL { sys::check_integer(state, 1)? } else { MAX_HEADERS };
        let raw = count >= 2 && sys::truth(state, 2);
        let (r, _) = real_request_or("no request object found")?;
        // SAFETY: a fresh table and raw accesses.
        unsafe {
            lua_createtable(state, 0, 8);
            if !raw {
                lua_createtable(state, 0, 1);
                sys::set_function(state, c"__index", index);
                lua_setmetatable(state, -2);
            }
        }
        let table = sys::top(state);
        let mut extra = 0;
        let mut derived = |name: &[u8], value: &[u8]| {
            extra += 1;
            sys::push(state, name);
            sys::push(state, value);
            add_multi(state, table);
        };
        let out = &r.headers_out;
        if !out.content_type.is_empty() {
            let mut value = out.content_type.get().to_vec();
            let charset = out.charset.get();
            if !charset.is_empty() {
                value.extend_from_slice(b"; charset=");
                value.extend_from_slice(&charset);
            }
            derived(b"content-type", &value);
        }
        if out.content_length.get() >= 0 {
            derived(b"content-length", out.content_length.get().to_string().as_bytes());
        }
        let connection: &[u8] = match (out.status.get(), r.keepalive.get()) {
            (101, _) => b"upgrade",
            (_, true) => b"keep-alive",
            _ => b"close",
        };
        derived(b"connection", connection);
        if r.chunked.get() {
            derived(b"transfer-encoding", b"chunked");
        }
        let headers: Vec<_> =
            out.list.borrow().iter().map(|header| (header.name.clone(), header.value.clone())).collect();
        let mut room = headers.len() as i64;
        let truncated = max > 0 && room + extra > max;
        if truncated {
            session_debug!(&*r, "lua exceeding response header limit {} > {max}", room + extra);
            room = max - extra;
        }
        for (name, value) in headers.iter().take(usize::try_from(room).unwrap_or(0)) {
            if raw {
                sys::push(state, name);
            } else {
                sys::push(state, &name.to_ascii_lowercase());
            }
            sys::push(state, value);
            add_multi(state, table);
        }
        if truncated {
            sys::push(state, b"truncated");
            return Ok(Reply::Return(2));
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// Finds a header by a name in any case, with underscores for hyphens.
    fn index(state) {
        let name = sys::check_bytes(state, 2)?;
        let name: Vec<u8> = name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }).collect();
        sys::push(state, &name);
        // SAFETY: the table is the first argument of a metamethod.
        unsafe {
            if lua_type(state, 1) == LUA_TTABLE {
                lua_rawget_(state, 1);
            }
        }
        Ok(Reply::Return(1))
    }
}
