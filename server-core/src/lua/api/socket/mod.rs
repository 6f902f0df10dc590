//! `ngx.socket`: the functions and methods of cosockets.

mod address;
mod connect;
pub(crate) mod object;
mod stream;
mod udp;

pub(crate) use connect::LAYER;

use super::super::sys::raw::*;
use super::super::sys::{self, State};
use crate::cycle::Subsystem;

/// Fills `ngx.socket`, the table on the top, and the metatables of sockets in the registry.
pub(crate) fn inject(state: State, subsystem: Subsystem) {
    sys::set_function(state, c"tcp", object::tcp);
    sys::set_function(state, c"stream", object::tcp);
    sys::set_function(state, c"udp", udp::udp);
    // SAFETY: fresh tables under string keys of the registry.
    unsafe {
        lua_createtable(state, 0, 24);
        stream::inject_reader(state);
        sys::set_function(state, c"send", stream::send);
        sys::set_function(state, c"connect", connect::connect);
        sys::set_function(state, c"bind", connect::bind);
        sys::set_function(state, c"close", stream::close);
        sys::set_function(state, c"setkeepalive", stream::setkeepalive);
        sys::set_function(state, c"getreusedtimes", stream::getreusedtimes);
        register(state, c"__tcp_cosocket_mt");

        lua_createtable(state, 0, 12);
        stream::inject_reader(state);
        sys::set_function(state, c"send", stream::send);
        register(state, c"__tcp_raw_req_cosocket_mt");

        lua_createtable(state, 0, 12);
        stream::inject_reader(state);
        register(state, c"__tcp_req_cosocket_mt");

        udp::inject(state, subsystem);
        register(state, udp::METATABLE_NAME);
    }
}

/// Makes the table on the top its own `__index` and files it in the registry.
///
/// # Safety
///
/// The top of the stack must be a table.
unsafe fn register(state: State, name: &std::ffi::CStr) {
    // SAFETY: the caller's promise.
    unsafe {
        lua_pushvalue(state, -1);
        lua_setfield(state, -2, c"__index".as_ptr());
        lua_setfield(state, LUA_REGISTRYINDEX, name.as_ptr());
    }
}
