//! Digests and checksums: `ngx.md5`, `ngx.sha1_bin`, `ngx.crc32_short`, `ngx.hmac_sha1`.

use std::ffi::{c_int, c_uint};

use md5::{Digest, Md5};
use sha1::Sha1;

use super::{bytes, copy_to, export};
use crate::codec;

export! {
    /// Writes the 16 bytes of the digest.
    ngx_http_lua_ffi_md5_bin, ngx_stream_lua_ffi_md5_bin(src: *const u8, len: usize, dst: *mut u8) {
        // SAFETY: the contract of the parent module.
        unsafe { copy_to(dst, &Md5::digest(bytes(src, len))) };
    }

    /// Writes the digest as 32 digits.
    ngx_http_lua_ffi_md5, ngx_stream_lua_ffi_md5(src: *const u8, len: usize, dst: *mut u8) {
        // SAFETY: the contract of the parent module.
        let digest = Md5::digest(unsafe { bytes(src, len) });
        let mut dst = dst;
        codec::hex(&digest, |digit| {
            // SAFETY: the caller has room for two digits a byte.
            unsafe {
                dst.write(digit);
                dst = dst.add(1);
            }
        });
    }

    /// Writes the 20 bytes of the digest; always 1.
    ngx_http_lua_ffi_sha1_bin, ngx_stream_lua_ffi_sha1_bin(src: *const u8, len: usize, dst: *mut u8) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { copy_to(dst, &Sha1::digest(bytes(src, len))) };
        1
    }

    /// The checksum of zlib.
    ngx_http_lua_ffi_crc32_short, ngx_stream_lua_ffi_crc32_short(src: *const u8, len: usize) -> c_uint {
        // SAFETY: the contract of the parent module.
        crc32(unsafe { bytes(src, len) })
    }

    /// The same checksum; nginx computes it with a larger table.
    ngx_http_lua_ffi_crc32_long, ngx_stream_lua_ffi_crc32_long(src: *const u8, len: usize) -> c_uint {
        // SAFETY: the contract of the parent module.
        crc32(unsafe { bytes(src, len) })
    }
}

export! {
    /// Writes the 20 bytes of HMAC-SHA1.
    rsty_hmac_sha1(key: *const u8, key_len: usize, text: *const u8, text_len: usize, dst: *mut u8) {
        // SAFETY: the contract of the parent module.
        unsafe { copy_to(dst, &hmac_sha1(bytes(key, key_len), bytes(text, text_len))) };
    }
}

/// The CRC-32 of zlib, as nginx's `ngx_crc32_short`.
#[inline]
pub fn crc32(text: &[u8]) -> u32 {
    if text.len() < 64 {
        return text.iter().fold(!0_u32, |crc, &byte| CRC[usize::from(crc as u8 ^ byte)] ^ crc >> 8) ^ !0;
    }
    crc32fast::hash(text)
}

/// RFC 2104 with SHA-1.
pub fn hmac_sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    const BLOCK: usize = 64;
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..20].copy_from_slice(&Sha1::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha1::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha1::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

/// Short keys are quicker with a table than with the set-up of the vector code.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ crc >> 1 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_agrees_with_zlib_at_every_length() {
        let text: Vec<u8> = (0..=200).collect();
        for len in 0..text.len() {
            assert_eq!(crc32(&text[..len]), crc32fast::hash(&text[..len]));
        }
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn hmac_matches_rfc_2202() {
        let hex = |mac: [u8; 20]| {
            let mut text = Vec::new();
            codec::hex(&mac, |digit| text.push(digit));
            String::from_utf8_lossy(&text).into_owned()
        };
        assert_eq!(
            hex(hmac_sha1(b"Jefe", b"what do ya want for nothing?")),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hex(hmac_sha1(&[0xaa; 80], text)), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }
}
