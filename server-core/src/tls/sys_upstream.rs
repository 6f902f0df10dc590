//! The functions of OpenSSL for the connecting side that the `openssl` crate does not wrap, behind safe signatures.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::net::IpAddr;
use std::ptr;
use std::sync::OnceLock;

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::ssl::{SslContextBuilder, SslRef, SslSession};
use openssl::x509::X509;
use openssl_sys as ffi;

use super::upstream::{ClientSide, Question};

type CertificateCallback = unsafe extern "C" fn(*mut ffi::SSL, *mut c_void) -> c_int;
type VerifyCallback = unsafe extern "C" fn(*mut ffi::X509_STORE_CTX, *mut c_void) -> c_int;

unsafe extern "C" {
    fn SSL_CTX_set_cert_cb(ctx: *mut ffi::SSL_CTX, callback: Option<CertificateCallback>, arg: *mut c_void);
    fn SSL_CTX_set_cert_verify_callback(ctx: *mut ffi::SSL_CTX, callback: Option<VerifyCallback>, arg: *mut c_void);
    fn X509_verify_cert(store: *mut ffi::X509_STORE_CTX) -> c_int;
    fn X509_STORE_CTX_get0_cert(store: *mut ffi::X509_STORE_CTX) -> *mut ffi::X509;
    fn X509_check_host(
        certificate: *mut ffi::X509,
        name: *const c_char,
        len: usize,
        flags: c_uint,
        peer: *mut *mut c_char,
    ) -> c_int;
    fn X509_check_ip(certificate: *mut ffi::X509, address: *const u8, len: usize, flags: c_uint) -> c_int;
}

fn side_index() -> c_int {
    static INDEX: OnceLock<c_int> = OnceLock::new();
    *INDEX.get_or_init(|| {
        // SAFETY: plain registration, without callbacks.
        unsafe { ffi::SSL_get_ex_new_index(0, ptr::null_mut(), None, None, None) }
    })
}

/// Remembers the client's side at its connection.
///
/// # Safety
/// `side` outlives all use of the connection.
pub(crate) unsafe fn set_side(ssl: &SslRef, side: &ClientSide) {
    // SAFETY: a valid connection; the index is ours.
    unsafe { ffi::SSL_set_ex_data(ssl.as_ptr(), side_index(), ptr::from_ref(side).cast_mut().cast()) };
}

/// The client's side of a connection.
pub(super) fn side_of<'a>(ssl: &SslRef) -> Option<&'a ClientSide> {
    // SAFETY: the pointer was set by `set_side`, whose caller keeps the side alive.
    unsafe { ffi::SSL_get_ex_data(ssl.as_ptr(), side_index()).cast::<ClientSide>().as_ref() }
}

/// Lets [`ClientSide::choose_certificate`] decide, for connections of this context.
pub(super) fn set_certificate_callback(builder: &mut SslContextBuilder) {
    unsafe extern "C" fn callback(ssl: *mut ffi::SSL, _arg: *mut c_void) -> c_int {
        // SAFETY: OpenSSL passes the connection that is in the handshake.
        let ssl = unsafe { SslRef::from_ptr(ssl) };
        side_of(ssl).map_or(1, ClientSide::choose_certificate)
    }
    // SAFETY: the function is static.
    unsafe { SSL_CTX_set_cert_cb(builder.as_ptr(), Some(callback), ptr::null_mut()) };
}

/// Offers a session of an earlier connection; one that does not fit is not used.
pub(crate) fn offer_session(ssl: &SslRef, session: &SslSession) {
    // SAFETY: both are valid; the connection takes a reference of its own.
    unsafe { ffi::SSL_set_session(ssl.as_ptr(), session.as_ptr()) };
}

/// Whether a certificate is for a host, wildcards and addresses included.
pub(crate) fn is_for_host(certificate: &X509, host: &[u8]) -> bool {
    /// None: as the library has it.
    const FLAGS: c_uint = 0;
    // SAFETY: a valid certificate, and bytes with their length.
    let named =
        unsafe { X509_check_host(certificate.as_ptr(), host.as_ptr().cast(), host.len(), FLAGS, ptr::null_mut()) == 1 };
    let bare = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    let address = std::str::from_utf8(bare).ok().and_then(|text| text.parse::<IpAddr>().ok());
    let raw = match address {
        Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
        None => return named,
    };
    // SAFETY: as above.
    named || unsafe { X509_check_ip(certificate.as_ptr(), raw.as_ptr(), raw.len(), FLAGS) == 1 }
}

/// Lets a script have the last word about the server's certificate, for connections of this context.
pub(super) fn set_verify_callback(builder: &mut SslContextBuilder) {
    unsafe extern "C" fn callback(store: *mut ffi::X509_STORE_CTX, _arg: *mut c_void) -> c_int {
        // SAFETY: OpenSSL passes the check of a connection that is in the handshake; that connection is in the check's
        // data, and neither goes away during the call.
        unsafe { verify(store) }
    }
    // SAFETY: the function is static.
    unsafe { SSL_CTX_set_cert_verify_callback(builder.as_ptr(), Some(callback), ptr::null_mut()) };
}

/// # Safety
/// `store` is the check of a connection's peer certificate that OpenSSL asks about.
unsafe fn verify(store: *mut ffi::X509_STORE_CTX) -> c_int {
    /// `SSL_CTRL_SET_RETRY_VERIFY`
    const RETRY: c_int = 136;
    // SAFETY: the caller's promise.
    unsafe {
        let ssl = ffi::X509_STORE_CTX_get_ex_data(store, ffi::SSL_get_ex_data_X509_STORE_CTX_idx());
        if ssl.is_null() {
            return 0;
        }
        let ssl: *mut ffi::SSL = ssl.cast();
        let Some(side) = side_of(SslRef::from_ptr(ssl)) else { return X509_verify_cert(store) };
        if let Question::Answered(ok) = side.verify.get() {
            ffi::X509_STORE_CTX_set_error(store, side.verify_result.get());
            return c_int::from(ok);
        }
        if side.verify.get() == Question::Open {
            if !side.skips_default_verify {
                side.verified_by_default.set(true);
                if X509_verify_cert(store) <= 0 {
                    return 0;
                }
            }
            side.verify_result.set(ffi::X509_STORE_CTX_get_error(store));
            let certificate = X509_STORE_CTX_get0_cert(store);
            if !certificate.is_null() {
                ffi::X509_up_ref(certificate);
                side.peer.replace(Some(X509::from_ptr(certificate)));
            }
            side.verify.set(Question::Asked);
        }
        c_int::from(ffi::SSL_ctrl(ssl, RETRY, 0 as c_long, ptr::null_mut()) > 0)
    }
}
