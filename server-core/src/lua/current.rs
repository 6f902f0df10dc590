//! On whose behalf Lua is running at this moment.
//!
//! Every entry into Lua goes through [`enter`], which sets the exported variable `rsty_current_request` (what
//! `thread.exdata` answers) and the current context, and restores both when it is left. Entries nest: a
//! header filter written in Lua runs inside `ngx.say`.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use super::ctx::Ctx;
use super::session::Session;
use super::watchdog;

/// The request of the running Lua code, read by Lua through FFI; null outside requests.
// SAFETY: written by the one thread that runs Lua, read by code which that thread runs.
#[unsafe(no_mangle)]
pub static mut rsty_current_request: *mut c_void = ptr::null_mut();

thread_local! {
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Current {
    ctx: *const Ctx,
    session: *const dyn Session,
}

/// Restores what was current before.
pub struct Entered {
    outer: Option<Current>,
    outer_request: *mut c_void,
}

/// Makes the session and its context current until the guard is dropped.
#[must_use]
pub fn enter(ctx: &Ctx, session: &dyn Session) -> Entered {
    // SAFETY: the guard restores the former value before the borrow ends, so the lifetime that is erased
    // here is never exceeded: `session` is only read between `enter` and the drop of the guard.
    let session: *const (dyn Session + 'static) =
        unsafe { std::mem::transmute::<&(dyn Session + '_), &(dyn Session + 'static)>(session) };
    let current = Current { ctx, session };
    let outer = CURRENT.replace(Some(current));
    if outer.is_none() {
        watchdog::entered(ctx.vm.state());
    }
    // SAFETY: one thread runs Lua; see the static.
    let outer_request = unsafe {
        let outer = rsty_current_request;
        rsty_current_request = (*session).pointer();
        outer
    };
    Entered { outer, outer_request }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
        if self.outer.is_none() {
            watchdog::left();
        }
        // SAFETY: as above.
        unsafe { rsty_current_request = self.outer_request };
    }
}

/// The request pointer of the running Lua code.
pub fn request() -> *mut c_void {
    // SAFETY: as above.
    unsafe { rsty_current_request }
}

/// The context of the running Lua code; `None` in `init_by_lua*`.
pub fn ctx<'a>() -> Option<&'a Ctx> {
    // SAFETY: whoever entered holds the context until it leaves, and callers are below that frame. The
    // reference must not be kept across a yield, which C functions cannot do.
    CURRENT.get().map(|current| unsafe { &*current.ctx })
}

/// The session of the running Lua code.
pub fn session<'a>() -> Option<&'a dyn Session> {
    // SAFETY: as in `ctx`.
    CURRENT.get().map(|current| unsafe { &*current.session })
}
