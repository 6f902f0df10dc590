//! Response headers: `ngx.header`.

use std::ffi::{c_char, c_int};

use bytes::Bytes;
use smallvec::SmallVec;

use super::headers::{Mode, decimal, each_value, shared};
use super::request::{client_request, hold, log_error};
use super::time::{http_time, parse_http_time};
use super::{BAD_CONTEXT, DECLINED, ERROR, ErrorOut, FfiStr, NO_REQ_CTX, OK, bytes, export};
use crate::codec::{self, Escape};
use crate::http::header::HeaderId;
use crate::http::request::Request;
use crate::lua::ctx::Ctx;
use crate::lua::current;

export! {
    /// Sets, appends or (nil, or without value) removes a header.
    ngx_http_lua_ffi_set_resp_header(
        r: *const Request, key: *const u8, key_len: usize, is_nil: c_int, value: *const u8, value_len: usize,
        values: *const FfiStr, values_len: usize, replace: c_int, err: *mut *mut c_char,
    ) -> c_int {
        let Some(ctx) = current::ctx() else { return NO_REQ_CTX };
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { client_request(r) }) else { return BAD_CONTEXT };
        if r.header_sent.get() || ctx.output.header_sent.get() {
            log_error(format_args!("attempt to set ngx.header.HEADER after sending out response headers"));
            return DECLINED;
        }
        ctx.output.headers_set.set(true);
        // SAFETY: the contract of the parent module.
        let done = unsafe {
            let name = spelled(r, bytes(key, key_len));
            let name = codec::escaped(&name, Escape::HeaderName);
            let (value_len, values) = if is_nil == 0 { (value_len, values) } else { (0, std::ptr::null()) };
            each_value(value, value_len, values, values_len, replace != 0, |value, mode| {
                set(r, ctx, &name, shared(codec::escaped(value, Escape::HeaderValue)), mode)
            })
        };
        if done.is_some() {
            return OK;
        }
        // SAFETY: the contract of the parent module.
        unsafe { err.report(c"failed to set header") };
        ERROR
    }

    /// Fills in the values of a header and returns how many there are.
    ngx_http_lua_ffi_get_resp_header(
        r: *const Request, key: *const u8, key_len: usize, _key_buf: *mut u8, values: *mut FfiStr,
        max: c_int, err: *mut *mut c_char,
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { client_request(r) }) else { return BAD_CONTEXT };
        if current::ctx().is_none() {
            // SAFETY: the contract of the parent module.
            unsafe { err.report(c"no ctx found") };
            return ERROR;
        }
        // SAFETY: the contract of the parent module.
        let found = get(r, &spelled(r, unsafe { bytes(key, key_len) }), max.max(0) as usize);
        for (index, value) in found.iter().enumerate() {
            // SAFETY: the caller has room for `max` values.
            unsafe { values.add(index).write(FfiStr::of(value)) };
        }
        let count = found.len() as c_int;
        hold(found);
        count
    }
}

/// The name with hyphens in place of underscores, unless the location wants it otherwise.
fn spelled<'a>(r: &Request, name: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
    if name.contains(&b'_') && transforms_underscores(r) {
        return name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
    }
    name.into()
}

/// `lua_transform_underscores_in_response_headers`.
fn transforms_underscores(r: &Request) -> bool {
    r.loc().lua.transform_underscores != Some(false)
}

fn set(r: &Request, ctx: &Ctx, name: &[u8], value: Bytes, mode: Mode) -> Option<()> {
    let out = &r.headers_out;
    let id = HeaderId::of(name);
    match id {
        HeaderId::ContentType => {
            ctx.output.mime_set.set(true);
            out.list.borrow_mut().remove(name);
            out.content_type.set(value);
            out.charset.clear();
            return Some(());
        }
        HeaderId::ContentLength => {
            out.list.borrow_mut().remove(name);
            out.content_length.set(if value.is_empty() { -1 } else { decimal(&value)? });
            return Some(());
        }
        HeaderId::LastModified => {
            let time = parse_http_time(&value).unwrap_or(-1);
            out.last_modified.set(time);
            if time >= 0 {
                out.list.borrow_mut().remove(name);
                return Some(());
            }
        }
        HeaderId::Location => out.redirects_locally.set(false),
        _ => {}
    }
    let mut list = out.list.borrow_mut();
    if value.is_empty() {
        if mode == Mode::Replace || is_single(id) {
            list.remove(name);
        }
    } else if mode == Mode::Replace || is_single(id) {
        list.set(Bytes::copy_from_slice(name), value);
    } else {
        list.add(Bytes::copy_from_slice(name), value);
    }
    Some(())
}

/// The response headers that nginx keeps one value of: of several, the last one counts.
const fn is_single(id: HeaderId) -> bool {
    matches!(
        id,
        HeaderId::Server
            | HeaderId::Date
            | HeaderId::ContentEncoding
            | HeaderId::Location
            | HeaderId::Refresh
            | HeaderId::LastModified
            | HeaderId::ContentRange
            | HeaderId::AcceptRanges
            | HeaderId::Expires
            | HeaderId::Etag
    )
}

fn get(r: &Request, name: &[u8], max: usize) -> SmallVec<[Bytes; 1]> {
    let out = &r.headers_out;
    match HeaderId::of(name) {
        HeaderId::ContentLength if out.content_length.get() >= 0 => {
            return [Bytes::from(out.content_length.get().to_string())].into();
        }
        HeaderId::ContentType if !out.content_type.is_empty() => return [out.content_type.get()].into(),
        HeaderId::LastModified if out.last_modified.get() >= 0 => {
            return [Bytes::copy_from_slice(&http_time(out.last_modified.get()))].into();
        }
        _ => {}
    }
    out.list.borrow().named(name).take(max).map(|field| field.value.clone()).collect()
}
