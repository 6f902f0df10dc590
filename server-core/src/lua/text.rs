//! Lua values as the bytes that output, sockets and logs make of them.

use std::ffi::c_int;

use super::sys::raw::*;
use super::sys::{self, Error, State};

/// How tables and odd values are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// `nil`, booleans and `ngx.null` have texts.
    Loose,
    /// Only strings, numbers and tables of those.
    Strict,
}

/// Whether the value is `ngx.null`.
pub(crate) fn is_null(state: State, index: c_int) -> bool {
    // SAFETY: any index is acceptable.
    unsafe { lua_type(state, index) == LUA_TLIGHTUSERDATA && lua_touserdata(state, index).is_null() }
}

/// Appends a string, number, boolean, `nil` or null.
pub(crate) fn append_scalar(state: State, index: c_int, out: &mut Vec<u8>) {
    match sys::kind(state, index) {
        LUA_TNIL => out.extend_from_slice(b"nil"),
        LUA_TBOOLEAN => out.extend_from_slice(if sys::truth(state, index) { b"true" } else { b"false" }),
        LUA_TLIGHTUSERDATA => out.extend_from_slice(b"null"),
        LUA_TNUMBER => append_number(state, index, out),
        _ => out.extend_from_slice(sys::bytes(state, index).unwrap_or_default()),
    }
}

/// The number of bytes that [`append_scalar`] makes of a string; a guess for anything else.
pub(crate) fn expected_len(state: State, index: c_int) -> usize {
    match sys::kind(state, index) {
        // SAFETY: the value is a string.
        LUA_TSTRING => unsafe { lua_objlen(state, index) },
        LUA_TTABLE => 64,
        _ => 8,
    }
}

/// Appends a number as Lua prints it, without changing the value on the stack.
pub(crate) fn append_number(state: State, index: c_int, out: &mut Vec<u8>) {
    // SAFETY: the value is a number; the copy is converted and popped.
    unsafe {
        let number = lua_tonumber(state, index);
        if number.fract() == 0.0 && number.abs() < 1e14 && !(number == 0.0 && number.is_sign_negative()) {
            out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
            return;
        }
        lua_pushvalue(state, index);
        out.extend_from_slice(sys::bytes(state, -1).unwrap_or_default());
        lua_settop(state, -2);
    }
}

/// Appends an array, nested arrays flattened. `argument` is the one that errors are about.
pub(crate) fn append_array(
    state: State,
    index: c_int,
    argument: c_int,
    strictness: Strictness,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let table = sys::absolute(state, index);
    // SAFETY: a nested table needs three slots; raw accesses do not raise. `lua_next` gets a key it returned.
    unsafe {
        if lua_checkstack(state, 4) == 0 {
            return Err("stack overflow".into());
        }
        let mut length = 0;
        lua_pushnil(state);
        while lua_next(state, table) != 0 {
            lua_settop(state, -2);
            let key = if lua_type(state, -1) == LUA_TNUMBER { lua_tonumber(state, -1) } else { 0.0 };
            if key < 1.0 || key.fract() != 0.0 {
                lua_settop(state, -2);
                return Err(Error::Argument(argument, "non-array table found".into()));
            }
            length = length.max(key as c_int);
        }
        for position in 1..=length {
            lua_rawgeti_(state, table, position);
            let kind = lua_type(state, -1);
            let fits = match kind {
                LUA_TNUMBER | LUA_TSTRING | LUA_TTABLE => true,
                LUA_TNIL | LUA_TBOOLEAN => strictness == Strictness::Loose,
                LUA_TLIGHTUSERDATA => strictness == Strictness::Loose && is_null(state, -1),
                _ => false,
            };
            if !fits {
                let name = sys::type_name(state, -1);
                return Err(Error::Argument(argument, format!("bad data type {name} found").into()));
            }
            if kind == LUA_TTABLE {
                append_array(state, -1, argument, strictness, out)?;
            } else {
                append_scalar(state, -1, out);
            }
            lua_settop(state, -2);
        }
    }
    Ok(())
}
