//! The phases that cannot yield: filters, `set_by_lua*` and the log phase run on the VM's main state.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::handlers::cache_of;
use super::output_bufs;
use super::script::Script;
use super::session::ctx_of;
use crate::http::output::{BodyNext, Buf, Data, HeaderNext};
use crate::http::{Chain, Code, Method, Request, special_response};
use crate::log::Level;
use crate::lua::ffi::param;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, StackGuard};
use crate::lua::{Ctx, Phase, current, memory};

thread_local! {
    static BODY: RefCell<Chain> = RefCell::new(Chain::new());
    static REPLACED: Cell<bool> = const { Cell::new(false) };
}

/// The script failed, and that was logged.
pub(crate) struct Failed;

/// Runs a script on the main state; what it returns is left to `take`, which gets the stack index.
fn call_with<T>(
    r: &Rc<Request>,
    ctx: &Rc<Ctx>,
    script: &Script,
    name: &str,
    take: impl FnOnce(sys::State, i32) -> T,
) -> Result<T, Failed> {
    let state = ctx.vm.state();
    // SAFETY: the main state; what is pushed is popped by the guard, and `lua_pcall` catches errors.
    let _guard = unsafe { StackGuard::new(state) };
    // SAFETY: a slot is free.
    unsafe { lua_pushcclosure(state, crate::lua::api::traceback, 0) };
    let handler = sys::top(state);
    script.push(&ctx.vm, r, cache_of(r)).map_err(|_| Failed)?;
    let _entered = current::enter(ctx, &**r);
    let enforced = memory::enforce();
    // SAFETY: the function is on the top, its error handler below it.
    let status = unsafe { lua_pcall(state, 0, 1, handler) };
    drop(enforced);
    if status == 0 {
        return Ok(take(state, sys::top(state)));
    }
    let message = sys::bytes(state, -1).unwrap_or(b"unknown reason");
    r.log_bytes(Level::Error, &[b"failed to run ", name.as_bytes(), b": ", message]);
    Err(Failed)
}

/// Runs a script for what it does.
pub(crate) fn call(r: &Rc<Request>, ctx: &Rc<Ctx>, script: &Script, name: &str) -> Result<(), Failed> {
    call_with(r, ctx, script, name, |_, _| ())
}

/// `set_by_lua*`: the value of a variable.
pub(crate) fn set(r: &Rc<Request>, script: &Script, args: &[Option<Bytes>]) -> Result<Option<Bytes>, Code> {
    let Some(ctx) = ctx_of(r) else { return Err(Code::INTERNAL_SERVER_ERROR) };
    let outer = ctx.phase.replace(Phase::SET);
    let outer_args = param::swap_set_args(args.iter().map(|arg| arg.clone().unwrap_or_default()).collect());
    let value = call_with(r, &ctx, script, "set_by_lua*", |state, index| {
        sys::bytes(state, index).map_or_else(Bytes::new, Bytes::copy_from_slice)
    });
    param::swap_set_args(outer_args);
    ctx.phase.set(outer);
    value.map(Some).map_err(|Failed| Code::INTERNAL_SERVER_ERROR)
}

/// Says that the response passes the filters which the configuration's directives ask for.
fn announce(r: &Request, part: &str) {
    if !r.logs(Level::Debug) {
        return;
    }
    let needed = &r.main_conf().lua.needed;
    let uri = r.uri.get();
    let uri = String::from_utf8_lossy(&uri);
    if if part == "header" { needed.header_filter } else { needed.body_filter } {
        r.debug(format_args!("lua {part} filter for user lua code, uri \"{uri}\""));
    }
    if needed.capture {
        r.debug(format_args!("lua capture {part} filter, uri \"{uri}\""));
        if part == "header" && r.subrequest_in_memory.get() {
            r.debug(format_args!("lua capturing response body"));
        }
    }
}

/// Says that a part of a response is kept for the parent request.
fn announce_capture(r: &Rc<Request>, chain: &Chain) {
    let captured = r.subrequest_in_memory.get() && r.main_conf().lua.needed.capture;
    if !r.logs(Level::Debug) || !captured || chain.is_empty() {
        return;
    }
    let uri = r.uri.get();
    let uri = String::from_utf8_lossy(&uri);
    r.debug(format_args!("lua capture body filter capturing response body, uri \"{uri}\""));
    let ctx = ctx_of(r);
    if let Some(ctx) = ctx {
        output_bufs::capture(r, &ctx, chain.iter().map(|buf| buf.len() as usize).sum());
    }
}

/// `header_filter_by_lua*`
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().lua;
    if conf.body_filter.is_some() {
        r.filter_need_in_memory.set(true);
    }
    if r.subrequest_in_memory.get() && r.method.get() == Method::HEAD {
        r.header_only.set(true);
    }
    announce(r, "header");
    let Some(script) = &conf.header_filter else { return next.run(r) };
    let Some(ctx) = ctx_of(r) else { return Code::ERROR };
    let former_exit = if ctx.exited.get() { ctx.exit_code.get() } else { 0 };
    let outer = ctx.phase.replace(Phase::HEADER_FILTER);
    let ran = call(r, &ctx, script, "header_filter_by_lua*");
    ctx.phase.set(outer);
    if ran.is_err() {
        return Code::ERROR;
    }
    let code = Code(ctx.exit_code.get());
    if !ctx.exited.get() || code.0 == former_exit {
        return next.run(r);
    }
    if code == Code::ERROR {
        return Code::ERROR;
    }
    match special_response::instead(r, code) {
        code @ (Code::ERROR | Code::AGAIN) => code,
        _ => Code::OK,
    }
}

/// `body_filter_by_lua*`
pub(crate) fn body_filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    announce(r, "body");
    announce_capture(r, &chain);
    let Some(script) = &r.loc().lua.body_filter else { return next.run(r, chain) };
    if r.header_only.get() {
        return next.run(r, chain);
    }
    let Some(ctx) = ctx_of(r) else { return Code::ERROR };
    if chain.is_empty() || ctx.output.seen_last_in_filter.get() {
        return next.run(r, Chain::new());
    }
    let outer = ctx.phase.replace(Phase::BODY_FILTER);
    let outer_shown = param::swap_body(shown(&chain));
    let outer_chain = BODY.replace(chain);
    let outer_replaced = REPLACED.replace(false);
    let ran = call_with(r, &ctx, script, "body_filter_by_lua*", |state, index| {
        // SAFETY: the index is the result's.
        Code(unsafe { lua_tonumber(state, index) } as i32)
    });
    let chain = BODY.replace(outer_chain);
    param::swap_body(outer_shown);
    let replaced = REPLACED.replace(outer_replaced);
    ctx.phase.set(outer);
    match ran {
        Ok(code) if code != Code::ERROR && !code.is_special_response() => {}
        _ => return Code::ERROR,
    }
    if replaced && chain.is_empty() {
        return Code::OK;
    }
    next.run(r, chain)
}

/// What `ngx.arg` shows of a chunk.
fn shown(chain: &[Buf]) -> param::Body {
    let pieces = chain.iter().filter_map(|buf| match &buf.data {
        Data::Bytes(bytes) => Some(bytes.clone()),
        Data::None | Data::File { .. } => None,
    });
    param::Body { data: pieces.collect(), eof: chain.iter().any(|buf| buf.last || buf.last_in_chain), replaced: false }
}

/// `ngx.arg[1] = data`
pub(crate) fn replace_body(r: &Request, ctx: &Ctx, data: &[u8]) {
    REPLACED.set(true);
    BODY.with_borrow_mut(|chain| {
        let last = chain.iter().any(|buf| buf.last || buf.last_in_chain);
        let flush = chain.iter().any(|buf| buf.flush);
        chain.clear();
        if data.is_empty() && !last && !flush {
            return;
        }
        let mut buf = if data.is_empty() { Buf::default() } else { Buf::bytes(data.to_vec()) };
        buf.flush = flush;
        if last {
            ctx.output.seen_last_in_filter.set(true);
            buf = end(r, buf);
        }
        chain.push(buf);
    });
    show_change();
}

/// Lets `ngx.arg` show what was assigned to it.
fn show_change() {
    let changed = BODY.with_borrow(|chain| shown(chain));
    param::swap_body(changed);
}

/// `ngx.arg[2] = eof`
pub(crate) fn set_body_eof(r: &Request, ctx: &Ctx, eof: bool) {
    ctx.output.seen_last_in_filter.set(eof);
    BODY.with_borrow_mut(|chain| {
        if eof {
            if chain.is_empty() {
                chain.push(Buf::default());
            }
            if let Some(last) = chain.last_mut() {
                *last = end(r, std::mem::take(last));
            }
            return;
        }
        for buf in chain.iter_mut() {
            let was_last = buf.last || buf.last_in_chain;
            buf.last = false;
            buf.last_in_chain = false;
            if was_last && buf.is_empty() {
                buf.sync = true;
            }
        }
    });
    show_change();
}

fn end(r: &Request, mut buf: Buf) -> Buf {
    buf.last = r.is_main();
    buf.last_in_chain = !r.is_main();
    buf
}
