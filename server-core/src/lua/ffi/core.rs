//! Functions of nginx's own core that libraries bind to: numbers, sizes, hashes and comparisons. Those on escaping and
//! encodings are in [`super::strings`].

use std::net::Ipv4Addr;

use super::time::parse_http_time;
use super::{NgxStr, bytes, export};
use crate::codec::{self, Alphabet, Padding, Strangers};
use crate::conf::value;
use crate::http::modules::murmur::murmur_hash2;

export! {
    /// nginx's `ngx_hextoi`: a hexadecimal number, or -1.
    ngx_hextoi(line: *const u8, len: usize) -> isize {
        // SAFETY: the contract of the parent module.
        hexadecimal(unsafe { bytes(line, len) }).unwrap_or(-1)
    }

    /// nginx's `ngx_parse_size`: bytes with an optional `k` or `m`, or -1.
    ngx_parse_size(line: *const NgxStr) -> isize {
        // SAFETY: the contract of the parent module.
        value::size(unsafe { text(line) }).and_then(|size| isize::try_from(size).ok()).unwrap_or(-1)
    }

    /// nginx's `ngx_parse_offset`: bytes with an optional `k`, `m` or `g`, or -1.
    ngx_parse_offset(line: *const NgxStr) -> isize {
        // SAFETY: the contract of the parent module.
        value::offset(unsafe { text(line) }).and_then(|size| isize::try_from(size).ok()).unwrap_or(-1)
    }

    /// nginx's `ngx_parse_http_time`: an HTTP date in seconds of the epoch, or -1.
    ngx_parse_http_time(line: *const u8, len: usize) -> isize {
        // SAFETY: the contract of the parent module.
        parse_http_time(unsafe { bytes(line, len) }).map_or(-1, |time| time as isize)
    }

    /// nginx's `ngx_inet_addr`: an IPv4 address in network byte order, all ones when it is none.
    ngx_inet_addr(line: *const u8, len: usize) -> u32 {
        // SAFETY: the contract of the parent module.
        let line = unsafe { bytes(line, len) };
        let address = std::str::from_utf8(line).ok().and_then(|line| line.parse::<Ipv4Addr>().ok());
        address.map_or(u32::MAX, |address| u32::from_ne_bytes(address.octets()))
    }

    /// nginx's `ngx_murmur_hash2`.
    ngx_murmur_hash2(data: *const u8, len: usize) -> u32 {
        // SAFETY: the contract of the parent module.
        murmur_hash2(unsafe { bytes(data, len) })
    }

    /// nginx's `ngx_hash_key`.
    ngx_hash_key(data: *const u8, len: usize) -> usize {
        // SAFETY: the contract of the parent module.
        hash_key(unsafe { bytes(data, len) }.iter().copied())
    }

    /// nginx's `ngx_hash_key_lc`: of the text in lower case.
    ngx_hash_key_lc(data: *const u8, len: usize) -> usize {
        // SAFETY: the contract of the parent module.
        hash_key(unsafe { bytes(data, len) }.iter().map(u8::to_ascii_lowercase))
    }

    /// nginx's `ngx_strcasecmp`: below, at or above 0; letters of ASCII are equal in both cases.
    ngx_strcasecmp(one: *const u8, other: *const u8) -> isize {
        // SAFETY: both are C strings, as the original asks.
        unsafe { compare(one, other, usize::MAX) }
    }

    /// nginx's `ngx_strncasecmp`: the same for at most `len` bytes.
    ngx_strncasecmp(one: *const u8, other: *const u8, len: usize) -> isize {
        // SAFETY: both are C strings or have `len` bytes, as the original asks.
        unsafe { compare(one, other, len) }
    }

    /// nginx's `ngx_encode_base64`; `dst->len` becomes the length.
    ngx_encode_base64(dst: *mut NgxStr, src: *const NgxStr) {
        // SAFETY: the contract of the parent module; the caller sized the buffer for the whole output.
        unsafe {
            let start = (*dst).data;
            let mut end = start;
            codec::base64_encode(text(src), Alphabet::Standard, Padding::Equals, |byte| {
                end.write(byte);
                end = end.add(1);
            });
            (*dst).len = end as usize - start as usize;
        }
    }

    /// nginx's `ngx_decode_base64`: -1 when the text is bad.
    ngx_decode_base64(dst: *mut NgxStr, src: *const NgxStr) -> isize {
        // SAFETY: as above.
        unsafe {
            let start = (*dst).data;
            let mut end = start;
            let is_good = codec::base64_decode(text(src), Alphabet::Standard, Strangers::Refused, |byte| {
                end.write(byte);
                end = end.add(1);
            });
            if !is_good {
                return -1;
            }
            (*dst).len = end as usize - start as usize;
        }
        0
    }
}

/// The bytes of a string.
///
/// # Safety
/// `line` is a valid string whose bytes outlive `'a`.
unsafe fn text<'a>(line: *const NgxStr) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { bytes((*line).data, (*line).len) }
}

fn hexadecimal(line: &[u8]) -> Option<isize> {
    if line.is_empty() {
        return None;
    }
    line.iter().try_fold(0_isize, |value, &byte| {
        let digit = isize::from(codec::hex_value(byte)?);
        value.checked_mul(16)?.checked_add(digit)
    })
}

fn hash_key(text: impl Iterator<Item = u8>) -> usize {
    text.fold(0, |key: usize, byte| key.wrapping_mul(31).wrapping_add(usize::from(byte)))
}

/// # Safety
/// Both are readable up to the first difference, their first null byte or `len`.
unsafe fn compare(one: *const u8, other: *const u8, len: usize) -> isize {
    for at in 0..len {
        // SAFETY: the caller's promise; what is read so far was equal and not the end.
        let (a, b) = unsafe { (one.add(at).read().to_ascii_lowercase(), other.add(at).read().to_ascii_lowercase()) };
        if a != b || a == 0 {
            return isize::from(a) - isize::from(b);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_numbers_do_not_overflow() {
        assert_eq!(hexadecimal(b"c0FFee"), Some(0xc0_ffee));
        assert_eq!(hexadecimal(b"7fffffffffffffff"), Some(isize::MAX));
        for bad in [&b"8000000000000000"[..], b"", b"0x1", b"g"] {
            assert_eq!(hexadecimal(bad), None);
        }
    }

    #[test]
    fn comparisons_stop_at_the_end_or_the_limit() {
        // SAFETY: C strings.
        let compare = |one: &std::ffi::CStr, other: &std::ffi::CStr, len| unsafe {
            compare(one.as_ptr().cast(), other.as_ptr().cast(), len)
        };
        assert_eq!(compare(c"Pear", c"pEAR", usize::MAX), 0);
        assert!(compare(c"pea", c"PEAR", usize::MAX) < 0);
        assert_eq!(compare(c"pear", c"PEACH", 3), 0);
    }
}
