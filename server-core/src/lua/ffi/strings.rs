//! Escaping and encodings: `ngx.escape_uri`, `ngx.encode_base64` and their relatives, and the string functions of
//! nginx's core that libraries bind to.

use std::ffi::{c_char, c_int};

use super::{NgxStr, bytes, copy_to, export, store};
use crate::codec::{self, Alphabet, Dollars, Escape, Padding, Rules, Strangers};

/// Returns a closure that writes byte after byte through `dst`, which has to outlive it and be large enough.
macro_rules! writer {
    ($dst:ident) => {
        |byte| {
            // SAFETY: the caller sized the buffer for the whole output.
            unsafe {
                $dst.write(byte);
                $dst = $dst.add(1);
            }
        }
    };
}

export! {
    /// The length of the escaped form.
    ngx_http_lua_ffi_uri_escaped_length, ngx_stream_lua_ffi_uri_escaped_length
    (src: *const u8, len: usize, kind: c_int) -> usize {
        // SAFETY: the contract of this module.
        let src = unsafe { bytes(src, len) };
        len + 2 * codec::escape_count(src, Escape::from_number(kind), Rules::Lua)
    }

    /// Writes the escaped form.
    ngx_http_lua_ffi_escape_uri, ngx_stream_lua_ffi_escape_uri
    (src: *const u8, len: usize, dst: *mut u8, kind: c_int) {
        // SAFETY: the contract of this module.
        let src = unsafe { bytes(src, len) };
        let mut dst = dst;
        codec::escape(src, Escape::from_number(kind), Rules::Lua, writer!(dst));
    }

    /// Writes the unescaped form, which is never longer, and returns its length.
    ngx_http_lua_ffi_unescape_uri, ngx_stream_lua_ffi_unescape_uri
    (src: *const u8, len: usize, dst: *mut u8) -> usize {
        // SAFETY: the contract of this module.
        let src = unsafe { bytes(src, len) };
        let mut end = dst;
        codec::unescape_component(src, writer!(end));
        end as usize - dst as usize
    }

    /// Writes base64 and returns its length.
    ngx_http_lua_ffi_encode_base64, ngx_stream_lua_ffi_encode_base64
    (src: *const u8, len: usize, dst: *mut u8, no_padding: c_int) -> usize {
        // SAFETY: the contract of this module.
        let src = unsafe { bytes(src, len) };
        let padding = if no_padding == 0 { Padding::Equals } else { Padding::Omitted };
        let mut end = dst;
        codec::base64_encode(src, Alphabet::Standard, padding, writer!(end));
        end as usize - dst as usize
    }

    /// Decodes base64: 1 and the length, or 0 when the text is bad.
    ngx_http_lua_ffi_decode_base64, ngx_stream_lua_ffi_decode_base64
    (src: *const u8, len: usize, dst: *mut u8, dst_len: *mut usize) -> c_int {
        // SAFETY: the contract is that of the called function.
        unsafe { decode(src, len, dst, dst_len, Strangers::Refused) }
    }
}

export! {
    /// Decodes base64 and passes over foreign bytes.
    ngx_http_lua_ffi_decode_base64mime
    (src: *const u8, len: usize, dst: *mut u8, dst_len: *mut usize) -> c_int {
        // SAFETY: the contract is that of the called function.
        unsafe { decode(src, len, dst, dst_len, Strangers::Skipped) }
    }

    /// Replaces a byte by another one, in place.
    ngx_http_lua_ffi_str_replace_char(buf: *mut u8, len: usize, find: u8, replace: u8) {
        if buf.is_null() {
            return;
        }
        // SAFETY: the caller owns `len` writable bytes.
        let text = unsafe { std::slice::from_raw_parts_mut(buf, len) };
        text.iter_mut().filter(|byte| **byte == find).for_each(|byte| *byte = replace);
    }

    /// nginx's `ngx_encode_base64url`: no padding; `dst->len` becomes the length.
    ngx_encode_base64url(dst: *mut NgxStr, src: *const NgxStr) {
        // SAFETY: the contract of this module.
        let (start, text) = unsafe { ((*dst).data, bytes((*src).data, (*src).len)) };
        let mut end = start;
        codec::base64_encode(text, Alphabet::Url, Padding::Omitted, writer!(end));
        // SAFETY: as above.
        unsafe { (*dst).len = end as usize - start as usize };
    }

    /// nginx's `ngx_decode_base64url`.
    ngx_decode_base64url(dst: *mut NgxStr, src: *const NgxStr) -> isize {
        // SAFETY: the contract of this module.
        let (start, text) = unsafe { ((*dst).data, bytes((*src).data, (*src).len)) };
        let mut end = start;
        if !codec::base64_decode(text, Alphabet::Url, Strangers::Refused, writer!(end)) {
            return -1;
        }
        // SAFETY: as above.
        unsafe { (*dst).len = end as usize - start as usize };
        0
    }

    /// nginx's `ngx_hex_dump`: writes lower-case digits and returns the address behind them.
    ngx_hex_dump(dst: *mut u8, src: *const u8, len: usize) -> *mut u8 {
        // SAFETY: the contract of this module.
        let src = unsafe { bytes(src, len) };
        let mut dst = dst;
        codec::hex(src, writer!(dst));
        dst
    }

    /// nginx's `ngx_atoi`: a decimal number, or -1.
    ngx_atoi(line: *const u8, len: usize) -> isize {
        // SAFETY: the contract of this module.
        let line = unsafe { bytes(line, len) };
        decimal(line).unwrap_or(-1)
    }

    /// nginx's `ngx_escape_uri`: without a destination the count of bytes to escape, else the address behind the
    /// escaped text.
    ngx_escape_uri(dst: *mut u8, src: *const u8, len: usize, kind: usize) -> usize {
        // SAFETY: the contract of this module.
        let src = unsafe { bytes(src, len) };
        let kind = Escape::from_number(kind as i32);
        if dst.is_null() {
            return codec::escape_count(src, kind, Rules::Nginx);
        }
        let mut dst = dst;
        codec::escape(src, kind, Rules::Nginx, writer!(dst));
        dst as usize
    }

    /// A MySQL string literal, in memory from `malloc` that the caller frees; null when there is none left.
    rsty_quote_sql_str(src: *const u8, len: usize, quoted_len: *mut usize) -> *mut c_char {
        // SAFETY: the contract of this module.
        unsafe { to_malloc(&codec::quote_sql(bytes(src, len), Dollars::Kept), quoted_len) }
    }
}

/// # Safety
/// As the module's contract says.
unsafe fn decode(src: *const u8, len: usize, dst: *mut u8, dst_len: *mut usize, strangers: Strangers) -> c_int {
    // SAFETY: the caller's promise.
    let src = unsafe { bytes(src, len) };
    let mut end = dst;
    let ok = codec::base64_decode(src, Alphabet::Standard, strangers, writer!(end));
    // SAFETY: the caller's promise.
    unsafe { store(dst_len, end as usize - dst as usize) };
    c_int::from(ok)
}

/// Copies bytes to memory from `malloc`.
///
/// # Safety
/// `len` is null or writable.
pub(crate) unsafe fn to_malloc(text: &[u8], len: *mut usize) -> *mut c_char {
    // SAFETY: the new block has room for the text; the caller's promise for `len`.
    unsafe {
        let block = libc::malloc(text.len().max(1)).cast::<u8>();
        if !block.is_null() {
            copy_to(block, text);
            store(len, text.len());
        }
        block.cast()
    }
}

fn decimal(line: &[u8]) -> Option<isize> {
    if line.is_empty() {
        return None;
    }
    line.iter().try_fold(0_isize, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| isize::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_numbers_do_not_overflow() {
        assert_eq!(decimal(b"120"), Some(120));
        assert_eq!(decimal(b"9223372036854775807"), Some(isize::MAX));
        assert_eq!(decimal(b"9223372036854775808"), None);
        assert_eq!(decimal(b""), None);
        assert_eq!(decimal(b"-1"), None);
    }
}
