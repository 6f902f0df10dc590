//! `ngx.arg`: the arguments of `set_by_lua*`, and the data that pass a body filter.
//!
//! The handler of such a directive enters its input before it calls into Lua and takes it back afterwards.

use std::cell::RefCell;
use std::ffi::c_int;

use bytes::Bytes;

use super::{AGAIN, OK, bytes, copy_to, export, store};
use crate::http::request::Request;

/// What passes a body filter.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// The data.
    pub data: Vec<Bytes>,
    /// Whether nothing follows.
    pub eof: bool,
    /// Whether Lua replaced the data.
    pub replaced: bool,
}

#[derive(Default)]
struct Params {
    set: Vec<Bytes>,
    body: Body,
}

thread_local! {
    static PARAMS: RefCell<Params> = RefCell::new(Params::default());
}

/// Sets the arguments of `set_by_lua*` and returns those of the call around this one.
pub fn swap_set_args(args: Vec<Bytes>) -> Vec<Bytes> {
    PARAMS.with_borrow_mut(|params| std::mem::replace(&mut params.set, args))
}

/// Sets what passes the body filter and returns what was there: the filter's result, or the input of the call around
/// this one.
pub fn swap_body(body: Body) -> Body {
    PARAMS.with_borrow_mut(|params| std::mem::replace(&mut params.body, body))
}

export! {
    /// An argument of `set_by_lua*`, counted from 1; of length zero when there is none.
    ngx_http_lua_ffi_get_setby_param(_r: *const Request, index: c_int, data: *mut *const u8, len: *mut usize) {
        PARAMS.with_borrow(|params| {
            let index = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
            let text = index.and_then(|index| params.set.get(index)).map_or(&[][..], |text| text);
            // SAFETY: the contract of the parent module; the text lives as long as the call into Lua.
            unsafe {
                store(data, text.as_ptr());
                store(len, text.len());
            }
        });
    }

    /// The data in the body filter: by address when they are in one piece, else -2 and their length.
    ngx_http_lua_ffi_get_body_filter_param_body(_r: *const Request, data: *mut *const u8, len: *mut usize) -> c_int {
        PARAMS.with_borrow(|params| {
            let pieces = &params.body.data;
            let total = pieces.iter().map(Bytes::len).sum();
            // SAFETY: the contract of the parent module; the data live as long as the call into Lua or until they
            // are replaced.
            unsafe { store(len, total) };
            let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
            let first = filled.next();
            if filled.next().is_some() {
                return AGAIN;
            }
            // SAFETY: as above.
            unsafe { store(data, first.map_or(std::ptr::null(), |piece| piece.as_ptr())) };
            OK
        })
    }

    /// Copies the data in the body filter.
    ngx_http_lua_ffi_copy_body_filter_param_body(_r: *const Request, data: *mut u8) -> c_int {
        PARAMS.with_borrow(|params| {
            // SAFETY: the caller has room for the length it was told.
            params.body.data.iter().fold(data, |data, piece| unsafe { copy_to(data, piece) });
        });
        OK
    }

    /// Whether nothing follows.
    ngx_http_lua_ffi_get_body_filter_param_eof(_r: *const Request) -> c_int {
        PARAMS.with_borrow(|params| c_int::from(params.body.eof))
    }

    /// Replaces the data in the body filter.
    rsty_set_body_filter_param_body(data: *const u8, len: usize) {
        // SAFETY: the contract of the parent module.
        let text = Bytes::copy_from_slice(unsafe { bytes(data, len) });
        PARAMS.with_borrow_mut(|params| {
            params.body.data = if text.is_empty() { Vec::new() } else { vec![text] };
            params.body.replaced = true;
        });
    }

    /// Says whether anything follows.
    rsty_set_body_filter_param_eof(eof: c_int) {
        PARAMS.with_borrow_mut(|params| params.body.eof = eof != 0);
    }
}
