//! The process that Lua runs in: worker id, process type, environment, and its log.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::fmt::Arguments;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{DECLINED, ERROR, ErrorOut, OK, export, store};
use crate::cycle::{Cycle, EnvironmentVariable};
use crate::log::{Level, is_written_anywhere, with_process_log};
use crate::log_at;
use crate::process::{self, ProcessKind};

/// What Lua code that runs outside of requests goes by.
struct Surroundings {
    workers: usize,
    /// Whether there is a master beside this process, or will be.
    has_master: bool,
    /// `NAME=VALUE` of the `env` directives that give a value, each with a NUL at its end.
    environment: Vec<Vec<u8>>,
}

thread_local! {
    static SURROUNDINGS: RefCell<Option<Surroundings>> = const { RefCell::new(None) };
}

/// `char **ngx_argv`: the words of the command line, the last one null.
#[unsafe(no_mangle)]
pub static ngx_argv: AtomicPtr<*mut c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Makes the command line known to Lua, once.
fn publish_arguments() {
    if !ngx_argv.load(Ordering::Relaxed).is_null() {
        return;
    }
    let words = std::env::args_os().filter_map(|word| CString::new(word.into_vec()).ok());
    let words: Vec<*mut c_char> = words.map(CString::into_raw).chain([std::ptr::null_mut()]).collect();
    ngx_argv.store(Box::leak(words.into_boxed_slice()).as_mut_ptr(), Ordering::Relaxed);
}

/// Sets the cycle of this process.
pub fn set_cycle(cycle: &Cycle) {
    publish_arguments();
    let environment = cycle.conf.env.iter().filter_map(environment_entry).collect();
    let workers = cycle.conf.worker_count();
    let has_master = cycle.conf.master_process != Some(false);
    SURROUNDINGS.set(Some(Surroundings { workers, has_master, environment }));
}

fn environment_entry(variable: &EnvironmentVariable) -> Option<Vec<u8>> {
    let value = variable.value.as_deref()?;
    Some([&*variable.name, b"=", value, b"\0"].concat())
}

/// Writes a line to the log of this process.
#[inline]
pub(crate) fn log(level: Level, message: Arguments<'_>) {
    if is_written_anywhere(level as u8) {
        std::hint::cold_path();
        with_process_log(|log| log_at!(log, level, "{message}"));
    }
}

/// Writes a debug line to the log of this process, if anybody wants it.
#[inline]
pub(crate) fn debug(message: Arguments<'_>) {
    log(Level::Debug, message);
}

/// The level of the log of this process.
pub(crate) fn log_level() -> Option<Level> {
    let mut level = None;
    with_process_log(|log| level = Some(log.level()));
    level
}

export! {
    /// The worker's number, -1 elsewhere.
    ngx_http_lua_ffi_worker_id, ngx_stream_lua_ffi_worker_id() -> c_int {
        match process::kind() {
            ProcessKind::Worker => process::worker_id().map_or(-1, |id| id as c_int),
            ProcessKind::Single => 0,
            _ => -1,
        }
    }

    /// The process id.
    ngx_http_lua_ffi_worker_pid, ngx_stream_lua_ffi_worker_pid() -> c_int {
        std::process::id() as c_int
    }

    /// How many workers the configuration asks for.
    ngx_http_lua_ffi_worker_count, ngx_stream_lua_ffi_worker_count() -> c_int {
        SURROUNDINGS.with_borrow(|surroundings| surroundings.as_ref().map_or(1, |here| here.workers as c_int))
    }

    /// Whether the process is about to leave.
    ngx_http_lua_ffi_worker_exiting, ngx_stream_lua_ffi_worker_exiting() -> c_int {
        c_int::from(process::is_exiting())
    }

    /// Writes the process ids of the workers.
    ngx_http_lua_ffi_worker_pids, ngx_stream_lua_ffi_worker_pids(pids: *mut c_int, len: *mut usize) -> c_int {
        let known = process::worker_pids();
        // SAFETY: the caller has room for `*len` numbers.
        unsafe {
            let count = known.len().min(*len);
            for (index, &pid) in known.iter().take(count).enumerate() {
                pids.add(index).write(pid);
            }
            store(len, count);
        }
        OK
    }

    /// The part this process plays.
    ngx_http_lua_ffi_get_process_type, ngx_stream_lua_ffi_get_process_type() -> c_int {
        match process::kind() {
            // A master that is still starting.
            ProcessKind::Single if SURROUNDINGS.with_borrow(|here| here.as_ref().is_some_and(|here| here.has_master)) => 1,
            ProcessKind::Single => 0,
            ProcessKind::Master => 1,
            ProcessKind::Signaller => 2,
            ProcessKind::Worker => 3,
            ProcessKind::CacheManager | ProcessKind::CacheLoader => 4,
            ProcessKind::PrivilegedAgent => 99,
        }
    }

    /// The master's process id.
    ngx_http_lua_ffi_master_pid, ngx_stream_lua_ffi_master_pid() -> c_int {
        process::master_pid()
    }

    /// Asks this process to finish its work and leave.
    ngx_http_lua_ffi_process_signal_graceful_exit, ngx_stream_lua_ffi_process_signal_graceful_exit() {
        process::request_exit();
    }

    /// Asks for a privileged agent; only while the configuration is read.
    ngx_http_lua_ffi_enable_privileged_agent, ngx_stream_lua_ffi_enable_privileged_agent
    (err: *mut *mut c_char, _connections: c_uint) -> c_int {
        if process::kind() == ProcessKind::Worker {
            // SAFETY: the contract of the parent module.
            unsafe { err.report(c"API disabled in the current context") };
            return ERROR;
        }
        process::enable_privileged_agent();
        OK
    }

    /// Finds a variable among the `env` directives: `*env` is `NAME=VALUE`, `*name_len` the length of its name.
    ngx_http_lua_ffi_get_conf_env, ngx_stream_lua_ffi_get_conf_env
    (name: *const c_char, env: *mut *const u8, name_len: *mut usize) -> c_int {
        if name.is_null() {
            return DECLINED;
        }
        // SAFETY: LuaJIT passes strings with a NUL at their end.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        SURROUNDINGS.with_borrow(|surroundings| {
            let entries = surroundings.as_ref().map(|here| &here.environment[..]).unwrap_or_default();
            let is_named = |entry: &&Vec<u8>| entry.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'='));
            let Some(entry) = entries.iter().find(is_named) else { return DECLINED };
            // SAFETY: the contract of the parent module. The entry lives until the next `set_cycle`.
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
            use std::sync::atomic::{AtomicU64, Ordering};

            use crate::process::counters::Totals;

            $($(#[$doc])* pub static $cell: AtomicU64 = AtomicU64::new(0);)*

            /// Lets this process's readers see what all processes counted.
            pub fn publish(totals: &Totals) {
                let Totals { accepted, requests, active, reading, writing } = *totals;
                for (counter, count) in [
                    (&ACCEPTED, accepted),
                    (&HANDLED, accepted),
                    (&REQUESTS, requests),
                    (&ACTIVE, active),
                    (&READING, reading),
                    (&WRITING, writing),
                    (&WAITING, totals.waiting()),
                ] {
                    counter.store(count, Ordering::Relaxed);
                }
            }
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
