//! Request headers: `ngx.req.get_headers`, `ngx.req.set_header`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{c_char, c_int};

use bytes::Bytes;

use super::request::{client_request, hold};
use super::{BAD_CONTEXT, DECLINED, ERROR, ErrorOut, FfiStr, OK, TableElt, bytes, export, store};
use crate::codec::{self, Escape};
use crate::http::header::HeaderId;
use crate::http::headers_in::ConnectionType;
use crate::http::method::Version;
use crate::http::request::Request;
use crate::http::variables::Source;
use crate::lua::current;
use crate::lua::session::session_debug;

const DEFAULT_MAX: usize = 100;

thread_local! {
    /// Names in lower case, until the next call.
    static NAMES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

export! {
    /// The number of headers, at most `max` (zero: no limit, negative: the default).
    ngx_http_lua_ffi_req_get_headers_count(r: *const Request, max: c_int, truncated: *mut c_int) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { client_request(r) }) else { return BAD_CONTEXT };
        let max = usize::try_from(max).unwrap_or(DEFAULT_MAX);
        let count = r.headers_in.list.borrow().len();
        let over = max > 0 && count > max;
        // SAFETY: the contract of the parent module.
        unsafe { store(truncated, c_int::from(over)) };
        if !over {
            return count as c_int;
        }
        if let Some(session) = current::session() {
            session_debug!(session, "lua exceeding request header limit {count} > {max}");
        }
        max as c_int
    }

    /// Fills in headers, names in lower case unless `raw` is set.
    ngx_http_lua_ffi_req_get_headers(r: *const Request, out: *mut TableElt, count: c_int, raw: c_int) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { r.as_ref() }) else { return ERROR };
        let list = r.headers_in.list.borrow();
        let fields = || list.iter().take(count.max(0) as usize);
        NAMES.with_borrow_mut(|names| {
            names.clear();
            if raw == 0 {
                fields().for_each(|field| names.extend(field.name.iter().map(u8::to_ascii_lowercase)));
            }
            let mut lower = &names[..];
            for (index, field) in fields().enumerate() {
                let key = if raw == 0 {
                    let (name, rest) = lower.split_at_checked(field.name.len()).unwrap_or_default();
                    lower = rest;
                    FfiStr::of(name)
                } else {
                    FfiStr::of(&field.name)
                };
                // SAFETY: the caller has room for `count` elements.
                unsafe { out.add(index).write(TableElt { key, value: FfiStr::of(&field.value) }) };
            }
        });
        hold(fields().flat_map(|field| [field.name.clone(), field.value.clone()]));
        OK
    }

    /// Sets, appends or (without value) removes a header.
    ngx_http_lua_ffi_req_set_header(
        r: *const Request, key: *const u8, key_len: usize, value: *const u8, value_len: usize,
        values: *const FfiStr, values_len: usize, replace: c_int, err: *mut *mut c_char,
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(r) = (unsafe { client_request(r) }) else { return BAD_CONTEXT };
        if r.http_version.get() < Version::HTTP_10 {
            return DECLINED;
        }
        // SAFETY: the contract of the parent module.
        let (name, done) = unsafe {
            let name = codec::escaped(bytes(key, key_len), Escape::HeaderName);
            let done = each_value(value, value_len, values, values_len, replace != 0, |value, mode| {
                set(r, &name, shared(codec::escaped(value, Escape::HeaderValue)), mode)
            });
            (name, done)
        };
        drop(name);
        if done.is_some() {
            return OK;
        }
        // SAFETY: the contract of the parent module.
        unsafe { err.report(c"failed to set header") };
        ERROR
    }
}

/// Whether a value takes the place of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Replace,
    Append,
}

/// Calls `set` with each value that Lua passed: of several, only the first one replaces. No value at all is an empty
/// one, which removes.
///
/// # Safety
/// As the parent module's contract says for (pointer, length) pairs.
pub(super) unsafe fn each_value(
    value: *const u8,
    value_len: usize,
    values: *const FfiStr,
    values_len: usize,
    replace: bool,
    mut set: impl FnMut(&[u8], Mode) -> Option<()>,
) -> Option<()> {
    let mode = |first: bool| if replace && first { Mode::Replace } else { Mode::Append };
    if values.is_null() || values_len == 0 {
        // SAFETY: the caller's promise.
        let value = if values.is_null() { unsafe { bytes(value, value_len) } } else { &[] };
        return set(value, mode(true));
    }
    for index in 0..values_len {
        // SAFETY: the caller's promise.
        let value = unsafe {
            let value = &*values.add(index);
            bytes(value.data, value.len.max(0) as usize)
        };
        set(value, mode(index == 0))?;
    }
    Some(())
}

/// Text to be kept.
pub(super) fn shared(text: Cow<'_, [u8]>) -> Bytes {
    match text {
        Cow::Borrowed(text) => Bytes::copy_from_slice(text),
        Cow::Owned(text) => text.into(),
    }
}

/// Sets a header and what the server derived from it.
fn set(r: &Request, name: &[u8], value: Bytes, mode: Mode) -> Option<()> {
    if r.headers_out.status.get() == 400 {
        // The head was bad; nobody will look at it.
        return Some(());
    }
    let id = HeaderId::of(name);
    match id {
        HeaderId::Host => set_host(r, &value)?,
        HeaderId::Connection => set_connection(r, &value),
        HeaderId::ContentLength => set_content_length(r, &value)?,
        HeaderId::UserAgent => set_user_agent(r, &value),
        HeaderId::Authorization => r.headers_in.basic.replace(None).map_or((), drop),
        _ => {}
    }
    let single = !matches!(id, HeaderId::Other | HeaderId::Cookie | HeaderId::XForwardedFor) && is_parsed(id);
    let mut list = r.headers_in.list.borrow_mut();
    if value.is_empty() {
        if mode == Mode::Replace {
            list.remove(name);
        } else if !single {
            list.add(name.to_vec(), value);
        }
    } else if mode == Mode::Replace || single {
        list.set(name.to_vec(), value);
    } else {
        list.add(name.to_vec(), value);
    }
    Some(())
}

/// The request headers that nginx keeps one value of.
const fn is_parsed(id: HeaderId) -> bool {
    matches!(
        id,
        HeaderId::Host
            | HeaderId::Connection
            | HeaderId::IfModifiedSince
            | HeaderId::IfUnmodifiedSince
            | HeaderId::IfMatch
            | HeaderId::IfNoneMatch
            | HeaderId::UserAgent
            | HeaderId::Referer
            | HeaderId::ContentLength
            | HeaderId::ContentType
            | HeaderId::Range
            | HeaderId::IfRange
            | HeaderId::TransferEncoding
            | HeaderId::Expect
            | HeaderId::Upgrade
            | HeaderId::AcceptEncoding
            | HeaderId::Via
            | HeaderId::Authorization
            | HeaderId::KeepAlive
            | HeaderId::XRealIp
            | HeaderId::Depth
            | HeaderId::Destination
            | HeaderId::Overwrite
            | HeaderId::Date
    )
}

/// A body that nobody asked for yet is read with the new length.
fn set_content_length(r: &Request, value: &[u8]) -> Option<()> {
    r.headers_in.content_length.set(if value.is_empty() { -1 } else { decimal(value)? });
    if r.is_main() && r.body.borrow().is_none() {
        r.frame_body();
    }
    Some(())
}

fn set_host(r: &Request, value: &[u8]) -> Option<()> {
    let host = if value.is_empty() { Vec::new() } else { host_name(value)? };
    r.headers_in.server.set(host);
    // The cached variable follows.
    if let Some(variable) = r.main_conf().core.variables.named(b"host")
        && let (Some(index), Source::Getter(get, data)) = (variable.index, variable.source)
    {
        r.set_variable(index, get(r, data));
    }
    Some(())
}

/// The host of a `Host` header in lower case, without port and without a dot at its end.
fn host_name(value: &[u8]) -> Option<Vec<u8>> {
    let bad = value.iter().any(|byte| matches!(byte, 0 | b'/')) || value.windows(2).any(|pair| pair == b"..");
    if bad {
        return None;
    }
    let end = match value {
        [b'[', ..] => memchr::memchr(b']', value).map(|end| end + 1),
        _ => memchr::memchr(b':', value),
    };
    let host = value.get(..end.unwrap_or(value.len()))?;
    let host = host.strip_suffix(b".").unwrap_or(host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

fn set_connection(r: &Request, value: &[u8]) {
    let lower = value.to_ascii_lowercase();
    let has = |word: &[u8]| memchr::memmem::find(&lower, word).is_some();
    let kind = if has(b"close") {
        r.headers_in.keep_alive.set(-1);
        ConnectionType::Close
    } else if has(b"keep-alive") {
        ConnectionType::KeepAlive
    } else {
        ConnectionType::Unset
    };
    r.headers_in.connection_type.set(kind);
}

fn set_user_agent(r: &Request, value: &[u8]) {
    let has = |word: &[u8]| memchr::memmem::find(value, word).is_some();
    let opera = has(b"Opera");
    let version = memchr::memmem::find(value, b"MSIE ").and_then(|at| value.get(at + 5..at + 8));
    let msie = !opera && version.is_some();
    let old =
        matches!(version, Some([b'4' | b'5', b'.', _])) || (matches!(version, Some([b'6', b'.', _])) && !has(b"SV1"));
    let plain = !msie && !opera && !has(b"Gecko/");
    let headers = &r.headers_in;
    headers.opera.set(opera);
    headers.msie.set(msie);
    headers.msie6.set(msie && old);
    headers.chrome.set(plain && has(b"Chrome/"));
    headers.safari.set(plain && !has(b"Chrome/") && has(b"Safari/") && has(b"Mac OS X"));
}

/// A length; none when it is no decimal number.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_port_and_final_dot() {
        assert_eq!(host_name(b"Example.COM:80").as_deref(), Some(&b"example.com"[..]));
        assert_eq!(host_name(b"a.b.").as_deref(), Some(&b"a.b"[..]));
        assert_eq!(host_name(b"[::1]:80").as_deref(), Some(&b"[::1]"[..]));
        assert_eq!(host_name(b"a..b"), None);
        assert_eq!(host_name(b"a/b"), None);
        assert_eq!(host_name(b":80"), None);
    }
}
