//! The VM, and the scripts that run without a request: `init_by_lua*`, `init_worker_by_lua*`, `exit_worker_by_lua*`.
//!
//! [`start`] runs in the master, when the zones are mapped; workers inherit the VM. [`init_worker`] and
//! [`exit_worker`] run in a worker, the former inside its runtime, since it may create timers.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::Duration;

use super::conf::StartScript;
use super::{apps, timers};
use crate::cycle::{Cycle, Subsystem};
use crate::http::Request;
use crate::http::conf::MainConf;
use crate::log::Level;
use crate::lua::apps::Space;
use crate::lua::code::pop_message;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, StackGuard};
use crate::lua::vm::{Options, VmError};
use crate::lua::{Ctx, Phase, Vm, api, current, ffi, watchdog};
use crate::shared_dict::Zones;
use crate::{log_at, lualib};

/// Why Lua could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `init_by_lua*` failed, which the error log says.
    #[error("init_by_lua* failed")]
    Init,
    /// The interpreter or our layer.
    #[error("failed to initialize Lua VM: {0}")]
    Vm(#[from] VmError),
}

/// Creates the VM of each subsystem whose configuration uses Lua, and runs `init_by_lua*`.
pub fn start(cycle: &'static Cycle) -> Result<(), StartError> {
    // Also where no Lua is used: the cycle that was there before is about to end.
    make_present(cycle);
    cycle.mains().filter(|main| main.lua.used).try_for_each(|main| start_subsystem(cycle, main))
}

/// Makes a cycle the one that Lua code without a request sees.
pub(crate) fn make_present(cycle: &'static Cycle) {
    api::log::set_fallback(&cycle.log);
    ffi::worker::set_cycle(cycle);
    ffi::upstream::set_groups(&cycle.http.upstream);
    ffi::limits::set_main(&cycle.http);
    for main in cycle.mains() {
        if let Some(zones) = main.lua.zones.get() {
            ffi::public::publish(main.core.subsystem, zones);
        }
    }
    for conf in cycle.mains().map(|main| &main.lua).filter(|conf| conf.used) {
        ffi::regex::set_limits(ffi::regex::Limits {
            match_limit: conf.regex_match_limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(0),
            cache_entries: conf.regex_cache_max_entries.and_then(|max| u32::try_from(max).ok()).unwrap_or(1024),
        });
        if let Some(room) = conf.capture_error_log {
            ffi::errlog::enable_capture(room);
        }
    }
}

fn start_subsystem(cycle: &'static Cycle, main: &'static MainConf) -> Result<(), StartError> {
    let conf = &main.lua;
    let vm = new_vm(cycle, main)?;
    // A cycle is started once.
    let _ = conf.vm.set(Rc::clone(&vm));
    if let Some(script) = &conf.init {
        run(&vm, script, None).map_err(|message| {
            let suffix = if script.file().is_some() { "_file" } else { "" };
            log_at!(cycle.log, Level::Error, "init_by_lua{suffix} error: {message}");
            StartError::Init
        })?;
    }
    if main.core.subsystem == Subsystem::Http {
        apps::open(cycle, &vm)?;
    }
    Ok(())
}

/// A VM with everything scripts find in it.
fn new_vm(cycle: &'static Cycle, main: &'static MainConf) -> Result<Rc<Vm>, VmError> {
    let conf = &main.lua;
    let subsystem = main.core.subsystem;
    let options = Options {
        mark: subsystem.mark(),
        path: conf.package_path.as_deref().map(<[u8]>::to_vec),
        cpath: conf.package_cpath.as_deref().map(<[u8]>::to_vec),
        prefix: cycle.prefix().as_os_str().as_bytes().to_vec(),
        thread_cache: conf.thread_cache.unwrap_or(1024),
        max_memory: conf.max_memory,
    };
    let zones = zones(cycle, main)?;
    ffi::public::publish(subsystem, zones);
    let vm = Vm::new(&options)?;
    api::inject(&vm, subsystem, |state| match subsystem {
        Subsystem::Http => api::http::inject(state, cycle),
        Subsystem::Stream => api::http::inject_stream(state, cycle),
    })?;
    // SAFETY: the VM is new: its main state is outside of any call. A worker leaks its cycle, and the zones with it.
    unsafe {
        let _guard = StackGuard::new(vm.state());
        lua_getfield_(vm.state(), LUA_GLOBALSINDEX, c"ngx".as_ptr());
        ffi::shdict::push_shared(vm.state(), zones);
        lua_setfield(vm.state(), -2, c"shared".as_ptr());
        lualib::install(vm.state());
    }
    vm.run_layer("=given", b"require 'rsty.given'")?;
    load_resty_core(cycle, &vm)?;
    if subsystem == Subsystem::Stream {
        // lua-resty-core leaves the handshakes of stream sockets to the server.
        vm.run_layer("=socket_tls", b"require 'resty.core.socket_tls'")?;
    }
    if watchdog_limit(cycle, main).is_some() {
        vm.run_layer("=watchdog", b"jit.off() jit.flush()")?;
    }
    vm.run_layer("=_G write guard", WRITE_GUARD.as_bytes())?;
    // What loading left behind goes now, so that scripts that measure memory see their own. Each collection halves the
    // interpreter's string buffer.
    for _ in 0..3 {
        // SAFETY: the main state, outside of any call.
        unsafe { lua_gc(vm.state(), LUA_GCCOLLECT, 0) };
    }
    if cycle.conf.watch {
        crate::dev::reload::install(&vm)?;
    }
    if subsystem == Subsystem::Http {
        apps::install(cycle, &vm)?;
    }
    Ok(vm)
}

/// After what time the log tells where Lua code is; a development server does without being asked.
fn watchdog_limit(cycle: &Cycle, main: &MainConf) -> Option<Duration> {
    const OF_A_DEVELOPMENT_SERVER: Duration = Duration::from_secs(5);
    let limit = main.lua.watchdog.or(cycle.conf.watch.then_some(OF_A_DEVELOPMENT_SERVER))?;
    (!limit.is_zero()).then_some(limit)
}

/// Loads the Lua layer: the library that stands on the package path, else our own.
fn load_resty_core(cycle: &'static Cycle, vm: &Vm) -> Result<(), VmError> {
    vm.run_layer("=resty_core", b"require 'resty.core'").map_err(|error| match error {
        VmError::Layer { message, .. } => {
            let conf = cycle.conf.conf_file.display();
            let advice = "ensure that the one on lua_package_path is made for this version, or remove it from there";
            VmError::RestyCore(format!("{advice} (reason: {message}) in {conf}"))
        }
        other => other,
    })
}

/// The shared dictionaries of a subsystem; those of the cycle before that did not change are kept.
pub(crate) fn zones(cycle: &'static Cycle, main: &'static MainConf) -> Result<&'static Zones, VmError> {
    let conf = &main.lua;
    if let Some(zones) = conf.zones.get() {
        return Ok(zones);
    }
    let before = cycle.conf.previous.get().and_then(|cycle| cycle.main(main.core.subsystem)?.lua.zones.get());
    let mut zones = Zones::default();
    for (name, size) in &conf.shared_dicts {
        zones.open(name, *size, before).map_err(|error| VmError::Layer {
            name: format!("lua_shared_dict {}", String::from_utf8_lossy(name)),
            message: error.to_string(),
        })?;
    }
    Ok(conf.zones.get_or_init(|| zones))
}

/// The VM of one request (`lua_code_cache off`), with `init_by_lua*` run in it.
pub(crate) fn request_vm(r: &Rc<Request>) -> Option<Rc<Vm>> {
    let cycle = r.conn().cycle();
    let vm = match new_vm(cycle, r.main_conf()) {
        Ok(vm) => vm,
        Err(error) => {
            r.log(Level::Error, format_args!("failed to initialize Lua VM: {error}"));
            return None;
        }
    };
    if let Some(script) = &r.main_conf().lua.init
        && let Err(message) = run(&vm, script, None)
    {
        r.log(Level::Error, format_args!("init_by_lua error: {message}"));
        return None;
    }
    if let Err(error) = apps::open(cycle, &vm) {
        r.log(Level::Error, format_args!("failed to initialize Lua VM: {error}"));
        return None;
    }
    vm.retain();
    let used = Rc::clone(&vm);
    r.at_end(move || used.release());
    Some(vm)
}

/// Runs `init_worker_by_lua*`. A failure is logged; the worker goes on.
pub fn init_worker(cycle: &'static Cycle) {
    ffi::errlog::start_capture();
    let limit = cycle.mains().filter(|main| main.lua.used).filter_map(|main| watchdog_limit(cycle, main)).min();
    if let Some(limit) = limit
        && let Err(error) = watchdog::start(limit, cycle.log.clone())
    {
        let errno = error.raw_os_error().unwrap_or(0);
        cycle.log.write_errno(Level::Error, errno, format_args!("the Lua watchdog could not be started"));
    }
    for main in cycle.mains() {
        worker_script(cycle, main, main.lua.init_worker.as_ref(), Phase::INIT_WORKER, "init_worker_by_lua");
    }
    apps::init_worker_of_apps(cycle);
}

/// Runs `exit_worker_by_lua*`.
pub fn exit_worker(cycle: &'static Cycle) {
    for main in cycle.mains() {
        worker_script(cycle, main, main.lua.exit_worker.as_ref(), Phase::EXIT_WORKER, "exit_worker_by_lua");
    }
}

fn worker_script(
    cycle: &'static Cycle,
    main: &'static MainConf,
    script: Option<&StartScript>,
    phase: Phase,
    name: &str,
) {
    let (Some(script), Some(vm)) = (script, main.lua.vm.get()) else { return };
    in_worker(cycle, main, vm, phase, |r| {
        if let Err(message) = run(vm, script, None) {
            let suffix = if script.file().is_some() { "_file" } else { "" };
            r.log(Level::Error, format_args!("{name}{suffix} error: {message}"));
        }
    });
}

/// Does something with the VM of `http { }` as if `init_worker_by_lua*` did it.
pub(crate) fn in_worker_phase(cycle: &'static Cycle, action: impl FnOnce(&Rc<Request>)) {
    let Some(vm) = cycle.http.lua.vm.get() else { return };
    in_worker(cycle, &cycle.http, vm, Phase::INIT_WORKER, action);
}

/// Does something in a phase that has no request, with one that no client made.
fn in_worker(
    cycle: &'static Cycle,
    main: &'static MainConf,
    vm: &Rc<Vm>,
    phase: Phase,
    action: impl FnOnce(&Rc<Request>),
) {
    let Some(r) = timers::fake_request(cycle, main, phase, Vec::new()) else { return };
    // The worker's VM, even when requests have their own (`lua_code_cache off`).
    let ctx = Ctx::new(Rc::clone(vm));
    r.lua.replace(Some(Rc::clone(&ctx)));
    ctx.phase.set(phase);
    {
        let _entered = current::enter(&ctx, &*r);
        action(&r);
    }
    r.run_cleanups();
}

/// Runs a script on the main state, in an app's space if one is given; the error has its traceback.
pub(super) fn run(vm: &Vm, script: &StartScript, space: Option<&Space>) -> Result<(), String> {
    let state = vm.state();
    // SAFETY: the main state; what is pushed is popped by the guard, and `lua_pcall` catches errors.
    unsafe {
        let _guard = StackGuard::new(state);
        lua_pushcclosure(state, api::traceback, 0);
        let handler = sys::top(state);
        let status = match script {
            StartScript::File(path) => {
                let path = CString::new(&**path).unwrap_or_default();
                luaL_loadfile(state, path.as_ptr())
            }
            StartScript::Inline(inline) => {
                let source = &inline.source;
                luaL_loadbuffer(state, source.as_ptr().cast(), source.len(), inline.name.as_ptr())
            }
        };
        if let Some(space) = space.filter(|_| status == 0) {
            space.adopt_chunk(vm, c"init_worker", None);
        }
        let status = if status == 0 { lua_pcall(state, 0, 0, handler) } else { status };
        let ran = if status == 0 { Ok(()) } else { Err(pop_message(state)) };
        lua_gc(state, LUA_GCCOLLECT, 0);
        ran
    }
}

/// Warns about new globals outside of the init phases, once a name.
const WRITE_GUARD: &str = "
local ngx_log = ngx.log
local ngx_WARN = ngx.WARN
local tostring = tostring
local rawset = rawset
local ngx_get_phase = ngx.get_phase
local traceback = require 'debug'.traceback
setmetatable(_G, { __newindex = function (table, key, value)
    rawset(table, key, value)
    local phase = ngx_get_phase()
    if phase == 'init_worker' or phase == 'init' then
        return
    end
    ngx_log(ngx_WARN, \"writing a global Lua variable ('\", tostring(key),
            \"') which may lead to race conditions between concurrent requests, so \",
            \"prefer the use of 'local' variables\", traceback('', 2))
end })
";
