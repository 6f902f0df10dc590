//! `ngx.timer.*`.

use std::time::Duration;

use super::request;
use crate::http::Request;
use crate::http::modules::lua::timers::{self, Timer};
use crate::lua::Phase;
use crate::lua::session::session_debug;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Error, Reply, State, c_function};

pub(super) fn inject(state: State) {
    // SAFETY: fresh tables.
    unsafe {
        lua_createtable(state, 0, 4);
        sys::set_function(state, c"at", at);
        sys::set_function(state, c"every", every);
        sys::set_function(state, c"running_count", running_count);
        sys::set_function(state, c"pending_count", pending_count);
        lua_setfield(state, -2, c"timer".as_ptr());
    }
}

c_function! {
    fn at(state) {
        create(state, false)
    }
}

c_function! {
    fn every(state) {
        create(state, true)
    }
}

c_function! {
    fn running_count(state) {
        let (r, _) = request().map_err(|_| Error::from("no request"))?;
        let subsystem = r.main_conf().core.subsystem;
        // SAFETY: a slot is free.
        unsafe { lua_pushinteger(state, timers::running(subsystem) as i64) };
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn pending_count(state) {
        let (r, _) = request().map_err(|_| Error::from("no request"))?;
        let subsystem = r.main_conf().core.subsystem;
        // SAFETY: a slot is free.
        unsafe { lua_pushinteger(state, timers::pending(subsystem) as i64) };
        Ok(Reply::Return(1))
    }
}

fn create(state: State, every: bool) -> Answer {
    let count = sys::top(state);
    if count < 2 {
        return Err(format!("expecting at least 2 arguments but got {count}").into());
    }
    let milliseconds = (sys::check_number(state, 1)? * 1000.0) as i64;
    if every && milliseconds == 0 {
        return Err("delay cannot be zero".into());
    }
    // SAFETY: both calls only look.
    if unsafe { lua_type(state, 2) != LUA_TFUNCTION || lua_iscfunction(state, 2) != 0 } {
        return Err(Error::Argument(2, "Lua function expected".into()));
    }
    let (r, ctx) = request().map_err(|_| Error::from("no request"))?;
    if ctx.phase.get() == Phase::EXIT_WORKER {
        return Err(format!("API disabled in the context of {}", Phase::EXIT_WORKER.name()).into());
    }
    let delay = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    let app = ctx.space.borrow().clone();
    let is_retired = app.as_ref().is_some_and(|space| space.is_retired());
    if (timers::is_exiting() || is_retired) && !delay.is_zero() {
        return sys::fail(state, "process exiting");
    }
    if timers::pending(r.main_conf().core.subsystem) >= r.main_conf().lua.max_pending_timers.unwrap_or(1024) {
        return sys::fail(state, "too many pending timers");
    }
    let (co, reference) = ctx.vm.cached_thread();
    // SAFETY: the callback and its arguments are on the top of the caller's stack; both states are of one VM.
    unsafe { lua_xmove(state, co, count - 1) };
    timers::schedule(Timer {
        vm: std::rc::Rc::clone(&ctx.vm),
        co,
        reference,
        app,
        delay,
        every,
        cycle: r.conn().cycle(),
        main_conf: r.main_conf(),
        srv: r.srv(),
        loc: r.loc(),
        place: place_of(&r),
    });
    session_debug!(&*r, "created timer (co: {co:p} delay: {milliseconds} ms): sz={}", sys::top(state));
    sys::succeed(state)
}

/// `, client: …, server: …` of whoever creates a timer.
fn place_of(r: &Request) -> Vec<u8> {
    let conn = r.conn();
    if conn.is_fake() {
        return conn.fake.as_ref().map(|fake| fake.place.clone()).unwrap_or_default();
    }
    let mut place = b", client: ".to_vec();
    place.extend_from_slice(&conn.peer_text.borrow());
    place.extend_from_slice(b", server: ");
    place.extend_from_slice(conn.listen_text().as_bytes());
    place
}
