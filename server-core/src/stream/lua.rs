//! The scripts of a session: `preread_by_lua*`, `content_by_lua*`, `log_by_lua*`.

use std::rc::Rc;

use crate::http::modules::lua::filters;
use crate::http::modules::lua::handlers::{load, run};
use crate::http::modules::lua::script::Script;
use crate::http::modules::lua::session::ctx_of;
use crate::http::{Code, Request};
use crate::lua::sched::Ran;
use crate::lua::{Ctx, Phase, sched};

/// Looks at what the client sends first, before anybody answers.
pub(super) async fn preread(r: &Rc<Request>) -> Code {
    let Some(script) = &r.loc().stream.preread else { return Code::DECLINED };
    r.debug(format_args!("lua preread handler"));
    enter(r, Phase::PREREAD, script).await
}

/// Answers.
pub(super) async fn content(r: &Rc<Request>) -> Code {
    let Some(script) = &r.loc().lua.content else { return Code::DECLINED };
    r.debug(format_args!("stream lua content handler"));
    enter(r, Phase::CONTENT, script).await
}

/// Notes how it went.
pub(super) fn log(r: &Rc<Request>) {
    let Some(script) = &r.loc().lua.log else { return };
    r.debug(format_args!("lua log handler"));
    let Some(ctx) = ctx_of(r) else { return };
    ctx.phase.set(Phase::LOG);
    // A failure is in the log, and there is nobody else to tell.
    let _ = filters::call(r, &ctx, script, "log_by_lua*");
}

async fn enter(r: &Rc<Request>, phase: Phase, script: &Script) -> Code {
    let Some(ctx) = ctx_of(r) else { return Code::INTERNAL_SERVER_ERROR };
    if load(r, &ctx, script).is_err() {
        return Code::INTERNAL_SERVER_ERROR;
    }
    sched::reset(&ctx, &**r);
    ctx.entered_content.set(phase == Phase::CONTENT);
    ctx.phase.set(phase);
    let ran = match sched::start(&ctx, &**r) {
        Ran::Again => run(r, &ctx).await,
        ran => Some(ran),
    };
    match ran {
        Some(ran) => code_of(&ctx, ran),
        None => {
            r.conn().error.set(true);
            Code::CLIENT_CLOSED_REQUEST
        }
    }
}

fn code_of(ctx: &Ctx, ran: Ran) -> Code {
    match ran {
        Ran::Exit => Code(ctx.exit_code.get()),
        Ran::Failed => Code::INTERNAL_SERVER_ERROR,
        Ran::Again | Ran::Done | Ran::Exec | Ran::Jump => Code::OK,
    }
}
