//! `cjson` and `cjson.safe`: JSON for Lua, with the functions, settings, defaults and messages of the lua-cjson that
//! OpenResty ships.
//!
//! Each instance (`require "cjson"`, `cjson.new()`) is a table of functions that share one [`Instance`] as their
//! upvalue. [`settings`] has the functions that change it, [`encode`] and [`decode`] the two directions, [`number`] the
//! texts of numbers. JSON `null` is `ngx.null`, the null pointer.
//!
//! Text that isn't UTF-8 is passed through as it is, in both directions. Decoding ends at a NUL byte.

mod decode;
mod encode;
mod number;
mod settings;

#[cfg(test)]
mod tests;

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use self::settings::Instance;
use super::sys::raw::*;
use super::sys::{self, Error, Reply, StackGuard, State, c_function};

/// What `_VERSION` says: the release whose behaviour this is.
const VERSION: &[u8] = b"2.1.0.11";

/// The address is the registry key of `array_mt`, and the value of `empty_array`.
static ARRAY_MT: u8 = 1;

/// The address is the registry key of `empty_array_mt`.
static EMPTY_ARRAY_MT: u8 = 2;

/// The functions of an instance.
const FUNCTIONS: &[(&CStr, lua_CFunction)] = &[
    (c"decode", decode::decode),
    (c"decode_allow_comment", settings::decode_allow_comment),
    (c"decode_array_with_array_mt", settings::decode_array_with_array_mt),
    (c"decode_invalid_numbers", settings::decode_invalid_numbers),
    (c"decode_max_depth", settings::decode_max_depth),
    (c"encode", encode::encode),
    (c"encode_empty_table_as_object", settings::encode_empty_table_as_object),
    (c"encode_escape_forward_slash", settings::encode_escape_forward_slash),
    (c"encode_indent", settings::encode_indent),
    (c"encode_invalid_numbers", settings::encode_invalid_numbers),
    (c"encode_keep_buffer", settings::encode_keep_buffer),
    (c"encode_max_depth", settings::encode_max_depth),
    (c"encode_number_precision", settings::encode_number_precision),
    (c"encode_skip_unsupported_value_types", settings::encode_skip_unsupported_value_types),
    (c"encode_sparse_array", settings::encode_sparse_array),
    (c"new", new),
];

/// Makes the modules known to an interpreter: they come before the package paths.
pub(super) fn install(state: State) {
    // SAFETY: `package` and `preload` are the plain tables of a fresh interpreter; the guard restores the stack.
    unsafe {
        let _guard = StackGuard::new(state);
        lua_getfield_(state, LUA_GLOBALSINDEX, c"package".as_ptr());
        lua_getfield_(state, -1, c"preload".as_ptr());
        sys::set_function(state, c"cjson", new);
        sys::set_function(state, c"cjson.safe", new_safe);
    }
}

c_function! {
    /// `cjson.new()`: a table of functions with settings of their own.
    fn new(state) {
        push_module(state)?;
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// `cjson.safe.new()`: likewise, with an `encode` and a `decode` that return `nil` and a message.
    fn new_safe(state) {
        push_module(state)?;
        sys::set_function(state, c"new", new_safe);
        for name in [c"decode", c"encode"] {
            // SAFETY: the module is a fresh plain table, and there is room.
            unsafe {
                lua_getfield_(state, -1, name.as_ptr());
                lua_pushcclosure(state, protected, 1);
                lua_setfield(state, -2, name.as_ptr());
            }
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// Calls the function in the upvalue; an error becomes `nil` and its message.
    fn protected(state) {
        if sys::top(state) != 1 {
            return Err(Error::Argument(1, "expected 1 argument".into()));
        }
        // SAFETY: there is room for a few values; what the function raises is caught by `lua_pcall`.
        unsafe {
            lua_pushvalue(state, lua_upvalueindex(1));
            lua_insert(state, 1);
            if lua_pcall(state, 1, 1, 0) == 0 {
                return Ok(Reply::Return(1));
            }
            lua_pushnil(state);
            lua_insert(state, -2);
        }
        Ok(Reply::Return(2))
    }
}

/// Pushes the table of a new instance.
fn push_module(state: State) -> Result<(), Error> {
    // SAFETY: all tables are fresh and plain; the room is asked for.
    unsafe {
        if lua_checkstack(state, 8) == 0 {
            return Err("stack overflow".into());
        }
        lua_createtable(state, 0, FUNCTIONS.len() as c_int + 6);
        Instance::push(state);
        for (name, function) in FUNCTIONS {
            lua_pushvalue(state, -1);
            lua_pushcclosure(state, *function, 1);
            lua_setfield(state, -3, name.as_ptr());
        }
        lua_settop(state, -2);
        lua_pushlightuserdata(state, ptr::null_mut());
        lua_setfield(state, -2, c"null".as_ptr());
        lua_pushlightuserdata(state, key(&ARRAY_MT));
        lua_setfield(state, -2, c"empty_array".as_ptr());
        sys::push_registry_table(state, key(&ARRAY_MT));
        lua_setfield(state, -2, c"array_mt".as_ptr());
        sys::push_registry_table(state, key(&EMPTY_ARRAY_MT));
        lua_setfield(state, -2, c"empty_array_mt".as_ptr());
    }
    sys::set_string(state, c"_NAME", b"cjson");
    sys::set_string(state, c"_VERSION", VERSION);
    Ok(())
}

/// The registry key of one of the shared metatables.
fn key(metatable: &'static u8) -> *mut c_void {
    sys::registry_key(metatable)
}

/// Pushes one of the metatables that all instances share, as [`push_module`] has registered it.
fn push_metatable(state: State, metatable: &'static u8) {
    // SAFETY: a raw access to the registry; the callers have asked for room.
    unsafe {
        lua_pushlightuserdata(state, key(metatable));
        lua_rawget_(state, LUA_REGISTRYINDEX);
    }
}
