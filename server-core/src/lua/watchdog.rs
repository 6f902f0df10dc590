//! `lua_watchdog`: tells where Lua code is that does not give way.
//!
//! A thread of its own looks at how long the worker has been in Lua. When that is too long, it sends the worker's thread
//! a signal. The handler sets a hook, as LuaJIT permits in signal handlers, and the hook writes the traceback from the
//! place where the code is. Compiled code does not look at hooks, therefore the compiler is off where there is a
//! watchdog. Code that answers no hook nevertheless (a C function that blocks) is told about without a traceback.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::current;
use super::session::{level, session_log};
use super::sys::State;
use super::sys::raw::*;
use super::traceback;
use crate::log::{ErrorLog, Level};

/// The signal that asks for the hook. nginx gives it no meaning.
const SIGNAL: c_int = libc::SIGVTALRM;
/// How long the hook may take to be reached.
const ANSWER: Duration = Duration::from_millis(500);

/// The interpreter that runs; null when none does.
static RUNNING: AtomicPtr<lua_State> = AtomicPtr::new(std::ptr::null_mut());
/// How often Lua was entered.
static TURN: AtomicU64 = AtomicU64::new(0);
/// The turn that the hook told about last.
static TOLD: AtomicU64 = AtomicU64::new(0);
/// For how long it had been running, in milliseconds.
static SO_FAR: AtomicU64 = AtomicU64::new(0);

/// Lua is about to run. Cheap enough to be told always.
#[inline]
pub(super) fn entered(state: State) {
    // Only the worker's thread writes these two.
    TURN.store(TURN.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    RUNNING.store(state, Ordering::Release);
}

/// Lua gave way.
#[inline]
pub(super) fn left() {
    RUNNING.store(std::ptr::null_mut(), Ordering::Release);
}

/// Watches the calling thread, which is the worker's, for the rest of its life.
pub(crate) fn start(limit: Duration, log: ErrorLog) -> std::io::Result<()> {
    // SAFETY: the handler does only what LuaJIT permits in one; the action is filled completely.
    let worker = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = set_hook as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        if libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::pthread_self()
    };
    std::thread::Builder::new().name("lua-watchdog".into()).spawn(move || {
        // SAFETY: blocks all signals in this thread, so that the worker's gets them.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        }
        watch(worker, limit, &log);
    })?;
    Ok(())
}

/// Looks at the worker; tells about each turn after the limit, and again each time that the time has doubled.
fn watch(worker: libc::pthread_t, limit: Duration, log: &ErrorLog) {
    let pause = (limit / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
    let (mut turn, mut since, mut next) = (0, Instant::now(), limit);
    loop {
        std::thread::sleep(pause);
        let now = TURN.load(Ordering::Relaxed);
        if now != turn || RUNNING.load(Ordering::Acquire).is_null() {
            (turn, since, next) = (now, Instant::now(), limit);
            continue;
        }
        let so_far = since.elapsed();
        if so_far < next {
            continue;
        }
        next = so_far.max(next) * 2;
        SO_FAR.store(so_far.as_millis() as u64, Ordering::Relaxed);
        TOLD.store(0, Ordering::Relaxed);
        // SAFETY: the worker's thread ends with the process.
        unsafe { libc::pthread_kill(worker, SIGNAL) };
        std::thread::sleep(ANSWER);
        if TOLD.load(Ordering::Relaxed) != turn && TURN.load(Ordering::Relaxed) == turn {
            let seconds = so_far.as_secs_f32();
            let place = "no place is known: a C function blocks, or compiled code runs";
            log.write(Level::Alert, format_args!("Lua code has not given way for {seconds:.1} s; {place}"));
        }
    }
}

extern "C" fn set_hook(_signal: c_int) {
    let state = RUNNING.load(Ordering::Acquire);
    if !state.is_null() {
        // SAFETY: the interpreter runs at this moment, interrupted by this handler; LuaJIT permits this call in handlers.
        unsafe { lua_sethook(state, Some(tell), LUA_MASKCOUNT, 1) };
    }
}

/// Writes where the code is, once.
unsafe extern "C-unwind" fn tell(state: State, _record: *mut lua_Debug) {
    // SAFETY: LuaJIT calls hooks with the running coroutine.
    unsafe { lua_sethook(state, None, 0, 0) };
    // A panic must not reach Lua; there is nobody else to tell it.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        TOLD.store(TURN.load(Ordering::Relaxed), Ordering::Relaxed);
        let (Some(ctx), Some(session)) = (current::ctx(), current::session()) else { return };
        let trace = match ctx.current_thread().filter(|thread| thread.co == state) {
            Some(thread) => traceback::of_thread(&thread),
            None => {
                let mut trace = b"stack traceback:".to_vec();
                traceback::append_frames(&mut trace, state, 0);
                trace
            }
        };
        let seconds = Duration::from_millis(SO_FAR.load(Ordering::Relaxed)).as_secs_f32();
        let trace = String::from_utf8_lossy(&trace);
        session_log!(session, level::ALERT, "Lua code has not given way for {seconds:.1} s; {trace}");
    }));
}
