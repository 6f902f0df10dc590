//! `ngx.thread.*`: light threads.

use crate::lua::ctx::Intent;
use crate::lua::phase::Phase;
use crate::lua::sched;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Reply, State, c_function};
use crate::lua::thread::{Kind, Status};

use super::coroutine::{check_function, check_thread, new_coroutine};
use super::running;

pub(super) fn inject(state: State) {
    // SAFETY: fresh tables.
    unsafe {
        lua_createtable(state, 0, 3);
        sys::set_function(state, c"spawn", spawn);
        sys::set_function(state, c"wait", wait);
        sys::set_function(state, c"kill", kill);
        lua_setfield(state, -2, c"thread".as_ptr());
    }
}

c_function! {
    /// Starts a light thread at once; the caller goes on when its turn comes.
    fn spawn(state) {
        let arguments = sys::top(state);
        check_function(state)?;
        let (ctx, _) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        let parent = ctx.current_thread().ok_or("no co ctx found")?;
        sys::check_yieldable(state)?;
        let child = new_coroutine(state, ctx, Kind::Light)?;
        // SAFETY: the arguments lie between the function and the coroutine, which takes the function's place.
        unsafe {
            if arguments > 1 {
                lua_replace(state, 1);
                lua_xmove(state, child.co, arguments - 1);
            }
        }
        ctx.lights.borrow_mut().insert(child.reference.get(), child.clone());
        child.status.set(Status::Running);
        parent.spawning.set(true);
        ctx.posted.borrow_mut().push_back(parent.clone());
        child.parent.replace(Some(parent));
        ctx.set_intent(Intent::Spawn(child));
        Ok(Reply::Yield(1))
    }
}

c_function! {
    /// Waits for the first of some light threads to end.
    fn wait(state) {
        let (ctx, session) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        let me = ctx.current_thread().ok_or("no co ctx found")?;
        let count = sys::top(state);
        if count == 0 {
            return Err("at least one coroutine should be specified".into());
        }
        let mut alive = smallvec::SmallVec::<[_; 4]>::new();
        for index in 1..=count {
            let co = check_thread(state, index, "lua thread expected")?;
            let child = ctx.thread_of(co).ok_or("no co ctx found")?;
            if !child.is_light() {
                return Err("attempt to wait on a coroutine that is not a user thread".into());
            }
            if !child.parent().is_some_and(|parent| std::rc::Rc::ptr_eq(&parent, &me)) {
                return Err("only the parent coroutine can wait on the thread".into());
            }
            match child.status.get() {
                Status::Zombie => {
                    let results = sys::top(child.co);
                    // SAFETY: the results are on the stack of a finished coroutine of this VM.
                    unsafe { lua_xmove(child.co, state, results) };
                    sched::forget_light(ctx, session, &child);
                    return Ok(Reply::Return(results));
                }
                Status::Dead if index < count => {}
                Status::Dead => return sys::fail(state, "already waited or killed"),
                _ => alive.push(child),
            }
        }
        sys::check_yieldable(state)?;
        me.wait_for(&alive);
        Ok(Reply::Yield(0))
    }
}

c_function! {
    /// Ends a light thread from outside.
    fn kill(state) {
        let (ctx, session) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        let me = ctx.current_thread().ok_or("no co ctx found")?;
        let co = check_thread(state, 1, "lua thread expected")?;
        let child = ctx.thread_of(co).ok_or("no co ctx found")?;
        if !child.is_light() {
            return sys::fail(state, "not user thread");
        }
        if !child.parent().is_some_and(|parent| std::rc::Rc::ptr_eq(&parent, &me)) {
            return sys::fail(state, "killer not parent");
        }
        if child.pending_subrequests.get() > 0 {
            return sys::fail(state, "pending subrequests");
        }
        match child.status.get() {
            Status::Zombie => {
                sched::forget_light(ctx, session, &child);
                sys::fail(state, "already terminated")
            }
            Status::Dead => sys::fail(state, "already waited or killed"),
            _ => {
                sched::kill(ctx, session, &child);
                sys::succeed(state)
            }
        }
    }
}
