//! The phases whose scripts run as light threads: rewrite, access, precontent, content; and the log phase.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::filters;
use super::response::{self, Piece};
use super::script::Script;
use super::session::ctx_of;
use crate::http::conf::LocConf;
use crate::http::phases::{Handler, Outcome};
use crate::http::{Code, Request, redirect};
use crate::log::Level;
use crate::lua::code::{Cache, LoadError};
use crate::lua::sched::{self, Ran};
use crate::lua::session::session_debug;
use crate::lua::{Ctx, Phase};

/// `server_rewrite_by_lua*`
pub struct ServerRewrite;
/// `rewrite_by_lua*`
pub struct Rewrite(pub Turn);
/// `access_by_lua*`
pub struct Access(pub Turn);
/// `precontent_by_lua*`
pub struct Precontent(pub Turn);
/// `content_by_lua*`
pub struct Content;
/// `log_by_lua*`
pub struct Log;

/// The place of a handler in its phase; which one counts is a setting (`*_by_lua_no_postpone`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Before the other modules.
    First,
    /// Behind them.
    Last,
}

impl Turn {
    fn has_come(self, no_postpone: Option<bool>) -> bool {
        (self == Self::First) == (no_postpone == Some(true))
    }
}

impl Handler for ServerRewrite {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let Some(script) = &r.srv().lua.server_rewrite else { return Code::DECLINED.into() };
        announce(r, "server rewrite");
        enter(r, Phase::SERVER_REWRITE, script)
    }
}

impl Handler for Rewrite {
    fn applies(&self, loc: &LocConf) -> bool {
        loc.lua.rewrite.is_some()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if r.uri_changed.get() || !self.0.has_come(r.main_conf().lua.rewrite_no_postpone) {
            return Code::DECLINED.into();
        }
        announce(r, "rewrite");
        let Some(script) = &r.loc().lua.rewrite else { return Code::DECLINED.into() };
        enter(r, Phase::REWRITE, script)
    }
}

impl Handler for Access {
    fn applies(&self, loc: &LocConf) -> bool {
        loc.lua.access.is_some()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if !self.0.has_come(r.main_conf().lua.access_no_postpone) {
            return Code::DECLINED.into();
        }
        announce(r, "access");
        let Some(script) = &r.loc().lua.access else { return Code::DECLINED.into() };
        enter(r, Phase::ACCESS, script)
    }
}

impl Handler for Precontent {
    fn applies(&self, loc: &LocConf) -> bool {
        loc.lua.precontent.is_some()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if !self.0.has_come(r.main_conf().lua.precontent_no_postpone) {
            return Code::DECLINED.into();
        }
        announce(r, "precontent");
        let Some(script) = &r.loc().lua.precontent else { return Code::DECLINED.into() };
        enter(r, Phase::PRECONTENT, script)
    }
}

impl Handler for Content {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        announce(r, "content");
        let Some(script) = &r.loc().lua.content else { return Code::DECLINED.into() };
        enter(r, Phase::CONTENT, script)
    }
}

impl Handler for Log {
    fn applies(&self, loc: &LocConf) -> bool {
        loc.lua.log.is_some() || loc.lua.trims_memory
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        trim_memory(r);
        announce(r, "log");
        let Some(script) = &r.loc().lua.log else { return Code::DECLINED.into() };
        let Some(ctx) = ctx_of(r) else { return Code::ERROR.into() };
        ctx.phase.set(Phase::LOG);
        let ran = filters::call(r, &ctx, script, "log_by_lua*");
        if ran.is_ok() { Code::OK.into() } else { Code::ERROR.into() }
    }
}

/// Gives free memory back to the system every so many requests (`lua_malloc_trim`).
fn trim_memory(r: &Rc<Request>) {
    thread_local! {
        static REQUESTS: Cell<usize> = const { Cell::new(0) };
    }
    let every = r.main_conf().lua.malloc_trim.unwrap_or(1000);
    if every == 0 {
        r.debug(format_args!("malloc_trim() disabled"));
        return;
    }
    let count = REQUESTS.get() + 1;
    REQUESTS.set(if count >= every { 0 } else { count });
    if count >= every {
        let trimmed = crate::process::trim_memory();
        r.debug(format_args!("malloc_trim(1) returned {}", i32::from(trimmed)));
    }
}

fn announce(r: &Rc<Request>, name: &str) {
    if r.logs(Level::Debug) {
        let uri = r.uri.get();
        r.debug(format_args!("lua {name} handler, uri:\"{}\" c:1", String::from_utf8_lossy(&uri)));
    }
}

/// Runs a phase's script, after the request's body was read when the location wants that.
fn enter(r: &Rc<Request>, phase: Phase, script: &'static Rc<Script>) -> Outcome {
    let body_first =
        phase != Phase::SERVER_REWRITE && r.loc().lua.need_request_body == Some(true) && r.request_body().is_none();
    if !body_first {
        return start(r, phase, script);
    }
    r.request_body_in_single_buf.set(true);
    r.request_body_in_persistent_file.set(true);
    r.request_body_in_clean_file.set(true);
    let r = Rc::clone(r);
    Outcome::wait(async move {
        let code = crate::http::body::read(&r).code().await;
        if code == Code::ERROR || code.is_special_response() {
            return code;
        }
        start(&r, phase, script).code().await
    })
}

fn start(r: &Rc<Request>, phase: Phase, script: &Script) -> Outcome {
    if crate::dev::is_on() {
        crate::dev::reload::check(r.conn().cycle());
    }
    let Some(ctx) = ctx_of(r) else { return Code::INTERNAL_SERVER_ERROR.into() };
    if let Err(error) = load(r, &ctx, script) {
        let code = match error {
            LoadError::NotFound => Code(404),
            LoadError::Unreadable => Code::SERVICE_UNAVAILABLE,
            LoadError::Code => Code::INTERNAL_SERVER_ERROR,
        };
        return code.into();
    }
    sched::reset(&ctx, &**r);
    ctx.entered_content.set(phase == Phase::CONTENT);
    ctx.phase.set(phase);
    match sched::start(&ctx, &**r) {
        Ran::Again => wait(r, ctx, phase),
        ran => finish(r, &ctx, phase, ran).into(),
    }
}

/// Pushes the function of a script.
pub(crate) fn load(r: &Rc<Request>, ctx: &Ctx, script: &Script) -> Result<(), LoadError> {
    script.push(&ctx.vm, r, cache_of(r))
}

/// Runs the threads of a phase that was begun, and answers for it.
fn wait(r: &Rc<Request>, ctx: Rc<Ctx>, phase: Phase) -> Outcome {
    let r = Rc::clone(r);
    Outcome::wait(async move {
        let code = match run(&r, &ctx).await {
            Some(ran) => finish(&r, &ctx, phase, ran),
            None => {
                r.conn().error.set(true);
                Code::CLIENT_CLOSED_REQUEST
            }
        };
        session_debug!(&*r, "lua run thread returned {}", code.0);
        code
    })
}

/// Runs the threads of the context until they are through; `None` when the client went away before.
pub(crate) async fn run(r: &Rc<Request>, ctx: &Rc<Ctx>) -> Option<Ran> {
    let watched = r.loc().lua.check_client_abort == Some(true) && r.is_main() && !r.conn().is_fake();
    let mut gone = watched.then(|| Box::pin(r.conn().client_gone()));
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ran) = sched::poll(ctx, &**r, cx) {
                return Poll::Ready(Some(ran));
            }
            // While a script reads from the client, that read notices the end.
            let watch = gone.as_mut().filter(|_| !r.conn().is_being_read());
            if watch.is_none_or(|watch| watch.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
            gone = None;
            let mark = r.conn().mark();
            r.log(Level::Info, format_args!("{mark}client prematurely closed connection"));
            if sched::client_gone(ctx, &**r).is_none() {
                return Poll::Ready(None);
            }
        }
    })
    .await
}

pub(crate) fn cache_of(r: &Request) -> Cache {
    if r.loc().lua.code_cache == Some(false) { Cache::Off } else { Cache::On }
}

/// The code with which a phase's handler answers.
fn finish(r: &Rc<Request>, ctx: &Rc<Ctx>, phase: Phase, ran: Ran) -> Code {
    let code = code_of(r, ctx, ran);
    if phase == Phase::CONTENT {
        // There is nobody to decline to: the request ends without a response.
        return if code == Code::DECLINED { Code::OK } else { code };
    }
    if code != Code::OK && code != Code::DECLINED {
        return code;
    }
    let produced = r.headers_out.status.get() != 0 && !ctx.output.buffered.borrow().is_empty();
    if r.header_sent.get() || produced {
        // A response was made here: the later phases must not make another one.
        if !ctx.output.eof.get() {
            let code = response::send(r, ctx, Piece::Last);
            if code == Code::ERROR || code.0 > 0 {
                return code;
            }
        }
        return Code::HTTP_OK;
    }
    if phase == Phase::ACCESS { code } else { Code::DECLINED }
}

/// What nginx's `run_thread` returns.
fn code_of(r: &Rc<Request>, ctx: &Rc<Ctx>, ran: Ran) -> Code {
    match ran {
        Ran::Again => Code::OK,
        Ran::Jump => {
            // The request begins anew for Lua: `ngx.ctx` is lost.
            ctx.ctx_ref.set(crate::lua::sys::raw::LUA_NOREF);
            Code::OK
        }
        Ran::Done if ctx.entered_content.get() && !r.conn().is_fake() => match response::send(r, ctx, Piece::Last) {
            code if code == Code::ERROR || code.is_special_response() => code,
            _ => Code::OK,
        },
        Ran::Done => Code::OK,
        Ran::Failed if response::is_header_sent(r, ctx) || ctx.pending_subrequests.get() > 0 => Code::ERROR,
        Ran::Failed => Code::INTERNAL_SERVER_ERROR,
        Ran::Exit => exit_code(r, ctx),
        Ran::Exec => exec(r, ctx),
    }
}

/// `ngx.exit` and its like.
fn exit_code(r: &Rc<Request>, ctx: &Ctx) -> Code {
    let code = Code(ctx.exit_code.get());
    if r.conn().is_fake() {
        return code;
    }
    let sent = response::is_header_sent(r, ctx);
    if !sent && r.headers_out.status.get() == 0 && code.0 >= 200 {
        r.headers_out.status.set(code.0 as u16);
    }
    let aborts = matches!(code, Code::REQUEST_TIME_OUT | Code::CLIENT_CLOSED_REQUEST | Code::CLOSE);
    if ctx.output.buffering.get() && r.headers_out.status.get() != 0 && code != Code::ERROR && !aborts {
        let sent = response::send(r, ctx, Piece::Last);
        if sent == Code::ERROR || sent.is_special_response() {
            return sent;
        }
        return if code.0 >= 200 { Code::HTTP_OK } else { code };
    }
    let ends =
        (code == Code::OK && ctx.entered_content.get()) || ((200..300).contains(&code.0) && code != Code::NO_CONTENT);
    if ends {
        let sent = response::send(r, ctx, Piece::Last);
        if sent == Code::ERROR || sent.is_special_response() {
            return sent;
        }
    }
    if response::is_header_sent(r, ctx) && code.0 > 0 && !aborts {
        return if ctx.entered_content.get() { Code::OK } else { Code::HTTP_OK };
    }
    code
}

/// `ngx.exec`
fn exec(r: &Rc<Request>, ctx: &Ctx) -> Code {
    let Some(exec) = ctx.exec.take() else { return Code::INTERNAL_SERVER_ERROR };
    if exec.uri.starts_with(b"@") {
        if !exec.args.is_empty() {
            r.log_bytes(
                Level::Warn,
                &[b"query strings ", &exec.args, b" ignored when exec'ing named location ", &exec.uri],
            );
        }
        return redirect::named(r, &exec.uri);
    }
    redirect::internal(r, exec.uri, Some(exec.args.into()))
}
