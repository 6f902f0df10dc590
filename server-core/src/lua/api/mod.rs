//! The functions of `ngx.*` that are C functions: those which may yield, and those that build tables.
//!
//! Each file holds one area and puts its functions into a table with `inject`.

pub(crate) mod consts;
pub(crate) mod coroutine;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod sleep;
pub(crate) mod socket;
pub(crate) mod thread;

use std::ffi::c_int;

use super::ctx::Ctx;
use super::current;
use super::session::Session;
use super::sys::raw::*;
use super::sys::{self, Error, StackGuard, State};
use super::vm::{Vm, VmError};
use crate::cycle::Subsystem;

/// The error handler of scripts that run on the main state: adds `debug.traceback` to messages that are strings.
pub(crate) unsafe extern "C-unwind" fn traceback(state: State) -> c_int {
    // SAFETY: called by `lua_pcall` with the error value at index 1; nothing with a destructor is alive.
    unsafe {
        if lua_isstring(state, 1) == 0 {
            return 1;
        }
        lua_getfield_(state, LUA_GLOBALSINDEX, c"debug".as_ptr());
        if lua_type(state, -1) != LUA_TTABLE {
            lua_settop(state, 1);
            return 1;
        }
        lua_getfield_(state, -1, c"traceback".as_ptr());
        if lua_type(state, -1) != LUA_TFUNCTION {
            lua_settop(state, 1);
            return 1;
        }
        lua_pushvalue(state, 1);
        lua_pushinteger(state, 2);
        lua_call(state, 2, 1);
        1
    }
}

/// The context and the session of the running code.
pub(crate) fn running<'a>() -> Result<(&'a Ctx, &'a dyn Session), Error> {
    match (current::ctx(), current::session()) {
        (Some(ctx), Some(session)) => Ok((ctx, session)),
        _ => Err("no request found".into()),
    }
}

/// Puts the part of `ngx` that needs no request into a VM: globals `ngx`, `print`, `coroutine`.
pub(crate) fn inject(vm: &Vm, subsystem: Subsystem, more: impl FnOnce(State)) -> Result<(), VmError> {
    let state = vm.state();
    // SAFETY: fresh tables on the main state outside of any call; the guard restores the stack.
    unsafe {
        let _guard = StackGuard::new(state);
        lua_createtable(state, 0, 115);
        sys::set_function(state, c"_phase_ctx", coroutine::phase_ctx);
        consts::inject(state, subsystem);
        log::inject(state, subsystem);
        sleep::inject(state);
        thread::inject(state);
        lua_createtable(state, 0, 8);
        socket::inject(state, subsystem);
        lua_setfield(state, -2, c"socket".as_ptr());
        more(state);
        lua_getfield_(state, LUA_GLOBALSINDEX, c"package".as_ptr());
        lua_getfield_(state, -1, c"loaded".as_ptr());
        lua_pushvalue(state, -3);
        lua_setfield(state, -2, c"ngx".as_ptr());
        lua_settop(state, -3);
        lua_setfield(state, LUA_GLOBALSINDEX, c"ngx".as_ptr());
        coroutine::inject(state);
    }
    vm.run_layer("=thread_exdata", THREAD_EXDATA.as_bytes())?;
    vm.run_layer("=coroutine_api", coroutine::LAYER.as_bytes())?;
    vm.run_layer("=socket_api", socket::LAYER.as_bytes())
}

/// What OpenResty's LuaJIT has built in: the pointer of the current request, without a call out of a trace.
const THREAD_EXDATA: &str = "
local ffi = require 'ffi'
ffi.cdef 'extern void *rsty_current_request;'
local C = ffi.C
local null = ffi.null
function exdata()
    local r = C.rsty_current_request
    if r ~= null then
        return r
    end
end
local exdata = exdata
package.preload['thread.exdata'] = function ()
    return exdata
end
";
