//! Our own Lua layer: the parts of `ngx.*` that are Lua code on top of the exported C functions.
//!
//! The modules answer to the names of lua-resty-core, which libraries require, and are our own. Their sources are in
//! the binary and compiled when they are first required. They serve when the package path has no module of that name:
//! a lua-resty-core that stands there takes our layer's place, whole or module by module, as the C functions under
//! both are the same. Only [`BUILT_IN`] comes before the path: what belongs to OpenResty's LuaJIT itself.
//!
//! [`install`] makes the modules known to an interpreter; `require "resty.core"` then puts the functions into `ngx`.

use std::ffi::{CStr, c_int};

use crate::lua::sys::StackGuard;
use crate::lua::sys::raw::*;

#[cfg(test)]
mod tests;

/// A module: its name, the name of its chunk in messages, its source.
type Module = (&'static CStr, &'static CStr, &'static str);

macro_rules! modules {
    ($($name:literal = $file:literal),* $(,)?) => {
        &[$((
            $name,
            match CStr::from_bytes_with_nul(concat!("=resty/core/", $file, ".lua\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("the literal ends with its only NUL"),
            },
            include_str!(concat!("lua/", $file, ".lua")),
        )),*]
    };
}

/// Modules that come before the package path.
const BUILT_IN: &[Module] = modules! {
    c"rsty.base" = "base",
    c"rsty.given" = "given",
    c"rsty.limits" = "rsty_limits",
    c"rsty.shdict_lists" = "shdict_lists",
    c"rsty.upstream" = "rsty_upstream",
    c"table.clone" = "tables",
    c"table.isarray" = "tables",
    c"table.isempty" = "tables",
    c"table.nkeys" = "tables",
};

/// Modules that serve when the package path has none of that name.
const FALLBACKS: &[Module] = modules! {
    c"resty.core" = "init",
    c"resty.core.base" = "core_base",
    c"resty.core.ctx" = "ctx",
    c"resty.core.exit" = "control",
    c"resty.core.misc" = "misc",
    c"resty.core.ndk" = "ndk",
    c"resty.core.param" = "param",
    c"resty.core.phase" = "phase",
    c"resty.core.regex" = "regex",
    c"resty.core.request" = "request",
    c"resty.core.response" = "response",
    c"resty.core.shdict" = "shdict",
    c"resty.core.socket" = "socket",
    c"resty.core.socket_tls" = "socket_tls",
    c"resty.core.strings" = "strings",
    c"resty.core.base64" = "alias",
    c"resty.core.hash" = "alias",
    c"resty.core.uri" = "alias",
    c"resty.core.utils" = "utils",
    c"resty.core.coroutine" = "alias",
    c"resty.core.time" = "time",
    c"resty.core.var" = "var",
    c"resty.core.worker" = "worker",
    c"ngx.balancer" = "ngx_balancer",
    c"ngx.base64" = "ngx_base64",
    c"ngx.errlog" = "ngx_errlog",
    c"ngx.ocsp" = "ngx_ocsp",
    c"ngx.pipe" = "ngx_pipe",
    c"ngx.process" = "ngx_process",
    c"ngx.re" = "ngx_re",
    c"ngx.req" = "ngx_req",
    c"ngx.resp" = "ngx_resp",
    c"ngx.semaphore" = "ngx_semaphore",
    c"ngx.upstream" = "ngx_upstream",
    c"ngx.proxyssl" = "ngx_proxyssl",
    c"ngx.ssl" = "ngx_ssl",
    c"ngx.ssl.clienthello" = "ngx_ssl_clienthello",
    c"ngx.ssl.proxysslcert" = "ngx_ssl_proxysslcert",
    c"ngx.ssl.proxysslverify" = "ngx_ssl_proxysslverify",
    c"ngx.ssl.session" = "ngx_ssl_session",
    c"resty.lrucache" = "lrucache",
    c"resty.lrucache.pureffi" = "lrucache",
};

macro_rules! jit_modules {
    ($($name:literal = $file:literal),* $(,)?) => {
        &[$((
            $name,
            match CStr::from_bytes_with_nul(concat!("=jit/", $file, ".lua\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("the literal ends with its only NUL"),
            },
            include_str!(concat!(env!("OUT_DIR"), "/luajit-build/src/jit/", $file, ".lua")),
        )),*]
    };
}

/// LuaJIT's own modules, which belong to the interpreter that is linked in; likewise after the package path.
const JIT_MODULES: &[Module] = jit_modules! {
    c"jit.bc" = "bc",
    c"jit.bcsave" = "bcsave",
    c"jit.dis_arm64" = "dis_arm64",
    c"jit.dis_x64" = "dis_x64",
    c"jit.dis_x86" = "dis_x86",
    c"jit.dump" = "dump",
    c"jit.p" = "p",
    c"jit.v" = "v",
    c"jit.vmdef" = "vmdef",
    c"jit.zone" = "zone",
};

/// Whether a module belongs to the core, so that no app has one of that name; libraries that are only built in don't.
pub(crate) fn is_core(name: &[u8]) -> bool {
    let is_library = name.starts_with(b"resty.lrucache");
    let mut all = BUILT_IN.iter().chain(FALLBACKS).chain(JIT_MODULES);
    !is_library && all.any(|(known, ..)| known.to_bytes() == name)
}

/// Makes the modules known to an interpreter.
///
/// # Safety
/// `state` is a main state whose standard libraries are open, outside of any call, with room for six values.
pub unsafe fn install(state: *mut lua_State) {
    // SAFETY: the caller's promise; `package` and its tables are those of the standard library.
    unsafe {
        let _guard = StackGuard::new(state);
        lua_getfield_(state, LUA_GLOBALSINDEX, c"package".as_ptr());
        lua_getfield_(state, -1, c"preload".as_ptr());
        for (index, (name, ..)) in BUILT_IN.iter().enumerate() {
            lua_pushinteger(state, index as lua_Integer);
            lua_pushcclosure(state, load_module, 1);
            lua_setfield(state, -2, name.as_ptr());
        }
        lua_getfield_(state, -2, c"loaders".as_ptr());
        lua_pushcclosure(state, search_fallback, 0);
        let last = lua_objlen(state, -2) as c_int;
        lua_rawseti(state, -2, lua_Integer::from(last) + 1);
    }
}

/// Loads the module whose number is the upvalue, and runs it with its name.
unsafe extern "C-unwind" fn load_module(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with a valid state, and `require` passes the name. Nothing here has a destructor.
    unsafe {
        let index = lua_tointeger(state, lua_upvalueindex(1));
        run(state, BUILT_IN.get(index as usize))
    }
}

/// A searcher: the loader of a fallback module of that name, or nothing.
unsafe extern "C-unwind" fn search_fallback(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let mut len = 0;
        let text = lua_tolstring(state, 1, &raw mut len);
        if text.is_null() {
            return 0;
        }
        let name = std::slice::from_raw_parts(text.cast::<u8>(), len);
        let mut fallbacks = FALLBACKS.iter().chain(JIT_MODULES);
        let Some(index) = fallbacks.position(|(known, ..)| known.to_bytes() == name) else { return 0 };
        lua_pushinteger(state, index as lua_Integer);
        lua_pushcclosure(state, load_fallback, 1);
        1
    }
}

/// Loads the fallback module whose number is the upvalue, and runs it with its name.
unsafe extern "C-unwind" fn load_fallback(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let index = lua_tointeger(state, lua_upvalueindex(1));
        run(state, FALLBACKS.iter().chain(JIT_MODULES).nth(index as usize))
    }
}

/// # Safety
/// As for the functions that Lua calls.
unsafe fn run(state: *mut lua_State, module: Option<&'static Module>) -> c_int {
    let Some((_, chunk, source)) = module else { return 0 };
    // SAFETY: the source is static; errors leave through `lua_error`, past nothing that has a destructor.
    unsafe {
        if luaL_loadbuffer(state, source.as_ptr().cast(), source.len(), chunk.as_ptr()) != 0 {
            lua_error(state);
        }
        lua_pushvalue(state, 1);
        lua_call(state, 1, 1);
    }
    1
}
