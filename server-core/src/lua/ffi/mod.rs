//! The exported C ABI: functions that Lua reaches through LuaJIT's FFI (`ffi.C.ngx_http_lua_ffi_…`).
//!
//! Names, signatures, struct layouts and return codes are those of lua-nginx-module, so that `lua-resty-core` and
//! other libraries bind to them unchanged. One file an area. Rules of the house:
//!
//! - no function here yields, calls into Lua or unwinds; a panic in an `extern "C"` function ends the process, so
//!   nothing here indexes or unwraps what came from a script;
//! - pointers come from Lua code that runs in this thread. Each function's contract is that of its C original:
//!   a (pointer, length) pair names readable bytes, an output pointer is writable, a request pointer is the one
//!   that [`super::current`] holds (null means «no request»);
//! - strings that are handed out stay valid until the request ends, or are static.
//!
//! [`export!`] exports one body under one name or under those of both subsystems.

use std::ffi::{c_char, c_int};

pub mod args;
pub mod balancer;
pub mod control;
pub mod core;
pub mod errlog;
pub mod hash;
pub mod headers;
pub mod limits;
pub mod ndk;
pub mod ocsp;
mod openssl_abi;
pub mod param;
pub mod pipe;
pub mod proxy_ssl;
pub mod public;
pub mod regex;
pub mod request;
pub mod response;
pub mod semaphore;
mod semaphore_pool;
pub mod session;
pub mod shdict;
pub mod socket;
pub mod ssl;
pub mod ssl_certificates;
pub mod ssl_socket;
pub mod strings;
pub mod symbols;
pub mod template;
pub mod time;
pub mod upstream;
pub mod var;
pub mod worker;

#[cfg(test)]
mod tests;

/// Done.
pub const OK: c_int = 0;
/// Failed; the error text says why.
pub const ERROR: c_int = -1;
/// The caller has to yield.
pub const AGAIN: c_int = -2;
/// The caller's buffer is too small.
pub const BUSY: c_int = -3;
/// Finished already.
pub const DONE: c_int = -4;
/// There is no such thing.
pub const DECLINED: c_int = -5;
/// The request has no Lua context.
pub const NO_REQ_CTX: c_int = -100;
/// The function may not be used in this phase.
pub const BAD_CONTEXT: c_int = -101;

/// `ngx_str_t`: nginx's string, as Lua code sees it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NgxStr {
    /// Length in bytes.
    pub len: usize,
    /// The bytes.
    pub data: *mut u8,
}

/// `ngx_http_lua_ffi_str_t`: a string with an `int` length.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FfiStr {
    /// Length in bytes.
    pub len: c_int,
    /// The bytes.
    pub data: *const u8,
}

impl FfiStr {
    /// Names bytes that outlive the call.
    pub fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as c_int, data: bytes.as_ptr() }
    }
}

/// `ngx_http_lua_ffi_table_elt_t`: a name with a value; a value of length -1 is `true`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TableElt {
    /// The name.
    pub key: FfiStr,
    /// The value.
    pub value: FfiStr,
}

/// Exports functions, each under one name or under those of both subsystems: `ngx_http_lua_ffi_…,
/// ngx_stream_lua_ffi_…`.
macro_rules! export {
    ($($(#[$doc:meta])* $name:ident $(, $stream:ident)?
        ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// Pointers are valid as the module's documentation says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) $(-> $ret)? $body

        $crate::lua::ffi::export_alias! { $(#[$doc])* $name $($stream)? ($($arg: $ty),*) $(-> $ret)? }
    )*};
}
pub(crate) use export;

/// The second name of an exported function, if it has one.
macro_rules! export_alias {
    ($(#[$doc:meta])* $name:ident ($($arg:ident : $ty:ty),*) $(-> $ret:ty)?) => {};
    ($(#[$doc:meta])* $name:ident $alias:ident ($($arg:ident : $ty:ty),*) $(-> $ret:ty)?) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Pointers are valid as the module's documentation says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $alias($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: the contract is the same.
            unsafe { $name($($arg),*) }
        }
    };
}
pub(crate) use export_alias;

/// The bytes that a caller's (pointer, length) names; a null pointer names none.
///
/// # Safety
/// A pointer that is not null is readable for `len` bytes for the lifetime `'a`.
#[inline]
pub(crate) unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise; neither null nor empty here.
    unsafe { std::slice::from_raw_parts(data, len) }
}

/// Stores a value through an output pointer, which may be null when the caller does not want it.
///
/// # Safety
/// A pointer that is not null is writable.
#[inline]
pub(crate) unsafe fn store<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: the caller's promise.
        unsafe { out.write(value) }
    }
}

/// Copies bytes to a caller's buffer and returns the address behind them.
///
/// # Safety
/// `dst` is writable for `src.len()` bytes and does not overlap `src`.
#[inline]
pub(crate) unsafe fn copy_to(dst: *mut u8, src: &[u8]) -> *mut u8 {
    // SAFETY: the caller's promise; a copy of nothing accepts any pointer.
    unsafe {
        std::ptr::copy_nonoverlapping(src.as_ptr(), dst, src.len());
        dst.add(src.len())
    }
}

/// Where a function reports why it failed.
pub(crate) trait ErrorOut {
    /// Hands the text to the caller.
    ///
    /// # Safety
    /// The pointers are null or writable, a buffer for as many bytes as its length says.
    unsafe fn report(self, text: &'static std::ffi::CStr);
}

/// `char **err`: the text is static.
impl ErrorOut for *mut *mut c_char {
    unsafe fn report(self, text: &'static std::ffi::CStr) {
        // SAFETY: the caller's promise. Nobody writes through the pointer that is handed out.
        unsafe { store(self, text.as_ptr().cast_mut()) }
    }
}

/// A buffer with its capacity, which becomes the text's length.
impl ErrorOut for (*mut u8, *mut usize) {
    unsafe fn report(self, text: &'static std::ffi::CStr) {
        // SAFETY: the caller's promise.
        unsafe { write_error(self.0, self.1, text.to_bytes()) }
    }
}

/// Writes an error text into a caller's buffer, cut to its capacity, which becomes the text's length.
///
/// # Safety
/// `len` is null or writable; `buf` is writable for `*len` bytes.
pub(crate) unsafe fn write_error(buf: *mut u8, len: *mut usize, text: &[u8]) {
    if buf.is_null() || len.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let room = text.len().min(*len);
        copy_to(buf, text.get(..room).unwrap_or_default());
        *len = room;
    }
}
