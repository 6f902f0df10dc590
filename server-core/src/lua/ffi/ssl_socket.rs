//! TLS of cosockets: `sslhandshake` and what belongs to it.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::future::poll_fn;
use std::ptr;
use std::rc::Rc;

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::ssl::{SslContext, SslSession, StatusType};
use openssl::stack::StackRef;
use openssl::x509::X509;
use openssl_sys as sys;

use super::{AGAIN, DONE, ERROR, ErrorOut, NO_REQ_CTX, NgxStr, OK, bytes, export, store, worker};
use crate::http::request::Request;
use crate::log::Level;
use crate::lua::current;
use crate::lua::session::{Session, level, session_debug, session_log};
use crate::lua::socket::tcp::{Kind, TcpSocket};
use crate::lua::socket::tls::HandshakeFailure;
use crate::lua::socket::transport::Transport;
use crate::lua::thread::Resume;
use crate::tls::Tls;
use crate::tls::client::{HandshakeError, TlsTransport};
use crate::tls::server::{description, failure_text};
use crate::tls::sys::{Failure, verify_text};

type Failed = &'static CStr;

/// `SSL_CTRL_CHAIN_CERT` with a reference of its own.
const CHAIN_CERT: c_int = 89;
/// `SSL_CTRL_SET_VERIFY_CERT_STORE`
const VERIFY_STORE: c_int = 106;

unsafe extern "C" {
    fn SSL_use_certificate(ssl: *mut sys::SSL, certificate: *mut sys::X509) -> c_int;
    fn SSL_use_PrivateKey(ssl: *mut sys::SSL, key: *mut sys::EVP_PKEY) -> c_int;
}

/// The content of a socket's userdatum: a pointer to the socket.
type Userdatum = *const *const c_void;

/// The socket in a userdatum.
///
/// # Safety
/// Null, or the userdatum of a socket.
unsafe fn socket_of(u: Userdatum) -> Option<Rc<TcpSocket>> {
    // SAFETY: the caller's promise; the reference that is added is the answer's.
    unsafe {
        let socket = u.as_ref().copied().filter(|socket| !socket.is_null())?.cast::<TcpSocket>();
        Rc::increment_strong_count(socket);
        Some(Rc::from_raw(socket))
    }
}

/// The transport of an open socket.
fn open(socket: Option<&Rc<TcpSocket>>) -> Result<(&Rc<TcpSocket>, Rc<dyn Transport>), Failed> {
    let socket = socket.ok_or(c"closed")?;
    let transport = socket.transport.borrow().clone().ok_or(c"closed")?;
    Ok((socket, transport))
}

/// What a handshake is to be done with.
struct Wishes<'a> {
    session: *mut sys::SSL_SESSION,
    wants_session: bool,
    server_name: Option<&'a [u8]>,
    verify: bool,
    ocsp: bool,
    chain: *mut c_void,
    key: *mut c_void,
}

export! {
    /// Begins a handshake: -2 when the caller has to yield, -4 when there was one already.
    ngx_http_lua_ffi_socket_tcp_sslhandshake(
        r: *const Request, u: Userdatum, session: *mut c_void, wants_session: c_int, server_name: *const NgxStr,
        verify: c_int, ocsp: c_int, chain: *mut c_void, key: *mut c_void, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; names end with NUL in Lua, and are copied.
        let result = unsafe {
            let name = server_name.as_ref().filter(|name| !name.data.is_null());
            let wishes = Wishes {
                session: session.cast(),
                wants_session: wants_session != 0,
                server_name: name.map(|name| bytes(name.data, name.len)),
                verify: verify != 0,
                ocsp: ocsp != 0,
                chain,
                key,
            };
            match r.as_ref() {
                Some(r) => handshake(r, socket_of(u).as_ref(), &wishes),
                None => Err(c"no request found"),
            }
        };
        result.unwrap_or_else(|text| {
            // SAFETY: the contract of the parent module.
            unsafe { err.report(text) };
            ERROR
        })
    }

    /// What the handshake led to.
    ngx_http_lua_ffi_socket_tcp_get_sslhandshake_result(
        _r: *const Request, u: Userdatum, session: *mut *mut sys::SSL_SESSION, err: *mut *const c_char,
        code: *mut c_int
    ) -> c_int {
        // SAFETY: the contract of the parent module; the text lives as long as the socket's last failure.
        unsafe {
            let Some(socket) = socket_of(u) else { return ERROR };
            if let Some(session) = current::session() {
                let upstream = Rc::as_ptr(&socket).addr();
                session_debug!(session, "lua cosocket get SSL handshake result for upstream: {upstream:016X}");
            }
            if let Some(failure) = &*socket.tls.failure.borrow() {
                store(err, failure.text.as_ptr());
                store(code, failure.code);
                return ERROR;
            }
            store(code, 0);
            // A library may ask twice and keep what it got the second time: it is the same reference.
            if let Some(found) = socket.tls.session.borrow_mut().take() {
                socket.tls.given_session.set(into_pointer(found).cast());
            }
            store(session, socket.tls.given_session.get().cast());
        }
        OK
    }

    /// Frees a session that Lua got.
    ngx_http_lua_ffi_ssl_free_session(session: *mut sys::SSL_SESSION) {
        worker::debug(format_args!("lua ssl free session: {:016X}", session.addr()));
        if !session.is_null() {
            // SAFETY: Lua gives back what it got, once.
            drop(unsafe { SslSession::from_ptr(session) });
        }
    }

    /// The session of a connection, which with TLS 1.3 may come after the handshake.
    ngx_http_lua_socket_tcp_get_ssl_session(
        _r: *const Request, u: Userdatum, session: *mut *mut sys::SSL_SESSION, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe {
            let result = open(socket_of(u).as_ref()).and_then(|(_, transport)| {
                let tls = transport.tls().ok_or(c"not a ssl connection")?;
                tls.ssl().session().map(ToOwned::to_owned).ok_or(c"no session")
            });
            match result {
                Ok(found) => {
                    store(session, into_pointer(found));
                    OK
                }
                Err(text) => {
                    err.report(text);
                    ERROR
                }
            }
        }
    }

    /// The `SSL *` of a connection.
    ngx_http_lua_ffi_socket_tcp_get_ssl_pointer, ngx_stream_lua_ffi_socket_tcp_get_ssl_pointer(
        _r: *const Request, u: Userdatum, out: *mut *mut c_void, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { give(u, out, err, c"no ssl connection", |tls| tls.ssl().as_ptr().cast()) }
    }

    /// The `SSL_CTX *` of a connection.
    ngx_http_lua_ffi_socket_tcp_get_ssl_ctx, ngx_stream_lua_ffi_socket_tcp_get_ssl_ctx(
        _r: *const Request, u: Userdatum, out: *mut *mut c_void, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { give(u, out, err, c"no ssl context", |tls| tls.ssl().ssl_context().as_ptr().cast()) }
    }

    /// Sets the certificates to trust in the coming handshake.
    ngx_http_lua_ffi_socket_tcp_settrustedstore, ngx_stream_lua_ffi_socket_tcp_settrustedstore(
        r: *const Request, u: Userdatum, trusted: *mut c_void, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module; the script keeps the store alive.
        unsafe {
            let socket = socket_of(u);
            let result = open(socket.as_ref()).and_then(|(socket, transport)| {
                if socket.owner.get() != r.cast_mut().cast() {
                    return Err(c"bad request");
                }
                if socket.is_read_closed() || socket.is_write_closed() {
                    return Err(c"closed");
                }
                if transport.tls().is_some() {
                    return Err(
                        c"ssl handshake already done; trusted store cannot be changed on an established TLS connection",
                    );
                }
                socket.tls.trusted_store.set(trusted);
                Ok(OK)
            });
            result.unwrap_or_else(|text| {
                err.report(text);
                ERROR
            })
        }
    }
}

fn into_pointer(session: SslSession) -> *mut sys::SSL_SESSION {
    let pointer = session.as_ptr();
    std::mem::forget(session);
    pointer
}

/// # Safety
/// The contract of the parent module.
unsafe fn give(
    u: Userdatum,
    out: *mut *mut c_void,
    err: *mut *mut c_char,
    none: Failed,
    get: impl FnOnce(&Tls) -> *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        store(out, ptr::null_mut());
        match open(socket_of(u).as_ref()).and_then(|(_, transport)| transport.tls().map(get).ok_or(none)) {
            Ok(pointer) => {
                store(out, pointer);
                OK
            }
            Err(text) => {
                err.report(text);
                ERROR
            }
        }
    }
}

fn handshake(r: &Request, socket: Option<&Rc<TcpSocket>>, wishes: &Wishes<'_>) -> Result<c_int, Failed> {
    let Some(ctx) = current::ctx() else { return Ok(NO_REQ_CTX) };
    session_debug!(r, "lua tcp socket ssl handshake");
    let (socket, transport) = open(socket)?;
    if socket.is_read_closed() || socket.is_write_closed() {
        return Err(c"closed");
    }
    if socket.owner.get() != r.pointer() {
        return Err(c"bad request");
    }
    if socket.connecting.get() {
        return Err(c"socket busy connecting");
    }
    if socket.reading.get() {
        return Err(c"socket busy reading");
    }
    if socket.writing.get() {
        return Err(c"socket busy writing");
    }
    if socket.kind != Kind::Peer {
        return Err(c"not supported for downstream sockets");
    }
    socket.tls.failure.take();
    socket.tls.wants_session.set(wishes.wants_session || !wishes.session.is_null());
    if let Some(tls) = transport.tls() {
        if !wishes.session.is_null() {
            return Ok(DONE);
        }
        keep_session(r, socket, tls);
        return Ok(OK);
    }
    let context = r.loc().lua.ssl.context().map_err(|text| {
        r.log(Level::Emerg, format_args!("{text}"));
        c"failed to create ssl connection"
    })?;
    let tls = connection(r, socket, &transport, &context, wishes)?;
    let transport = Rc::new(TlsTransport::new(tls, transport));
    let name = wishes.server_name.filter(|name| !name.is_empty()).map(<[u8]>::to_vec);
    let verify = wishes.verify;
    let socket = Rc::clone(socket);
    socket.connecting.set(true);
    let under_way = UnderWay { socket: Rc::clone(&socket), done: Cell::new(false) };
    let limit = socket.timeouts.get().connect;
    let operation = async move {
        let outcome = tokio::time::timeout(limit, poll_fn(|cx| transport.poll_handshake(cx))).await;
        under_way.done.set(true);
        socket.connecting.set(false);
        let resume: Resume = Box::new(move |_| {
            if let Some(session) = current::session() {
                finish(session, &socket, transport, outcome.ok(), verify, name.as_deref());
            }
            0
        });
        resume
    };
    ctx.suspend(operation).map_err(|_| c"no co ctx found")?;
    session_debug!(r, "ngx_ssl_handshake returned: -2");
    Ok(AGAIN)
}

/// Ends the busy state of a handshake that was cancelled, and the connection with it.
struct UnderWay {
    socket: Rc<TcpSocket>,
    done: Cell<bool>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.done.get() {
            self.socket.connecting.set(false);
            self.socket.close();
        }
    }
}

/// A TLS connection that is set up as the script wishes.
fn connection(
    session: &dyn Session,
    socket: &TcpSocket,
    below: &Rc<dyn Transport>,
    context: &SslContext,
    wishes: &Wishes<'_>,
) -> Result<Tls, Failed> {
    let mut tls = Tls::new(context, below.fd()).ok_or(c"failed to create ssl connection")?;
    let ssl = tls.ssl_mut();
    ssl.set_connect_state();
    // SAFETY: the connection is valid; sessions, chains, keys and stores are what scripts got from us or from
    // OpenSSL and hold. OpenSSL takes references of its own.
    unsafe {
        if !wishes.session.is_null() {
            if sys::SSL_set_session(ssl.as_ptr(), wishes.session) != 1 {
                return Err(c"ssl set session failed");
            }
            session_debug!(session, "lua ssl set session: {:016X}", wishes.session.addr());
        }
        if !wishes.chain.is_null() {
            use_certificate(ssl.as_ptr(), StackRef::from_ptr(wishes.chain.cast()), wishes.key)?;
        }
        let trusted = socket.tls.trusted_store.replace(ptr::null_mut());
        if !trusted.is_null() && sys::SSL_ctrl(ssl.as_ptr(), VERIFY_STORE, 1, trusted) != 1 {
            return Err(c"SSL_set1_verify_cert_store() failed");
        }
    }
    if let Some(name) = wishes.server_name {
        let text = String::from_utf8_lossy(name);
        session_debug!(session, "lua ssl server name: \"{text}\"");
        let name = CString::new(name).unwrap_or_default();
        ssl.set_hostname(&name.to_string_lossy()).map_err(|_| c"SSL_set_tlsext_host_name failed")?;
    }
    if wishes.ocsp {
        ssl.set_status_type(StatusType::OCSP).map_err(|_| c"no OCSP support")?;
    }
    Ok(tls)
}

/// # Safety
/// A valid connection and key.
unsafe fn use_certificate(ssl: *mut sys::SSL, chain: &StackRef<X509>, key: *mut c_void) -> Result<(), Failed> {
    for (index, certificate) in chain.iter().enumerate() {
        // SAFETY: the caller's promise.
        let (set, text) = unsafe {
            if index == 0 {
                (SSL_use_certificate(ssl, certificate.as_ptr()), c"ssl set client certificate failed")
            } else {
                let added = sys::SSL_ctrl(ssl, CHAIN_CERT, 1, certificate.as_ptr().cast());
                (added as c_int, c"ssl set client intermediate certificate failed")
            }
        };
        if set != 1 {
            return Err(text);
        }
    }
    if chain.is_empty() {
        return Err(c"invalid client certificate chain");
    }
    // SAFETY: the caller's promise.
    let set = unsafe { SSL_use_PrivateKey(ssl, key.cast()) };
    if set == 1 { Ok(()) } else { Err(c"ssl set client private key failed") }
}

/// Keeps the session for the script, if it wants it.
fn keep_session(session: &dyn Session, socket: &TcpSocket, tls: &Tls) {
    socket.tls.given_session.set(ptr::null_mut());
    if !socket.tls.wants_session.get() {
        return;
    }
    let found = tls.ssl().session().map(ToOwned::to_owned);
    if let Some(found) = &found {
        session_debug!(session, "lua ssl save session: {:016X}", found.as_ptr().addr());
    }
    socket.tls.session.replace(found);
}

fn finish(
    session: &dyn Session,
    socket: &TcpSocket,
    transport: Rc<TlsTransport>,
    outcome: Option<Result<(), HandshakeError>>,
    verify: bool,
    name: Option<&[u8]>,
) {
    let failure = match outcome {
        None => HandshakeFailure::new(c"timeout"),
        Some(Ok(())) => match transport.tls() {
            Some(tls) => {
                session_debug!(session, "SSL_do_handshake: 1");
                session_debug!(session, "{}", description(tls.ssl()));
                if tls.ssl().session_reused() {
                    session_debug!(session, "SSL reused session");
                }
                match if verify { check_certificate(session, tls, name) } else { None } {
                    Some(failure) => failure,
                    None => {
                        keep_session(session, socket, tls);
                        socket.transport.replace(Some(transport));
                        return;
                    }
                }
            }
            None => HandshakeFailure::new(c"handshake failed"),
        },
        Some(Err(error)) => {
            let text = match error {
                HandshakeError::Closed => "peer closed connection in SSL handshake".to_owned(),
                HandshakeError::Failed(failure) => failure_text(&failure, Level::Error).1,
                HandshakeError::Io(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    let stack = openssl::error::ErrorStack::get();
                    failure_text(&Failure { errno, stack }, Level::Error).1
                }
            };
            session_log!(session, level::ERR, "{text}");
            HandshakeFailure::new(c"handshake failed")
        }
    };
    socket.tls.failure.replace(Some(failure));
    drop(transport);
    session_debug!(session, "lua finalize socket");
    socket.close();
}

/// What is wrong with the peer's certificate.
fn check_certificate(session: &dyn Session, tls: &Tls, name: Option<&[u8]>) -> Option<HandshakeFailure> {
    let logs = session.socket_conf().log_errors;
    let code = tls.ssl().verify_result().as_raw();
    if code != 0 {
        let text = verify_text(code.into());
        if logs {
            let words = text.to_string_lossy();
            session_log!(session, level::ERR, "lua ssl certificate verify error: ({code}: {words})");
        }
        return Some(HandshakeFailure { code, text: text.to_owned() });
    }
    let name = name?;
    let certificate = tls.ssl().peer_certificate();
    // SAFETY: a valid certificate and that many bytes.
    let matches = certificate.is_some_and(|certificate| unsafe {
        sys::X509_check_host(certificate.as_ptr(), name.as_ptr().cast(), name.len(), 0, ptr::null_mut()) == 1
    });
    if matches {
        return None;
    }
    if logs {
        let name = String::from_utf8_lossy(name);
        session_log!(session, level::ERR, "lua ssl certificate does not match host \"{name}\"");
    }
    Some(HandshakeFailure::new(c"certificate host mismatch"))
}
