//! Building an interpreter and keeping its coroutines.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_int;
use std::rc::Rc;

use super::apps::Apps;
use super::cjson;
use super::ffi::worker;
use super::jit_modules;
use super::memory::Budget;
use super::session::{Session, session_debug};
use super::socket::pool;
use super::sys::raw::*;
use super::sys::{self, StackGuard, State};

/// What an interpreter is built from.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What stands before log messages about the VM.
    pub mark: &'static str,
    /// `lua_package_path`, as written.
    pub path: Option<Vec<u8>>,
    /// `lua_package_cpath`, as written.
    pub cpath: Option<Vec<u8>>,
    /// The server's prefix, with a slash at its end.
    pub prefix: Vec<u8>,
    /// Finished entry threads kept for reuse (`lua_thread_cache_max_entries`).
    pub thread_cache: usize,
    /// `lua_max_memory`, in bytes.
    pub max_memory: Option<usize>,
}

/// Why an interpreter could not be made ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// No memory for the state.
    #[error("failed to create a Lua state")]
    NoState,
    /// `resty.core`, one found on the package path, failed.
    #[error("failed to load the 'resty.core' module; {0}")]
    RestyCore(String),
    /// A part of our own Lua layer failed.
    #[error("failed to load the Lua layer \"{name}\": {message}")]
    Layer {
        /// Its chunk name.
        name: String,
        /// What Lua said.
        message: String,
    },
}

/// The registry keys are addresses; the values do not matter, but zero-sized statics might share one.
static COROUTINES: u8 = 0;

/// One interpreter: the worker's, or with `lua_code_cache off` a request's.
#[derive(Debug)]
pub struct Vm {
    /// Null when it has been closed.
    state: Cell<State>,
    idle: RefCell<Vec<(State, c_int)>>,
    thread_cache: usize,
    users: Cell<usize>,
    /// What stands before messages about it.
    mark: &'static str,
    budget: OnceCell<Box<Budget>>,
    /// The apps that live in it.
    pub(crate) apps: Apps,
}

impl Vm {
    /// A state with the standard libraries, OpenResty's JIT limits and the package paths; nothing of `ngx` yet.
    pub fn new(options: &Options) -> Result<Rc<Self>, VmError> {
        // SAFETY: the new state is owned by the Vm and closed when it is dropped; the libraries are opened on
        // an empty stack.
        let state = unsafe {
            let state = luaL_newstate();
            if state.is_null() {
                return Err(VmError::NoState);
            }
            luaL_openlibs(state);
            state
        };
        let vm = Self {
            state: Cell::new(state),
            idle: RefCell::default(),
            thread_cache: options.thread_cache,
            users: Cell::new(0),
            mark: options.mark,
            budget: OnceCell::new(),
            apps: Apps::default(),
        };
        jit_modules::install(state);
        cjson::install(state);
        vm.run_layer("=jit_options", JIT_OPTIONS.as_bytes())?;
        vm.set_package_path(c"path", options.path.as_deref(), &options.prefix);
        vm.set_package_path(c"cpath", options.cpath.as_deref(), &options.prefix);
        if let Some(limit) = options.max_memory {
            vm.budget.get_or_init(|| Budget::impose(state, limit));
        }
        Ok(Rc::new(vm))
    }

    /// The main state. Coroutines are created on it; it runs the phases that cannot yield.
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Ends the interpreter while others still refer to it: a master's, when a reload has replaced it. Nobody may use
    /// it any more.
    pub fn close(&self) {
        let state = self.state.replace(std::ptr::null_mut());
        if !state.is_null() {
            self.idle.borrow_mut().clear();
            worker::debug(format_args!("{}lua close the global Lua VM {:016X}", self.mark, state.addr()));
            pool::close_all_of(state.addr());
            if let Some(budget) = self.budget.get() {
                budget.lift(state);
            }
            // SAFETY: the state is ours, and no coroutine of it is in use.
            unsafe { lua_close(state) };
        }
    }

    /// Whether its memory has a limit, so that running out of it is an error like others.
    pub(super) fn is_limited(&self) -> bool {
        self.budget.get().is_some()
    }

    /// Lets the collector know how much of the memory is in use.
    pub(super) fn adapt(&self) {
        if let Some(budget) = self.budget.get() {
            budget.adapt(self.state());
        }
    }

    /// Frees what nobody holds any more.
    pub(super) fn collect(&self) {
        // SAFETY: the main state, outside of any call.
        unsafe { lua_gc(self.state(), LUA_GCCOLLECT, 0) };
    }

    /// Runs a chunk of the server's own Lua on the main state.
    pub fn run_layer(&self, name: &str, code: &[u8]) -> Result<(), VmError> {
        let chunk_name = std::ffi::CString::new(name).unwrap_or_default();
        // SAFETY: the stack is restored by the guard; `lua_pcall` catches what the chunk raises.
        unsafe {
            let _guard = StackGuard::new(self.state.get());
            let status = match luaL_loadbuffer(self.state.get(), code.as_ptr().cast(), code.len(), chunk_name.as_ptr())
            {
                0 => lua_pcall(self.state.get(), 0, 0, 0),
                status => status,
            };
            if status == 0 {
                return Ok(());
            }
            let message = String::from_utf8_lossy(sys::bytes(self.state.get(), -1).unwrap_or_default()).into_owned();
            Err(VmError::Layer { name: name.trim_start_matches('=').to_owned(), message })
        }
    }

    /// A coroutine for an entry thread, a used one if there is one, and its anchor.
    pub fn new_thread(&self, session: &dyn Session) -> (State, c_int) {
        session_debug!(session, "lua creating new thread");
        if let Some((co, reference)) = self.idle.borrow_mut().pop() {
            session_debug!(session, "lua reusing cached lua thread {co:p} (ref {reference})");
            return (co, reference);
        }
        let (co, reference) = self.anchored_thread();
        session_debug!(session, "lua ref lua thread {co:p} (ref {reference})");
        (co, reference)
    }

    /// A coroutine for a light thread or a timer, a used one if there is one, and its anchor.
    pub fn cached_thread(&self) -> (State, c_int) {
        let idle = self.idle.borrow_mut().pop();
        if let Some((co, reference)) = idle {
            worker::debug(format_args!("lua reusing cached lua thread {co:p} (ref {reference})"));
            return (co, reference);
        }
        self.anchored_thread()
    }

    /// A fresh coroutine on the main state, anchored until [`Vm::release_thread`].
    fn anchored_thread(&self) -> (State, c_int) {
        // SAFETY: only raw registry accesses; the guard restores the stack.
        unsafe {
            let _guard = StackGuard::new(self.state.get());
            sys::push_registry_table(self.state.get(), sys::registry_key(&COROUTINES));
            let co = lua_newthread(self.state.get());
            let reference = luaL_ref(self.state.get(), -2);
            (co, reference)
        }
    }

    /// Takes back a coroutine. Only one whose function returned can be used again.
    pub(crate) fn release_thread(&self, session: &dyn Session, co: State, reference: c_int, reusable: bool) {
        // SAFETY: the coroutine is anchored, so it is alive; it is not running.
        unsafe {
            if reusable && lua_status(co) == 0 && self.idle.borrow().len() < self.thread_cache {
                lua_settop(co, 0);
                self.idle.borrow_mut().push((co, reference));
                session_debug!(session, "lua caching unused lua thread {co:p} (ref {reference})");
                return;
            }
            session_debug!(session, "http lua unref thread {co:p}: {reference}");
            let _guard = StackGuard::new(self.state.get());
            sys::push_registry_table(self.state.get(), sys::registry_key(&COROUTINES));
            luaL_unref(self.state.get(), -1, reference);
        }
    }

    /// One more request or timer uses a VM that is not the worker's.
    pub(crate) fn retain(&self) {
        self.users.set(self.users.get() + 1);
    }

    /// One of those is through; the VM goes with the last reference to it.
    pub(crate) fn release(&self) {
        let users = self.users.get();
        if users > 0 {
            worker::debug(format_args!("{}lua decrementing the reference count for Lua VM: {users}", self.mark));
            self.users.set(users - 1);
        }
    }

    /// Puts `package.FIELD` together: `;;` stands for what is there already, `$prefix` for the server's prefix.
    fn set_package_path(&self, field: &std::ffi::CStr, template: Option<&[u8]>, prefix: &[u8]) {
        let Some(template) = template.filter(|template| !template.is_empty()) else { return };
        // SAFETY: `package` is the plain table that `luaL_openlibs` made; the guard restores the stack.
        unsafe {
            let _guard = StackGuard::new(self.state.get());
            lua_getfield_(self.state.get(), LUA_GLOBALSINDEX, c"package".as_ptr());
            lua_getfield_(self.state.get(), -1, field.as_ptr());
            let default = sys::bytes(self.state.get(), -1).unwrap_or_default().to_vec();
            lua_settop(self.state.get(), -2);
            sys::push(self.state.get(), &expand_path(template, &default, prefix));
            lua_setfield(self.state.get(), -2, field.as_ptr());
        }
    }
}

impl Vm {
    /// Ends the interpreter in a process that has no use for it: one that looks after caches.
    pub(crate) fn give_up(&self) {
        let (state, process) = (self.state.get().addr(), std::process::id());
        worker::debug(format_args!("lua close the global Lua VM {state:016X} in the cache helper process {process}"));
        self.close();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Contexts hold the Vm, so no coroutine of it is in use any more.
        self.close();
    }
}

/// Expands a package path template.
pub(crate) fn expand_path(template: &[u8], default: &[u8], prefix: &[u8]) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(template.len() + default.len());
    let mut rest = template;
    while let Some((&byte, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b";;") {
            expanded.push(b';');
            expanded.extend_from_slice(default);
            expanded.push(b';');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix(b"${prefix}").or_else(|| rest.strip_prefix(b"$prefix")) {
            expanded.extend_from_slice(prefix);
            rest = tail;
        } else {
            expanded.push(byte);
            rest = tail;
        }
    }
    expanded
}

/// The limits that OpenResty's LuaJIT raises.
const JIT_OPTIONS: &str =
    "require 'jit.opt'.start('maxtrace=8000', 'maxrecord=16000', 'minstitch=3', 'maxmcode=40960')";

#[cfg(test)]
mod tests {
    use super::expand_path;

    #[test]
    fn double_semicolon_stands_for_the_default_path() {
        assert_eq!(expand_path(b"/a/?.lua;;", b"./?.lua", b"/p/"), b"/a/?.lua;./?.lua;");
    }

    #[test]
    fn prefix_is_replaced_with_and_without_braces() {
        assert_eq!(expand_path(b"$prefix/a;${prefix}b", b"", b"/p/"), b"/p//a;/p/b");
    }
}
