//! TLS of a cosocket: what its last handshake led to.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_void};

use openssl::ssl::SslSession;

/// Why a handshake failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandshakeFailure {
    /// The result of certificate verification, 0 when it was something else.
    pub(crate) code: i32,
    /// The text for scripts.
    pub(crate) text: CString,
}

impl HandshakeFailure {
    /// A failure that is not about a certificate's verification.
    pub(crate) fn new(text: &CStr) -> Self {
        Self { code: 0, text: text.to_owned() }
    }
}

/// The state of a socket's handshakes.
#[derive(Default)]
pub(crate) struct TlsState {
    /// Why the last one failed.
    pub(crate) failure: RefCell<Option<HandshakeFailure>>,
    /// The session that scripts get.
    pub(crate) session: RefCell<Option<SslSession>>,
    /// The session as a script got it, which is the script's to free; for comparison and repetition only.
    pub(crate) given_session: Cell<*mut c_void>,
    /// Whether they want it.
    pub(crate) wants_session: Cell<bool>,
    /// The certificates to trust in the next handshake: a script's `X509_STORE *`.
    pub(crate) trusted_store: Cell<*mut c_void>,
}
