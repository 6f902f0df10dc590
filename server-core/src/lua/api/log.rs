//! `ngx.log` and `print`.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::MaybeUninit;

use crate::cycle::Subsystem;
use crate::log::{Entry, ErrorLog, Level};
use crate::lua::current;
use crate::lua::session::level;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Reply, State};
use crate::lua::text;

pub(super) fn inject(state: State, subsystem: Subsystem) {
    let mark = format!("{}[lua] ", subsystem.mark());
    // SAFETY: sets a field of the table on the top and a global, outside of any call.
    unsafe {
        sys::push(state, mark.as_bytes());
        lua_pushcclosure(state, log, 1);
        lua_setfield(state, -2, c"log".as_ptr());
        sys::push(state, mark.as_bytes());
        lua_pushcclosure(state, print, 1);
        lua_setfield(state, LUA_GLOBALSINDEX, c"print".as_ptr());
    }
}

thread_local! {
    /// Where messages go when no session is current.
    static FALLBACK: Cell<Option<&'static ErrorLog>> = const { Cell::new(None) };
}

/// Sends messages of `init_by_lua*` to the server's log.
pub(crate) fn set_fallback(log: &'static ErrorLog) {
    FALLBACK.set(Some(log));
}

// `__tostring` may raise, so the tables among the arguments are replaced by their texts in a frame without
// destructors before the body runs.
unsafe extern "C-unwind" fn log(state: State) -> c_int {
    // SAFETY: called by Lua; nothing with a destructor is alive in this frame when Lua raises.
    unsafe {
        let level = luaL_checkinteger(state, 1);
        if !(0..=8).contains(&level) {
            let message = lua_pushfstring(state, c"bad log level: %d".as_ptr(), level as c_int);
            return luaL_argerror(state, 1, message);
        }
        lua_remove(state, 1);
        if !is_logged(level as u8) {
            return 0;
        }
        replace_tables(state);
        lua_pushinteger(state, level);
        sys::call(state, write)
    }
}

unsafe extern "C-unwind" fn print(state: State) -> c_int {
    // SAFETY: as in `log`.
    unsafe {
        if !is_logged(level::NOTICE) {
            return 0;
        }
        replace_tables(state);
        lua_pushinteger(state, i64::from(level::NOTICE));
        sys::call(state, write)
    }
}

fn is_logged(level: u8) -> bool {
    match current::session() {
        Some(session) => session.logs(level),
        None => match (FALLBACK.get(), Level::from_number(level)) {
            (Some(log), Some(level)) => log.enabled(level),
            _ => false,
        },
    }
}

/// Checks the arguments and puts `tostring(table)` in the place of tables.
///
/// # Safety
///
/// May raise: the caller's frame must own nothing.
unsafe fn replace_tables(state: State) {
    // SAFETY: indexes run over the existing arguments.
    unsafe {
        for index in 1..=lua_gettop(state) {
            match lua_type(state, index) {
                LUA_TTABLE => {
                    if luaL_callmeta(state, index, c"__tostring".as_ptr()) == 0 {
                        luaL_argerror(state, index, c"expected table to have __tostring metamethod".as_ptr());
                    }
                    lua_replace(state, index);
                }
                LUA_TNUMBER | LUA_TSTRING | LUA_TNIL | LUA_TBOOLEAN | LUA_TLIGHTUSERDATA => {}
                kind => {
                    let message = lua_pushfstring(
                        state,
                        c"string, number, boolean, or nil expected, got %s".as_ptr(),
                        lua_typename(state, kind),
                    );
                    luaL_argerror(state, index, message);
                }
            }
        }
    }
}

/// Writes the arguments as one message; the level is on the top.
fn write(state: State) -> Answer {
    let count = sys::top(state) - 1;
    // SAFETY: the level was pushed by our own frame.
    let level = unsafe { lua_tonumber(state, -1) } as u8;
    // The body runs in the frame of `log` or `print`, whose upvalue is the mark.
    let mut message = sys::bytes(state, lua_upvalueindex(1)).unwrap_or_default().to_vec();
    append_place(state, &mut message);
    for index in 1..=count {
        match sys::kind(state, index) {
            LUA_TTABLE => return Err("'tostring' must return a string".into()),
            LUA_TLIGHTUSERDATA if !text::is_null(state, index) => {}
            _ => text::append_scalar(state, index, &mut message),
        }
    }
    match (current::session(), FALLBACK.get(), Level::from_number(level)) {
        (Some(session), _, _) => session.log_bytes(level, &message),
        (None, Some(log), Some(level)) => {
            log.write_entry(&Entry { level, message: &message, errno: None, context: None });
        }
        _ => {}
    }
    Ok(Reply::Return(0))
}

/// Appends `FILE:LINE: FUNCTION(): ` of the caller.
fn append_place(state: State, out: &mut Vec<u8>) {
    let mut record = MaybeUninit::<lua_Debug>::zeroed();
    // SAFETY: `lua_getinfo` reads the frame that `lua_getstack` found; the strings live as long as the frame.
    unsafe {
        if lua_getstack(state, 1, record.as_mut_ptr()) == 0 {
            out.extend_from_slice(b":0: ");
            return;
        }
        lua_getinfo(state, c"Snl".as_ptr(), record.as_mut_ptr());
        let frame = record.assume_init_ref();
        let source = sys::c_text(frame.short_src.as_ptr());
        let start = memchr::memrchr2(b'/', b'\\', source).map_or(0, |slash| slash + 1);
        out.extend_from_slice(source.get(start..).unwrap_or_default());
        let line = if frame.currentline > 0 { frame.currentline } else { frame.linedefined };
        out.push(b':');
        out.extend_from_slice(itoa::Buffer::new().format(line).as_bytes());
        out.extend_from_slice(b": ");
        if !sys::c_text(frame.namewhat).is_empty() && sys::c_text(frame.what).starts_with(b"L") {
            out.extend_from_slice(sys::c_text(frame.name));
            out.extend_from_slice(b"(): ");
        }
    }
}
