//! Functions of the C interface whose features this server does not have yet: TLS inspection, balancers, and the
//! request functions of the stream subsystem.
//!
//! They are exported all the same, since libraries bind to them when they are loaded. A call fails with an error text,
//! never otherwise.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr;

use super::{ERROR, ErrorOut};

macro_rules! unsupported {
    ($($name:ident($($arg:tt: $ty:ty),*) $(-> $ret:ty = $value:expr $(, $err:expr)?)?;)*) => {$(
        #[doc = concat!("`", stringify!($name), "` fails: not supported.")]
        ///
        /// # Safety
        /// The error's pointers are null or writable, as the parent module's documentation says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) $(-> $ret)? {
            $($(
                // SAFETY: the contract of the parent module.
                unsafe { ErrorOut::report($err, c"not supported") };
            )?
            $value)?
        }
    )*};
}

unsupported! {
    ngx_stream_lua_ffi_balancer_bind_to_local_addr(
        _: *mut c_void, _: *mut u8, _: usize, buf: *mut u8, len: *mut usize
    ) -> c_int = ERROR, (buf, len);
    ngx_stream_lua_ffi_balancer_get_last_failure(
        _: *mut c_void, _: *mut c_int, err: *mut *mut c_char
    ) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_balancer_set_current_peer(
        _: *mut c_void, _: *mut u8, _: usize, _: c_int, _: *mut u8, _: isize, err: *mut *mut c_char
    ) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_balancer_set_more_tries(_: *mut c_void, _: c_int, err: *mut *mut c_char) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_balancer_set_timeouts(
        _: *mut c_void, _: c_long, _: c_long, _: c_long, err: *mut *mut c_char
    ) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_proxy_ssl_get_tls1_version(_: *mut c_void, err: *mut *mut c_char) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_get_upstream_ssl_pointer(
        _: *mut c_void, err: *mut *mut c_char
    ) -> *mut c_void = ptr::null_mut(), err;
    ngx_stream_lua_ffi_proxy_ssl_clear_certs(_: *mut c_void, err: *mut *mut c_char) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_proxy_ssl_set_cert(
        _: *mut c_void, _: *mut c_void, err: *mut *mut c_char
    ) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_proxy_ssl_set_der_certificate(
        _: *mut c_void, _: *mut c_char, _: usize, err: *mut *mut c_char
    ) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_proxy_ssl_set_der_private_key(
        _: *mut c_void, _: *mut c_char, _: usize, err: *mut *mut c_char
    ) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_proxy_ssl_set_priv_key(
        _: *mut c_void, _: *mut c_void, err: *mut *mut c_char
    ) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_proxy_ssl_free_verify_cert(_: *mut c_void);
    ngx_stream_lua_ffi_proxy_ssl_get_verify_cert(
        _: *mut c_void, err: *mut *mut c_char
    ) -> *mut c_void = ptr::null_mut(), err;
    ngx_stream_lua_ffi_proxy_ssl_get_verify_result(_: *mut c_void, err: *mut *mut c_char) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_proxy_ssl_set_verify_result(
        _: *mut c_void, _: c_int, err: *mut *mut c_char
    ) -> c_int = ERROR, err;
    ngx_stream_lua_ffi_req_dst_addr(
        _: *mut c_void, _: *mut c_char, _: *mut usize, buf: *mut u8, len: *mut usize
    ) -> c_int = ERROR, (buf, len);
}
