//! Variables: `ngx.var`.

use std::ffi::{c_char, c_int};

use bytes::Bytes;

use super::request::{hold, request_with_variables};
use super::{DECLINED, ERROR, ErrorOut, OK, bytes, copy_to, export, store, write_error};
use crate::http::request::Request;
use crate::http::variables::{Flags, Source};

export! {
    /// Reads a variable by its name, or without name a group of the last regular expression.
    ngx_http_lua_ffi_var_get, ngx_stream_lua_ffi_var_get(
        r: *const Request, name: *const u8, name_len: usize, lowercase: *mut u8, group: c_int,
        value: *mut *const u8, value_len: *mut usize, err: *mut *mut c_char,
    ) -> c_int {
        // SAFETY: the contract of the parent module; `lowercase` has room for the name.
        unsafe {
            if r.is_null() {
                err.report(c"no request object found");
                return ERROR;
            }
            let Some(r) = request_with_variables(r) else {
                err.report(c"API disabled in the current context");
                return ERROR;
            };
            let found = if name.is_null() {
                usize::try_from(group).ok().and_then(|group| group_text(r, group))
            } else {
                r.variable_named(lower(name, name_len, lowercase))
            };
            let Some(found) = found else { return DECLINED };
            store(value, found.as_ptr());
            store(value_len, found.len());
            hold([found]);
        }
        OK
    }

    /// Assigns to a variable; without value it becomes undefined.
    ngx_http_lua_ffi_var_set, ngx_stream_lua_ffi_var_set(
        r: *const Request, name: *const u8, name_len: usize, lowercase: *mut u8, value: *const u8,
        value_len: usize, err: *mut u8, err_len: *mut usize,
    ) -> c_int {
        // SAFETY: the contract of the parent module; `lowercase` has room for the name.
        unsafe {
            if r.is_null() {
                write_error(err, err_len, b"no request object found");
                return ERROR;
            }
            let Some(r) = request_with_variables(r) else {
                write_error(err, err_len, b"API disabled in the current context");
                return ERROR;
            };
            let name = lower(name, name_len, lowercase);
            let value = (!value.is_null()).then(|| Bytes::copy_from_slice(bytes(value, value_len)));
            match assign(r, name, value) {
                Ok(()) => OK,
                Err(text) => {
                    write_error(err, err_len, text.as_bytes());
                    ERROR
                }
            }
        }
    }
}

/// A group that exists and took part in no match is an empty text.
fn group_text(r: &Request, group: usize) -> Option<Bytes> {
    if group == 0 || group >= r.captures.borrow().groups.len() {
        return None;
    }
    Some(r.capture(group).unwrap_or_default())
}

/// Writes the name in lower case to the caller's buffer.
///
/// # Safety
/// As the parent module's contract says; the buffer has room for the name.
unsafe fn lower<'a>(name: *const u8, len: usize, buf: *mut u8) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe {
        copy_to(buf, bytes(name, len));
        if len > 0 {
            std::slice::from_raw_parts_mut(buf, len).make_ascii_lowercase();
        }
        bytes(buf, len)
    }
}

fn assign(r: &Request, name: &[u8], value: Option<Bytes>) -> Result<(), String> {
    let shown = String::from_utf8_lossy(name);
    let Some(variable) = r.main_conf().core.variables.named(name) else {
        return Err(format!(
            "variable \"{shown}\" not found for writing; maybe it is a built-in variable that is not changeable \
             or you forgot to use \"set ${shown} '';\" in the config file to define it first"
        ));
    };
    if !variable.flags.has(Flags::CHANGEABLE) {
        return Err(format!("variable \"{shown}\" not changeable"));
    }
    if let Some(set) = variable.set {
        let data = if let Source::Getter(_, data) = variable.source { data } else { 0 };
        set(r, value, data);
        return Ok(());
    }
    let Some(index) = variable.index else {
        return Err(format!("variable \"{shown}\" cannot be assigned a value"));
    };
    r.set_variable(index, value);
    Ok(())
}
