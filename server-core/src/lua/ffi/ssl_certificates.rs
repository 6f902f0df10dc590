//! Certificates and private keys: parsing them, and using them for the connection whose handshake a script serves
//! (`ngx.ssl`, also for `ngx.ocsp` and the connections to servers behind).

use std::ffi::{CStr, c_char, c_int, c_void};

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::ssl::SslRef;
use openssl::stack::{Stack, StackRef};
use openssl::x509::{X509, X509Ref};
use openssl_sys as sys;

use super::openssl_abi::*;
use super::ssl::{Failed, check, code, failed, give, pointer, ssl};
use super::{OK, bytes, export};
use crate::http::request::Request;

/// Sets the first certificate and adds the others to its chain.
pub(super) fn use_chain<'a>(
    ssl: &SslRef,
    chain: impl Iterator<Item = &'a X509Ref>,
    texts: [Failed; 3],
) -> Result<c_int, Failed> {
    let [none, first, rest] = texts;
    let mut count = 0;
    for certificate in chain {
        // SAFETY: both are valid; OpenSSL takes references of its own.
        unsafe {
            if count == 0 {
                check(SSL_use_certificate(ssl.as_ptr(), certificate.as_ptr()), first)?;
            } else {
                let added = sys::SSL_ctrl(ssl.as_ptr(), CHAIN_CERT, 1, certificate.as_ptr().cast());
                check(added as c_int, rest)?;
            }
        }
        count += 1;
    }
    if count == 0 { Err(none) } else { Ok(OK) }
}

/// The certificates of concatenated DER.
pub(super) fn parse_chain(mut der: &[u8]) -> Result<Vec<X509>, Failed> {
    let mut chain = Vec::new();
    while !der.is_empty() {
        let text = if chain.is_empty() { c"d2i_X509_bio() failed" } else { c"d2i_X509_bio() failed in rest of chain" };
        let certificate = X509::from_der(der).map_err(failed(text))?;
        let len = certificate.to_der().map_err(failed(text))?.len();
        der = der.get(len..).unwrap_or_default();
        chain.push(certificate);
    }
    if chain.is_empty() { Err(c"d2i_X509_bio() failed") } else { Ok(chain) }
}

fn parse_pem(pem: &[u8]) -> Result<Vec<X509>, Failed> {
    // The first certificate decides whether there is one at all.
    X509::from_pem(pem).map_err(failed(c"PEM_read_bio_X509_AUX() failed"))?;
    X509::stack_from_pem(pem).map_err(failed(c"PEM_read_bio_X509() failed"))
}

fn into_stack(chain: Vec<X509>) -> Result<*mut c_void, Failed> {
    let mut stack = Stack::new().map_err(failed(c"sk_X509_new_null() failed"))?;
    for certificate in chain {
        stack.push(certificate).map_err(failed(c"sk_X509_push() failed"))?;
    }
    let pointer = stack.as_ptr();
    std::mem::forget(stack);
    Ok(pointer.cast())
}

fn into_key(key: PKey<Private>) -> *mut c_void {
    let pointer = key.as_ptr();
    std::mem::forget(key);
    pointer.cast()
}

/// A chain that Lua holds.
///
/// # Safety
/// The pointer is null or one that a parse function returned.
pub(super) unsafe fn chain_of<'a>(chain: *mut c_void) -> Option<&'a StackRef<X509>> {
    if chain.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { StackRef::from_ptr(chain.cast()) })
}

export! {
    /// Takes away the certificates and the key that the configuration gave.
    ngx_http_lua_ffi_ssl_clear_certs, ngx_stream_lua_ffi_ssl_clear_certs(
        r: *const Request, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, and its connection lives as long.
        code(unsafe { ssl(r) }.map(|ssl| unsafe {
            SSL_certs_clear(ssl.as_ptr());
            OK
        }), err)
    }

    /// Sets a certificate chain of concatenated DER.
    ngx_http_lua_ffi_ssl_set_der_certificate, ngx_stream_lua_ffi_ssl_set_der_certificate(
        r: *const Request, data: *const u8, len: usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        let result = unsafe { ssl(r) }.and_then(|ssl| {
            // SAFETY: pointer and length are a Lua string's, which lives through the call.
            let chain = parse_chain(unsafe { bytes(data, len) }).map_err(|_| c"d2i_X509_bio() failed")?;
            let texts = [c"d2i_X509_bio() failed", c"SSL_use_certificate() failed", c"SSL_add0_chain_cert() failed"];
            use_chain(ssl, chain.iter().map(|certificate| &**certificate), texts)
        });
        code(result, err)
    }

    /// Sets a private key of DER.
    ngx_http_lua_ffi_ssl_set_der_private_key, ngx_stream_lua_ffi_ssl_set_der_private_key(
        r: *const Request, data: *const u8, len: usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs; `data` and `len` are a Lua string's, which lives
        // through the call; OpenSSL takes a reference of its own to the key.
        let result = unsafe { ssl(r) }.and_then(|ssl| unsafe {
            let key = PKey::private_key_from_der(bytes(data, len)).map_err(failed(c"d2i_PrivateKey_bio() failed"))?;
            check(SSL_use_PrivateKey(ssl.as_ptr(), key.as_ptr()), c"SSL_use_PrivateKey() failed")?;
            Ok(OK)
        });
        code(result, err)
    }

    /// Sets a parsed certificate chain.
    ngx_http_lua_ffi_set_cert, ngx_stream_lua_ffi_set_cert(
        r: *const Request, chain: *mut c_void, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        let result = unsafe { ssl(r) }.and_then(|ssl| {
            // SAFETY: Lua passes what a parse function returned and it has not freed.
            let chain = unsafe { chain_of(chain) }.ok_or(c"invalid certificate chain")?;
            let texts =
                [c"invalid certificate chain", c"SSL_use_certificate() failed", c"SSL_add1_chain_cert() failed"];
            use_chain(ssl, chain.iter(), texts)
        });
        code(result, err)
    }

    /// Sets a parsed private key.
    ngx_http_lua_ffi_set_priv_key, ngx_stream_lua_ffi_set_priv_key(
        r: *const Request, key: *mut c_void, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs.
        let result = unsafe { ssl(r) }.and_then(|ssl| {
            if key.is_null() {
                return Err(c"invalid private key");
            }
            // SAFETY: Lua passes a key that a parse function returned; OpenSSL takes a reference of its own.
            check(unsafe { SSL_use_PrivateKey(ssl.as_ptr(), key.cast()) }, c"SSL_use_PrivateKey() failed")?;
            Ok(OK)
        });
        code(result, err)
    }

    /// Parses a certificate chain of PEM.
    ngx_http_lua_ffi_parse_pem_cert, ngx_stream_lua_ffi_parse_pem_cert(
        data: *const u8, len: usize, err: *mut *mut c_char
    ) -> *mut c_void {
        // SAFETY: pointer and length are a Lua string's, which lives through the call.
        pointer(parse_pem(unsafe { bytes(data, len) }).and_then(into_stack), err)
    }

    /// Parses a certificate chain of concatenated DER.
    ngx_http_lua_ffi_parse_der_cert, ngx_stream_lua_ffi_parse_der_cert(
        data: *const u8, len: usize, err: *mut *mut c_char
    ) -> *mut c_void {
        if data.is_null() || len == 0 {
            return pointer(Err(c"invalid argument"), err);
        }
        // SAFETY: pointer and length are a Lua string's, which lives through the call.
        pointer(parse_chain(unsafe { bytes(data, len) }).and_then(into_stack), err)
    }

    /// Parses a private key of PEM.
    ngx_http_lua_ffi_parse_pem_priv_key, ngx_stream_lua_ffi_parse_pem_priv_key(
        data: *const u8, len: usize, err: *mut *mut c_char
    ) -> *mut c_void {
        // SAFETY: pointer and length are a Lua string's, which lives through the call.
        let key = PKey::private_key_from_pem_callback(unsafe { bytes(data, len) }, |_| Ok(0));
        pointer(key.map(into_key).map_err(failed(c"PEM_read_bio_PrivateKey() failed")), err)
    }

    /// Parses a private key of DER.
    ngx_http_lua_ffi_parse_der_priv_key, ngx_stream_lua_ffi_parse_der_priv_key(
        data: *const u8, len: usize, err: *mut *mut c_char
    ) -> *mut c_void {
        if data.is_null() || len == 0 {
            return pointer(Err(c"invalid argument"), err);
        }
        // SAFETY: pointer and length are a Lua string's, which lives through the call.
        let key = PKey::private_key_from_der(unsafe { bytes(data, len) });
        pointer(key.map(into_key).map_err(failed(c"d2i_PrivateKey_bio() failed")), err)
    }

    /// Frees a parsed chain.
    ngx_http_lua_ffi_free_cert, ngx_stream_lua_ffi_free_cert(chain: *mut c_void) {
        if !chain.is_null() {
            // SAFETY: Lua gives back what a parse function returned, once.
            drop(unsafe { Stack::<X509>::from_ptr(chain.cast()) });
        }
    }

    /// Frees a parsed key.
    ngx_http_lua_ffi_free_priv_key, ngx_stream_lua_ffi_free_priv_key(key: *mut c_void) {
        if !key.is_null() {
            // SAFETY: Lua gives back what a parse function returned, once.
            drop(unsafe { PKey::<Private>::from_ptr(key.cast()) });
        }
    }

    /// Turns a PEM chain into concatenated DER, which is never longer; the answer is its length.
    ngx_http_lua_ffi_cert_pem_to_der, ngx_stream_lua_ffi_cert_pem_to_der(
        data: *const u8, len: usize, out: *mut u8, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: pointer and length are a Lua string's; `out` has room for as many bytes as the PEM has.
        let result = parse_pem(unsafe { bytes(data, len) }).and_then(|chain| {
            let mut der = Vec::new();
            for certificate in chain {
                der.extend(certificate.to_der().map_err(failed(c"i2d_X509() failed"))?);
            }
            // SAFETY: `out` has room for `len` bytes, Lua's own buffer.
            unsafe { give(out, len, &der) }.ok_or(c"i2d_X509() failed")
        });
        code(result, err)
    }

    /// Turns a PEM key, perhaps encrypted, into DER; the answer is its length.
    ngx_http_lua_ffi_priv_key_pem_to_der, ngx_stream_lua_ffi_priv_key_pem_to_der(
        data: *const u8, len: usize, passphrase: *const c_char, out: *mut u8, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: pointer and length are a Lua string's; a passphrase ends with NUL; `out` has room for `len` bytes.
        let result = unsafe {
            let pem = bytes(data, len);
            let key = if passphrase.is_null() {
                PKey::private_key_from_pem_callback(pem, |_| Ok(0))
            } else {
                PKey::private_key_from_pem_passphrase(pem, CStr::from_ptr(passphrase).to_bytes())
            };
            key.map_err(failed(c"PEM_read_bio_PrivateKey() failed")).and_then(|key: PKey<Private>| {
                let der = legacy_der(&key).ok_or(c"i2d_PrivateKey() failed")?;
                give(out, len, &der).ok_or(c"i2d_PrivateKey() failed")
            })
        };
        code(result, err)
    }
}

/// A key in the form of its own kind (PKCS#1 for RSA).
fn legacy_der(key: &PKeyRef<Private>) -> Option<Vec<u8>> {
    key.private_key_to_der().ok()
}
