//! `ngx.run_worker_thread`: a function of a Lua module runs on a thread of a `thread_pool`.
//!
//! The function runs in an interpreter of its own, one of a few that the worker keeps. Arguments and results are
//! copied in the event loop's thread; while the job runs, nobody else touches its interpreter ([`Lease`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_int;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::deep_copy::{Nil, copy};
use super::{args, config, request};
use crate::cycle::{Cycle, Subsystem};
use crate::http::modules::lua::startup;
use crate::log::Level;
use crate::log_at;
use crate::lua::Vm;
use crate::lua::apps::Space;
use crate::lua::ffi;
use crate::lua::phase::Phase;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Reply, StackGuard, State, c_function};
use crate::lua::thread::Resume;
use crate::lua::thread_pool::ThreadPool;
use crate::lua::vm::Options;
use crate::lualib;

/// The thread pools of a worker and the interpreters for them.
#[derive(Debug, Default)]
pub(crate) struct WorkerThreads {
    pools: RefCell<HashMap<Box<[u8]>, Rc<ThreadPool>>>,
    idle: RefCell<Vec<(Code, Rc<Vm>)>>,
    made: Cell<usize>,
}

/// Whose modules an interpreter has loaded: those of a deployment of an app (its number and generation), or the server's.
type Code = Option<(usize, i64)>;

impl WorkerThreads {
    /// The pool that a `thread_pool` directive describes.
    fn pool(&self, cycle: &Cycle, name: &[u8]) -> Option<Rc<ThreadPool>> {
        if let Some(pool) = self.pools.borrow().get(name) {
            return Some(Rc::clone(pool));
        }
        let conf = cycle.conf.thread_pools.iter().find(|pool| *pool.name == *name)?;
        let pool = Rc::new(ThreadPool::new(conf.threads, conf.max_queue));
        self.pools.borrow_mut().insert(name.into(), Rc::clone(&pool));
        Some(pool)
    }

    /// An interpreter for the code of a space: one that is idle, or a new one if there may be more or another is idle.
    fn lease(&'static self, cycle: &'static Cycle, state: State, space: Option<&Space>) -> Option<Lease> {
        let code = space.map(|space| (space.app, space.generation));
        let vm = match self.take_idle(code) {
            Some(vm) => vm,
            None => {
                if self.made.get() >= cycle.http.lua.worker_thread_vm_pool_size.unwrap_or(10) {
                    // The one that has been idle for longest.
                    let mut idle = self.idle.borrow_mut();
                    if idle.is_empty() {
                        return None;
                    }
                    idle.remove(0);
                    self.made.set(self.made.get().saturating_sub(1));
                }
                let vm = new_vm(cycle, state, space)?;
                self.made.set(self.made.get() + 1);
                vm
            }
        };
        Some(Lease { owner: self, code, vm: Some(vm), running: Cell::new(false) })
    }

    /// The interpreter with that code that was used last. Those of earlier deployments of the app are ended.
    fn take_idle(&self, code: Code) -> Option<Rc<Vm>> {
        let mut idle = self.idle.borrow_mut();
        if let Some((app, generation)) = code {
            let before = idle.len();
            idle.retain(|(other, _)| other.is_none_or(|(of, since)| of != app || since >= generation));
            self.made.set(self.made.get().saturating_sub(before - idle.len()));
        }
        let place = idle.iter().rposition(|(other, _)| *other == code)?;
        Some(idle.remove(place).1)
    }
}

/// An interpreter on loan; it goes back when the lease ends.
struct Lease {
    owner: &'static WorkerThreads,
    code: Code,
    vm: Option<Rc<Vm>>,
    /// A thread runs code in it: hands off.
    running: Cell<bool>,
}

impl Lease {
    fn state(&self) -> State {
        self.vm.as_ref().map_or(std::ptr::null_mut(), |vm| vm.state())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(vm) = self.vm.take() else { return };
        if self.running.get() {
            // The process ends before the job does, which still needs the interpreter.
            std::mem::forget(vm);
            return;
        }
        // SAFETY: the interpreter is idle; finalizers that fail are not propagated by a protected call.
        unsafe {
            lua_settop(vm.state(), 0);
            lua_pushcclosure(vm.state(), collect_garbage, 0);
            lua_pcall(vm.state(), 0, 0, 0);
            lua_settop(vm.state(), 0);
        }
        self.owner.idle.borrow_mut().push((self.code, vm));
    }
}

unsafe extern "C-unwind" fn collect_garbage(state: State) -> c_int {
    // SAFETY: called by `lua_pcall`; nothing with a destructor is alive.
    unsafe { lua_gc(state, LUA_GCCOLLECT, 0) };
    0
}

pub(super) fn inject(state: State) {
    sys::set_function(state, c"run_worker_thread", run_worker_thread);
}

c_function! {
    /// Runs `MODULE.FUNCTION(…)` on a thread; returns true and its results, or false and the reason.
    fn run_worker_thread(state) {
        let (r, ctx) = request()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        sys::check_yieldable(state)?;
        let count = sys::top(state);
        if count < 3 {
            return refuse(state, b"expecting at least 3 arguments");
        }
        let Some(pool_name) = sys::bytes(state, 1) else { return refuse(state, b"threadpool should be a string") };
        let cycle = r.conn().cycle();
        let threads: &'static WorkerThreads = &cycle.http.lua.worker_threads;
        let Some(pool) = threads.pool(cycle, pool_name) else {
            return refuse(state, &[b"thread pool ", pool_name, b" not found"].concat());
        };
        let Some(module) = sys::bytes(state, 2) else { return refuse(state, b"module name should be a string") };
        let Some(function) = sys::bytes(state, 3) else { return refuse(state, b"function name should be a string") };
        let space = ctx.space.borrow().clone();
        let Some(lease) = threads.lease(cycle, state, space.as_deref()) else { return refuse(state, b"no available Lua vm") };
        if let Err(message) = push_function(lease.state(), module, function) {
            return refuse(state, &message);
        }
        for argument in 4..=count {
            if let Err(reason) = copy(state, lease.state(), argument, Nil::Allowed) {
                return refuse(state, format!("{reason} in the argument").as_bytes());
            }
        }
        let job = Call { state: lease.state(), arguments: count - 3 };
        let (done, finished) = oneshot::channel();
        lease.running.set(true);
        let job = Box::new(move || {
            // Nobody listens any more when the process ends.
            let _ = done.send(job.run());
        });
        if let Err(error) = pool.submit(job) {
            lease.running.set(false);
            log_at!(cycle.log, Level::Error, "thread pool \"{}\" {error}", String::from_utf8_lossy(pool_name));
            return refuse(state, b"ngx_thread_task_post failed");
        }
        // The lease waits for the job's end even when the caller does not.
        let (hand_over, taken) = oneshot::channel();
        tokio::task::spawn_local(async move {
            let Ok(status) = finished.await else { return };
            lease.running.set(false);
            drop(hand_over.send((lease, status)));
        });
        ctx.suspend(async move {
            let ended = taken.await;
            Box::new(move |state: State| ended.map_or(0, |(lease, status)| push_results(state, &lease, status))) as Resume
        })?;
        Ok(Reply::Yield(0))
    }
}

/// A call in an interpreter that only the thread which runs it touches.
struct Call {
    state: State,
    arguments: c_int,
}

// SAFETY: a `Lease` marked as running gives the interpreter to nobody else until the call has returned.
unsafe impl Send for Call {}

impl Call {
    fn run(self) -> c_int {
        // SAFETY: the function and its arguments are on the stack; errors are caught by `lua_pcall`.
        unsafe { lua_pcall(self.state, self.arguments, LUA_MULTRET, 0) }
    }
}

/// `false` and the reason.
fn refuse(state: State, reason: &[u8]) -> Answer {
    // SAFETY: a C function has room for two values.
    unsafe { lua_pushboolean(state, 0) };
    sys::push(state, reason);
    Ok(Reply::Return(2))
}

/// Leaves the function alone on the stack of an idle interpreter.
fn push_function(state: State, module: &[u8], function: &[u8]) -> Result<(), Vec<u8>> {
    // SAFETY: the interpreter is idle and its stack empty; what may raise runs under `lua_pcall`. The table of
    // globals has no metatable: only our own code has run on this level.
    unsafe {
        lua_getfield_(state, LUA_GLOBALSINDEX, c"require".as_ptr());
        sys::push(state, module);
        if lua_pcall(state, 1, 1, 0) != 0 {
            return Err(sys::bytes(state, -1).unwrap_or_default().to_vec());
        }
        if lua_type(state, -1) != LUA_TTABLE {
            return Err(b"invalid lua module".to_vec());
        }
        lua_pushcclosure(state, sys::index_function, 0);
        lua_insert(state, 1);
        sys::push(state, function);
        if lua_pcall(state, 2, 1, 0) != 0 || lua_type(state, -1) != LUA_TFUNCTION {
            return Err(b"invalid function".to_vec());
        }
    }
    Ok(())
}

/// Pushes what the caller gets.
fn push_results(state: State, lease: &Lease, status: c_int) -> c_int {
    let from = lease.state();
    let top = sys::top(state);
    let count = sys::top(from);
    // SAFETY: the coroutine is about to be resumed; room is asked for.
    unsafe {
        if lua_checkstack(state, count.saturating_add(2)) == 0 {
            return 0;
        }
        if status != 0 {
            lua_pushboolean(state, 0);
            sys::push(state, sys::bytes(from, -1).unwrap_or_default());
            return 2;
        }
        lua_pushboolean(state, 1);
        for index in 1..=count {
            if let Err(reason) = copy(from, state, index, Nil::Allowed) {
                lua_settop(state, top);
                lua_pushboolean(state, 0);
                sys::push(state, format!("{reason} in the return value").as_bytes());
                return 2;
            }
        }
    }
    count + 1
}

/// An interpreter with the part of `ngx` that needs no request, and the caller's package paths: in an app those of the
/// app first, then the shared ones, then the server's.
fn new_vm(cycle: &'static Cycle, caller: State, space: Option<&Space>) -> Option<Rc<Vm>> {
    let (mut path, mut cpath) = space.map(|space| cycle.http.lua.apps.paths(cycle, space.app)).unwrap_or_default();
    path.extend(package_field(caller, b"path"));
    cpath.extend(package_field(caller, b"cpath"));
    let options = Options {
        mark: "",
        path: Some(path),
        cpath: Some(cpath),
        prefix: cycle.prefix().as_os_str().as_bytes().to_vec(),
        thread_cache: 0,
        max_memory: None,
    };
    let vm = Vm::new(&options).ok()?;
    // SAFETY: fresh tables on the main state of a new interpreter.
    unsafe {
        let state = vm.state();
        let _guard = StackGuard::new(state);
        lua_createtable(state, 0, 32);
        args::inject(state);
        config::inject(state, cycle, Subsystem::Http);
        ffi::shdict::push_shared(state, startup::zones(cycle, &cycle.http).ok()?);
        lua_setfield(state, -2, c"shared".as_ptr());
        lua_setfield(state, LUA_GLOBALSINDEX, c"ngx".as_ptr());
        lualib::install(state);
    }
    vm.run_layer("=worker_thread", b"require 'rsty.given' require 'resty.core.strings' require 'resty.core.shdict'")
        .ok()?;
    Some(vm)
}

/// `package.FIELD` of an interpreter, if it is still a string in a plain table.
fn package_field(state: State, field: &[u8]) -> Vec<u8> {
    // SAFETY: raw accesses only; the guard restores the stack.
    unsafe {
        let _guard = StackGuard::new(state);
        if lua_checkstack(state, 4) == 0 {
            return Vec::new();
        }
        lua_getfield_(state, LUA_REGISTRYINDEX, c"_LOADED".as_ptr());
        for name in [&b"package"[..], field] {
            if lua_type(state, -1) != LUA_TTABLE {
                return Vec::new();
            }
            sys::push(state, name);
            lua_rawget_(state, -2);
        }
        sys::bytes(state, -1).unwrap_or_default().to_vec()
    }
}
