//! `require "rsty.apps"`: the apps of the server, and deploying one anew in all workers.

use std::ffi::c_int;
use std::rc::Rc;

use super::request;
use crate::http::modules::lua::apps;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Reply, StackGuard, State, c_function};

/// Makes the module known to an interpreter.
pub(crate) fn preload(state: State) {
    // SAFETY: the main state outside of any call; `package.preload` is the standard library's.
    unsafe {
        let _guard = StackGuard::new(state);
        lua_getfield_(state, LUA_GLOBALSINDEX, c"package".as_ptr());
        lua_getfield_(state, -1, c"preload".as_ptr());
        sys::set_function(state, c"rsty.apps", open);
    }
}

c_function! {
    /// The module.
    fn open(state) {
        // SAFETY: a fresh table.
        unsafe { lua_createtable(state, 0, 3) };
        sys::set_function(state, c"current", current);
        sys::set_function(state, c"names", names);
        sys::set_function(state, c"reload", reload);
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// Deploys an app anew: `true`, or `nil` and what failed. The other workers follow at their next request.
    fn reload(state) {
        let name = sys::check_bytes(state, 1)?;
        let Ok((r, ctx)) = request() else { return sys::fail(state, "no worker is running") };
        let Some(number) = r.main_conf().lua.apps.names().position(|known| known == name) else {
            return sys::fail(state, &format!("unknown app \"{}\"", String::from_utf8_lossy(name)));
        };
        match apps::reload(r.conn().cycle(), &ctx.vm, number) {
            Ok(()) => {
                // SAFETY: a slot is free.
                unsafe { lua_pushboolean(state, 1) };
                Ok(Reply::Return(1))
            }
            Err(message) => sys::fail(state, &message),
        }
    }
}

c_function! {
    /// The names of all apps, in the order of the configuration.
    fn names(state) {
        let (r, _) = request()?;
        // SAFETY: a fresh table, and one value above it.
        unsafe {
            lua_createtable(state, 0, 0);
            for (index, name) in r.main_conf().lua.apps.names().enumerate() {
                sys::push(state, name);
                lua_rawseti(state, -2, index as lua_Integer + 1);
            }
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// The name of the app whose code is running and how often it was deployed anew; nil outside of apps.
    fn current(state) {
        let space = request().ok().and_then(|(r, ctx)| Some((r, ctx.space.borrow().as_ref().map(Rc::clone)?)));
        let Some((r, space)) = space else { return Ok(Reply::Return(0)) };
        sys::push(state, r.main_conf().lua.apps.names().nth(space.app).unwrap_or_default());
        // SAFETY: a slot is free.
        unsafe { lua_pushinteger(state, space.generation as lua_Integer) };
        Ok(Reply::Return(2 as c_int))
    }
}
