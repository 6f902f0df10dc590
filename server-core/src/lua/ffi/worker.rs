//! The process that Lua runs in: worker id, process type, environment, and its log.
//!
//! `process/` tells this module who the process is ([`set_process`]) when it becomes a master or a worker, and Lua's
//! set-up which log the cycle writes ([`set_log`]).

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_uint};
use std::fmt::Arguments;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{DECLINED, ERROR, ErrorOut, OK, both, store};
use crate::log::{ErrorLog, Level};

/// The part a process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Role {
    /// The only process.
    Single = 0,
    /// It starts and watches the workers.
    Master = 1,
    /// It sends a signal and ends.
    Signaller = 2,
    /// It serves.
    Worker = 3,
    /// A helper without Lua, such as the cache manager.
    Helper = 4,
    /// A worker with the master's rights and without listeners.
    PrivilegedAgent = 99,
}

/// Who this process is.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its part.
    pub role: Role,
    /// The worker's number from 0 on; -1 in other processes.
    pub worker_id: i32,
    /// `worker_processes`.
    pub workers: i32,
    /// The master's process id; -1 when there is none.
    pub master_pid: i32,
    /// Process ids of the workers, as far as this process knows.
    pub worker_pids: Vec<i32>,
    /// Values of the `env` directives, as `NAME=VALUE`, each with a NUL at its end.
    pub environment: Vec<Vec<u8>>,
}

impl Default for Process {
    fn default() -> Self {
        let environment = Vec::new();
        Self { role: Role::Single, worker_id: -1, workers: 1, master_pid: -1, worker_pids: Vec::new(), environment }
    }
}

thread_local! {
    static PROCESS: RefCell<Process> = RefCell::new(Process::default());
    static LOG: RefCell<Option<ErrorLog>> = const { RefCell::new(None) };
    static PRIVILEGED_AGENT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Set when the process was asked to finish its work and leave.
static EXITING: AtomicBool = AtomicBool::new(false);
/// Set when Lua asked for that.
static EXIT_REQUESTED: AtomicBool = AtomicBool::new(false);

/// Tells who this process is.
pub fn set_process(process: Process) {
    PROCESS.set(process);
}

/// Sets the log of this process.
pub fn set_log(log: ErrorLog) {
    LOG.set(Some(log));
}

/// Tells Lua that the process is about to leave.
pub fn set_exiting(exiting: bool) {
    EXITING.store(exiting, Ordering::Relaxed);
}

/// Whether Lua asked for a graceful exit since the last call.
pub fn take_exit_request() -> bool {
    EXIT_REQUESTED.swap(false, Ordering::Relaxed)
}

/// The number of connections of the privileged agent, when Lua asked for one.
pub fn privileged_agent() -> Option<u32> {
    PRIVILEGED_AGENT.get()
}

/// Writes a line to the log of this process.
pub(crate) fn log(level: Level, message: Arguments<'_>) {
    LOG.with_borrow(|log| {
        if let Some(log) = log {
            log.write(level, message);
        }
    });
}

/// Writes a debug line to the log of this process, if anybody wants it.
pub(crate) fn debug(message: Arguments<'_>) {
    log(Level::Debug, message);
}

/// The level of the log of this process.
pub(crate) fn log_level() -> Option<Level> {
    LOG.with_borrow(|log| log.as_ref().map(ErrorLog::level))
}

both! {
    /// The worker's number, -1 elsewhere.
    ngx_http_lua_ffi_worker_id, ngx_stream_lua_ffi_worker_id() -> c_int {
        PROCESS.with_borrow(|process| process.worker_id)
    }

    /// The process id.
    ngx_http_lua_ffi_worker_pid, ngx_stream_lua_ffi_worker_pid() -> c_int {
        std::process::id() as c_int
    }

    /// How many workers the configuration asks for.
    ngx_http_lua_ffi_worker_count, ngx_stream_lua_ffi_worker_count() -> c_int {
        PROCESS.with_borrow(|process| process.workers)
    }

    /// Whether the process is about to leave.
    ngx_http_lua_ffi_worker_exiting, ngx_stream_lua_ffi_worker_exiting() -> c_int {
        c_int::from(EXITING.load(Ordering::Relaxed))
    }

    /// Writes the process ids of the workers, this one among them.
    ngx_http_lua_ffi_worker_pids, ngx_stream_lua_ffi_worker_pids(pids: *mut c_int, len: *mut usize) -> c_int {
        PROCESS.with_borrow(|process| {
            let own = std::process::id() as c_int;
            let known = process.worker_pids.iter().copied();
            let mut written = 0;
            // SAFETY: the caller has room for `*len` numbers.
            unsafe {
                let others = known.filter(|&pid| pid != own);
                for pid in others.chain([own]).take(*len) {
                    pids.add(written).write(pid);
                    written += 1;
                }
                store(len, written);
            }
        });
        OK
    }

    /// The part this process plays.
    ngx_http_lua_ffi_get_process_type, ngx_stream_lua_ffi_get_process_type() -> c_int {
        PROCESS.with_borrow(|process| process.role as c_int)
    }

    /// The master's process id, -1 without one.
    ngx_http_lua_ffi_master_pid, ngx_stream_lua_ffi_master_pid() -> c_int {
        PROCESS.with_borrow(|process| process.master_pid)
    }

    /// Asks this process to finish its work and leave.
    ngx_http_lua_ffi_process_signal_graceful_exit, ngx_stream_lua_ffi_process_signal_graceful_exit() {
        EXIT_REQUESTED.store(true, Ordering::Relaxed);
        EXITING.store(true, Ordering::Relaxed);
        // The process handles the signal like one from its master.
        // SAFETY: sending a signal to oneself touches no memory.
        unsafe { libc::raise(libc::SIGQUIT) };
    }

    /// Asks for a privileged agent; only while the configuration is read.
    ngx_http_lua_ffi_enable_privileged_agent, ngx_stream_lua_ffi_enable_privileged_agent
    (err: *mut *mut c_char, connections: c_uint) -> c_int {
        if PROCESS.with_borrow(|process| process.role == Role::Worker) {
            // SAFETY: the contract of the parent module.
            unsafe { err.report(c"API disabled in the current context") };
            return ERROR;
        }
        PRIVILEGED_AGENT.set(Some(connections));
        OK
    }

    /// Finds a variable among the `env` directives: `*env` is `NAME=VALUE`, `*name_len` the length of its name.
    ngx_http_lua_ffi_get_conf_env, ngx_stream_lua_ffi_get_conf_env
    (name: *const c_char, env: *mut *const u8, name_len: *mut usize) -> c_int {
        if name.is_null() {
            return DECLINED;
        }
        // SAFETY: LuaJIT passes strings with a NUL at their end.
        let name = unsafe { std::ffi::CStr::from_ptr(name) }.to_bytes();
        PROCESS.with_borrow(|process| {
            let is_named = |entry: &&Vec<u8>| entry.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'='));
            let Some(entry) = process.environment.iter().find(is_named) else { return DECLINED };
            // SAFETY: the contract of the parent module. The entry lives until the next `set_process`.
            unsafe {
                store(env, entry.as_ptr());
                store(name_len, name.len());
            }
            OK
        })
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident, $cell:ident;)*) => {
        /// The counters of the stub status page, which Lua libraries read through exported pointers.
        pub mod stat {
            use std::sync::atomic::AtomicU64;

            $($(#[$doc])* pub static $cell: AtomicU64 = AtomicU64::new(0);)*
        }

        $($(#[$doc])*
        #[unsafe(no_mangle)]
        pub static $name: &std::sync::atomic::AtomicU64 = &stat::$cell;)*
    };
}

counters! {
    /// Connections accepted.
    ngx_stat_accepted, ACCEPTED;
    /// Connections handled.
    ngx_stat_handled, HANDLED;
    /// Requests begun.
    ngx_stat_requests, REQUESTS;
    /// Connections open.
    ngx_stat_active, ACTIVE;
    /// Connections whose request head is being read.
    ngx_stat_reading, READING;
    /// Connections with a request at work.
    ngx_stat_writing, WRITING;
    /// Idle connections.
    ngx_stat_waiting, WAITING;
}
