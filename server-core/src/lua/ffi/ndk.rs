//! `ndk.set_var`: the computations of other modules' directives, called with one argument.

use std::ffi::{c_int, c_void};

use bytes::Bytes;

use super::request::hold;
use super::{DECLINED, ERROR, FfiStr, OK, bytes, export, store};
use crate::http::modules::set_misc::{self, Compute};
use crate::http::request::Request;

export! {
    /// Finds a computation by the name of its directive.
    ngx_http_lua_ffi_ndk_lookup_directive(name: *const u8, len: usize, function: *mut *const c_void) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(compute) = set_misc::unary(unsafe { bytes(name, len) }) else { return DECLINED };
        // SAFETY: the contract of the parent module.
        unsafe { store(function, compute as *const c_void) };
        OK
    }

    /// Calls a computation with one argument.
    ngx_http_lua_ffi_ndk_set_var_get(
        r: *const Request, function: *const c_void, arg: *const u8, len: usize, value: *mut FfiStr,
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let (Some(r), false) = (unsafe { r.as_ref() }, function.is_null()) else { return ERROR };
        // SAFETY: Lua got the function from `ndk_lookup_directive`, where it was a `Compute`.
        let (compute, arg) = unsafe {
            let compute = std::mem::transmute::<*const c_void, Compute>(function);
            (compute, Bytes::copy_from_slice(bytes(arg, len)))
        };
        let Ok(result) = compute(&r.rc(), &[arg]) else { return ERROR };
        let result = Bytes::from(result);
        // SAFETY: the contract of the parent module; the text is kept.
        unsafe { store(value, FfiStr::of(&result)) };
        hold([result]);
        OK
    }
}
