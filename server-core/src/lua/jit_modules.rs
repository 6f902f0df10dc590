//! LuaJIT's own Lua modules (`jit.v`, `jit.dump`, `jit.bcsave`, …), which belong to an interpreter's installation.

use std::ffi::{CStr, c_int};

use super::sys::StackGuard;
use super::sys::raw::*;

/// Names, chunk names and sources.
const MODULES: &[(&CStr, &CStr, &[u8])] = include!(concat!(env!("OUT_DIR"), "/jit_modules.rs"));

/// Makes the modules known to an interpreter.
pub(super) fn install(state: *mut lua_State) {
    // SAFETY: `package` and `preload` are the plain tables of a fresh interpreter; the guard restores the stack.
    unsafe {
        let _guard = StackGuard::new(state);
        lua_getfield_(state, LUA_GLOBALSINDEX, c"package".as_ptr());
        lua_getfield_(state, -1, c"preload".as_ptr());
        for (index, (name, ..)) in MODULES.iter().enumerate() {
            lua_pushinteger(state, index as lua_Integer);
            lua_pushcclosure(state, load, 1);
            lua_setfield(state, -2, name.as_ptr());
        }
    }
}

/// Runs the module whose number is the upvalue, with its name.
unsafe extern "C-unwind" fn load(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with a live state; `require` passes the name. Nothing here has a destructor.
    unsafe {
        let index = lua_tonumber(state, lua_upvalueindex(1)) as usize;
        let Some((_, chunk, source)) = MODULES.get(index) else { return 0 };
        if luaL_loadbuffer(state, source.as_ptr().cast(), source.len(), chunk.as_ptr()) != 0 {
            lua_error(state);
        }
        lua_pushvalue(state, 1);
        lua_call(state, 1, 1);
        1
    }
}
