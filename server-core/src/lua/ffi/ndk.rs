//! `ndk.set_var`: functions of modules that compute a value from one argument.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};

use bytes::Bytes;

use super::request::hold;
use super::{DECLINED, ERROR, FfiStr, OK, bytes, export, store};
use crate::http::request::Request;

/// Computes a value; none is a failure.
pub type Filter = fn(&Request, &[u8]) -> Option<Bytes>;

thread_local! {
    static FILTERS: RefCell<Vec<(&'static str, &'static Filter)>> = const { RefCell::new(Vec::new()) };
}

/// Makes a directive's function known under the directive's name.
pub fn register(name: &'static str, filter: &'static Filter) {
    FILTERS.with_borrow_mut(|filters| {
        if !filters.iter().any(|(known, _)| *known == name) {
            filters.push((name, filter));
        }
    });
}

export! {
    /// Finds a function by the name of its directive.
    ngx_http_lua_ffi_ndk_lookup_directive(name: *const u8, len: usize, function: *mut *const c_void) -> c_int {
        // SAFETY: the contract of the parent module.
        let name = unsafe { bytes(name, len) };
        let found = FILTERS.with_borrow(|filters| {
            filters.iter().find(|(known, _)| known.as_bytes() == name).map(|&(_, filter)| filter)
        });
        let Some(filter) = found else { return DECLINED };
        // SAFETY: the contract of the parent module.
        unsafe { store(function, (&raw const *filter).cast()) };
        OK
    }

    /// Calls a function with one argument.
    ngx_http_lua_ffi_ndk_set_var_get(
        r: *const Request, function: *const c_void, arg: *const u8, len: usize, value: *mut FfiStr,
    ) -> c_int {
        // SAFETY: the contract of the parent module; Lua got the function from `ndk_lookup_directive`.
        unsafe {
            let (Some(r), Some(filter)) = (r.as_ref(), function.cast::<Filter>().as_ref()) else { return ERROR };
            let Some(result) = filter(r, bytes(arg, len)) else { return ERROR };
            store(value, FfiStr::of(&result));
            hold([result]);
        }
        OK
    }
}
