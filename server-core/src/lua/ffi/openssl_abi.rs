//! Functions of OpenSSL that `openssl-sys` does not declare and `ngx.ssl` needs.

use std::ffi::{c_int, c_void};

use openssl_sys as sys;

unsafe extern "C" {
    pub(super) fn SSL_certs_clear(ssl: *mut sys::SSL);
    pub(super) fn SSL_use_certificate(ssl: *mut sys::SSL, certificate: *mut sys::X509) -> c_int;
    pub(super) fn SSL_use_PrivateKey(ssl: *mut sys::SSL, key: *mut sys::EVP_PKEY) -> c_int;
    pub(super) fn SSL_get_server_random(ssl: *const sys::SSL, out: *mut u8, len: usize) -> usize;
    pub(super) fn SSL_get1_supported_ciphers(ssl: *mut sys::SSL) -> *mut c_void;
    pub(super) fn SSL_get_client_ciphers(ssl: *const sys::SSL) -> *mut c_void;
    pub(super) fn SSL_CIPHER_get_protocol_id(cipher: *const c_void) -> u16;
    pub(super) fn OPENSSL_sk_num(stack: *const c_void) -> c_int;
    pub(super) fn OPENSSL_sk_value(stack: *const c_void, index: c_int) -> *mut c_void;
    pub(super) fn OPENSSL_sk_free(stack: *mut c_void);
    pub(super) fn SSL_set_client_CA_list(ssl: *mut sys::SSL, names: *mut sys::stack_st_X509_NAME);
    pub(super) fn SSL_set_verify_depth(ssl: *mut sys::SSL, depth: c_int);
    pub(super) fn X509_NAME_dup(name: *mut sys::X509_NAME) -> *mut sys::X509_NAME;
}

/// `SSL_CTRL_CHAIN_CERT` with a reference of its own.
pub(super) const CHAIN_CERT: c_int = 89;
/// `SSL_CTRL_SET_VERIFY_CERT_STORE`
pub(super) const VERIFY_STORE: c_int = 106;
