//! Query arguments: `ngx.req.get_uri_args`.

use std::ffi::c_int;

use super::request::client_request;
use super::{BAD_CONTEXT, FfiStr, TableElt, copy_to, export, store};
use crate::codec;
use crate::http::request::Request;
use crate::lua::current;
use crate::lua::session::session_debug;

const DEFAULT_MAX: c_int = 100;

export! {
    /// An upper bound of the number of arguments, at most `max` (zero: no limit, negative: the default).
    ngx_http_lua_ffi_req_get_uri_args_count(r: *const Request, max: c_int, truncated: *mut c_int) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { client_request(r) }) else { return BAD_CONTEXT };
        let max = if max < 0 { DEFAULT_MAX } else { max };
        let args = r.args.borrow();
        let separators = memchr::memchr_iter(b'&', &args).count();
        let count = if args.is_empty() { 0 } else { separators as c_int + 1 };
        let over = max > 0 && count > max;
        // SAFETY: the contract of the parent module.
        unsafe { store(truncated, c_int::from(over && separators > 0)) };
        if over {
            if let Some(session) = current::session() {
                session_debug!(session, "lua hit query args limit {max}");
            }
            return max;
        }
        count
    }

    /// The length of the query string.
    ngx_http_lua_ffi_req_get_querystring_len(r: *const Request) -> usize {
        // SAFETY: the contract of the parent module.
        unsafe { r.as_ref() }.map_or(0, |r| r.args.len())
    }

    /// Unescapes the query string into `buf` and fills in at most `count` arguments; returns how many.
    ngx_http_lua_ffi_req_get_uri_args(r: *const Request, buf: *mut u8, out: *mut TableElt, count: c_int) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { r.as_ref() }) else { return 0 };
        let args = r.args.borrow();
        let mut end = buf;
        let mut unescape = |text: &[u8]| {
            let start = end;
            codec::unescape_component(text, |byte| {
                // SAFETY: unescaped texts are no longer than the query string, for which the buffer has room.
                unsafe { end = copy_to(end, &[byte]) };
            });
            FfiStr { len: (end as usize - start as usize) as c_int, data: start }
        };
        let mut filled = 0;
        for arg in args.split(|&byte| byte == b'&') {
            if filled >= count {
                break;
            }
            let mut parts = arg.splitn(2, |&byte| byte == b'=');
            let key = unescape(parts.next().unwrap_or_default());
            let value = parts.next().map_or(FfiStr { len: -1, data: std::ptr::null() }, &mut unescape);
            if key.len > 0 {
                // SAFETY: the caller has room for `count` elements.
                unsafe { out.add(filled as usize).write(TableElt { key, value }) };
                filled += 1;
            }
        }
        filled
    }
}
