//! `coroutine.*` for code that runs as light threads: all switches go through the scheduler.

use std::rc::Rc;

use crate::lua::ctx::{Ctx, Intent};
use crate::lua::phase::Phase;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Error, Reply, State, c_function};
use crate::lua::thread::{Kind, Status, Thread};

use super::running;

/// Renames the stock functions to `_NAME`, keeps ours as `__NAME`, and chooses between them at each call: filters and
/// code outside of requests get the stock ones.
pub(super) const LAYER: &str = "
local phase_ctx = ngx._phase_ctx
for _, key in ipairs {'create', 'yield', 'resume', 'status', 'wrap'} do
    local std = coroutine['_' .. key]
    local ours = coroutine['__' .. key]
    coroutine[key] = function (...)
        local phase = phase_ctx()
        if phase ~= nil and phase ~= 0x020 and phase ~= 0x040 then
            return ours(...)
        end
        return std(...)
    end
end
package.loaded.coroutine = coroutine
";

/// Replaces the global `coroutine`.
pub(super) fn inject(state: State) {
    // SAFETY: plain tables on the main state outside of any call.
    unsafe {
        lua_createtable(state, 0, 16);
        lua_getfield_(state, LUA_GLOBALSINDEX, c"coroutine".as_ptr());
        for (from, to) in [
            (c"running", c"running"),
            (c"create", c"_create"),
            (c"wrap", c"_wrap"),
            (c"resume", c"_resume"),
            (c"yield", c"_yield"),
            (c"status", c"_status"),
        ] {
            lua_getfield_(state, -1, from.as_ptr());
            lua_setfield(state, -3, to.as_ptr());
        }
        lua_settop(state, -2);
        sys::set_function(state, c"__create", create);
        sys::set_function(state, c"__wrap", wrap);
        sys::set_function(state, c"__resume", resume);
        sys::set_function(state, c"__yield", r#yield);
        sys::set_function(state, c"__status", status);
        lua_setfield(state, LUA_GLOBALSINDEX, c"coroutine".as_ptr());
    }
}

c_function! {
    /// The bits of the running phase, or nil outside of requests.
    pub(super) fn phase_ctx(state) {
        let Ok((ctx, _)) = running() else { return Ok(Reply::Return(0)) };
        // SAFETY: a slot is free.
        unsafe { lua_pushinteger(state, i64::from(ctx.phase.get().0)) };
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn create(state) {
        let (ctx, _) = running()?;
        new_coroutine(state, ctx, Kind::User)?;
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn wrap(state) {
        let (ctx, _) = running()?;
        new_coroutine(state, ctx, Kind::Wrap)?;
        // SAFETY: the coroutine is on the top.
        unsafe { lua_pushcclosure(state, wrapped, 1) };
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn wrapped(state) {
        // SAFETY: the upvalue is the coroutine that `wrap` stored.
        unsafe {
            lua_pushvalue(state, lua_upvalueindex(1));
            lua_insert(state, 1);
        }
        switch_to(state)
    }
}

c_function! {
    fn resume(state) {
        switch_to(state)
    }
}

c_function! {
    fn r#yield(state) {
        let (ctx, _) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        let thread = ctx.current_thread().ok_or("no co ctx found")?;
        sys::check_yieldable(state)?;
        thread.status.set(Status::Suspended);
        ctx.set_intent(Intent::Yield);
        Ok(Reply::Yield(sys::top(state)))
    }
}

c_function! {
    fn status(state) {
        let co = check_thread(state, 1, "coroutine expected")?;
        let (ctx, _) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        let status = ctx.thread_of(co).map_or(Status::Dead, |thread| thread.status.get());
        sys::push(state, status.name().as_bytes());
        Ok(Reply::Return(1))
    }
}

/// An error unless the first argument is a function written in Lua.
pub(super) fn check_function(state: State) -> Result<(), Error> {
    // SAFETY: both calls only look.
    let is_lua_function = unsafe { lua_type(state, 1) == LUA_TFUNCTION && lua_iscfunction(state, 1) == 0 };
    if is_lua_function { Ok(()) } else { Err(Error::Argument(1, "Lua function expected".into())) }
}

/// Creates a coroutine for the Lua function at index 1 and leaves it on the top of the stack.
pub(super) fn new_coroutine(state: State, ctx: &Ctx, kind: Kind) -> Result<Rc<Thread>, Error> {
    check_function(state)?;
    ctx.phase.get().require(Phase::YIELDABLE)?;
    let main = ctx.vm.state();
    // SAFETY: the coroutine is created on the main state, so that it yields to the scheduler, and is moved
    // to the caller's stack at once; all states are of one VM.
    let (co, reference) = unsafe {
        if kind == Kind::Light {
            let (co, reference) = ctx.vm.cached_thread();
            lua_pushthread(co);
            lua_xmove(co, state, 1);
            (co, reference)
        } else {
            let co = lua_newthread(main);
            lua_xmove(main, state, 1);
            (co, LUA_NOREF)
        }
    };
    // SAFETY: the function is at index 1.
    unsafe {
        lua_pushvalue(state, 1);
        lua_xmove(state, co, 1);
    }
    let thread = Thread::new(co, reference, kind);
    ctx.adopt(&thread);
    Ok(thread)
}

/// A coroutine argument.
pub(super) fn check_thread(state: State, index: i32, message: &'static str) -> Result<State, Error> {
    // SAFETY: any index is acceptable.
    let co = unsafe { lua_tothread(state, index) };
    if co.is_null() { Err(Error::Argument(index, message.into())) } else { Ok(co) }
}

/// Yields to the scheduler with the wish to run the coroutine at index 1.
fn switch_to(state: State) -> Answer {
    let co = check_thread(state, 1, "coroutine expected")?;
    let (ctx, _) = running()?;
    ctx.phase.get().require(Phase::YIELDABLE)?;
    let parent = ctx.current_thread().ok_or("no parent co ctx found")?;
    let child = ctx.thread_of(co);
    let status = child.as_ref().map_or(Status::Dead, |child| child.status.get());
    let Some(child) = child.filter(|_| status == Status::Suspended) else {
        // SAFETY: a slot is free.
        unsafe { lua_pushboolean(state, 0) };
        sys::push(state, format!("cannot resume {} coroutine", status.name()).as_bytes());
        return Ok(Reply::Return(2));
    };
    sys::check_yieldable(state)?;
    parent.status.set(Status::Normal);
    child.parent.replace(Some(parent));
    child.status.set(Status::Running);
    ctx.set_intent(Intent::Resume(child));
    Ok(Reply::Yield(sys::top(state)))
}
