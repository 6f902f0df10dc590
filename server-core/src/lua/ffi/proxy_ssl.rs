//! The TLS connection to a server behind us, in its handshake and later: `ngx.ssl.proxysslcert`,
//! `ngx.ssl.proxysslverify`.

use std::ffi::{c_char, c_int, c_void};
use std::rc::Rc;

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::pkey::PKey;
use openssl::x509::X509;

use super::openssl_abi::*;
use super::ssl::{Failed, check, code, failed, pointer};
use super::ssl_certificates::{chain_of, parse_chain, use_chain};
use super::{OK, bytes, export};
use crate::http::request::Request;
use crate::tls::sys as tls;
use crate::upstream::connection::Connection;

/// The connection of the request's current attempt, which speaks TLS.
///
/// # Safety
/// The contract of the parent module.
unsafe fn connection(r: *const Request) -> Result<Rc<Connection>, Failed> {
    // SAFETY: the caller's promise: requests outlive the Lua code that serves them.
    let r = unsafe { r.as_ref() }.ok_or(c"bad request")?;
    let attempts = r.upstream.borrow().clone().ok_or(c"bad request")?;
    let connection = attempts.connection().filter(|connection| connection.tls().is_some());
    connection.ok_or(c"bad upstream connection")
}

/// Does something with the `SSL *` of that connection.
///
/// # Safety
/// The contract of the parent module.
unsafe fn with<T>(
    r: *const Request,
    act: impl FnOnce(&openssl::ssl::SslRef) -> Result<T, Failed>,
) -> Result<T, Failed> {
    // SAFETY: the caller's promise.
    let connection = unsafe { connection(r)? };
    let (tls, _) = connection.tls().ok_or(c"bad ssl conn")?;
    act(tls.ssl())
}

export! {
    /// The version of the connection, as on the wire.
    ngx_http_lua_ffi_proxy_ssl_get_tls1_version, ngx_stream_lua_ffi_proxy_ssl_get_tls1_version(r: *const Request, err: *mut *mut c_char) -> c_int {
        // SAFETY: the contract of the parent module.
        code(unsafe { with(r, |ssl| Ok(tls::version(ssl))) }, err)
    }

    /// The `SSL *` of the connection.
    ngx_http_lua_ffi_get_upstream_ssl_pointer, ngx_stream_lua_ffi_get_upstream_ssl_pointer(r: *const Request, err: *mut *mut c_char) -> *mut c_void {
        // SAFETY: the contract of the parent module.
        pointer(unsafe { with(r, |ssl| Ok(ssl.as_ptr().cast())) }, err)
    }

    /// Takes away the certificates and the key that the configuration gave.
    ngx_http_lua_ffi_proxy_ssl_clear_certs, ngx_stream_lua_ffi_proxy_ssl_clear_certs(r: *const Request, err: *mut *mut c_char) -> c_int {
        // SAFETY: the contract of the parent module; a valid connection.
        let cleared = unsafe {
            with(r, |ssl| {
                SSL_certs_clear(ssl.as_ptr());
                Ok(OK)
            })
        };
        code(cleared, err)
    }

    /// Shows a certificate chain of concatenated DER.
    ngx_http_lua_ffi_proxy_ssl_set_der_certificate, ngx_stream_lua_ffi_proxy_ssl_set_der_certificate(
        r: *const Request, data: *const u8, len: usize, err: *mut *mut c_char
    ) -> c_int {
        let set = |ssl: &openssl::ssl::SslRef| {
            // SAFETY: the contract of the parent module.
            let chain = parse_chain(unsafe { bytes(data, len) }).map_err(|_| c"d2i_X509_bio() failed")?;
            let texts = [c"d2i_X509_bio() failed", c"SSL_use_certificate() failed", c"SSL_add0_chain_cert() failed"];
            use_chain(ssl, chain.iter().map(|certificate| &**certificate), texts)
        };
        // SAFETY: the contract of the parent module.
        code(unsafe { with(r, set) }, err)
    }

    /// Sets a private key of DER.
    ngx_http_lua_ffi_proxy_ssl_set_der_private_key, ngx_stream_lua_ffi_proxy_ssl_set_der_private_key(
        r: *const Request, data: *const u8, len: usize, err: *mut *mut c_char
    ) -> c_int {
        let set = |ssl: &openssl::ssl::SslRef| {
            // SAFETY: the contract of the parent module; a valid connection and key.
            unsafe {
                let key = PKey::private_key_from_der(bytes(data, len));
                let key = key.map_err(failed(c"d2i_PrivateKey_bio() failed"))?;
                check(SSL_use_PrivateKey(ssl.as_ptr(), key.as_ptr()), c"SSL_use_PrivateKey() failed")?;
            }
            Ok(OK)
        };
        // SAFETY: the contract of the parent module.
        code(unsafe { with(r, set) }, err)
    }

    /// Shows a parsed certificate chain.
    ngx_http_lua_ffi_proxy_ssl_set_cert, ngx_stream_lua_ffi_proxy_ssl_set_cert(r: *const Request, chain: *mut c_void, err: *mut *mut c_char) -> c_int {
        let set = |ssl: &openssl::ssl::SslRef| {
            // SAFETY: Lua passes what a parse function returned.
            let chain = unsafe { chain_of(chain) }.ok_or(c"invalid certificate chain")?;
            let texts =
                [c"invalid certificate chain", c"SSL_use_certificate() failed", c"SSL_add1_chain_cert() failed"];
            use_chain(ssl, chain.iter(), texts)
        };
        // SAFETY: the contract of the parent module.
        code(unsafe { with(r, set) }, err)
    }

    /// Sets a parsed private key.
    ngx_http_lua_ffi_proxy_ssl_set_priv_key, ngx_stream_lua_ffi_proxy_ssl_set_priv_key(r: *const Request, key: *mut c_void, err: *mut *mut c_char) -> c_int {
        let set = |ssl: &openssl::ssl::SslRef| {
            if key.is_null() {
                return Err(c"invalid private key");
            }
            // SAFETY: Lua passes what a parse function returned.
            check(unsafe { SSL_use_PrivateKey(ssl.as_ptr(), key.cast()) }, c"SSL_use_PrivateKey() failed")?;
            Ok(OK)
        };
        // SAFETY: the contract of the parent module.
        code(unsafe { with(r, set) }, err)
    }

    /// The result of the check of the server's certificate; 0 is good.
    ngx_http_lua_ffi_proxy_ssl_get_verify_result, ngx_stream_lua_ffi_proxy_ssl_get_verify_result(r: *const Request, err: *mut *mut c_char) -> c_int {
        // SAFETY: the contract of the parent module.
        let result = unsafe { connection(r) }.and_then(|connection| {
            let (_, side) = connection.tls().ok_or(c"bad ssl conn")?;
            Ok(side.verify_result.get())
        });
        code(result, err)
    }

    /// Overrules that result.
    ngx_http_lua_ffi_proxy_ssl_set_verify_result, ngx_stream_lua_ffi_proxy_ssl_set_verify_result(
        r: *const Request, result: c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let set = unsafe { connection(r) }.and_then(|connection| {
            let (_, side) = connection.tls().ok_or(c"bad ssl conn")?;
            side.verify_result.set(result);
            Ok(OK)
        });
        code(set, err)
    }

    /// The server's certificate, with a reference that the caller gives back.
    ngx_http_lua_ffi_proxy_ssl_get_verify_cert, ngx_stream_lua_ffi_proxy_ssl_get_verify_cert(r: *const Request, err: *mut *mut c_char) -> *mut c_void {
        // SAFETY: the contract of the parent module.
        let found = unsafe { connection(r) }.and_then(|connection| {
            let (_, side) = connection.tls().ok_or(c"bad ssl conn")?;
            let certificate = side.peer.borrow().clone().ok_or(c"get verify result failed")?;
            let raw = certificate.as_ptr();
            std::mem::forget(certificate);
            Ok(raw.cast::<c_void>())
        });
        pointer(found, err)
    }

    /// Gives that reference back.
    ngx_http_lua_ffi_proxy_ssl_free_verify_cert, ngx_stream_lua_ffi_proxy_ssl_free_verify_cert(certificate: *mut c_void) {
        if !certificate.is_null() {
            // SAFETY: Lua gives back what the function above returned, once.
            drop(unsafe { X509::from_ptr(certificate.cast()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn without_a_request_there_is_no_connection() {
        let mut text = ptr::null_mut();
        // SAFETY: a null request, and a place for the text.
        let code = unsafe { ngx_http_lua_ffi_proxy_ssl_get_tls1_version(ptr::null(), &raw mut text) };
        // SAFETY: the text is static and ends with NUL.
        let text = unsafe { std::ffi::CStr::from_ptr(text) };
        assert_eq!((code, text), (super::super::ERROR, c"bad request"));
    }
}
