//! The accepting side: choice of the server by name, and callbacks that may wait for Lua.
//!
//! OpenSSL asks in the middle of a handshake; [`ServerSide`] answers «not yet» the first time, which ends the step.
//! [`accept`] then runs the script and goes on with the handshake, in which OpenSSL asks again.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};

use openssl::ssl::{
    AlpnError, ClientHelloResponse, NameType, SniError, SslAlert, SslContext, SslContextBuilder, SslOptions, SslRef,
    SslSession, SslSessionCacheMode,
};
use tokio::time::Instant;

use super::stream::{Direction, Tls};
use super::sys::{self, Failure, Step};
use crate::http::conf::SrvConf;
use crate::http::connection::Connection;
use crate::http::modules::core::PortServers;
use crate::http::modules::lua::tls as scripts;
use crate::log::{Entry, ErrorLog, Level};

/// How far a question to a script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// It was not asked yet.
    Open,
    /// OpenSSL waits for the answer.
    Asked,
    /// The handshake may go on, or not.
    Answered(bool),
}

/// What a server knows of a connection during its handshake.
pub struct ServerSide {
    connection: Weak<Connection>,
    port: &'static PortServers,
    /// The server of the address, or the one that the client named.
    pub(crate) srv: Cell<&'static SrvConf>,
    /// The server whose context is in use.
    context_of: Cell<&'static SrvConf>,
    hello: Cell<Question>,
    certificate: Cell<Question>,
    /// A session that a script found.
    pub(crate) fetched: RefCell<Option<SslSession>>,
    /// The session that a script is to store, and the one whose id a script is to look for.
    pub(crate) session: RefCell<Option<SslSession>>,
    /// The id of the session that is stored or looked for.
    pub(crate) session_id: RefCell<Vec<u8>>,
    /// Where `ngx.ctx` of the handshake is kept in the VM, and how to give it back.
    pub(crate) ctx_ref: Cell<i32>,
    pub(crate) at_end: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl Drop for ServerSide {
    fn drop(&mut self) {
        if let Some(release) = self.at_end.take() {
            release();
        }
    }
}

impl ServerSide {
    /// Whether a script of the handshake is wanted by the server at hand.
    fn scripts(&self) -> &'static crate::http::modules::lua::SrvConf {
        &self.srv.get().lua
    }

    /// Answers the question for a certificate: 1 goes on, 0 fails, -1 waits.
    pub(crate) fn choose_certificate(&self) -> i32 {
        if self.context_of.get().lua.ssl_certificate.is_none() {
            return 1;
        }
        if self.scripts().ssl_certificate.is_none() {
            if let Some(connection) = self.connection.upgrade() {
                let name = &self.srv.get().core.server_name;
                let name = String::from_utf8_lossy(name);
                connection.log(Level::Alert, format_args!("no ssl_certificate_by_lua* defined in server {name}"));
            }
            return 0;
        }
        match self.certificate.get() {
            Question::Answered(ok) => i32::from(ok),
            Question::Open | Question::Asked => {
                self.certificate.set(Question::Asked);
                -1
            }
        }
    }

    /// Makes itself known to the connection, which it is stored with.
    pub(crate) fn attach(&self, tls: &Tls) {
        // SAFETY: both live in one cell of the connection; nothing goes on with the handshake without it.
        unsafe { sys::set_side(tls.ssl(), self) };
    }

    /// Whether the client named a server in the handshake, and not this host.
    pub(crate) fn has_named_another(&self, ssl: &SslRef, host: &[u8]) -> bool {
        let named = ssl.servername_raw(NameType::HOST_NAME).map(<[u8]>::to_ascii_lowercase);
        let is_another = |named: Vec<u8>| named != host && self.port.find_by_name(&bytes::Bytes::from(named)).is_some();
        named.is_some_and(is_another)
    }

    /// The log of the server at hand.
    fn log(&self) -> Option<&'static ErrorLog> {
        self.srv.get().core.loc.get()?.core.log.as_ref()
    }

    fn answer_hello(&self, ssl: &mut SslRef, alert: &mut SslAlert) -> Result<ClientHelloResponse, ()> {
        match self.hello.get() {
            Question::Answered(true) => Ok(ClientHelloResponse::SUCCESS),
            Question::Answered(false) => {
                *alert = SslAlert::INTERNAL_ERROR;
                Err(())
            }
            Question::Asked => Ok(ClientHelloResponse::RETRY),
            Question::Open => {
                if self.wants_session(ssl) || self.scripts().ssl_client_hello.is_some() {
                    self.hello.set(Question::Asked);
                    return Ok(ClientHelloResponse::RETRY);
                }
                self.hello.set(Question::Answered(true));
                Ok(ClientHelloResponse::SUCCESS)
            }
        }
    }

    /// Whether a script is to look for the session that the client names. The name is kept.
    fn wants_session(&self, ssl: &SslRef) -> bool {
        if self.scripts().ssl_session_fetch.is_none() || sys::offers_tls13(ssl) || sys::has_ticket(ssl) {
            return false;
        }
        let id = sys::hello_session_id(ssl);
        let wanted = !id.is_empty();
        self.session_id.replace(id);
        wanted
    }
}

/// Lets connections of a context ask [`ServerSide`].
pub fn install(builder: &mut SslContextBuilder) {
    sys::set_certificate_callback(builder);
    builder.set_client_hello_callback(|ssl, alert| match sys::side_of(ssl) {
        None => Ok(ClientHelloResponse::SUCCESS),
        Some(side) => side.answer_hello(ssl, alert).map_err(|()| openssl::error::ErrorStack::get()),
    });
    builder.set_servername_callback(select_server);
    builder.set_alpn_select_callback(select_protocol);
    builder.set_new_session_callback(|ssl, session| {
        let Some(side) = sys::side_of(ssl) else { return };
        if side.scripts().ssl_session_store.is_none() {
            return;
        }
        let Some(connection) = side.connection.upgrade() else { return };
        let version = sys::version(ssl);
        if version >= 0x304 {
            connection.debug(format_args!("ssl_session_store_by_lua*: skipped since TLS version >= 1.3 ({version:x})"));
            return;
        }
        side.session_id.replace(session.id().to_vec());
        side.session.replace(Some(session));
        scripts::store_session(&connection, side.srv.get());
        side.session.take();
    });
    sys::set_session_lookup(builder, |side| side.fetched.take());
}

/// Session settings of a server.
pub fn set_sessions(builder: &mut SslContextBuilder, tickets: bool, cache: SslSessionCacheMode, seconds: u32) {
    if !tickets {
        builder.set_options(SslOptions::NO_TICKET);
    }
    builder.set_session_cache_mode(cache);
    sys::set_session_timeout(builder, seconds);
    // Two servers of one name space may resume each other's sessions, as nginx does without client certificates.
    let _ = builder.set_session_id_context(b"HTTP");
}

/// Chooses the server that the client named.
fn select_server(ssl: &mut SslRef, alert: &mut SslAlert) -> Result<(), SniError> {
    let Some(side) = sys::side_of(ssl) else { return Err(SniError::NOACK) };
    let host = ssl.servername_raw(NameType::HOST_NAME).map(<[u8]>::to_ascii_lowercase).unwrap_or_default();
    if let Some(connection) = side.connection.upgrade() {
        connection.debug(format_args!("SSL server name: \"{}\"", String::from_utf8_lossy(&host)));
    }
    let named = if host.is_empty() { None } else { side.port.find_by_name(&bytes::Bytes::from(host)) };
    if let Some(srv) = named {
        side.srv.set(srv);
    }
    let srv = side.srv.get();
    if srv.ssl.rejects_handshake() {
        *alert = SslAlert::UNRECOGNIZED_NAME;
        return Err(SniError::ALERT_FATAL);
    }
    if let Some(context) = srv.ssl.context()
        && named.is_some()
    {
        sys::use_context(ssl, context);
        side.context_of.set(srv);
    }
    if named.is_some() { Ok(()) } else { Err(SniError::NOACK) }
}

/// Protocols that servers speak, in the order of preference and in the form of the TLS extension.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1\x08http/1.0\x08http/0.9";
/// Where those of servers without HTTP/2 begin.
const WITHOUT_HTTP2: usize = 3;

/// Chooses one of the protocols that the client speaks.
fn select_protocol<'a>(ssl: &mut SslRef, offered: &'a [u8]) -> Result<&'a [u8], AlpnError> {
    let Some(side) = sys::side_of(ssl) else { return Err(AlpnError::NOACK) };
    if side.connection.upgrade().is_none_or(|connection| connection.is_stream()) {
        return Err(AlpnError::NOACK);
    }
    let speaks_http2 = *side.srv.get().http2.enable || side.port.options.http2;
    let known = if speaks_http2 { PROTOCOLS } else { &PROTOCOLS[WITHOUT_HTTP2..] };
    openssl::ssl::select_next_proto(known, offered).ok_or(AlpnError::ALERT_FATAL)
}

/// Takes a connection through its handshake; whether it may go on.
pub(crate) async fn accept(
    connection: &Rc<Connection>,
    port: &'static PortServers,
    context: &SslContext,
    srv: &'static SrvConf,
    deadline: Instant,
) -> bool {
    let Some(mut tls) = Tls::new(context, connection.descriptor()) else { return false };
    tls.ssl_mut().set_accept_state();
    let side = Box::new(ServerSide {
        connection: Rc::downgrade(connection),
        port,
        srv: Cell::new(srv),
        context_of: Cell::new(srv),
        hello: Cell::new(Question::Open),
        certificate: Cell::new(Question::Open),
        fetched: RefCell::default(),
        session: RefCell::default(),
        session_id: RefCell::default(),
        ctx_ref: Cell::new(-2),
        at_end: RefCell::default(),
    });
    if connection.set_tls(tls, side).is_err() {
        return false;
    }
    let Some((tls, side)) = connection.tls() else { return false };
    connection.action.set(Some("SSL handshaking"));
    if !connection.is_stream() {
        connection.debug(format_args!("reusable connection: 1"));
        connection.debug(format_args!("reusable connection: 0"));
    }
    loop {
        let step = tls.handshake();
        let (result, error) = step.numbers();
        connection.debug(format_args!("SSL_do_handshake: {result}"));
        if let Some(error) = error {
            connection.debug(format_args!("SSL_get_error: {error}"));
        }
        let direction = match step {
            Step::Done(_) => break,
            Step::WantRead => Direction::Read,
            Step::WantWrite => Direction::Write,
            Step::WantHello => {
                let ok = answer_hello(connection, side).await;
                side.hello.set(Question::Answered(ok));
                continue;
            }
            Step::WantCertificate => {
                let ok = match &side.scripts().ssl_certificate {
                    Some(script) => scripts::run_certificate(connection, side.srv.get(), script).await,
                    None => true,
                };
                connection.debug(format_args!("ssl_certificate_by_lua: cert cb exit code: {}", u8::from(ok)));
                side.certificate.set(Question::Answered(ok));
                continue;
            }
            Step::Closed | Step::WantVerify => {
                connection.log(Level::Info, format_args!("peer closed connection in SSL handshake"));
                return false;
            }
            Step::Failed(failure) => {
                log_failure(connection, &failure);
                return false;
            }
        };
        connection.clear_ready(direction);
        let ready = poll_fn(|cx| connection.poll_ready(direction, deadline, cx)).await;
        if ready.is_err() {
            connection.timed_out.set(true);
            connection.log(Level::Info, format_args!("client timed out"));
            return false;
        }
    }
    connection.debug(format_args!("{}", description(tls.ssl())));
    if tls.ssl().session_reused() {
        connection.debug(format_args!("SSL reused session"));
    }
    true
}

/// Runs the scripts that a client's hello is for.
async fn answer_hello(connection: &Rc<Connection>, side: &ServerSide) -> bool {
    let conf = side.scripts();
    if let Some(script) = &conf.ssl_client_hello {
        let ok = scripts::run_client_hello(connection, side.srv.get(), script).await;
        connection.debug(format_args!("ssl_client_hello_by_lua: client hello cb exit code: {}", u8::from(ok)));
        if !ok {
            return false;
        }
    }
    if let Some(script) = &conf.ssl_session_fetch
        && !side.session_id.borrow().is_empty()
    {
        if !scripts::run_session_fetch(connection, side.srv.get(), script).await {
            side.fetched.take();
        }
        side.session_id.take();
    }
    true
}

/// `SSL: TLSv1.3, cipher: "…"`
pub(crate) fn description(ssl: &SslRef) -> String {
    format!("SSL: {}, cipher: \"{}\"", ssl.version_str(), sys::cipher_description(ssl))
}

fn log_failure(connection: &Connection, failure: &Failure) {
    let (level, text) = failure_text(failure, Level::Info);
    connection.log(level, format_args!("{text}"));
}

/// The level and the text of a failed handshake. Failures that the peer may cause have the level `usual`.
pub(crate) fn failure_text(failure: &Failure, usual: Level) -> (Level, String) {
    if failure.errno != 0 {
        let what = match failure.stack.errors() {
            [] => "peer closed connection in SSL handshake",
            _ => "SSL_do_handshake() failed",
        };
        let level = match failure.errno {
            libc::ECONNRESET
            | libc::EPIPE
            | libc::ENOTCONN
            | libc::ETIMEDOUT
            | libc::ECONNREFUSED
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH => usual,
            _ => Level::Crit,
        };
        let words = nix::errno::Errno::from_raw(failure.errno).desc();
        return (level, format!("{what} ({}: {words})", failure.errno));
    }
    let level = if failure.stack.errors().is_empty() { Level::Crit } else { usual };
    (level, format!("SSL_do_handshake() failed{}", sys::describe(&failure.stack)))
}

impl Connection {
    /// Writes a line about the connection itself.
    pub(crate) fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        let log = match self.tls() {
            Some((_, side)) => side.log(),
            None => None,
        };
        let log = log.unwrap_or(&self.cycle().log);
        if log.enabled(level) {
            let message = message.to_string();
            log.write_entry(&Entry { level, message: message.as_bytes(), errno: None, context: Some(self) });
        }
    }

    /// As [`Connection::log`], at debug level.
    pub(crate) fn debug(&self, message: std::fmt::Arguments<'_>) {
        self.log(Level::Debug, message);
    }
}
