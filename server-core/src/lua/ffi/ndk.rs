//! `ndk.set_var`: functions of modules that compute a value from one argument.

use std::ffi::{c_int, c_void};

use bytes::Bytes;

use super::request::hold;
use super::{DECLINED, ERROR, FfiStr, OK, bytes, export, store};
use crate::http::modules::ndk;
use crate::http::modules::set_misc::Filter;
use crate::http::request::Request;
use crate::log::Level;

export! {
    /// Finds a function by the name of its directive.
    ngx_http_lua_ffi_ndk_lookup_directive(name: *const u8, len: usize, function: *mut *const c_void) -> c_int {
        // SAFETY: the contract of the parent module.
        let name = unsafe { bytes(name, len) };
        let Some(filter) = ndk::filter(name) else { return DECLINED };
        // SAFETY: the contract of the parent module.
        unsafe { store(function, std::ptr::from_ref(filter).cast()) };
        OK
    }

    /// Calls a function with one argument.
    ngx_http_lua_ffi_ndk_set_var_get(
        r: *const Request, function: *const c_void, arg: *const u8, len: usize, value: *mut FfiStr,
    ) -> c_int {
        // SAFETY: the contract of the parent module; Lua got the function from `ndk_lookup_directive`.
        unsafe {
            let (Some(r), Some(filter)) = (r.as_ref(), function.cast::<Filter>().as_ref()) else { return ERROR };
            let result = match filter(&r.rc(), bytes(arg, len)) {
                Ok(result) => Bytes::from(result),
                Err(message) => {
                    r.log(Level::Error, format_args!("{message}"));
                    return ERROR;
                }
            };
            store(value, FfiStr::of(&result));
            hold([result]);
        }
        OK
    }
}
