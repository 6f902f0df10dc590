//! Functions of the C interface whose features this server does not have yet: TLS inspection, balancers, and the
//! request functions of the stream subsystem.
//!
//! They are exported all the same, since libraries bind to them when they are loaded. A call fails with an error text,
//! never otherwise.

use std::ffi::{c_char, c_int, c_void};

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
    ngx_stream_lua_ffi_req_dst_addr(
        _: *mut c_void, _: *mut c_char, _: *mut usize, buf: *mut u8, len: *mut usize
    ) -> c_int = ERROR, (buf, len);
}
