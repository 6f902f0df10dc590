//! The scheduler of light threads.
//!
//! A phase handler's chunk is the entry thread. The scheduler resumes coroutines on the VM one at a time: user
//! coroutines are all created on the VM's main state and yield to the scheduler, which passes values between
//! child and parent; so an API function may suspend its thread from any depth. Runnable threads wait in a FIFO;
//! the others wait for their operation, a future. Dropping the future cancels the operation.
//!
//! A handler whose threads all end without waiting is through when [`start`] returns: no future is made.

use std::ffi::c_int;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::ctx::{Ctx, Intent};
use super::current;
use super::memory;
use super::session::{Session, level, session_debug, session_log};
use super::sys::raw::*;
use super::sys::{self, State};
use super::thread::{Kind, Status, Thread};
use super::traceback;

/// How far the threads of a context got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// Some thread waits for an operation, or will be run from the queue.
    Again,
    /// All threads are through.
    Done,
    /// The entry thread failed, which the error log says; all threads are gone.
    Failed,
    /// `ngx.exit` or `ngx.redirect`: see [`Ctx::exit_code`]; all threads are gone.
    Exit,
    /// `ngx.exec`: see [`Ctx::exec`]; all threads are gone.
    Exec,
    /// `ngx.req.set_uri` with a jump; all threads are gone.
    Jump,
}

/// How the scheduler goes on after one resume.
enum Next {
    /// Resume this thread with so many values from the top of its stack.
    Resume(Rc<Thread>, c_int),
    /// Leave with this.
    Leave(Ran),
}

/// Runs the function on the top of the VM's main state as the entry thread, until every thread waits or is through.
pub fn start(ctx: &Rc<Ctx>, session: &dyn Session) -> Ran {
    let main = ctx.vm.state();
    ctx.vm.adapt();
    let (co, reference) = ctx.vm.new_thread(session);
    // SAFETY: the function is on the top of the main state; both states are of one VM.
    unsafe { lua_xmove(main, co, 1) };
    start_thread(ctx, session, co, reference, 0)
}

/// Runs an anchored coroutine, which holds its function and `count` arguments, as the entry thread.
pub fn start_thread(ctx: &Rc<Ctx>, session: &dyn Session, co: State, reference: c_int, count: c_int) -> Ran {
    let thread = Thread::new(co, reference, Kind::Entry);
    thread.status.set(Status::Running);
    ctx.entry.replace(Some(thread.clone()));
    match run(ctx, session, thread, count) {
        Ran::Again => run_posted(ctx, session),
        ran => ran,
    }
}

/// Runs what is runnable; then waits for the next operation. To be called until it is ready.
pub fn poll(ctx: &Rc<Ctx>, session: &dyn Session, cx: &mut Context<'_>) -> Poll<Ran> {
    loop {
        match run_posted(ctx, session) {
            Ran::Again => {}
            ran => return Poll::Ready(ran),
        }
        let next = ctx.waiting.borrow_mut().poll_next(cx);
        let Poll::Ready(Some(completed)) = next else { return Poll::Pending };
        let (thread, operation, Some(resume)) = completed else { continue };
        if !thread.complete(&operation) || thread.status.get() != Status::Running {
            continue;
        }
        if ctx.exited.get() {
            // The operation itself decided how the request ends.
            end_all(ctx, session, &thread);
            return Poll::Ready(Ran::Exit);
        }
        let count = {
            let _entered = current::enter(ctx, session);
            resume(thread.co)
        };
        match run(ctx, session, thread, count) {
            Ran::Again => {}
            ran => return Poll::Ready(ran),
        }
    }
}

/// The client went away: wakes the thread of `ngx.on_abort` if there is one. `None` when there is none and all
/// threads were ended.
pub fn client_gone(ctx: &Ctx, session: &dyn Session) -> Option<()> {
    let on_abort = ctx.on_abort.borrow().clone();
    let Some(thread) = on_abort else {
        finalize(ctx, session);
        return None;
    };
    if thread.status.get() == Status::Suspended {
        session_debug!(session, "lua waking up the on_abort callback thread");
        thread.status.set(Status::Running);
        ctx.lights.borrow_mut().insert(thread.reference.get(), thread.clone());
        ctx.posted.borrow_mut().push_back(thread);
    }
    Some(())
}

/// Runs the posted threads in their order.
pub fn run_posted(ctx: &Rc<Ctx>, session: &dyn Session) -> Ran {
    loop {
        let next = ctx.posted.borrow_mut().pop_front();
        let Some(thread) = next else { return Ran::Again };
        if thread.status.get() != Status::Running {
            continue;
        }
        match run(ctx, session, thread, 0) {
            Ran::Again => {}
            ran => return ran,
        }
    }
}

/// Resumes one thread that is not waiting, and whatever it resumes, until that chain waits or is through.
pub fn run(ctx: &Rc<Ctx>, session: &dyn Session, thread: Rc<Thread>, count: c_int) -> Ran {
    let _entered = current::enter(ctx, session);
    session_debug!(session, "lua run thread, top:{} c:1", sys::top(ctx.vm.state()));
    let mut count = if thread.spawning.replace(false) { 1 } else { count };
    let mut thread = thread;
    loop {
        let next = if thread.propagates.replace(false) {
            failed(ctx, session, &thread, None)
        } else {
            ctx.current.replace(Some(thread.clone()));
            let enforced = memory::enforce();
            // SAFETY: the thread is suspended (or new) and has `count` values on its top; everything that the
            // running code needs is set.
            let status = unsafe { lua_resume_(thread.co, count) };
            drop(enforced);
            session_debug!(session, "lua resume returned {status}");
            match status {
                LUA_YIELD => yielded(ctx, session, &thread),
                0 => returned(ctx, session, &thread),
                status => failed(ctx, session, &thread, Some(status)),
            }
        };
        match next {
            Next::Resume(next, values) => {
                thread = next;
                count = values;
            }
            Next::Leave(ran) => {
                ctx.current.replace(None);
                return ran;
            }
        }
    }
}

/// Ends all threads of a context and cancels what they wait for.
pub fn finalize(ctx: &Ctx, session: &dyn Session) {
    session_debug!(session, "http lua finalize threads");
    let on_abort = ctx.on_abort.borrow_mut().take();
    if let Some(thread) = on_abort {
        thread.cancel();
        ctx.lights.borrow_mut().remove(&thread.reference.get());
        release(ctx, session, &thread);
    }
    // Most contexts have had one thread, and nothing is left of that.
    if !ctx.lights.borrow().is_empty() {
        for thread in ctx.lights.take().into_values() {
            thread.cancel();
            release(ctx, session, &thread);
        }
    }
    let entry = ctx.entry.borrow_mut().take();
    if let Some(entry) = entry {
        entry.cancel();
        release(ctx, session, &entry);
        unlink(&entry);
    }
    if !ctx.coroutines.borrow().is_empty() {
        for thread in ctx.coroutines.take().into_values() {
            unlink(&thread);
        }
    }
    ctx.posted.borrow_mut().clear();
    ctx.current.replace(None);
    ctx.intent.replace(Intent::Wait);
    ctx.waiting.take();
}

/// Forgets what an earlier phase left, before the next one starts.
pub fn reset(ctx: &Ctx, session: &dyn Session) {
    if ctx.entry.borrow().is_some() || !ctx.lights.borrow().is_empty() {
        session_debug!(session, "lua reset ctx");
        finalize(ctx, session);
    }
    ctx.entered_content.set(false);
    ctx.exited.set(false);
    ctx.exit_code.set(0);
    ctx.exec.replace(None);
    ctx.jump.set(false);
}

/// A yield: to another coroutine, to the queue, or to the event loop.
fn yielded(ctx: &Rc<Ctx>, session: &dyn Session, thread: &Rc<Thread>) -> Next {
    session_debug!(session, "lua thread yielded");
    if ctx.jump.get() {
        end_all(ctx, session, thread);
        return Next::Leave(Ran::Jump);
    }
    if ctx.exited.get() {
        session_debug!(session, "lua thread aborting request with status {}", ctx.exit_code.get());
        end_all(ctx, session, thread);
        return Next::Leave(Ran::Exit);
    }
    if let Some(exec) = ctx.exec.borrow().as_ref() {
        let uri = String::from_utf8_lossy(&exec.uri);
        session_debug!(session, "lua thread initiated internal redirect to {uri}");
    }
    if ctx.exec.borrow().is_some() {
        end_all(ctx, session, thread);
        return Next::Leave(Ran::Exec);
    }
    match ctx.intent.take() {
        Intent::Wait => Next::Leave(Ran::Again),
        Intent::Spawn(child) => {
            session_debug!(session, "lua user thread resume");
            let count = sys::top(child.co) - 1;
            Next::Resume(child, count)
        }
        Intent::Resume(child) => {
            session_debug!(session, "lua coroutine: resume");
            // The coroutine itself stays at the bottom: it anchors the child while the parent is suspended.
            let count = sys::top(thread.co) - 1;
            // SAFETY: the arguments are on the top of the parent; both states are of one VM.
            unsafe { lua_xmove(thread.co, child.co, count) };
            Next::Resume(child, count)
        }
        Intent::Yield => {
            session_debug!(session, "lua coroutine: yield");
            if matches!(thread.kind, Kind::Entry | Kind::Light) {
                // Its values go nowhere; it only gives the others their turn.
                // SAFETY: the thread is suspended.
                unsafe { lua_settop(thread.co, 0) };
                thread.status.set(Status::Running);
                if ctx.posted.borrow().is_empty() {
                    return Next::Resume(thread.clone(), 0);
                }
                ctx.posted.borrow_mut().push_back(thread.clone());
                return Next::Leave(Ran::Again);
            }
            match thread.parent() {
                Some(parent) => hand_over(thread, parent, Some(true)),
                None => orphaned(ctx, session),
            }
        }
    }
}

/// A coroutine's function returned.
fn returned(ctx: &Rc<Ctx>, session: &dyn Session, thread: &Rc<Thread>) -> Next {
    thread.cancel();
    thread.status.set(Status::Dead);
    drop_zombies(ctx, session, thread);
    session_debug!(session, "lua light thread ended normally");
    if ctx.is_entry(thread) {
        release(ctx, session, thread);
        return Next::Leave(if ctx.lights.borrow().is_empty() { Ran::Done } else { Ran::Again });
    }
    if thread.is_light() {
        return light_ended(ctx, session, thread, true);
    }
    ctx.coroutines.borrow_mut().remove(&thread.co.addr());
    resume_parent(ctx, session, thread, true)
}

/// A coroutine's function raised an error (`status`), or a wrapped child did (`None`).
fn failed(ctx: &Rc<Ctx>, session: &dyn Session, thread: &Rc<Thread>, status: Option<c_int>) -> Next {
    let reason = match status {
        None | Some(LUA_ERRRUN) => "runtime error",
        Some(LUA_ERRSYNTAX) => "syntax error",
        Some(LUA_ERRMEM) if ctx.vm.is_limited() => "memory allocation error",
        Some(LUA_ERRMEM) => {
            session_log!(session, level::ALERT, "[lua] memory allocation error");
            std::process::abort();
        }
        Some(LUA_ERRERR) => "error handler error",
        Some(_) => "unknown error",
    };
    let inherited = thread.wrapped_trace.take();
    let trace = inherited.unwrap_or_else(|| match thread.kind {
        Kind::User => Vec::new(),
        Kind::Entry | Kind::Light | Kind::Wrap => traceback::of_thread(thread),
    });
    thread.cancel();
    thread.status.set(Status::Dead);
    let message: Vec<u8> = if kind_is_text(thread.co) {
        sys::bytes(thread.co, -1).unwrap_or_default().to_vec()
    } else {
        b"unknown reason".to_vec()
    };
    let report = |who: &str| {
        session_log!(
            session,
            level::ERR,
            "lua {who} thread aborted: {reason}: {}\n{}",
            String::from_utf8_lossy(&message),
            String::from_utf8_lossy(&trace)
        );
    };
    if thread.is_light() {
        report("user");
        drop_zombies(ctx, session, thread);
        return light_ended(ctx, session, thread, false);
    }
    if ctx.is_entry(thread) {
        report("entry");
        finalize(ctx, session);
        if status == Some(LUA_ERRMEM) {
            // The next request needs what this one held.
            ctx.vm.collect();
        }
        return Next::Leave(Ran::Failed);
    }
    ctx.coroutines.borrow_mut().remove(&thread.co.addr());
    let Some(parent) = thread.parent() else { return orphaned(ctx, session) };
    parent.status.set(Status::Running);
    // SAFETY: the error value is on the top of the child; both states are of one VM.
    unsafe {
        if thread.kind == Kind::Wrap {
            lua_xmove(thread.co, parent.co, 1);
            parent.propagates.set(true);
            parent.wrapped_trace.replace(Some(trace));
            return Next::Resume(parent, 0);
        }
        lua_pushboolean(parent.co, 0);
        lua_xmove(thread.co, parent.co, 1);
    }
    Next::Resume(parent, 2)
}

/// A light thread is through: its parent gets the results now, later, or never.
///
/// As in lua-nginx-module, what a failed thread leaves is all that lies on its stack: after `error("x")` that is
/// `"x"`, then the message with its place.
fn light_ended(ctx: &Rc<Ctx>, session: &dyn Session, thread: &Rc<Thread>, success: bool) -> Next {
    let parent = thread.parent().filter(|parent| parent.is_alive());
    let Some(parent) = parent else {
        forget_light(ctx, session, thread);
        let all_through = ctx.lights.borrow().is_empty() && !ctx.is_entry_alive();
        return Next::Leave(if all_through { Ran::Done } else { Ran::Again });
    };
    if thread.is_waited_by(&parent) {
        parent.stop_waiting();
        return resume_parent(ctx, session, thread, success);
    }
    // SAFETY: a dead coroutine has room for one value more.
    unsafe {
        lua_pushboolean(thread.co, c_int::from(success));
        lua_insert(thread.co, 1);
    }
    thread.status.set(Status::Zombie);
    parent.zombies.borrow_mut().push(thread.clone());
    Next::Leave(Ran::Again)
}

/// Gives the results of a finished child to its parent and goes on there.
fn resume_parent(ctx: &Rc<Ctx>, session: &dyn Session, thread: &Rc<Thread>, success: bool) -> Next {
    let Some(parent) = thread.parent() else { return orphaned(ctx, session) };
    let next = hand_over(thread, parent, Some(success));
    if thread.is_light() {
        forget_light(ctx, session, thread);
    }
    session_debug!(session, "lua coroutine: lua user thread ended normally");
    next
}

/// Moves the values on the child's stack to the parent, after the flag that `resume` and `wait` return.
fn hand_over(child: &Rc<Thread>, parent: Rc<Thread>, success: Option<bool>) -> Next {
    let mut count = sys::top(child.co);
    parent.status.set(Status::Running);
    // SAFETY: the values are on the top of the child; both states are of one VM.
    unsafe {
        if child.kind != Kind::Wrap
            && let Some(success) = success
        {
            lua_pushboolean(parent.co, c_int::from(success));
        }
        lua_xmove(child.co, parent.co, count);
    }
    if child.kind != Kind::Wrap {
        count += 1;
    }
    Next::Resume(parent, count)
}

fn orphaned(ctx: &Rc<Ctx>, session: &dyn Session) -> Next {
    finalize(ctx, session);
    session_log!(session, level::ERR, "lua handler aborted: user coroutine has no parent");
    Next::Leave(Ran::Failed)
}

fn end_all(ctx: &Rc<Ctx>, session: &dyn Session, thread: &Rc<Thread>) {
    thread.cancel();
    thread.status.set(Status::Dead);
    session_debug!(session, "lua request cleanup: forcible=0");
    finalize(ctx, session);
}

fn drop_zombies(ctx: &Ctx, session: &dyn Session, thread: &Rc<Thread>) {
    let zombies = std::mem::take(&mut *thread.zombies.borrow_mut());
    for zombie in zombies {
        if zombie.is_anchored() {
            forget_light(ctx, session, &zombie);
        }
    }
}

/// Ends a light thread and the coroutines that run on its behalf.
pub(crate) fn kill(ctx: &Ctx, session: &dyn Session, thread: &Rc<Thread>) {
    thread.cancel();
    forget_light(ctx, session, thread);
    let mut dead = vec![thread.clone()];
    while let Some(parent) = dead.pop() {
        let coroutines = ctx.coroutines.borrow();
        for child in coroutines.values().filter(|child| !child.is_light() && child.is_alive()) {
            let is_child = child.parent.borrow().as_ref().is_some_and(|mine| Rc::ptr_eq(mine, &parent));
            if is_child && child.status.get() != Status::Suspended {
                child.status.set(Status::Dead);
                child.cancel();
                dead.push(child.clone());
            }
        }
    }
}

/// Releases a light thread that is through or killed.
pub(super) fn forget_light(ctx: &Ctx, session: &dyn Session, thread: &Rc<Thread>) {
    ctx.lights.borrow_mut().remove(&thread.reference.get());
    release(ctx, session, thread);
    if let Some(parent) = thread.parent() {
        parent.zombies.borrow_mut().retain(|zombie| !Rc::ptr_eq(zombie, thread));
    }
}

fn release(ctx: &Ctx, session: &dyn Session, thread: &Rc<Thread>) {
    let reference = thread.reference.replace(LUA_NOREF);
    if reference == LUA_NOREF {
        return;
    }
    session_debug!(session, "lua deleting light thread {:p} (ref {reference})", thread.co);
    thread.status.set(Status::Dead);
    ctx.vm.release_thread(session, thread.co, reference, thread.kind == Kind::Entry);
}

/// Cuts the links between threads, which may form circles.
fn unlink(thread: &Rc<Thread>) {
    thread.cancel();
    thread.parent.replace(None);
    thread.zombies.borrow_mut().clear();
}

fn kind_is_text(co: State) -> bool {
    matches!(sys::kind(co, -1), LUA_TSTRING | LUA_TNUMBER)
}
