//! API that the server refuses in the phase where it is called.

use std::borrow::Cow;

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::{Call, Chunk};
use crate::embed::Phase;
use crate::lua::tree::{ExprId, ExprKind, FunctionId};

pub(super) static RULE: Rule = Rule {
    id: "wrong_phase",
    group: Group::Correctness,
    severity: Severity::Error,
    summary: "a function is called in a phase that disables it",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A function of the `ngx` API is called in a phase where the server refuses it: the call fails with «API
disabled in the context of …». Which phase a piece of code runs in is known from the directive around it;
calls are followed through local functions, `pcall`, light threads and timers.

```lua
-- log_by_lua_block
ngx.say(\"bye\")                           -- finding: the response is already sent

ngx.timer.at(0, function()
    ngx.say(\"late\")                      -- finding: a timer has no request
end)
```

Work that must wait (sockets, `ngx.sleep`) can be moved to a timer: `ngx.timer.at(0, f)`. Functions that ask
`ngx.get_phase()` are not looked at.
";

/// Phases that may wait.
const YIELDABLE: &[Phase] = &[
    Phase::ServerRewrite,
    Phase::Rewrite,
    Phase::Access,
    Phase::Precontent,
    Phase::Content,
    Phase::Preread,
    Phase::Timer,
    Phase::ProxySslCertificate,
    Phase::ProxySslVerify,
    Phase::SslClientHello,
    Phase::SslCertificate,
    Phase::SslSessionFetch,
];

/// Phases that may write the response.
const RESPONDING: &[Phase] =
    &[Phase::ServerRewrite, Phase::Rewrite, Phase::Access, Phase::Precontent, Phase::Content, Phase::Preread];

const EXITING: &[Phase] = &[
    Phase::ServerRewrite,
    Phase::Rewrite,
    Phase::Access,
    Phase::Precontent,
    Phase::Content,
    Phase::Preread,
    Phase::Timer,
    Phase::HeaderFilter,
    Phase::Balancer,
    Phase::ProxySslCertificate,
    Phase::ProxySslVerify,
    Phase::SslClientHello,
    Phase::SslCertificate,
    Phase::SslSessionStore,
    Phase::SslSessionFetch,
];

/// The phases in which a function works; `None` for one that works in all.
fn allowed(name: &str) -> Option<&'static [Phase]> {
    Some(match name {
        "ngx.say" | "ngx.print" | "ngx.flush" | "ngx.eof" | "ngx.send_headers" | "ngx.exec" | "ngx.redirect"
        | "ngx.req.read_body" | "ngx.req.socket" => RESPONDING,
        "ngx.exit" => EXITING,
        "ngx.location.capture" | "ngx.location.capture_multi" => &[Phase::Rewrite, Phase::Access, Phase::Content],
        "ngx.sleep"
        | "ngx.socket.tcp"
        | "ngx.socket.udp"
        | "ngx.socket.stream"
        | "ngx.socket.connect"
        | "ngx.thread.spawn"
        | "ngx.thread.wait"
        | "ngx.thread.kill"
        | "ngx.run_worker_thread" => YIELDABLE,
        _ => return None,
    })
}

/// Whether a call fails in a phase.
fn is_disabled(name: &str, phase: Phase) -> bool {
    match name {
        "ngx.timer.at" | "ngx.timer.every" => phase == Phase::ExitWorker,
        _ => allowed(name).is_some_and(|phases| !phases.contains(&phase)),
    }
}

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let phases = function_phases(chunk);
    if phases.iter().all(Vec::is_empty) {
        return;
    }
    let tree = chunk.tree;
    for call in &chunk.calls {
        let (name, shift) = called(chunk, call);
        let expr = tree.expr(call.expr);
        let Some(phases) = phases.get(expr.function.index()) else { continue };
        if let Some(phase) = phases.iter().find(|phase| is_disabled(&name, **phase)) {
            sink.report(chunk, expr.range, format!("`{name}` is disabled in {}", phase.context()));
        } else if name == "ngx.req.set_uri"
            && let Some(jump) = tree.expr_list(call.arguments).nth(shift + 1)
            && tree.expr(jump).kind == ExprKind::True
            && let Some(phase) = phases.iter().find(|phase| !matches!(phase, Phase::Rewrite | Phase::ServerRewrite))
        {
            sink.report(chunk, expr.range, format!("`ngx.req.set_uri` can't jump in {}", phase.context()));
        }
    }
    for expr in &tree.exprs {
        if let ExprKind::MethodCall { object, method, .. } = expr.kind
            && let Some(phases) = phases.get(expr.function.index())
            && let Some(phase) = phases.iter().find(|phase| !YIELDABLE.contains(phase))
            && waits(chunk, object, tree.name(method))
        {
            let method = chunk.text(method);
            sink.report(chunk, expr.range, format!("`:{method}` waits, which is disabled in {}", phase.context()));
        }
    }
}

/// The function that a call really calls, with where its arguments start: `pcall(f, x)` calls `f`.
fn called<'c>(chunk: &'c Chunk<'_>, call: &Call) -> (Cow<'c, str>, usize) {
    let name = chunk.callee(call);
    let protected = (name == "pcall").then(|| chunk.tree.expr_list(call.arguments).next()).flatten();
    match protected.and_then(|function| chunk.path(function)) {
        Some(path) => (path.into(), 1),
        None => (name.into(), 0),
    }
}

/// Whether a method of an object that the chunk made itself waits.
fn waits(chunk: &Chunk<'_>, object: ExprId, method: &[u8]) -> bool {
    let made = chunk.original(object);
    let Ok(index) = chunk.calls.binary_search_by_key(&made, |call| call.expr) else { return false };
    match chunk.callee(&chunk.calls[index]) {
        "@ngx.semaphore.new" => method == b"wait",
        "@ngx.pipe.spawn" => {
            method == b"wait" || method.starts_with(b"stdout_read") || method.starts_with(b"stderr_read")
        }
        _ => false,
    }
}

/// The phases in which each function is known to run.
fn function_phases(chunk: &Chunk<'_>) -> Vec<Vec<Phase>> {
    let tree = chunk.tree;
    let mut phases: Vec<Vec<Phase>> = vec![Vec::new(); tree.functions.len()];
    let aware = |name: &str| name == "ngx.get_phase" || name == "ngx.get_raw_phase";
    let mut asking = vec![false; tree.functions.len()];
    for call in chunk.calls.iter().filter(|call| aware(chunk.callee(call))) {
        asking[tree.expr(call.expr).function.index()] = true;
    }
    let mut callees: Vec<Vec<FunctionId>> = vec![Vec::new(); tree.functions.len()];
    let mut pending = Vec::new();
    if let Some(phase) = chunk.phase {
        pending.push((FunctionId(0), phase));
    }
    for expr in &tree.exprs {
        if let ExprKind::Call { callee, .. } = expr.kind
            && let Some(function) = chunk.function_of(callee)
        {
            callees[expr.function.index()].push(function);
        }
    }
    for call in &chunk.calls {
        let mut functions = tree.expr_list(call.arguments).filter_map(|argument| chunk.function_of(argument));
        match chunk.callee(call) {
            "ngx.timer.at" | "ngx.timer.every" => pending.extend(functions.next().map(|f| (f, Phase::Timer))),
            "pcall" | "xpcall" | "ngx.thread.spawn" | "coroutine.wrap" | "coroutine.create" => {
                callees[tree.expr(call.expr).function.index()].extend(functions);
            }
            _ => {}
        }
    }
    while let Some((function, phase)) = pending.pop() {
        let known = &mut phases[function.index()];
        if asking[function.index()] || known.contains(&phase) {
            continue;
        }
        known.push(phase);
        pending.extend(callees[function.index()].iter().map(|callee| (*callee, phase)));
    }
    phases
}

#[cfg(test)]
mod tests {
    use crate::testing::{found, found_in_conf};

    #[test]
    fn the_directive_tells_the_phase() {
        assert_eq!(found_in_conf("wrong_phase", "log_by_lua_block { ngx.say('x') }"), ["1:20"]);
        assert_eq!(found_in_conf("wrong_phase", "set_by_lua $x 'ngx.sleep(1)';"), ["1:16"]);
        assert!(found_in_conf("wrong_phase", "content_by_lua_block { ngx.say('x') ngx.sleep(1) }").is_empty());
        assert!(found("wrong_phase", "ngx.say('x')").is_empty());
    }

    #[test]
    fn calls_are_followed() {
        let conf = "header_filter_by_lua_block { local say = ngx.say; local function f() say(1) end pcall(f) }";
        assert_eq!(found_in_conf("wrong_phase", conf).len(), 1);
        assert!(found_in_conf("wrong_phase", "log_by_lua_block { local function f() ngx.say(1) end }").is_empty());
        assert_eq!(found("wrong_phase", "ngx.timer.at(0, function() ngx.print(1) end)"), ["1:28"]);
        assert!(
            found_in_conf("wrong_phase", "log_by_lua_block { ngx.timer.at(0, function() ngx.sleep(1) end) }")
                .is_empty()
        );
    }

    #[test]
    fn methods_and_jumps() {
        let conf = "log_by_lua_block { local s = require('ngx.semaphore').new(0); s:wait(1) }";
        assert_eq!(found_in_conf("wrong_phase", conf), ["1:63"]);
        assert_eq!(found_in_conf("wrong_phase", "access_by_lua_block { ngx.req.set_uri('/', true) }").len(), 1);
        assert!(found_in_conf("wrong_phase", "access_by_lua_block { ngx.req.set_uri('/') }").is_empty());
    }

    #[test]
    fn code_that_asks_for_the_phase_knows_better() {
        assert!(
            found_in_conf("wrong_phase", "log_by_lua_block { if ngx.get_phase() == 'x' then ngx.say(1) end }")
                .is_empty()
        );
    }
}
