//! `ngx.config`.

use std::os::unix::ffi::OsStrExt;

use crate::cycle::{Cycle, NGINX_VERSION_NUMBER, Subsystem};
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Reply, State, c_function};

/// The version of lua-nginx-module whose behaviour this is; `resty.core` checks it.
const NGX_LUA_VERSION: i64 = 10_030;

/// The version of stream-lua-nginx-module whose behaviour this is.
const NGX_STREAM_LUA_VERSION: i64 = 18;

pub(super) fn inject(state: State, cycle: &'static Cycle, subsystem: Subsystem) {
    let (name, version): (&[u8], _) = match subsystem {
        Subsystem::Http => (b"http", NGX_LUA_VERSION),
        Subsystem::Stream => (b"stream", NGX_STREAM_LUA_VERSION),
    };
    // SAFETY: fresh tables.
    unsafe {
        lua_createtable(state, 0, 6);
        lua_pushboolean(state, 1);
        lua_setfield(state, -2, c"debug".as_ptr());
        sys::push(state, cycle.prefix().as_os_str().as_bytes());
        lua_pushcclosure(state, upvalue, 1);
        lua_setfield(state, -2, c"prefix".as_ptr());
        sys::push(state, crate::version::configure_arguments().as_bytes());
        lua_pushcclosure(state, upvalue, 1);
        lua_setfield(state, -2, c"nginx_configure".as_ptr());
        sys::set_integer(state, c"nginx_version", i64::from(NGINX_VERSION_NUMBER));
        sys::set_integer(state, c"ngx_lua_version", version);
        sys::set_string(state, c"subsystem", name);
        lua_setfield(state, -2, c"config".as_ptr());
    }
}

c_function! {
    fn upvalue(state) {
        // SAFETY: the closure has one upvalue.
        unsafe { lua_pushvalue(state, lua_upvalueindex(1)) };
        Ok(Reply::Return(1))
    }
}
