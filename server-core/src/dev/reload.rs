//! Changed Lua files in a running worker.
//!
//! Modules are looked at by `reload.lua`, every [`INTERVAL`]. The files of `*_by_lua_file` are looked at when they are
//! about to run ([`file_changed`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::Stamp;
use super::say;
use crate::cycle::Cycle;
use crate::http::modules::lua::{apps, startup};
use crate::log::Level;
use crate::lua::code::pop_message;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Reply, StackGuard, State, c_function};
use crate::lua::vm::{Vm, VmError};

/// How often modules are looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// The registry keys of the two functions of `reload.lua`.
static CHANGED: u8 = 1;
static RELOAD: u8 = 2;

thread_local! {
    static FILES: RefCell<HashMap<PathBuf, Stamp>> = RefCell::default();
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

c_function! {
    /// What a file looks like: a text that is another one when the file has changed, or nil.
    fn stamp(state) {
        let path = Path::new(OsStr::from_bytes(sys::check_bytes(state, 1)?));
        match Stamp::of(path) {
            Some(stamp) => sys::push(state, format!("{stamp:?}").as_bytes()),
            // SAFETY: there is room for a result.
            None => unsafe { lua_pushnil(state) },
        }
        Ok(Reply::Return(1))
    }
}

/// Makes an interpreter's modules replaceable; before any of the user's are loaded.
pub(crate) fn install(vm: &Vm) -> Result<(), VmError> {
    const SOURCE: &str = include_str!("reload.lua");
    let state = vm.state();
    // SAFETY: the main state outside of any call; the guard restores the stack, and errors are caught.
    unsafe {
        let _guard = StackGuard::new(state);
        let mut status = luaL_loadbuffer(state, SOURCE.as_ptr().cast(), SOURCE.len(), c"=reload".as_ptr());
        if status == 0 {
            lua_pushcclosure(state, stamp, 0);
            status = lua_pcall(state, 1, 2, 0);
        }
        if status != 0 {
            return Err(VmError::Layer { name: "reload".into(), message: pop_message(state) });
        }
        for key in [&RELOAD, &CHANGED] {
            lua_pushlightuserdata(state, sys::registry_key(key));
            lua_insert(state, -2);
            lua_rawset(state, LUA_REGISTRYINDEX);
        }
    }
    Ok(())
}

/// Looks after the modules of a worker as long as it lives.
pub(crate) async fn watch(cycle: &'static Cycle) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        check(cycle);
    }
}

/// Reloads modules whose files have changed.
pub(crate) fn check(cycle: &'static Cycle) {
    let Some(vm) = cycle.http.lua.vm.get() else { return };
    let state = vm.state();
    if BUSY.replace(true) {
        return;
    }
    // SAFETY: nothing runs on the main state now, between requests; the guard restores the stack, and errors are caught.
    unsafe {
        let _guard = StackGuard::new(state);
        push_function(state, &CHANGED);
        let status = lua_pcall(state, 0, 1, 0);
        if status != 0 {
            report(cycle, "modules", Some(pop_message(state)));
        } else if lua_type(state, -1) == LUA_TTABLE {
            let (list, names) = (sys::top(state), names(state));
            startup::in_worker_phase(cycle, |_| {
                push_function(state, &RELOAD);
                lua_pushvalue(state, list);
                let status = lua_pcall(state, 1, 1, 0);
                report(cycle, &names, (status != 0 || lua_type(state, -1) != LUA_TNIL).then(|| pop_message(state)));
            });
        }
    }
    for (name, done) in apps::follow_files(cycle) {
        report(cycle, &format!("lua_app \"{name}\""), done.err());
    }
    BUSY.set(false);
}

fn report(cycle: &Cycle, names: &str, failure: Option<String>) {
    match failure {
        None => say(&format!("reloaded {names}")),
        Some(message) => {
            let text = format_args!("failed to reload {names}, the old code goes on: {message}");
            cycle.log.write(Level::Error, text);
        }
    }
}

/// The names in the list on the top, as one text.
fn names(state: State) -> String {
    let mut names = Vec::new();
    // SAFETY: raw accesses to a plain table; each value is popped.
    unsafe {
        for index in 1..=lua_objlen(state, -1) as std::ffi::c_int {
            lua_rawgeti_(state, -1, index);
            names.push(String::from_utf8_lossy(sys::bytes(state, -1).unwrap_or_default()).into_owned());
            lua_settop(state, -2);
        }
    }
    names.join(", ")
}

fn push_function(state: State, key: &'static u8) {
    // SAFETY: a raw access to the registry; the callers have room.
    unsafe {
        lua_pushlightuserdata(state, sys::registry_key(key));
        lua_rawget_(state, LUA_REGISTRYINDEX);
    }
}

/// Whether a file of code has changed since it was last asked about; not at the first time.
pub(crate) fn file_changed(path: &Path) -> bool {
    let Some(now) = Stamp::of(path) else { return false };
    FILES.with_borrow_mut(|files| match files.get_mut(path) {
        Some(known) => std::mem::replace(known, now) != now,
        None => {
            files.insert(path.to_owned(), now);
            false
        }
    })
}
