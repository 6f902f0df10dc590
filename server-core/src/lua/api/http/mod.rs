//! The part of `ngx` that is about HTTP requests.

pub(crate) mod apps;
mod arg;
pub(crate) mod args;
mod body;
mod config;
mod control;
mod deep_copy;
mod output;
mod req;
mod req_socket;
mod resp;
mod session_datagram;
mod session_socket;
mod subrequest;
mod timer;
mod uri;
pub(crate) mod worker_thread;

use std::rc::Rc;

use crate::cycle::{Cycle, Subsystem};
use crate::http::Request;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Error, State};
use crate::lua::{Ctx, current};

/// Puts the HTTP functions into the table `ngx` on the top.
pub(crate) fn inject(state: State, cycle: &'static Cycle) {
    output::inject(state);
    control::inject(state);
    args::inject(state);
    arg::inject(state);
    config::inject(state, cycle, Subsystem::Http);
    timer::inject(state);
    worker_thread::inject(state);
    // SAFETY: fresh tables.
    unsafe {
        lua_createtable(state, 0, 25);
        req::inject(state);
        body::inject(state);
        req_socket::inject(state);
        args::inject_req(state);
        lua_setfield(state, -2, c"req".as_ptr());
        lua_createtable(state, 0, 1);
        resp::inject(state);
        lua_setfield(state, -2, c"resp".as_ptr());
        // The Lua layer fills these.
        lua_createtable(state, 0, 2);
        subrequest::inject(state);
        lua_setfield(state, -2, c"location".as_ptr());
        for name in [c"header", c"var", c"shared", c"worker"] {
            lua_createtable(state, 0, 4);
            lua_setfield(state, -2, name.as_ptr());
        }
    }
}

/// Puts the functions of `stream { }` into the table `ngx` on the top: those that make sense for a connection.
pub(crate) fn inject_stream(state: State, cycle: &'static Cycle) {
    output::inject_stream(state);
    control::inject_stream(state);
    args::inject(state);
    config::inject(state, cycle, Subsystem::Stream);
    timer::inject(state);
    // SAFETY: fresh tables.
    unsafe {
        lua_createtable(state, 0, 4);
        session_socket::inject(state);
        lua_setfield(state, -2, c"req".as_ptr());
        // The Lua layer fills these.
        for name in [c"var", c"shared", c"worker"] {
            lua_createtable(state, 0, 4);
            lua_setfield(state, -2, name.as_ptr());
        }
    }
}

/// The request of the running code, with its context.
pub(crate) fn request<'a>() -> Result<(Rc<Request>, &'a Ctx), Error> {
    let pointer = current::request().cast::<Request>();
    let Some(ctx) = current::ctx() else { return Err("no request found".into()) };
    if pointer.is_null() {
        return Err("no request found".into());
    }
    // SAFETY: HTTP sessions give the address of a request that is inside an `Rc` and alive while its code runs.
    let r = unsafe { &*pointer };
    Ok((r.rc(), ctx))
}

/// The request of the running code; `text` says that there is none.
fn request_or<'a>(text: &'static str) -> Result<(Rc<Request>, &'a Ctx), Error> {
    request().map_err(|_| text.into())
}

/// The request of the running code, when a client made it.
pub(crate) fn real_request<'a>() -> Result<(Rc<Request>, &'a Ctx), Error> {
    real_request_or("no request found")
}

/// As [`real_request`]; `text` says that there is none.
fn real_request_or<'a>(text: &'static str) -> Result<(Rc<Request>, &'a Ctx), Error> {
    let (r, ctx) = request_or(text)?;
    if r.conn().is_fake() {
        return Err("API disabled in the current context".into());
    }
    Ok((r, ctx))
}

/// An error unless there are between `least` and `most` arguments.
fn expect_arguments(state: State, least: i32, most: i32, expected: &str) -> Result<i32, Error> {
    let count = sys::top(state);
    if (least..=most).contains(&count) {
        return Ok(count);
    }
    Err(format!("expecting {expected} but seen {count}").into())
}
