//! The TLS connection of a request, or of the handshake that a script serves: `ngx.ssl`, `ngx.ssl.clienthello`,
//! `ngx.ssl.session`.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_ushort, c_void};
use std::net::IpAddr;
use std::ptr;

use bytes::Bytes;
use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::ssl::{SslRef, SslSession};
use openssl::stack::Stack;
use openssl_sys as sys;

use super::openssl_abi::*;
use super::request::hold;
use super::ssl_certificates::chain_of;
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
    // SAFETY: `r` is null or the request whose code runs, which outlives the call.
    let connection: &'a Connection = unsafe { connection(r)? };
    connection.tls().map(|(tls, _)| tls.ssl()).ok_or(c"bad ssl conn")
}

/// What the server knows of its handshake.
///
/// # Safety
/// As above.
unsafe fn side<'a>(r: *const Request) -> Result<&'a ServerSide, Failed> {
    // SAFETY: `r` is null or the request whose code runs, which outlives the call.
    let connection: &'a Connection = unsafe { connection(r)? };
    connection.tls().map(|(_, side)| side).ok_or(c"bad ssl conn")
}

/// The return code of a function that fails with a text.
pub(super) fn code(result: Result<c_int, Failed>, err: *mut *mut c_char) -> c_int {
    result.unwrap_or_else(|text| {
        // SAFETY: `err` is null or Lua's place for one text.
        unsafe { err.report(text) };
        ERROR
    })
}

/// As [`code`], for functions that return a pointer.
pub(super) fn pointer(result: Result<*mut c_void, Failed>, err: *mut *mut c_char) -> *mut c_void {
    result.unwrap_or_else(|text| {
        // SAFETY: `err` is null or Lua's place for one text.
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

export! {
    /// The version of the connection, as on the wire.
    ngx_http_lua_ffi_ssl_get_tls1_version, ngx_stream_lua_ffi_ssl_get_tls1_version(
        r: *const Request, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        code(unsafe { ssl(r) }.map(tls::version), err)
    }

    /// The address that the client connected to.
    ngx_http_lua_ffi_ssl_raw_server_addr, ngx_stream_lua_ffi_ssl_raw_server_addr(
        r: *const Request, addr: *mut *const u8, len: *mut usize, kind: *mut c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        code(unsafe { connection(r) }.map(|c| unsafe { give_address(c.local(), addr, len, kind) }), err)
    }

    /// The client's address.
    ngx_http_lua_ffi_ssl_raw_client_addr, ngx_stream_lua_ffi_ssl_raw_client_addr(
        r: *const Request, addr: *mut *const u8, len: *mut usize, kind: *mut c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        code(unsafe { connection(r) }.map(|c| unsafe { give_address(&c.peer.borrow(), addr, len, kind) }), err)
    }

    /// The port that the client connected to.
    ngx_http_lua_ffi_ssl_server_port, ngx_stream_lua_ffi_ssl_server_port(
        r: *const Request, port: *mut c_ushort, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        let result = unsafe { connection(r) }.and_then(|connection| match connection.local() {
            Address::Unix(_) => Err(c"unix domain has no port"),
            Address::Ip(address) => {
                // SAFETY: Lua passes places for the answer.
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
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        let result = unsafe { ssl(r) }.map(|ssl| {
            let Some(found) = ssl.servername_raw(openssl::ssl::NameType::HOST_NAME) else { return DECLINED };
            let found = Bytes::copy_from_slice(found);
            // SAFETY: Lua passes places for the answer.
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
        // SAFETY: `r` is null or the request whose code runs; Lua passes chains that it has not freed.
        code(unsafe { verify_client(r, authorities, trusted, depth) }, err)
    }

    /// The random bytes of the client's hello.
    ngx_http_lua_ffi_ssl_client_random, ngx_stream_lua_ffi_ssl_client_random(
        r: *const Request, out: *mut u8, len: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs; `out` has room for `*len` bytes.
        code(unsafe { ssl(r) }.map(|ssl| unsafe {
            *len = sys::SSL_get_client_random(ssl.as_ptr(), out, *len);
            OK
        }), err)
    }

    /// The `SSL *` of the client's connection.
    ngx_http_lua_ffi_get_req_ssl_pointer, ngx_stream_lua_ffi_get_req_ssl_pointer(
        r: *const Request, err: *mut *mut c_char
    ) -> *mut c_void {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        pointer(unsafe { ssl(r) }.map(|ssl| ssl.as_ptr().cast()), err)
    }

    /// The ciphers that both sides know.
    ngx_http_lua_ffi_req_shared_ssl_ciphers, ngx_stream_lua_ffi_req_shared_ssl_ciphers(
        r: *const Request, ciphers: *mut c_ushort, count: *mut c_ushort, filter_grease: c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs; there is room for `*count` ciphers.
        code(unsafe { ssl(r).and_then(|ssl| shared_ciphers(ssl, ciphers, count, filter_grease != 0)) }, err)
    }

    /// The name in the client's hello; -5 without.
    ngx_http_lua_ffi_ssl_get_client_hello_server_name, ngx_stream_lua_ffi_ssl_get_client_hello_server_name(
        r: *const Request, name: *mut *const u8, len: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        let result = unsafe { ssl(r) }.and_then(|ssl| {
            let Some(extension) = tls::hello_extension(ssl, 0) else { return Ok(DECLINED) };
            let found = hello_name(&extension).ok_or(c"Bad SSL Client Hello Extension")?;
            let found = Bytes::copy_from_slice(found);
            // SAFETY: Lua passes places for the answer.
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
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        let result = unsafe { ssl(r) }.map(|ssl| {
            let Some(body) = tls::hello_extension(ssl, kind) else { return DECLINED };
            let body = Bytes::from(body);
            // SAFETY: Lua passes places for the answer.
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
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
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
pub(super) unsafe fn give(out: *mut u8, room: usize, data: &[u8]) -> Option<c_int> {
    if data.len() > room {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { copy_to(out, data) };
    c_int::try_from(data.len()).ok()
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
        // SAFETY: `r` is null or the request whose code runs; `out` has room for `*len` bytes.
        code(unsafe { ssl(r) }.map(|ssl| unsafe {
            *len = SSL_get_server_random(ssl.as_ptr(), out, *len);
            OK
        }), err)
    }

    /// The master key of the session.
    ngx_http_lua_ffi_ssl_session_master_key(
        r: *const Request, out: *mut u8, len: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs; `out` has room for `*len` bytes.
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
        // SAFETY: `r` is null or the request whose code runs; `out` has room for that many bytes.
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
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
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
        // SAFETY: `r` is null or the request whose code runs; the list is copied before OpenSSL frees it.
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
        // SAFETY: `r` is null or the request whose code runs; there is room for that many ciphers.
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
        // SAFETY: `r` is null or the request whose code runs; `buf` has the room that the next function asks for.
        code(unsafe { stored(r) }.map(|der| unsafe {
            copy_to(buf, &der);
            OK
        }), err)
    }

    /// The size of the session that is to be stored.
    ngx_http_lua_ffi_ssl_get_serialized_session_size(r: *const Request, err: *mut *mut c_char) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        code(unsafe { stored(r) }.map(|der| der.len() as c_int), err)
    }

    /// Copies the id of the session that is stored or looked for.
    ngx_http_lua_ffi_ssl_get_session_id(r: *const Request, buf: *mut u8, err: *mut *mut c_char) -> c_int {
        // SAFETY: `r` is null or the request whose code runs; `buf` has the room that the next function asks for.
        code(unsafe { session_id(r) }.map(|id| unsafe {
            copy_to(buf, &id);
            OK
        }), err)
    }

    /// The size of that id.
    ngx_http_lua_ffi_ssl_get_session_id_size(r: *const Request, err: *mut *mut c_char) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        code(unsafe { session_id(r) }.map(|id| id.len() as c_int), err)
    }

    /// Gives the session that was looked for.
    ngx_http_lua_ffi_ssl_set_serialized_session(
        r: *const Request, data: *const u8, len: c_int, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: `r` is null or the request whose code runs, which outlives the call.
        let result = unsafe { side(r) }.and_then(|side| {
            let len = usize::try_from(len).ok().filter(|len| *len <= 4096).ok_or(c"invalid session length")?;
            // SAFETY: pointer and length are a Lua string's, which lives through the call.
            let session = SslSession::from_der(unsafe { bytes(data, len) });
            let session = session.map_err(failed(c"failed to de-serialize session"))?;
            side.fetched.replace(Some(session));
            Ok(OK)
        });
        code(result, err)
    }
}
