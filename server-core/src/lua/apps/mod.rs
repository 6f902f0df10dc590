//! Apps: module spaces inside one interpreter, each with globals, `package` and loaded modules of its own.
//!
//! [`Apps`] belongs to an interpreter and knows the present space of each app; a [`Space`] is one deployment of an app. Who
//! runs code of an app holds its space: a request, a timer. A space that was replaced ends with the last of them, and
//! [`Apps::remains`] tells whether Lua's collector agrees.
//!
//! What `require` finds in which layer is the business of `apps.lua`.

mod space;

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::{CStr, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use super::code::pop_message;
use super::current;
use super::sys::raw::*;
use super::sys::{self, Reply, StackGuard, State, c_function};
use super::vm::{Vm, VmError};
use crate::dev::files::Stamp;
use crate::lualib;

pub(crate) use space::Space;

/// Objects that are looked at to find out what holds on to a space.
const SEARCHED: lua_Integer = 300_000;

/// What a space is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The app's name.
    pub(crate) name: Box<[u8]>,
    /// `package.path`.
    pub(crate) path: Vec<u8>,
    /// `package.cpath`.
    pub(crate) cpath: Vec<u8>,
}

/// The apps of an interpreter.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    functions: OnceCell<Functions>,
    spaces: RefCell<Vec<Rc<Space>>>,
}

/// The functions of `apps.lua`, in the order in which it returns them, by their anchors in the registry.
#[derive(Clone, Copy, Debug)]
struct Functions {
    create: c_int,
    fill: c_int,
    changed_in: c_int,
    renew_shared: c_int,
    remains: c_int,
    alive: c_int,
}

thread_local! {
    /// The space that is being made, whose code runs on nobody's behalf.
    static BUILDING: Cell<Option<c_int>> = const { Cell::new(None) };
}

c_function! {
    /// The space on whose behalf Lua is running, or nil.
    fn running(state) {
        let of_ctx = || current::ctx().and_then(|ctx| ctx.space.borrow().as_ref().map(|space| space.anchor()));
        // SAFETY: the anchor is that of a live space; a slot is free.
        unsafe {
            match BUILDING.get().or_else(of_ctx) {
                Some(anchor) => lua_rawgeti_(state, LUA_REGISTRYINDEX, anchor),
                None => lua_pushnil(state),
            }
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// Whether a module of that name belongs to the core.
    fn is_core_name(state) {
        let is_core = sys::bytes(state, 1).is_some_and(lualib::is_core);
        // SAFETY: a slot is free.
        unsafe { lua_pushboolean(state, c_int::from(is_core)) };
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// What a file looks like: a text that is another one when the file has changed, or nil.
    fn stamp(state) {
        let path = Path::new(std::ffi::OsStr::from_bytes(sys::check_bytes(state, 1)?));
        match Stamp::of(path) {
            Some(stamp) => sys::push(state, format!("{stamp:?}").as_bytes()),
            // SAFETY: a slot is free.
            None => unsafe { lua_pushnil(state) },
        }
        Ok(Reply::Return(1))
    }
}

/// Calls a function with the other arguments; across it, nothing can yield, as with Lua's own `require`.
unsafe extern "C-unwind" fn call(state: State) -> c_int {
    // SAFETY: Lua calls this with a live state; errors pass nothing that has a destructor.
    unsafe {
        lua_call(state, lua_gettop(state) - 1, 1);
        1
    }
}

impl Apps {
    /// Makes an interpreter ready for apps, before any script ran in it. The paths are those of the layer that all apps
    /// share.
    pub(crate) fn install(&self, vm: &Vm, shared_path: &[u8], shared_cpath: &[u8]) -> Result<(), VmError> {
        const SOURCE: &str = include_str!("apps.lua");
        let state = vm.state();
        // SAFETY: the main state outside of any call; the guard restores the stack, and errors are caught.
        unsafe {
            let _guard = StackGuard::new(state);
            let mut status = luaL_loadbuffer(state, SOURCE.as_ptr().cast(), SOURCE.len(), c"=apps".as_ptr());
            if status == 0 {
                lua_pushcclosure(state, call, 0);
                lua_pushcclosure(state, running, 0);
                lua_pushcclosure(state, is_core_name, 0);
                lua_pushcclosure(state, stamp, 0);
                sys::push(state, shared_path);
                sys::push(state, shared_cpath);
                status = lua_pcall(state, 6, 6, 0);
            }
            if status != 0 {
                return Err(VmError::Layer { name: "apps".into(), message: pop_message(state) });
            }
            let anchor = || luaL_ref(state, LUA_REGISTRYINDEX);
            let (alive, remains, renew_shared) = (anchor(), anchor(), anchor());
            let (changed_in, fill, create) = (anchor(), anchor(), anchor());
            // An interpreter is made ready once.
            let _ = self.functions.set(Functions { create, fill, changed_in, renew_shared, remains, alive });
        }
        Ok(())
    }

    /// The present space of an app.
    pub(crate) fn space(&self, app: usize) -> Option<Rc<Space>> {
        self.spaces.borrow().get(app).cloned()
    }

    /// Makes a space the present one of its app; the one before.
    pub(crate) fn deploy(&self, space: Rc<Space>) -> Option<Rc<Space>> {
        let mut spaces = self.spaces.borrow_mut();
        match spaces.get_mut(space.app) {
            Some(present) => Some(std::mem::replace(present, space)),
            None => {
                spaces.push(space);
                None
            }
        }
    }

    /// A new space. With `before`, what that one had loaded is loaded in the new one too; the error is what failed then.
    pub(crate) fn create(
        &self,
        vm: &Rc<Vm>,
        app: usize,
        plan: &Plan,
        generation: i64,
        before: Option<&Space>,
    ) -> Result<Rc<Space>, String> {
        let state = vm.state();
        let functions = self.functions.get().copied().ok_or("there are no apps")?;
        let label = format!("{}#{generation}", String::from_utf8_lossy(&plan.name));
        // SAFETY: the stack is restored by the guard; errors are caught.
        unsafe {
            let _guard = StackGuard::new(state);
            push_anchored(state, functions.create);
            for text in [&plan.name[..], label.as_bytes(), &plan.path[..], &plan.cpath[..]] {
                sys::push(state, text);
            }
            if lua_pcall(state, 4, 1, 0) != 0 {
                return Err(pop_message(state));
            }
            let anchor = luaL_ref(state, LUA_REGISTRYINDEX);
            let space = Rc::new(Space::new(vm, app, generation, anchor));
            let Some(before) = before else { return Ok(space) };
            let _building = Building::begin(anchor);
            push_anchored(state, functions.fill);
            push_anchored(state, anchor);
            push_anchored(state, before.anchor());
            let status = lua_pcall(state, 2, 1, 0);
            if status != 0 || lua_type(state, -1) != LUA_TNIL {
                return Err(pop_message(state));
            }
            Ok(space)
        }
    }

    /// Does something as the code of a space.
    pub(crate) fn inside<T>(space: &Space, action: impl FnOnce() -> T) -> T {
        let _building = Building::begin(space.anchor());
        action()
    }

    /// Whether a file that the app's space was made from has changed since this was asked.
    pub(crate) fn has_changed(&self, vm: &Vm, space: &Space) -> bool {
        self.functions.get().is_some_and(|functions| ask(vm, functions.changed_in, Some(space.anchor())))
    }

    /// Whether a file of the shared layer has changed; then the layer is loaded anew when it is required next.
    pub(crate) fn renew_shared(&self, vm: &Vm) -> bool {
        self.functions.get().is_some_and(|functions| ask(vm, functions.renew_shared, None))
    }

    /// What refers to a space that nobody uses any more, as far as can be told; `None` when it is gone.
    pub(crate) fn remains(&self, vm: &Vm, label: &str) -> Option<String> {
        const UNKNOWN: &str = "nothing that was found";
        const SOURCE: &str = include_str!("holder.lua");
        let functions = self.functions.get()?;
        let state = vm.state();
        // SAFETY: the main state outside of any call; the guard restores the stack, and errors are caught.
        unsafe {
            let _guard = StackGuard::new(state);
            push_anchored(state, functions.remains);
            sys::push(state, label.as_bytes());
            if lua_pcall(state, 1, 1, 0) != 0 || lua_type(state, -1) == LUA_TNIL {
                return None;
            }
            let target = sys::top(state);
            let status = luaL_loadbuffer(state, SOURCE.as_ptr().cast(), SOURCE.len(), c"=holder".as_ptr());
            if status != 0 {
                return Some(UNKNOWN.to_owned());
            }
            lua_pushvalue(state, target);
            push_anchored(state, functions.alive);
            lua_pushinteger(state, SEARCHED);
            if lua_pcall(state, 3, 1, 0) != 0 {
                return Some(UNKNOWN.to_owned());
            }
            let found = sys::bytes(state, -1).map(|text| String::from_utf8_lossy(text).into_owned());
            Some(found.unwrap_or_else(|| UNKNOWN.to_owned()))
        }
    }
}

/// Code of a space runs on nobody's behalf.
struct Building {
    outer: Option<c_int>,
}

impl Building {
    fn begin(anchor: c_int) -> Self {
        Self { outer: BUILDING.replace(Some(anchor)) }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        BUILDING.set(self.outer);
    }
}

/// Calls a function of `apps.lua` that answers yes or no.
fn ask(vm: &Vm, function: c_int, argument: Option<c_int>) -> bool {
    let state = vm.state();
    // SAFETY: the main state outside of any call; the guard restores the stack, and errors are caught.
    unsafe {
        let _guard = StackGuard::new(state);
        push_anchored(state, function);
        if let Some(anchor) = argument {
            push_anchored(state, anchor);
        }
        lua_pcall(state, c_int::from(argument.is_some()), 1, 0) == 0 && lua_toboolean(state, -1) != 0
    }
}

fn push_anchored(state: State, anchor: c_int) {
    // SAFETY: a raw access to the registry; the callers have room.
    unsafe { lua_rawgeti_(state, LUA_REGISTRYINDEX, anchor) };
}

/// Pushes a field of the plain table at the top, and removes the table.
fn replace_by_field(state: State, field: &CStr) {
    // SAFETY: a raw access to a table of our own; the callers have room.
    unsafe {
        sys::push(state, field.to_bytes());
        lua_rawget_(state, -2);
        lua_replace(state, -2);
    }
}
