//! TLS to servers behind us: sessions that are used again, and scripts that choose or check certificates in the middle
//! of a handshake.
//!
//! OpenSSL asks [`ClientSide`], which answers «not yet» the first time. That ends the step; whoever runs the handshake
//! runs the script, tells [`ClientSide`] and goes on, so that OpenSSL asks again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_int;
use std::os::fd::RawFd;
use std::rc::Rc;

use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslContextRef, SslRef, SslSession, SslSessionCacheMode};
use openssl::x509::X509;

use super::stream::Tls;
use super::sys_upstream as sys;
use crate::upstream::address::PeerAddress;

/// Which scripts the handshakes of a context have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scripts {
    /// `proxy_ssl_certificate_by_lua*`
    pub(crate) certificate: bool,
    /// `proxy_ssl_verify_by_lua*`
    pub(crate) verify: bool,
}

/// How far a question to a script is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Question {
    /// It was not asked yet.
    #[default]
    Open,
    /// OpenSSL waits for the answer.
    Asked,
    /// The handshake may go on, or not.
    Answered(bool),
}

/// For whom a session is good: the location whose settings it was made with, and the server.
pub(crate) type SessionKey = (usize, PeerAddress);

/// Sessions of the servers of a group.
#[derive(Default)]
pub(crate) struct Sessions(RefCell<HashMap<SessionKey, SslSession>>);

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("len", &self.0.borrow().len()).finish_non_exhaustive()
    }
}

/// Sessions of a group that are kept; scripts may name any number of servers.
const SESSIONS_MAX: usize = 1024;

impl Sessions {
    /// The session to offer to a server.
    pub(crate) fn find(&self, key: &SessionKey) -> Option<SslSession> {
        self.0.borrow().get(key).cloned()
    }

    fn keep(&self, key: SessionKey, session: SslSession) {
        let mut all = self.0.borrow_mut();
        if all.len() >= SESSIONS_MAX && !all.contains_key(&key) {
            all.clear();
        }
        all.insert(key, session);
    }
}

/// What is known of a connection's handshake. It lives as long as the connection.
#[derive(Default)]
pub(crate) struct ClientSide {
    /// The question for a certificate.
    pub(crate) certificate: Cell<Question>,
    /// The question whether the server's certificate will do.
    pub(crate) verify: Cell<Question>,
    /// Leaves the check of the certificate to the script alone.
    pub(crate) skips_default_verify: bool,
    /// That check has just been made.
    pub(crate) verified_by_default: Cell<bool>,
    /// The result of that check, which the script may change.
    pub(crate) verify_result: Cell<c_int>,
    /// The server's certificate, while the script looks at it.
    pub(crate) peer: RefCell<Option<X509>>,
    /// Where sessions are kept.
    pub(crate) sessions: Option<(Rc<Sessions>, SessionKey)>,
}

impl ClientSide {
    /// Answers the question for a certificate: 1 goes on, 0 fails, -1 waits.
    pub(super) fn choose_certificate(&self) -> c_int {
        match self.certificate.get() {
            Question::Answered(ok) => c_int::from(ok),
            Question::Open | Question::Asked => {
                self.certificate.set(Question::Asked);
                -1
            }
        }
    }

    fn keep_session(&self, session: SslSession) {
        if let Some((sessions, key)) = &self.sessions {
            sessions.keep(key.clone(), session);
        }
    }
}

/// A TLS connection with what it asks in its handshake.
pub(crate) struct Secured {
    // Before its side, which OpenSSL may ask until the end.
    tls: Tls,
    side: Box<ClientSide>,
}

impl Secured {
    /// A connection over a socket, set up by `prepare`.
    pub(crate) fn new(
        context: &SslContextRef,
        fd: RawFd,
        side: ClientSide,
        prepare: impl FnOnce(&mut SslRef) -> Result<(), ErrorStack>,
    ) -> Result<Self, ErrorStack> {
        let mut tls = Tls::new(context, fd).ok_or_else(ErrorStack::get)?;
        tls.ssl_mut().set_connect_state();
        prepare(tls.ssl_mut())?;
        let side = Box::new(side);
        // SAFETY: both stay together, and the connection is dropped first.
        unsafe { sys::set_side(tls.ssl(), &side) };
        Ok(Self { tls, side })
    }

    /// Both of it.
    pub(crate) fn parts(&self) -> (&Tls, &ClientSide) {
        (&self.tls, &self.side)
    }
}

/// Lets connections of a context ask [`ClientSide`].
pub(crate) fn install(builder: &mut SslContextBuilder, scripts: Scripts) {
    builder.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    builder.set_new_session_callback(|ssl, session| {
        if let Some(side) = sys::side_of(ssl) {
            side.keep_session(session);
        }
    });
    if scripts.certificate {
        sys::set_certificate_callback(builder);
    }
    if scripts.verify {
        sys::set_verify_callback(builder);
    }
}
