//! `lua_max_memory`: what a worker's scripts may hold.
//!
//! The limit is a wrapper around LuaJIT's allocator. An allocation that would exceed it fails, and LuaJIT raises
//! `not enough memory` where the script is. That is possible only while code of a script runs: the server itself could
//! not go on in the middle of what it does. Therefore the limit is not enforced inside of functions written in Rust; the
//! script's next allocation fails instead.

use std::cell::Cell;
use std::ffi::c_void;

use super::sys::State;
use super::sys::raw::*;

thread_local! {
    /// Whether code of a script runs, where a failed allocation is an error like others.
    static ENFORCED: Cell<bool> = const { Cell::new(false) };
}

/// Restores whether the limit is enforced.
#[must_use]
pub(crate) struct Enforcement(bool);

impl Drop for Enforcement {
    fn drop(&mut self) {
        ENFORCED.set(self.0);
    }
}

/// A script's code is about to run.
pub(crate) fn enforce() -> Enforcement {
    Enforcement(ENFORCED.replace(true))
}

/// The server's own code is about to run.
pub(crate) fn suspend() -> Enforcement {
    Enforcement(ENFORCED.replace(false))
}

/// The memory of an interpreter with a limit. It stays where it is while the interpreter lives.
pub(super) struct Budget {
    allocate: lua_Alloc,
    data: *mut c_void,
    limit: usize,
    used: Cell<usize>,
    /// Whether collections follow each other closely.
    tight: Cell<bool>,
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("limit", &self.limit).field("used", &self.used.get()).finish_non_exhaustive()
    }
}

impl Budget {
    /// Limits the memory of an interpreter that runs nothing at the moment; [`Budget::lift`] is called before it ends.
    #[expect(clippy::unnecessary_box_returns, reason = "the allocator has its address")]
    pub(super) fn impose(state: State, limit: usize) -> Box<Self> {
        let mut data = std::ptr::null_mut();
        // SAFETY: the state is live; the allocator and its data are taken and set together.
        unsafe {
            let allocate = lua_getallocf(state, &raw mut data);
            let used = lua_gc(state, LUA_GCCOUNT, 0) as usize * 1024 + lua_gc(state, LUA_GCCOUNTB, 0) as usize;
            let budget = Box::new(Self { allocate, data, limit, used: Cell::new(used), tight: Cell::new(false) });
            lua_setallocf(state, limited, std::ptr::from_ref(&*budget).cast_mut().cast());
            budget
        }
    }

    /// Gives the interpreter its own allocator back.
    pub(super) fn lift(&self, state: State) {
        // SAFETY: these are the allocator and the data that the interpreter was made with.
        unsafe { lua_setallocf(state, self.allocate, self.data) };
    }

    /// Lets collections follow each other more closely when half of the memory is in use, before garbage fills the rest.
    pub(super) fn adapt(&self, state: State) {
        let tight = self.used.get() > self.limit / 2;
        if self.tight.replace(tight) != tight {
            // SAFETY: sets a number of the collector.
            unsafe { lua_gc(state, LUA_GCSETPAUSE, if tight { 100 } else { 200 }) };
        }
    }
}

/// The allocator of an interpreter with a limit.
unsafe extern "C" fn limited(budget: *mut c_void, block: *mut c_void, old_size: usize, new_size: usize) -> *mut c_void {
    // SAFETY: `impose` passed a budget, which lives as long as this is the interpreter's allocator.
    let budget = unsafe { &*budget.cast::<Budget>() };
    let after = budget.used.get().saturating_sub(old_size).saturating_add(new_size);
    if new_size > old_size && after > budget.limit && ENFORCED.get() {
        return std::ptr::null_mut();
    }
    // SAFETY: LuaJIT's own allocator with the data that belongs to it, and the arguments that LuaJIT gave.
    let moved = unsafe { (budget.allocate)(budget.data, block, old_size, new_size) };
    if new_size == 0 || !moved.is_null() {
        budget.used.set(after);
    }
    moved
}
