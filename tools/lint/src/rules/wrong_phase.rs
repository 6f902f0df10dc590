//! API that the server refuses in the phase where it is called.

use std::borrow::Cow;

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::api::is_disabled;
use crate::calls::Calls;
use crate::chunk::{Call, Chunk};
use crate::embed::Phase;
use crate::lua::tree::{ExprId, ExprKind, FunctionId, Range};
use crate::modules::exported;
use crate::settings::Settings;

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
calls are followed through functions, methods and metatables as far as they are set once, through `pcall`, light threads
and timers, and into modules of the project, which are looked for around the file and in `lib`, `lualib`, `src` and `lua`
there.

```lua
-- log_by_lua_block
ngx.say(\"bye\")                           -- finding: the response is already sent

ngx.timer.at(0, function()
    ngx.say(\"late\")                      -- finding: a timer has no response
    local host = ngx.var.host            -- finding: nor a request
end)
```

Good:

```lua
-- log_by_lua_block
ngx.timer.at(0, function()
    ngx.sleep(1)                         -- a timer may wait
end)
```

Functions that a framework calls in a phase are named in `rsty.toml`:

```toml
[[lint.overrides]]
files = [\"plugins/*/handler.lua\"]
phases = { access = \"access\", log = \"log\" }    # function = phase
```

Work that must wait (sockets, `ngx.sleep`) can be moved to a timer: `ngx.timer.at(0, f)`. Functions that ask
`ngx.get_phase()` are not looked at.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let phases = function_phases(chunk, sink.settings);
    if phases.iter().all(Vec::is_empty) {
        return;
    }
    let tree = chunk.tree;
    for call in &chunk.calls {
        let expr = tree.expr(call.expr);
        let Some(phases) = phases.get(expr.function.index()).filter(|phases| !phases.is_empty()) else { continue };
        judge_call(chunk, sink, call, expr.range, phases);
    }
    for (index, expr) in tree.exprs.iter().enumerate() {
        let Some(phases) = phases.get(expr.function.index()).filter(|phases| !phases.is_empty()) else { continue };
        match expr.kind {
            ExprKind::MethodCall { object, method, .. } => {
                let method = chunk.text(method);
                if let Some(maker) = maker(chunk, object)
                    && let Some(phase) = refusing(chunk, &format!("{maker}:{method}"), phases)
                {
                    let message = format!("`:{method}` is disabled in {}", phase.context());
                    sink.report(chunk, expr.range, message);
                } else if let Some(module) = chunk.path(object).filter(|path| path.starts_with('@')) {
                    through_module(chunk, sink, &format!("{module}.{method}"), expr.range, phases);
                }
            }
            ExprKind::Index { .. } => {
                if let Some((path, shown)) = request_field(chunk, ExprId(index as u32))
                    && let Some(phase) = refusing(chunk, path, phases)
                {
                    let message = match path {
                        "ngx.arg" => format!("`ngx.arg` is disabled in {}", phase.context()),
                        _ => format!("`{shown}` needs a request, and {} has none", phase.context()),
                    };
                    sink.report(chunk, expr.range, message);
                }
            }
            _ => {}
        }
    }
}

/// Judges one call, which may hand a function on to `pcall` and the like.
fn judge_call(chunk: &Chunk<'_>, sink: &mut Sink<'_>, call: &Call, range: Range, phases: &[Phase]) {
    let (name, shift) = called(chunk, call);
    let callee = chunk.callee(call);
    let timer = [Phase::Timer];
    let inside = if callee.starts_with("ngx.timer.") && shift > 0 { &timer } else { phases };
    let refused = refusing(chunk, callee, phases).map(|phase| (callee, phase));
    if let Some((name, phase)) = refused.or_else(|| Some((&*name, refusing(chunk, &name, inside)?))) {
        let name = name.trim_start_matches('@');
        sink.report(chunk, range, format!("`{name}` is disabled in {}", phase.context()));
    } else if name == "ngx.req.set_uri"
        && let Some(jump) = chunk.tree.expr_list(call.arguments).nth(shift + 1)
        && chunk.tree.expr(jump).kind == ExprKind::True
        && let Some(phase) = refusing(chunk, "ngx.req.set_uri jump", phases)
    {
        sink.report(chunk, range, format!("`ngx.req.set_uri` can't jump in {}", phase.context()));
    } else if name.starts_with('@') {
        through_module(chunk, sink, &name, range, inside);
    }
}

/// The first of the phases that refuses what is named.
fn refusing(chunk: &Chunk<'_>, name: &str, phases: &[Phase]) -> Option<Phase> {
    phases.iter().copied().find(|phase| is_disabled(name, *phase, chunk.subsystem))
}

/// Tells where a function of another file calls what a phase disables.
fn through_module(chunk: &Chunk<'_>, sink: &mut Sink<'_>, name: &str, range: Range, phases: &[Phase]) {
    for phase in phases {
        let found = sink.settings.modules.find(sink.file, name, &|called| is_disabled(called, *phase, chunk.subsystem));
        if let Some(found) = found {
            let (name, called) = (name.trim_start_matches('@'), found.name.trim_start_matches('@'));
            let message =
                format!("`{name}` calls `{called}` ({}), which is disabled in {}", found.place, phase.context());
            sink.report(chunk, range, message);
            return;
        }
    }
}

/// A field of `ngx` that is about the request, by its name in the table of phases and as it is shown: the tables `ngx.var`,
/// `ngx.header` and `ngx.arg` when indexed, `ngx.status` and others like it.
fn request_field(chunk: &Chunk<'_>, id: ExprId) -> Option<(&'static str, String)> {
    let tree = chunk.tree;
    let ExprKind::Index { object, key } = tree.expr(id).kind else { return None };
    let is_ngx = |id| match tree.expr(chunk.original(id)).kind {
        ExprKind::Global(index) => tree.name(tree.globals[index as usize].name) == b"ngx",
        _ => false,
    };
    let plain = match tree.string(key) {
        Some(b"status") => "ngx.status",
        Some(b"headers_sent") => "ngx.headers_sent",
        Some(b"is_subrequest") => "ngx.is_subrequest",
        Some(b"ctx") => "ngx.ctx",
        _ => "",
    };
    if !plain.is_empty() && is_ngx(object) {
        return Some((plain, chunk.path(id).unwrap_or_else(|| plain.to_owned())));
    }
    let ExprKind::Index { object: outer, key: table } = tree.expr(chunk.original(object)).kind else { return None };
    let table = match tree.string(table)? {
        b"var" => "ngx.var",
        b"header" => "ngx.header",
        b"arg" => "ngx.arg",
        _ => return None,
    };
    is_ngx(outer).then(|| (table, table.to_owned()))
}

/// The function that a call really calls, with where its arguments start: `pcall(f, x)` calls `f`.
fn called<'c>(chunk: &'c Chunk<'_>, call: &Call) -> (Cow<'c, str>, usize) {
    let name = chunk.callee(call);
    let handed = match name {
        "pcall" | "ngx.thread.spawn" | "coroutine.create" | "coroutine.wrap" => 0,
        "xpcall" | "ngx.timer.at" | "ngx.timer.every" => 1,
        _ => return (name.into(), 0),
    };
    let at = if name == "xpcall" { 0 } else { handed };
    let function = chunk.tree.expr_list(call.arguments).nth(at);
    match function.and_then(|function| chunk.path(function).or_else(|| method_path(chunk, function))) {
        Some(path) => (path.into(), handed + 1),
        None => (name.into(), 0),
    }
}

/// A method that is handed on by name: `pcall(process.wait, process)`.
fn method_path(chunk: &Chunk<'_>, id: ExprId) -> Option<String> {
    let ExprKind::Index { object, key } = chunk.tree.expr(chunk.original(id)).kind else { return None };
    let method = std::str::from_utf8(chunk.tree.string(key)?).ok()?;
    Some(format!("{}:{method}", maker(chunk, object)?))
}

/// The function whose result an object is, where the chunk made the object itself: `@ngx.semaphore.new`.
fn maker<'c>(chunk: &'c Chunk<'_>, object: ExprId) -> Option<&'c str> {
    let made = chunk.original(object);
    let index = chunk.calls.binary_search_by_key(&made, |call| call.expr).ok()?;
    let call = chunk.calls.get(index)?;
    match chunk.callee(call) {
        "assert" => {
            let first = chunk.original(chunk.tree.expr_list(call.arguments).next()?);
            let index = chunk.calls.binary_search_by_key(&first, |call| call.expr).ok()?;
            chunk.calls.get(index).map(|call| chunk.callee(call))
        }
        name => Some(name),
    }
}

/// The phases in which each function is known to run.
fn function_phases(chunk: &Chunk<'_>, settings: &Settings) -> Vec<Vec<Phase>> {
    let mut phases: Vec<Vec<Phase>> = vec![Vec::new(); chunk.tree.functions.len()];
    let timers = chunk.calls.iter().any(|call| chunk.callee(call).starts_with("ngx.timer."));
    let entries = if chunk.phase.is_none() { settings.entry_points.as_slice() } else { &[] };
    if chunk.phase.is_none() && !timers && entries.is_empty() {
        return phases;
    }
    let calls = Calls::of(chunk);
    let mut pending: Vec<_> = calls.timers.iter().map(|function| (*function, Phase::Timer)).collect();
    if !entries.is_empty() {
        for (name, function) in exported(chunk) {
            pending.extend(entries.iter().filter(|(entry, _)| *entry == name).map(|(_, phase)| (function, *phase)));
        }
    }
    pending.extend(chunk.phase.map(|phase| (FunctionId(0), phase)));
    while let Some((function, phase)) = pending.pop() {
        let known = &mut phases[function.index()];
        if calls.asks(function) || known.contains(&phase) {
            continue;
        }
        known.push(phase);
        pending.extend(calls.callees(function).iter().map(|callee| (*callee, phase)));
    }
    phases
}

#[cfg(test)]
mod tests {
    use crate::testing::{found, found_in_conf, found_with};

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
    fn calls_are_followed_through_tables_and_objects() {
        for code in [
            "local M = {} function M.f() ngx.say(1) end M.f()",
            "local M = { f = function() ngx.say(1) end } pcall(M.f)",
            "local M = {} function M:f() ngx.say(1) end function M:g() self:f() end M:g()",
            "local M = {} M.__index = M function M:f() ngx.say(1) end local o = setmetatable({}, M) o:f()",
            "local M = {} local mt = { __index = M } function M.new() return setmetatable({}, mt) end
             function M:f() ngx.say(1) end local o = M.new() o:f()",
            "local f = setmetatable({}, { __call = function() ngx.say(1) end }) f()",
            "function f() ngx.say(1) end f()",
            "table.sort(t, function() ngx.say(1) end)",
            "local co = coroutine.wrap(function() ngx.say(1) end)",
            "ngx.timer.at(0, ngx.say)",
            "local M = {} function M.f() ngx.say(1) end ngx.timer.at(0, M.f)",
            "local p = require('ngx.pipe').spawn({'x'}) pcall(p.wait, p)",
            "xpcall(ngx.say, print, 1)",
        ] {
            assert_eq!(found_in_conf("wrong_phase", &format!("log_by_lua_block {{ {code} }}")).len(), 1, "{code}");
        }
        for code in [
            "local M = {} function M.f() ngx.say(1) end M.f = nil M.f()",
            "local M = {} function M.f() ngx.say(1) end function M.g() end M.g()",
            "function f() ngx.say(1) end function f() end f()",
            "local o = other() function o:f() ngx.say(1) end o:f()",
        ] {
            assert!(found_in_conf("wrong_phase", &format!("log_by_lua_block {{ {code} }}")).is_empty(), "{code}");
        }
    }

    #[test]
    fn http_and_stream_differ() {
        let peek = "content_by_lua_block { local s = assert(ngx.req.socket()) s:peek(1) }";
        assert_eq!(found_in_conf("wrong_phase", &format!("stream {{ server {{ {peek} }} }}")).len(), 1);
        assert!(
            found_in_conf("wrong_phase", "stream { preread_by_lua_block { ngx.req.socket():peek(1) } }").is_empty()
        );
        let arg = "body_filter_by_lua_block { ngx.arg[1] = 'x' } content_by_lua_block { ngx.arg[1] = 'x' }";
        assert_eq!(found_in_conf("wrong_phase", arg), ["1:70"]);
    }

    #[test]
    fn functions_that_the_server_calls_have_a_phase() {
        let text = "local _M = {}\nfunction _M:log() ngx.say(1) end\nfunction _M.access() ngx.say(1) end\nreturn _M";
        let entries = |settings: &mut crate::settings::Settings| {
            settings.add_entry_point("log", "log").expect("known");
            settings.add_entry_point("access", "access").expect("known");
            assert!(settings.add_entry_point("log", "logging").is_err());
        };
        assert_eq!(found_with("wrong_phase", text, entries), ["2:19"]);
        assert!(found("wrong_phase", text).is_empty());
    }

    #[test]
    fn where_no_request_is_its_data_is_not() {
        assert_eq!(found("wrong_phase", "ngx.timer.at(0, function() f(ngx.var.a, ngx.status) end)"), ["1:30", "1:41"]);
        assert_eq!(found_in_conf("wrong_phase", "init_by_lua_block { local v = ngx.var f(v.x) }").len(), 1);
        assert!(found_in_conf("wrong_phase", "log_by_lua_block { f(ngx.var.a, ngx.header.b) }").is_empty());
        assert_eq!(found_in_conf("wrong_phase", "init_worker_by_lua_block { ngx.req.get_headers() }"), ["1:28"]);
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
