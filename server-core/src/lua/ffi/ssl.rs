//! The TLS connection of a request, or of the handshake that a script serves: `ngx.ssl`, `ngx.ssl.clienthello`,
//! `ngx.ssl.session`.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_ushort, c_void};
use std::net::IpAddr;
use std::ptr;

use bytes::Bytes;
use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::ssl::{SslRef, SslSession};
use openssl::stack::{Stack, StackRef};
use openssl::x509::{X509, X509Ref};
use openssl_sys as sys;

use super::openssl_abi::*;
use super::request::hold;
use super::{DECLINED, ERROR, ErrorOut, OK, bytes, copy_to, export, store};
use crate::http::connection::{Address, Connection};
use crate::http::request::Request;
use crate::lua::current;
use crate::lua::phase::Phase;
use crate::tls::server::ServerSide;
use crate::tls::sys as tls;

pub(super) type Failed = &'static CStr;

/// The client's connection that a script is about.
///
/// # Safety
/// The contract of the parent module.
unsafe fn connection<'a>(r: *const Request) -> Result<&'a Connection, Failed> {
    // SAFETY: the caller's promise: requests outlive the Lua code that serves them.
    let r: &'a Request = unsafe { r.as_ref() }.ok_or(c"bad request")?;
    let connection = r.conn().tls_connection();
    if connection.is_tls() { Ok(connection) } else { Err(c"bad request") }
}

/// Its TLS connection.
///
/// # Safety
/// As above.
pub(super) unsafe fn ssl<'a>(r: *const Request) -> Result<&'a SslRef, Failed> {
    // SAFETY: as above.
    let connection: &'a Connection = unsafe { connection(r)? };
    connection.tls().map(|(tls, _)| tls.ssl()).ok_or(c"bad ssl conn")
}

/// What the server knows of its handshake.
///
/// # Safety
/// As above.
unsafe fn side<'a>(r: *const Request) -> Result<&'a ServerSide, Failed> {
    // SAFETY: as above.
    let connection: &'a Connection = unsafe { connection(r)? };
    connection.tls().map(|(_, side)| side).ok_or(c"bad ssl conn")
}

/// The return code of a function that fails with a text.
pub(super) fn code(result: Result<c_int, Failed>, err: *mut *mut c_char) -> c_int {
    result.unwrap_or_else(|text| {
        // SAFETY: the contract of the parent module.
        unsafe { err.report(text) };
        ERROR
    })
}

/// As [`code`], for functions that return a pointer.
pub(super) fn pointer(result: Result<*mut c_void, Failed>, err: *mut *mut c_char) -> *mut c_void {
    result.unwrap_or_else(|text| {
        // SAFETY: the contract of the parent module.
        unsafe { err.report(text) };
        ptr::null_mut()
    })
}

/// Forgets OpenSSL's errors, which our texts replace.
pub(super) fn failed<T>(text: Failed) -> impl FnOnce(T) -> Failed {
    move |_| {
        drop(openssl::error::ErrorStack::get());
        text
    }
}

/// Whether OpenSSL said yes.
pub(super) fn check(result: c_int, text: Failed) -> Result<(), Failed> {
    if result > 0 { Ok(()) } else { Err(failed(text)(())) }
}

fn raw_address(address: &Address) -> (c_int, Bytes) {
    match address {
        Address::Unix(path) => (0, path.clone()),
        Address::Ip(address) => match address.ip() {
            IpAddr::V4(ip) => (1, Bytes::copy_from_slice(&ip.octets())),
            IpAddr::V6(ip) => (2, Bytes::copy_from_slice(&ip.octets())),
        },
    }
}

/// Hands out an address.
///
/// # Safety
/// The pointers are null or writable.
unsafe fn give_address(address: &Address, out: *mut *const u8, len: *mut usize, kind: *mut c_int) -> c_int {
    let (number, raw) = raw_address(address);
    // SAFETY: the caller's promise.
    unsafe {
        store(out, raw.as_ptr());
        store(len, raw.len());
        store(kind, number);
    }
    hold([raw]);
    OK
}

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
    /// The version of the connection, as on the wire.
    ngx_http_lua_ffi_ssl_get_tls1_version, ngx_stream_lua_ffi_ssl_get_tls1_version(
        r: *const Request, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        code(unsafe { ssl(r) }.map(tls::version), err)
    }

    /// Takes away the certificates and the key that the configuration gave.
    ngx_http_lua_ffi_ssl_clear_certs, ngx_stream_lua_ffi_ssl_clear_certs(
        r: *const Request, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; a valid connection.
        code(unsafe { ssl(r) }.map(|ssl| unsafe {
            SSL_certs_clear(ssl.as_ptr());
            OK
        }), err)
    }

    /// Sets a certificate chain of concatenated DER.
    ngx_http_lua_ffi_ssl_set_der_certificate, ngx_stream_lua_ffi_ssl_set_der_certificate(
        r: *const Request, data: *const u8, len: usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let result = unsafe { ssl(r) }.and_then(|ssl| {
            // SAFETY: as the function says.
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
        // SAFETY: the contract of the parent module; a valid connection and key.
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
        // SAFETY: the contract of the parent module.
        let result = unsafe { ssl(r) }.and_then(|ssl| {
            // SAFETY: as the function says.
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
        // SAFETY: the contract of the parent module; Lua passes what a parse function returned.
        let result = unsafe { ssl(r) }.and_then(|ssl| {
            if key.is_null() {
                return Err(c"invalid private key");
            }
            // SAFETY: as the function says.
            check(unsafe { SSL_use_PrivateKey(ssl.as_ptr(), key.cast()) }, c"SSL_use_PrivateKey() failed")?;
            Ok(OK)
        });
        code(result, err)
    }

    /// Parses a certificate chain of PEM.
    ngx_http_lua_ffi_parse_pem_cert, ngx_stream_lua_ffi_parse_pem_cert(
        data: *const u8, len: usize, err: *mut *mut c_char
    ) -> *mut c_void {
        // SAFETY: the contract of the parent module.
        pointer(parse_pem(unsafe { bytes(data, len) }).and_then(into_stack), err)
    }

    /// Parses a certificate chain of concatenated DER.
    ngx_http_lua_ffi_parse_der_cert, ngx_stream_lua_ffi_parse_der_cert(
        data: *const u8, len: usize, err: *mut *mut c_char
    ) -> *mut c_void {
        if data.is_null() || len == 0 {
            return pointer(Err(c"invalid argument"), err);
        }
        // SAFETY: the contract of the parent module.
        pointer(parse_chain(unsafe { bytes(data, len) }).and_then(into_stack), err)
    }

    /// Parses a private key of PEM.
    ngx_http_lua_ffi_parse_pem_priv_key, ngx_stream_lua_ffi_parse_pem_priv_key(
        data: *const u8, len: usize, err: *mut *mut c_char
    ) -> *mut c_void {
        // SAFETY: the contract of the parent module.
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
        // SAFETY: the contract of the parent module.
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
        // SAFETY: the contract of the parent module; `out` has room for as many bytes as the PEM has.
        let result = parse_pem(unsafe { bytes(data, len) }).and_then(|chain| {
            let mut der = Vec::new();
            for certificate in chain {
                der.extend(certificate.to_der().map_err(failed(c"i2d_X509() failed"))?);
            }
            // SAFETY: as the function says.
            unsafe { give(out, len, &der) }.ok_or(c"i2d_X509() failed")
        });
        code(result, err)
    }

    /// Turns a PEM key, perhaps encrypted, into DER; the answer is its length.
    ngx_http_lua_ffi_priv_key_pem_to_der, ngx_stream_lua_ffi_priv_key_pem_to_der(
        data: *const u8, len: usize, passphrase: *const c_char, out: *mut u8, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; a passphrase ends with NUL.
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

    /// The address that the client connected to.
    ngx_http_lua_ffi_ssl_raw_server_addr, ngx_stream_lua_ffi_ssl_raw_server_addr(
        r: *const Request, addr: *mut *const u8, len: *mut usize, kind: *mut c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        code(unsafe { connection(r) }.map(|c| unsafe { give_address(c.local(), addr, len, kind) }), err)
    }

    /// The client's address.
    ngx_http_lua_ffi_ssl_raw_client_addr, ngx_stream_lua_ffi_ssl_raw_client_addr(
        r: *const Request, addr: *mut *const u8, len: *mut usize, kind: *mut c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        code(unsafe { connection(r) }.map(|c| unsafe { give_address(&c.peer.borrow(), addr, len, kind) }), err)
    }

    /// The port that the client connected to.
    ngx_http_lua_ffi_ssl_server_port, ngx_stream_lua_ffi_ssl_server_port(
        r: *const Request, port: *mut c_ushort, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let result = unsafe { connection(r) }.and_then(|connection| match connection.local() {
            Address::Unix(_) => Err(c"unix domain has no port"),
            Address::Ip(address) => {
                // SAFETY: as the function says.
                unsafe { store(port, address.port()) };
                Ok(OK)
            }
        });
        code(result, err)
    }

    /// The name that the client asked for; -5 without.
    ngx_http_lua_ffi_ssl_server_name, ngx_stream_lua_ffi_ssl_server_name(
        r: *const Request, name: *mut *const u8, len: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let result = unsafe { ssl(r) }.map(|ssl| {
            let Some(found) = ssl.servername_raw(openssl::ssl::NameType::HOST_NAME) else { return DECLINED };
            let found = Bytes::copy_from_slice(found);
            // SAFETY: as the function says.
            unsafe {
                store(name, found.as_ptr());
                store(len, found.len());
            }
            hold([found]);
            OK
        });
        code(result, err)
    }

    /// Asks the client for a certificate, and says whom to trust.
    ngx_http_lua_ffi_ssl_verify_client, ngx_stream_lua_ffi_ssl_verify_client(
        r: *const Request, authorities: *mut c_void, trusted: *mut c_void, depth: c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        code(unsafe { verify_client(r, authorities, trusted, depth) }, err)
    }

    /// The random bytes of the client's hello.
    ngx_http_lua_ffi_ssl_client_random, ngx_stream_lua_ffi_ssl_client_random(
        r: *const Request, out: *mut u8, len: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; `out` has room for `*len` bytes.
        code(unsafe { ssl(r) }.map(|ssl| unsafe {
            *len = sys::SSL_get_client_random(ssl.as_ptr(), out, *len);
            OK
        }), err)
    }

    /// The `SSL *` of the client's connection.
    ngx_http_lua_ffi_get_req_ssl_pointer, ngx_stream_lua_ffi_get_req_ssl_pointer(
        r: *const Request, err: *mut *mut c_char
    ) -> *mut c_void {
        // SAFETY: the contract of the parent module.
        pointer(unsafe { ssl(r) }.map(|ssl| ssl.as_ptr().cast()), err)
    }

    /// The ciphers that both sides know.
    ngx_http_lua_ffi_req_shared_ssl_ciphers, ngx_stream_lua_ffi_req_shared_ssl_ciphers(
        r: *const Request, ciphers: *mut c_ushort, count: *mut c_ushort, filter_grease: c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; there is room for `*count` ciphers.
        code(unsafe { ssl(r).and_then(|ssl| shared_ciphers(ssl, ciphers, count, filter_grease != 0)) }, err)
    }

    /// The name in the client's hello; -5 without.
    ngx_http_lua_ffi_ssl_get_client_hello_server_name, ngx_stream_lua_ffi_ssl_get_client_hello_server_name(
        r: *const Request, name: *mut *const u8, len: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let result = unsafe { ssl(r) }.and_then(|ssl| {
            let Some(extension) = tls::hello_extension(ssl, 0) else { return Ok(DECLINED) };
            let found = hello_name(&extension).ok_or(c"Bad SSL Client Hello Extension")?;
            let found = Bytes::copy_from_slice(found);
            // SAFETY: as the function says.
            unsafe {
                store(name, found.as_ptr());
                store(len, found.len());
            }
            hold([found]);
            Ok(OK)
        });
        code(result, err)
    }

    /// The body of an extension in the client's hello; -5 without.
    ngx_http_lua_ffi_ssl_get_client_hello_ext, ngx_stream_lua_ffi_ssl_get_client_hello_ext(
        r: *const Request, kind: c_uint, out: *mut *const u8, len: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let result = unsafe { ssl(r) }.map(|ssl| {
            let Some(body) = tls::hello_extension(ssl, kind) else { return DECLINED };
            let body = Bytes::from(body);
            // SAFETY: as the function says.
            unsafe {
                store(out, body.as_ptr());
                store(len, body.len());
            }
            hold([body]);
            OK
        });
        code(result, err)
    }

    /// Sets the versions that this connection may use.
    ngx_http_lua_ffi_ssl_set_protocols, ngx_stream_lua_ffi_ssl_set_protocols(
        r: *const Request, protocols: c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        code(unsafe { ssl(r) }.map(|ssl| {
            tls::set_protocols(ssl, protocols as u32);
            OK
        }), err)
    }
}

/// Copies to a caller's buffer; the answer is the length, or nothing when it does not fit.
///
/// # Safety
/// `out` has room for `room` bytes.
unsafe fn give(out: *mut u8, room: usize, data: &[u8]) -> Option<c_int> {
    if data.len() > room {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { copy_to(out, data) };
    c_int::try_from(data.len()).ok()
}

/// A key in the form of its own kind (PKCS#1 for RSA).
fn legacy_der(key: &PKeyRef<Private>) -> Option<Vec<u8>> {
    key.private_key_to_der().ok()
}

/// The first host name in a `server_name` extension.
fn hello_name(extension: &[u8]) -> Option<&[u8]> {
    let (list, rest) = prefixed(extension)?;
    if !rest.is_empty() {
        return None;
    }
    let (0, names) = list.split_first().map(|(kind, rest)| (*kind, rest))? else { return None };
    prefixed(names).map(|(name, _)| name)
}

/// A field with its length of two bytes before it, and what follows.
fn prefixed(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// # Safety
/// There is room for `*count` ciphers.
unsafe fn shared_ciphers(
    ssl: &SslRef,
    ciphers: *mut c_ushort,
    count: *mut c_ushort,
    filter_grease: bool,
) -> Result<c_int, Failed> {
    // SAFETY: stacks of valid ciphers, the first of which is ours to free; the caller's promise.
    unsafe {
        let (own, theirs) = (SSL_get1_supported_ciphers(ssl.as_ptr()), SSL_get_client_ciphers(ssl.as_ptr()));
        let ids = |stack: *mut c_void| -> Vec<u16> {
            let count = if stack.is_null() { 0 } else { OPENSSL_sk_num(stack) };
            (0..count).map(|index| SSL_CIPHER_get_protocol_id(OPENSSL_sk_value(stack, index))).collect()
        };
        let (supported, offered) = (ids(own), ids(theirs));
        OPENSSL_sk_free(own);
        let room = usize::from(*count);
        *count = 0;
        if supported.len() > room {
            return Err(c"buffer too small");
        }
        let shared = supported.iter().filter(|id| offered.contains(id) && !(filter_grease && is_grease(**id)));
        for (index, id) in shared.enumerate() {
            ciphers.add(index).write(*id);
            *count += 1;
        }
    }
    Ok(OK)
}

/// Values that clients send only to see that servers bear them.
fn is_grease(id: u16) -> bool {
    id & 0x0f0f == 0x0a0a && id >> 8 == id & 0xff
}

/// # Safety
/// The contract of the parent module.
unsafe fn verify_client(
    r: *const Request,
    authorities: *mut c_void,
    trusted: *mut c_void,
    depth: c_int,
) -> Result<c_int, Failed> {
    extern "C" fn accept(_ok: c_int, _store: *mut sys::X509_STORE_CTX) -> c_int {
        1
    }
    let ctx = current::ctx().ok_or(c"no request ctx found")?;
    if !ctx.phase.get().is_in(Phase::SSL_CERT) {
        return Err(c"API disabled in the current context");
    }
    // SAFETY: the caller's promise; the names and the store become the connection's.
    unsafe {
        let ssl = ssl(r)?;
        sys::SSL_set_verify(ssl.as_ptr(), sys::SSL_VERIFY_PEER, Some(accept));
        SSL_set_verify_depth(ssl.as_ptr(), if depth < 0 { 1 } else { depth });
        let (authorities, trusted) = (chain_of(authorities), chain_of(trusted));
        if authorities.is_none() && trusted.is_none() {
            return Ok(OK);
        }
        let mut store = openssl::x509::store::X509StoreBuilder::new().map_err(failed(c"X509_STORE_new() failed"))?;
        if let Some(chain) = authorities {
            let mut names = Stack::new().map_err(failed(c"sk_X509_NAME_new_null() failed"))?;
            for certificate in chain {
                let name = X509_NAME_dup(certificate.subject_name().as_ptr());
                if name.is_null() {
                    return Err(c"X509_get_subject_name() failed");
                }
                let name = openssl::x509::X509Name::from_ptr(name);
                names.push(name).map_err(failed(c"sk_X509_NAME_push() failed"))?;
            }
            SSL_set_client_CA_list(ssl.as_ptr(), names.as_ptr());
            std::mem::forget(names);
        }
        for certificate in authorities.into_iter().chain(trusted).flatten() {
            store.add_cert(certificate.to_owned()).map_err(failed(c"X509_STORE_add_cert() failed"))?;
        }
        let store = store.build();
        let set = sys::SSL_ctrl(ssl.as_ptr(), VERIFY_STORE, 1, store.as_ptr().cast());
        check(set as c_int, c"SSL_set0_verify_cert_store() failed")?;
    }
    Ok(OK)
}

thread_local! {
    static EXTENSIONS: RefCell<Vec<c_int>> = const { RefCell::new(Vec::new()) };
}

/// The session that a script of the session phases is about.
///
/// # Safety
/// The contract of the parent module.
unsafe fn stored(r: *const Request) -> Result<Vec<u8>, Failed> {
    // SAFETY: the caller's promise.
    let side = unsafe { side(r)? };
    let session = side.session.borrow();
    let session = session.as_ref().ok_or(c"bad session in lua context")?;
    session.to_der().map_err(failed(c"i2d_SSL_SESSION() failed"))
}

/// The id of the session, in hexadecimal.
///
/// # Safety
/// The contract of the parent module.
unsafe fn session_id(r: *const Request) -> Result<Vec<u8>, Failed> {
    // SAFETY: the caller's promise.
    let side = unsafe { side(r)? };
    let id = side.session_id.borrow();
    if id.is_empty() {
        return Err(c"uninitialized session id len in lua context");
    }
    Ok(id.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect())
}

export! {
    /// The random bytes of the server's hello.
    ngx_http_lua_ffi_ssl_server_random(
        r: *const Request, out: *mut u8, len: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; `out` has room for `*len` bytes.
        code(unsafe { ssl(r) }.map(|ssl| unsafe {
            *len = SSL_get_server_random(ssl.as_ptr(), out, *len);
            OK
        }), err)
    }

    /// The master key of the session.
    ngx_http_lua_ffi_ssl_session_master_key(
        r: *const Request, out: *mut u8, len: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; `out` has room for `*len` bytes.
        code(unsafe { ssl(r) }.map(|ssl| unsafe {
            let session = ssl.session().map_or(ptr::null_mut(), ForeignTypeRef::as_ptr);
            *len = if session.is_null() { 0 } else { sys::SSL_SESSION_get_master_key(session, out, *len) };
            OK
        }), err)
    }

    /// Key material for applications.
    ngx_http_lua_ffi_ssl_export_keying_material(
        r: *const Request, out: *mut u8, room: usize, label: *const c_char, label_len: usize, context: *const u8,
        context_len: usize, use_context: c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; `out` has room for that many bytes.
        code(unsafe { ssl(r) }.and_then(|ssl| unsafe {
            let done = sys::SSL_export_keying_material(
                ssl.as_ptr(), out, room, label, label_len, context, context_len, use_context,
            );
            check(done, c"SSL_export_keying_material() failed").map(|()| OK)
        }), err)
    }

    /// Key material from before the handshake's end.
    ngx_http_lua_ffi_ssl_export_keying_material_early(
        r: *const Request, out: *mut u8, room: usize, label: *const c_char, label_len: usize, context: *const u8,
        context_len: usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: as above.
        code(unsafe { ssl(r) }.and_then(|ssl| unsafe {
            let done = sys::SSL_export_keying_material_early(
                ssl.as_ptr(), out, room, label, label_len, context, context_len,
            );
            check(done, c"SSL_export_keying_material_early() failed").map(|()| OK)
        }), err)
    }

    /// The numbers of the extensions in the client's hello.
    ngx_http_lua_ffi_ssl_get_client_hello_ext_present(
        r: *const Request, extensions: *mut *const c_int, count: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; the list is copied before OpenSSL frees it.
        let result = unsafe { ssl(r) }.map(|ssl| unsafe {
            let (mut list, mut len) = (ptr::null_mut(), 0);
            let found = sys::SSL_client_hello_get1_extensions_present(ssl.as_ptr(), &raw mut list, &raw mut len);
            if found != 1 || list.is_null() || len == 0 {
                err.report(c"failed SSL_client_hello_get1_extensions_present()");
                return DECLINED;
            }
            EXTENSIONS.with_borrow_mut(|kept| {
                *kept = std::slice::from_raw_parts(list, len).to_vec();
                store(extensions, kept.as_ptr());
                store(count, kept.len());
            });
            sys::CRYPTO_free(list.cast(), c"".as_ptr(), 0);
            OK
        });
        code(result, err)
    }

    /// The ciphers in the client's hello; the answer is their number.
    ngx_http_lua_ffi_ssl_get_client_hello_ciphers(
        r: *const Request, ciphers: *mut c_ushort, room: usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; there is room for that many ciphers.
        let result = unsafe { ssl(r) }.map(|ssl| unsafe {
            let mut data = ptr::null();
            let len = sys::SSL_client_hello_get0_ciphers(ssl.as_ptr(), &raw mut data);
            let raw = bytes(data, len);
            if raw.is_empty() {
                err.report(c"failed SSL_client_hello_get0_ciphers()");
                return DECLINED;
            }
            if raw.len() % 2 != 0 {
                err.report(c"SSL_client_hello_get0_ciphers() odd ciphersuites_bytes");
                return DECLINED;
            }
            let mut count = 0;
            for (index, id) in raw.chunks_exact(2).take(room).enumerate() {
                ciphers.add(index).write(u16::from_be_bytes([id[0], id[1]]));
                count += 1;
            }
            count
        });
        code(result, err)
    }

    /// Copies the session that is to be stored.
    ngx_http_lua_ffi_ssl_get_serialized_session(r: *const Request, buf: *mut u8, err: *mut *mut c_char) -> c_int {
        // SAFETY: the contract of the parent module; `buf` has the room that the next function asks for.
        code(unsafe { stored(r) }.map(|der| unsafe {
            copy_to(buf, &der);
            OK
        }), err)
    }

    /// The size of the session that is to be stored.
    ngx_http_lua_ffi_ssl_get_serialized_session_size(r: *const Request, err: *mut *mut c_char) -> c_int {
        // SAFETY: the contract of the parent module.
        code(unsafe { stored(r) }.map(|der| der.len() as c_int), err)
    }

    /// Copies the id of the session that is stored or looked for.
    ngx_http_lua_ffi_ssl_get_session_id(r: *const Request, buf: *mut u8, err: *mut *mut c_char) -> c_int {
        // SAFETY: the contract of the parent module; `buf` has the room that the next function asks for.
        code(unsafe { session_id(r) }.map(|id| unsafe {
            copy_to(buf, &id);
            OK
        }), err)
    }

    /// The size of that id.
    ngx_http_lua_ffi_ssl_get_session_id_size(r: *const Request, err: *mut *mut c_char) -> c_int {
        // SAFETY: the contract of the parent module.
        code(unsafe { session_id(r) }.map(|id| id.len() as c_int), err)
    }

    /// Gives the session that was looked for.
    ngx_http_lua_ffi_ssl_set_serialized_session(
        r: *const Request, data: *const u8, len: c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let result = unsafe { side(r) }.and_then(|side| {
            let len = usize::try_from(len).ok().filter(|len| *len <= 4096).ok_or(c"invalid session length")?;
            // SAFETY: as the function says.
            let session = SslSession::from_der(unsafe { bytes(data, len) });
            let session = session.map_err(failed(c"failed to de-serialize session"))?;
            side.fetched.replace(Some(session));
            Ok(OK)
        });
        code(result, err)
    }
}
