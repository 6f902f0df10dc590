//! What a client offered in its hello, and what came of it, as `$ssl_ciphers`, `$ssl_curves` and `$ssl_curve` show it.
//!
//! What OpenSSL has a name for is named; the rest (a client may offer what nobody knows) is its number in hex.

use std::ffi::{CStr, c_char, c_int, c_long, c_uchar, c_void};
use std::ptr;

use foreign_types::ForeignTypeRef;
use openssl::nid::Nid;
use openssl::ssl::SslRef;
use openssl_sys as ffi;

const SSL_CTRL_GET_GROUPS: c_int = 90;
const SSL_CTRL_GET_RAW_CIPHERLIST: c_int = 110;
const SSL_CTRL_GET_NEGOTIATED_GROUP: c_int = 134;
/// Marks the number of a group that has no NID.
const NID_UNKNOWN: c_int = 0x0100_0000;

unsafe extern "C" {
    fn SSL_CIPHER_find(ssl: *mut ffi::SSL, id: *const c_uchar) -> *const ffi::SSL_CIPHER;
    fn SSL_group_to_name(ssl: *mut ffi::SSL, id: c_int) -> *const c_char;
}

/// The ciphers of the hello, in the client's order. None when the session goes on without a list of them.
pub(crate) fn offered_ciphers(ssl: &SslRef) -> Option<Vec<String>> {
    let raw: &[u8] = {
        let mut list: *const c_uchar = ptr::null();
        // SAFETY: a valid connection. With null, the length of one entry is asked for; else a pointer to the list is
        // stored, which the connection keeps as long as its handshake's data.
        let len =
            unsafe { ffi::SSL_ctrl(ssl.as_ptr(), SSL_CTRL_GET_RAW_CIPHERLIST, 0, (&raw mut list).cast::<c_void>()) };
        let len = usize::try_from(len).ok().filter(|len| *len > 0 && !list.is_null())?;
        // SAFETY: the list has that many bytes, and nothing changes the connection while they are read here.
        unsafe { std::slice::from_raw_parts(list, len) }
    };
    let name = |id: &[u8; 2]| {
        // SAFETY: a valid connection, and the two bytes of a cipher's number.
        let cipher = unsafe { SSL_CIPHER_find(ssl.as_ptr(), id.as_ptr()) };
        if cipher.is_null() {
            return format!("0x{:02x}{:02x}", id[0], id[1]);
        }
        // SAFETY: a cipher of OpenSSL's tables; its name is a static string.
        unsafe { text(ffi::SSL_CIPHER_get_name(cipher)) }.unwrap_or_default()
    };
    Some(raw.as_chunks::<2>().0.iter().map(name).collect())
}

/// The groups (curves) of the hello, in the client's order.
pub(crate) fn offered_groups(ssl: &SslRef) -> Option<Vec<String>> {
    let get = |out: *mut c_int| -> c_long {
        // SAFETY: a valid connection; null asks for the number of groups, and there is room for so many otherwise.
        unsafe { ffi::SSL_ctrl(ssl.as_ptr(), SSL_CTRL_GET_GROUPS, 0, out.cast::<c_void>()) }
    };
    let count = usize::try_from(get(ptr::null_mut())).ok().filter(|count| *count > 0)?;
    let mut groups = vec![0; count];
    get(groups.as_mut_ptr());
    Some(groups.into_iter().map(|group| group_name(ssl, group)).collect())
}

/// The group with which the keys were agreed upon.
pub(crate) fn negotiated_group(ssl: &SslRef) -> Option<String> {
    // SAFETY: a valid connection.
    let group = unsafe { ffi::SSL_ctrl(ssl.as_ptr(), SSL_CTRL_GET_NEGOTIATED_GROUP, 0, ptr::null_mut()) };
    let group = c_int::try_from(group).ok().filter(|group| *group > 0)?;
    Some(group_name(ssl, group))
}

fn group_name(ssl: &SslRef, group: c_int) -> String {
    let name = if group & NID_UNKNOWN == 0 {
        Nid::from_raw(group).short_name().ok().map(str::to_owned)
    } else {
        // SAFETY: a valid connection; the answer is null or a string of OpenSSL's tables.
        unsafe { text(SSL_group_to_name(ssl.as_ptr(), group)) }
    };
    name.unwrap_or_else(|| format!("0x{:04x}", group & 0xffff))
}

/// # Safety
/// The pointer is null or a string.
unsafe fn text(name: *const c_char) -> Option<String> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}
