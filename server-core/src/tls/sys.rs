//! The functions of OpenSSL that the `openssl` crate does not wrap, behind safe signatures.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::os::fd::RawFd;
use std::sync::OnceLock;

use bytes::BufMut;
use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::error::{Error, ErrorStack};
use openssl::ssl::{Ssl, SslContextBuilder, SslRef, SslSession};
use openssl_sys as ffi;

use super::server::ServerSide;

unsafe extern "C" {
    fn SSL_CTX_set_cert_cb(
        ctx: *mut ffi::SSL_CTX,
        callback: Option<unsafe extern "C" fn(*mut ffi::SSL, *mut c_void) -> c_int>,
        arg: *mut c_void,
    );
    fn SSL_set_fd(ssl: *mut ffi::SSL, fd: c_int) -> c_int;
    fn SSL_CONF_CTX_new() -> *mut c_void;
    fn SSL_CONF_CTX_free(cctx: *mut c_void);
    fn SSL_CONF_CTX_set_flags(cctx: *mut c_void, flags: c_uint) -> c_uint;
    fn SSL_CONF_CTX_set_ssl_ctx(cctx: *mut c_void, ctx: *mut ffi::SSL_CTX);
    fn SSL_CONF_CTX_finish(cctx: *mut c_void) -> c_int;
    fn SSL_CONF_cmd(cctx: *mut c_void, name: *const c_char, value: *const c_char) -> c_int;
    fn SSL_CIPHER_description(cipher: *const ffi::SSL_CIPHER, buf: *mut c_char, size: c_int) -> *mut c_char;
    fn SSL_get_current_cipher(ssl: *const ffi::SSL) -> *const ffi::SSL_CIPHER;
}

/// What one step of OpenSSL led to.
#[derive(Debug)]
pub(crate) enum Step {
    /// So many bytes, or the handshake is complete.
    Done(usize),
    /// The socket has nothing to read.
    WantRead,
    /// The socket takes nothing.
    WantWrite,
    /// The hello of the client waits for an answer.
    WantHello,
    /// The choice of a certificate waits for an answer.
    WantCertificate,
    /// The check of the server's certificate waits for an answer.
    WantVerify,
    /// The peer closed in good order.
    Closed,
    /// It failed.
    Failed(Failure),
}

impl Step {
    /// What OpenSSL returned, and its number for an error, as debug lines show them.
    pub(crate) fn numbers(&self) -> (c_int, Option<c_int>) {
        match self {
            Self::Done(_) => (1, None),
            Self::WantRead => (-1, Some(ffi::SSL_ERROR_WANT_READ)),
            Self::WantWrite => (-1, Some(ffi::SSL_ERROR_WANT_WRITE)),
            Self::WantHello => (-1, Some(WANT_CLIENT_HELLO_CB)),
            Self::WantCertificate => (-1, Some(ffi::SSL_ERROR_WANT_X509_LOOKUP)),
            Self::WantVerify => (-1, Some(WANT_RETRY_VERIFY)),
            Self::Closed => (0, Some(ffi::SSL_ERROR_SYSCALL)),
            Self::Failed(failure) if failure.errno != 0 => (-1, Some(ffi::SSL_ERROR_SYSCALL)),
            Self::Failed(_) => (-1, Some(ffi::SSL_ERROR_SSL)),
        }
    }
}

/// Why OpenSSL failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The system's error, 0 when it was not the system.
    pub(crate) errno: i32,
    /// OpenSSL's queue of errors.
    pub(crate) stack: ErrorStack,
}

/// `SSL_ERROR_WANT_CLIENT_HELLO_CB`
const WANT_CLIENT_HELLO_CB: c_int = 11;
/// `SSL_ERROR_WANT_RETRY_VERIFY`
const WANT_RETRY_VERIFY: c_int = 12;

fn step(ssl: &SslRef, result: c_int) -> Step {
    if result > 0 {
        return Step::Done(result as usize);
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    // SAFETY: a valid connection and the result of the call just made on it.
    let code = unsafe { ffi::SSL_get_error(ssl.as_ptr(), result) };
    match code {
        ffi::SSL_ERROR_WANT_READ => Step::WantRead,
        ffi::SSL_ERROR_WANT_WRITE => Step::WantWrite,
        ffi::SSL_ERROR_WANT_X509_LOOKUP => Step::WantCertificate,
        WANT_CLIENT_HELLO_CB => Step::WantHello,
        WANT_RETRY_VERIFY => Step::WantVerify,
        ffi::SSL_ERROR_ZERO_RETURN => Step::Closed,
        code => {
            let stack = ErrorStack::get();
            let errno = if code == ffi::SSL_ERROR_SYSCALL { errno } else { 0 };
            if stack.errors().is_empty() && errno == 0 { Step::Closed } else { Step::Failed(Failure { errno, stack }) }
        }
    }
}

/// Binds a connection to a socket, which it does not own.
pub(crate) fn set_fd(ssl: &mut Ssl, fd: RawFd) -> bool {
    // SAFETY: a valid connection; the BIO that OpenSSL makes does not close the descriptor.
    unsafe { SSL_set_fd(ssl.as_ptr(), fd) == 1 }
}

/// Goes on with the handshake.
pub(crate) fn handshake(ssl: &SslRef) -> Step {
    // SAFETY: a valid connection; all use of it is in one thread. Callbacks do not touch the handshake itself.
    let result = unsafe {
        ffi::ERR_clear_error();
        ffi::SSL_do_handshake(ssl.as_ptr())
    };
    step(ssl, result)
}

/// Reads what has been decrypted, or arrives, into the room of a buffer: at most `most` bytes.
pub(crate) fn read(ssl: &SslRef, into: &mut impl BufMut, most: usize) -> Step {
    let room = into.chunk_mut();
    let len = c_int::try_from(room.len().min(most)).unwrap_or(c_int::MAX);
    // SAFETY: a valid connection and room for at least that much, which OpenSSL only writes to.
    let result = unsafe {
        ffi::ERR_clear_error();
        ffi::SSL_read(ssl.as_ptr(), room.as_mut_ptr().cast(), len)
    };
    if let Ok(count @ 1..) = usize::try_from(result) {
        // SAFETY: so many bytes were written to the room.
        unsafe { into.advance_mut(count) };
    }
    step(ssl, result)
}

/// Writes what the socket takes.
pub(crate) fn write(ssl: &SslRef, bytes: &[u8]) -> Step {
    let len = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
    // SAFETY: a valid connection and that many bytes.
    let result = unsafe {
        ffi::ERR_clear_error();
        ffi::SSL_write(ssl.as_ptr(), bytes.as_ptr().cast(), len)
    };
    step(ssl, result)
}

/// Tells the peer that nothing more will come.
pub(crate) fn shutdown(ssl: &SslRef) {
    // SAFETY: a valid connection. Whether the peer hears it does not matter.
    unsafe {
        ffi::SSL_shutdown(ssl.as_ptr());
        ffi::ERR_clear_error();
    }
}

/// Lets writes continue from another buffer, and end early.
pub(crate) fn set_write_modes(builder: &mut SslContextBuilder) {
    use openssl::ssl::SslMode;
    builder.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER | SslMode::RELEASE_BUFFERS);
}

/// Runs a configuration command (`ssl_conf_command`).
pub(crate) fn conf_command(builder: &mut SslContextBuilder, name: &CStr, value: &CStr) -> Result<(), &'static str> {
    /// As nginx: file, client, server, certificate, show errors.
    const FLAGS: c_uint = 0x2 | 0x4 | 0x8 | 0x20 | 0x10;
    // SAFETY: the object is made, used and freed here; the texts end with NUL.
    unsafe {
        let cctx = SSL_CONF_CTX_new();
        if cctx.is_null() {
            return Err("SSL_CONF_CTX_new() failed");
        }
        SSL_CONF_CTX_set_flags(cctx, FLAGS);
        SSL_CONF_CTX_set_ssl_ctx(cctx, builder.as_ptr());
        let done = SSL_CONF_cmd(cctx, name.as_ptr(), value.as_ptr());
        let finished = SSL_CONF_CTX_finish(cctx);
        SSL_CONF_CTX_free(cctx);
        match (done, finished) {
            (..=0, _) => Err("SSL_CONF_cmd"),
            (_, 1) => Ok(()),
            _ => Err("SSL_CONF_finish() failed"),
        }
    }
}

/// Sets the versions that are allowed, as bits of `ssl_protocols`.
pub(crate) fn set_protocols(ssl: &SslRef, bits: u32) {
    const ALL: [(u32, u64); 5] =
        [(0x4, 0x0200_0000), (0x8, 0x0400_0000), (0x10, 0x1000_0000), (0x20, 0x0800_0000), (0x40, 0x2000_0000)];
    let (mut off, mut on) = (0, 0);
    for (bit, option) in ALL {
        *(if bits & bit == 0 { &mut off } else { &mut on }) |= option;
    }
    // SAFETY: a valid connection.
    unsafe {
        SSL_clear_options(ssl.as_ptr(), on);
        SSL_set_options(ssl.as_ptr(), off);
    }
}

unsafe extern "C" {
    fn SSL_clear_options(ssl: *mut ffi::SSL, options: u64) -> u64;
    fn SSL_set_options(ssl: *mut ffi::SSL, options: u64) -> u64;
    fn SSL_get_SSL_CTX(ssl: *const ffi::SSL) -> *mut ffi::SSL_CTX;
    fn SSL_CTX_get_options(ctx: *const ffi::SSL_CTX) -> u64;
    fn SSL_get_options(ssl: *const ffi::SSL) -> u64;
    fn SSL_CTX_get_verify_mode(ctx: *const ffi::SSL_CTX) -> c_int;
    fn SSL_CTX_get_verify_callback(ctx: *const ffi::SSL_CTX) -> Option<VerifyCallback>;
    fn SSL_CTX_get_verify_depth(ctx: *const ffi::SSL_CTX) -> c_int;
    fn SSL_set_verify_depth(ssl: *mut ffi::SSL, depth: c_int);
    fn SSL_set_verify(ssl: *mut ffi::SSL, mode: c_int, callback: Option<VerifyCallback>);
}

type VerifyCallback = extern "C" fn(c_int, *mut ffi::X509_STORE_CTX) -> c_int;

/// Makes a connection follow the context it was just given in what OpenSSL copies only once.
pub(crate) fn follow_context(ssl: &SslRef) {
    // SAFETY: a valid connection and its context.
    unsafe {
        let (ssl, ctx) = (ssl.as_ptr(), SSL_get_SSL_CTX(ssl.as_ptr()));
        SSL_set_verify(ssl, SSL_CTX_get_verify_mode(ctx), SSL_CTX_get_verify_callback(ctx));
        SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(ctx));
        SSL_clear_options(ssl, SSL_get_options(ssl) & !SSL_CTX_get_options(ctx));
        SSL_set_options(ssl, SSL_CTX_get_options(ctx));
    }
}

/// The cipher in use, with its parts: `NAME VERSION Kx=… Au=… Enc=… Mac=…`.
pub(crate) fn cipher_description(ssl: &SslRef) -> String {
    let mut buf = [0; 129];
    // SAFETY: the buffer is of the size given; the text in it ends with NUL.
    let text = unsafe {
        let cipher = SSL_get_current_cipher(ssl.as_ptr());
        if cipher.is_null() || SSL_CIPHER_description(cipher, buf.as_mut_ptr(), 128).is_null() {
            return String::new();
        }
        CStr::from_ptr(buf.as_ptr()).to_string_lossy().into_owned()
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn side_index() -> c_int {
    static INDEX: OnceLock<c_int> = OnceLock::new();
    *INDEX.get_or_init(|| {
        // SAFETY: plain registration, without callbacks.
        unsafe { ffi::SSL_get_ex_new_index(0, std::ptr::null_mut(), None, None, None) }
    })
}

/// Remembers the server's side at its connection.
///
/// # Safety
/// `side` outlives the connection's last handshake step.
pub(crate) unsafe fn set_side(ssl: &SslRef, side: &ServerSide) {
    // SAFETY: a valid connection; the index is ours.
    unsafe { ffi::SSL_set_ex_data(ssl.as_ptr(), side_index(), std::ptr::from_ref(side).cast_mut().cast()) };
}

/// The server's side of a connection.
pub(crate) fn side_of<'a>(ssl: &SslRef) -> Option<&'a ServerSide> {
    // SAFETY: the pointer was set by `set_side`, whose caller keeps the side alive.
    unsafe { ffi::SSL_get_ex_data(ssl.as_ptr(), side_index()).cast::<ServerSide>().as_ref() }
}

/// Lets [`ServerSide::choose_certificate`] decide, for connections of this context.
pub(crate) fn set_certificate_callback(builder: &mut SslContextBuilder) {
    unsafe extern "C" fn callback(ssl: *mut ffi::SSL, _arg: *mut c_void) -> c_int {
        // SAFETY: OpenSSL passes the connection that is in the handshake.
        let ssl = unsafe { SslRef::from_ptr(ssl) };
        match side_of(ssl) {
            Some(side) => side.choose_certificate(),
            None => 1,
        }
    }
    // SAFETY: the function is static.
    unsafe { SSL_CTX_set_cert_cb(builder.as_ptr(), Some(callback), std::ptr::null_mut()) };
}

/// ` (SSL: error:… error:…)`, as nginx lists a queue of errors; nothing when it is empty.
pub(crate) fn describe(stack: &ErrorStack) -> String {
    if stack.errors().is_empty() {
        return String::new();
    }
    let texts: Vec<String> = stack.errors().iter().map(error_text).collect();
    format!(" (SSL: {})", texts.join(" "))
}

/// `error:CODE:LIBRARY::REASON:DATA`
fn error_text(error: &Error) -> String {
    let mut buf = [0 as c_char; 256];
    // SAFETY: the buffer is of the size given.
    let mut text = unsafe {
        ERR_error_string_n(error.code(), buf.as_mut_ptr(), buf.len());
        CStr::from_ptr(buf.as_ptr()).to_string_lossy().into_owned()
    };
    if let Some(data) = error.data().filter(|data| !data.is_empty()) {
        text.push(':');
        text.push_str(data);
    }
    text
}

unsafe extern "C" {
    fn ERR_error_string_n(code: c_ulong, buf: *mut c_char, len: usize);
}

/// The words for a result of certificate verification.
pub(crate) fn verify_text(code: c_long) -> &'static CStr {
    // SAFETY: OpenSSL returns static text for any number.
    unsafe { CStr::from_ptr(ffi::X509_verify_cert_error_string(code)) }
}

unsafe extern "C" {
    fn X509_LOOKUP_file() -> *mut c_void;
    fn X509_STORE_add_lookup(store: *mut ffi::X509_STORE, method: *mut c_void) -> *mut c_void;
    fn X509_LOOKUP_ctrl(
        lookup: *mut c_void,
        command: c_int,
        text: *const c_char,
        number: c_long,
        out: *mut *mut c_char,
    ) -> c_int;
    fn X509_STORE_set_flags(store: *mut ffi::X509_STORE, flags: c_ulong) -> c_int;
}

/// Checks chains against the revocation lists of a PEM file.
pub(crate) fn load_crl(builder: &mut SslContextBuilder, file: &CStr) -> Result<(), ErrorStack> {
    /// `X509_L_FILE_LOAD`
    const FILE_LOAD: c_int = 1;
    /// `X509_FILETYPE_PEM`
    const PEM: c_long = 1;
    /// `X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL`
    const CHECK: c_ulong = 0x4 | 0x8;
    // SAFETY: the store belongs to the context; the lookup to the store.
    unsafe {
        let store = ffi::SSL_CTX_get_cert_store(builder.as_ptr());
        let lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
        let loaded =
            !lookup.is_null() && X509_LOOKUP_ctrl(lookup, FILE_LOAD, file.as_ptr(), PEM, std::ptr::null_mut()) != 0;
        if !loaded {
            return Err(ErrorStack::get());
        }
        X509_STORE_set_flags(store, CHECK);
    }
    Ok(())
}

/// The body of an extension of the client's hello; only while that is being answered.
pub(crate) fn hello_extension(ssl: &SslRef, number: c_uint) -> Option<Vec<u8>> {
    let (mut data, mut len) = (std::ptr::null(), 0);
    // SAFETY: a valid connection; the bytes are copied while the hello is at hand.
    unsafe {
        if ffi::SSL_client_hello_get0_ext(ssl.as_ptr(), number, &raw mut data, &raw mut len) != 1 {
            return None;
        }
        Some(copy(data, len))
    }
}

/// # Safety
/// The pointer is null or names that many bytes.
unsafe fn copy(data: *const u8, len: usize) -> Vec<u8> {
    if data.is_null() || len == 0 {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data, len).to_vec() }
}

/// The id of the session that the client wants to resume.
pub(crate) fn hello_session_id(ssl: &SslRef) -> Vec<u8> {
    let mut data = std::ptr::null();
    // SAFETY: as above.
    unsafe {
        let len = ffi::SSL_client_hello_get0_session_id(ssl.as_ptr(), &raw mut data);
        copy(data, len)
    }
}

/// Whether the client's hello offers TLS 1.3 and the server takes it, so that session ids mean nothing.
pub(crate) fn offers_tls13(ssl: &SslRef) -> bool {
    /// `supported_versions`
    const VERSIONS: c_uint = 43;
    const NO_TLS13: u64 = 0x2000_0000;
    // SAFETY: a valid connection.
    let allowed = unsafe { SSL_get_options(ssl.as_ptr()) } & NO_TLS13 == 0;
    let versions = hello_extension(ssl, VERSIONS).unwrap_or_default();
    allowed && versions.get(1..).unwrap_or_default().chunks_exact(2).any(|version| version == [3, 4])
}

/// Whether the client's hello has a ticket in it.
pub(crate) fn has_ticket(ssl: &SslRef) -> bool {
    /// `session_ticket`
    const TICKET: c_uint = 35;
    const NO_TICKET: u64 = 0x4000;
    // SAFETY: a valid connection.
    let allowed = unsafe { SSL_get_options(ssl.as_ptr()) } & NO_TICKET == 0;
    allowed && hello_extension(ssl, TICKET).is_some_and(|ticket| !ticket.is_empty())
}

/// The version as on the wire: `0x303` is TLS 1.2.
pub(crate) fn version(ssl: &SslRef) -> c_int {
    // SAFETY: a valid connection.
    unsafe { ffi::SSL_version(ssl.as_ptr()) }
}

/// Continues with another context's certificates and settings.
pub(crate) fn use_context(ssl: &mut SslRef, context: &openssl::ssl::SslContextRef) {
    if ssl.set_ssl_context(context).is_ok() {
        follow_context(ssl);
    }
}

/// How long sessions may be resumed.
pub(crate) fn set_session_timeout(builder: &mut SslContextBuilder, seconds: u32) {
    unsafe extern "C" {
        fn SSL_CTX_set_timeout(ctx: *mut ffi::SSL_CTX, seconds: c_long) -> c_long;
    }
    // SAFETY: a valid context.
    unsafe { SSL_CTX_set_timeout(builder.as_ptr(), c_long::from(seconds)) };
}

/// Answers OpenSSL's question for a session of a connection.
pub(crate) fn set_session_lookup(builder: &mut SslContextBuilder, find: fn(&ServerSide) -> Option<SslSession>) {
    // SAFETY: the session is of the library that asks, and owned by it from then on.
    unsafe { builder.set_get_session_callback(move |ssl, _id| find(side_of(ssl)?)) };
}
