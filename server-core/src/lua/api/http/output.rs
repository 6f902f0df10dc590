//! `ngx.print`, `ngx.say`, `ngx.flush`, `ngx.eof`, `ngx.send_headers`.

use std::rc::Rc;

use bytes::Bytes;

use super::{request, request_or};
use crate::http::modules::lua::output_bufs;
use crate::http::modules::lua::response::{self, Piece};
use crate::http::{Code, Request, output};
use crate::lua::next_turn::next_turn;
use crate::lua::session::session_debug;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Error, Reply, State, c_function};
use crate::lua::text::{self, Strictness};
use crate::lua::thread::Resume;
use crate::lua::{Ctx, Phase};

pub(super) fn inject(state: State) {
    sys::set_function(state, c"send_headers", send_headers);
    inject_stream(state);
}

/// What a connection without heads has.
pub(super) fn inject_stream(state: State) {
    sys::set_function(state, c"print", print);
    sys::set_function(state, c"say", say);
    sys::set_function(state, c"flush", flush);
    sys::set_function(state, c"eof", eof);
}

c_function! {
    fn print(state) {
        echo(state, "lua print response", b"")
    }
}

c_function! {
    fn say(state) {
        echo(state, "lua say response", b"\n")
    }
}

fn echo(state: State, notice: &str, end: &[u8]) -> Answer {
    let (r, ctx) = request_or("no request object found")?;
    require_stream(&r)?;
    ctx.phase.get().require(Phase::OUTPUT)?;
    if let Some(reason) = refusal(&r, ctx) {
        return sys::fail(state, reason);
    }
    let count = sys::top(state);
    // A buffer that is filled to its end needs no second allocation to be shared.
    let length: usize = (1..=count).map(|index| text::expected_len(state, index)).sum();
    let mut data = Vec::with_capacity(length + end.len());
    for index in 1..=count {
        match sys::kind(state, index) {
            LUA_TNUMBER | LUA_TSTRING | LUA_TNIL | LUA_TBOOLEAN => text::append_scalar(state, index, &mut data),
            LUA_TTABLE => text::append_array(state, index, index, Strictness::Loose, &mut data)?,
            LUA_TLIGHTUSERDATA => {
                if text::is_null(state, index) {
                    data.extend_from_slice(b"null");
                }
            }
            _ => {
                let kind = sys::type_name(state, index);
                let message =
                    format!("string, number, boolean, nil, ngx.null, or array table expected, but got {kind}");
                return Err(Error::Argument(index, message.into()));
            }
        }
    }
    data.extend_from_slice(end);
    if data.is_empty() {
        let code = response::send_header_if_needed(&r, ctx);
        return answer(state, code, code.0 > 0);
    }
    ctx.output.seen_body_data.set(true);
    output_bufs::take(&r, ctx, data.len());
    session_debug!(&*r, "{notice}");
    let code = response::send(&r, ctx, Piece::Data(Bytes::from(data)));
    output_bufs::update(&r, ctx);
    let answered = answer(state, code, code.is_special_response());
    session_debug!(&*r, "{notice} has {}busy bufs", if r.conn().has_output() { "" } else { "no " });
    answered
}

/// Fails where output goes out in datagrams: only the script knows where one ends.
fn require_stream(r: &Request) -> Result<(), Error> {
    match r.conn().datagrams() {
        Some(_) => Err("API disabled in the current context".into()),
        None => Ok(()),
    }
}

/// Why no output is possible, if so.
fn refusal(r: &Request, ctx: &Ctx) -> Option<&'static str> {
    if ctx.output.raw_socket.get() {
        Some("raw request socket acquired")
    } else if r.header_only.get() {
        Some("header only")
    } else if ctx.output.eof.get() {
        Some("seen eof")
    } else {
        None
    }
}

fn answer(state: State, code: Code, failed: bool) -> Answer {
    if failed || code == Code::ERROR { sys::fail(state, "nginx output filter error") } else { sys::succeed(state) }
}

c_function! {
    fn send_headers(state) {
        let (r, ctx) = request()?;
        ctx.phase.get().require(Phase::OUTPUT)?;
        session_debug!(&*r, "lua send headers");
        let code = response::send_header_if_needed(&r, ctx);
        answer(state, code, code.0 > 0)
    }
}

c_function! {
    fn eof(state) {
        let (r, ctx) = request_or("no request object found")?;
        if sys::top(state) != 0 {
            return Err("no argument is expected".into());
        }
        require_stream(&r)?;
        if ctx.output.raw_socket.get() {
            return sys::fail(state, "raw request socket acquired");
        }
        if ctx.output.eof.get() {
            return sys::fail(state, "seen eof");
        }
        ctx.phase.get().require(Phase::OUTPUT)?;
        session_debug!(&*r, "lua send eof");
        let code = response::send(&r, ctx, Piece::Last);
        answer(state, code, code.is_special_response())
    }
}

c_function! {
    fn flush(state) {
        let count = sys::top(state);
        if count > 1 {
            return Err(format!("attempt to pass {count} arguments, but accepted 0 or 1").into());
        }
        let (r, ctx) = request()?;
        let wait = if count == 1 && r.is_main() {
            if sys::kind(state, 1) != LUA_TBOOLEAN {
                return Err(sys::type_error(state, 1, "boolean"));
            }
            sys::truth(state, 1)
        } else {
            false
        };
        require_stream(&r)?;
        ctx.phase.get().require(Phase::OUTPUT)?;
        if let Some(reason) = refusal(&r, ctx) {
            return sys::fail(state, reason);
        }
        if ctx.output.buffering.get() {
            session_debug!(&*r, "lua http 1.0 buffering makes ngx.flush() a no-op");
            return sys::fail(state, "buffering");
        }
        let has_begun = response::is_header_sent(&r, ctx) && (ctx.output.seen_body_data.get() || wait);
        if !has_begun && !r.conn().is_stream() {
            return sys::fail(state, "nothing to flush");
        }
        output_bufs::take(&r, ctx, 0);
        let code = response::send(&r, ctx, Piece::Flush);
        output_bufs::update(&r, ctx);
        if code == Code::ERROR || code.is_special_response() {
            return sys::fail(state, "nginx output filter error");
        }
        if wait && r.conn().has_output() {
            let delayed = u8::from(r.conn().delayed_until.get().is_some());
            session_debug!(&*r, "lua flush requires waiting: buffered 0x1, delayed:{delayed}");
            sys::check_yieldable(state)?;
            wait_for_drain(&r, ctx)?;
            return Ok(Reply::Yield(0));
        }
        let had_its_turn = r.conn().sent.get().saturating_sub(ctx.output.sent_before_turn.get()) >= output::turn(&r);
        if wait && had_its_turn && sys::check_yieldable(state).is_ok() {
            // A script whose client takes as fast as it gives would have the worker to itself.
            wait_for_drain(&r, ctx)?;
            return Ok(Reply::Yield(0));
        }
        session_debug!(&*r, "lua flush asynchronously");
        sys::succeed(state)
    }
}

/// Suspends the thread until the client took everything, and for a turn of the event loop if it already did.
fn wait_for_drain(r: &Rc<Request>, ctx: &Ctx) -> Result<(), Error> {
    ctx.output.sent_before_turn.set(r.conn().sent.get() + r.conn().output_len());
    let r = Rc::clone(r);
    ctx.suspend(async move {
        if !r.conn().has_output() {
            next_turn().await;
        }
        let code = output::drained(&r).await;
        let failure = if r.conn().timed_out.get() {
            Some("timeout")
        } else if code == Code::ERROR || r.conn().error.get() {
            Some("client aborted")
        } else {
            None
        };
        let resume: Resume = Box::new(move |co| {
            let pushed = match failure {
                Some(reason) => sys::fail(co, reason),
                None => sys::succeed(co),
            };
            match pushed {
                Ok(Reply::Return(count)) => count,
                _ => 0,
            }
        });
        resume
    })
}
