//! One deployment of an app.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::rc::{Rc, Weak};

use tokio::sync::Notify;

use super::{push_anchored, replace_by_field};
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, StackGuard};
use crate::lua::vm::Vm;

/// One deployment of an app: its globals and modules, and the scripts that were compiled for it.
pub(crate) struct Space {
    vm: Weak<Vm>,
    /// The app's number.
    pub(crate) app: usize,
    /// How many deployments of the app were before.
    pub(crate) generation: i64,
    /// A generation that this worker could not deploy, so that it does not try again and again.
    pub(crate) refused: Cell<i64>,
    /// The table that `apps.lua` made, by its anchor in the registry.
    anchor: c_int,
    chunks: RefCell<HashMap<CString, c_int>>,
    retired: Cell<bool>,
    end: Rc<Notify>,
    /// Timers that wait or run.
    pub(crate) timers: Cell<usize>,
}

impl Space {
    pub(super) fn new(vm: &Rc<Vm>, app: usize, generation: i64, anchor: c_int) -> Self {
        Self {
            vm: Rc::downgrade(vm),
            app,
            generation,
            refused: Cell::new(-1),
            anchor,
            chunks: RefCell::default(),
            retired: Cell::new(false),
            end: Rc::default(),
            timers: Cell::new(0),
        }
    }

    /// Its anchor in the registry.
    pub(super) fn anchor(&self) -> c_int {
        self.anchor
    }

    /// Whether it is a space of this interpreter.
    pub(crate) fn is_of(&self, vm: &Vm) -> bool {
        std::ptr::eq(self.vm.as_ptr(), vm)
    }

    /// Another space has taken its place: its timers run now, prematurely, as when a worker exits.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.end.notify_waiters();
    }

    /// Whether another space has taken its place.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Told when another space takes its place.
    pub(crate) fn end(&self) -> Rc<Notify> {
        Rc::clone(&self.end)
    }

    /// Pushes a script that was compiled for this space onto the main state; false when there is none by that key.
    pub(crate) fn push_chunk(&self, vm: &Vm, key: &CStr) -> bool {
        let Some(&number) = self.chunks.borrow().get(key) else { return false };
        let state = vm.state();
        push_anchored(state, self.anchor);
        replace_by_field(state, c"chunks");
        // SAFETY: the plain table of chunks is on the top.
        unsafe {
            lua_rawgeti_(state, -1, number);
            lua_replace(state, -2);
        }
        true
    }

    /// Makes the function on the top of the main state a script of this space. It stays on the top. `file` is where it
    /// comes from, with what that file looks like.
    pub(crate) fn adopt_chunk(&self, vm: &Vm, key: &CStr, file: Option<(&[u8], &str)>) {
        let state = vm.state();
        // SAFETY: the function is on the top; raw accesses to tables of our own; what is pushed is removed.
        unsafe {
            let function = sys::top(state);
            let _guard = StackGuard::new(state);
            push_anchored(state, self.anchor);
            let space = sys::top(state);
            lua_pushvalue(state, space);
            replace_by_field(state, c"env");
            lua_setfenv(state, function);
            lua_pushvalue(state, space);
            replace_by_field(state, c"chunks");
            lua_pushvalue(state, function);
            let number = luaL_ref(state, -2);
            self.chunks.borrow_mut().insert(key.to_owned(), number);
            if let Some((path, stamp)) = file {
                lua_pushvalue(state, space);
                replace_by_field(state, c"files");
                sys::push(state, path);
                sys::push(state, stamp.as_bytes());
                lua_rawset(state, -3);
            }
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let Some(vm) = self.vm.upgrade().filter(|vm| !vm.state().is_null()) else { return };
        // SAFETY: the registry of a live interpreter; what `luaL_unref` pushes, it pops.
        unsafe { luaL_unref(vm.state(), LUA_REGISTRYINDEX, self.anchor) };
    }
}

impl std::fmt::Debug for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Space").field("app", &self.app).field("generation", &self.generation).finish_non_exhaustive()
    }
}
