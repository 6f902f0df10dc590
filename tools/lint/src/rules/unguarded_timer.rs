//! Timers that set themselves again and never ask whether the worker leaves.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::FunctionId;

pub(super) static RULE: Rule = Rule {
    id: "unguarded_timer",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "a timer sets itself again without looking at `premature`",
    page: PAGE,
    check,
};

const PAGE: &str = "\
When a worker leaves (a reload is enough), it runs all waiting timers at once and tells them so by their first argument. A
callback that sets itself again without looking at it does its work once more while the worker should go, and with a delay
of 0 it keeps the worker from leaving.

```lua
local function refresh()
    fetch()
    ngx.timer.at(5, refresh)             -- finding
end
ngx.timer.at(0, refresh)
```

Good:

```lua
local function refresh(premature)
    if premature then return end
    fetch()
    ngx.timer.at(5, refresh)
end
ngx.timer.at(0, refresh)
ngx.timer.every(60, sweep)               -- comes back by itself
```

A function that asks `ngx.worker.exiting()` is guarded as well.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    for call in &chunk.calls {
        if chunk.callee(call) != "ngx.timer.at" {
            continue;
        }
        let callback = tree.expr_list(call.arguments).nth(1).and_then(|function| chunk.function_of(function));
        let Some(callback) = callback else { continue };
        if is_inside(chunk, tree.expr(call.expr).function, callback) && !is_guarded(chunk, callback) {
            sink.report(
                chunk,
                tree.expr(call.expr).range,
                "the timer sets itself again without looking at `premature`",
            )
            .help("take `premature` as the first parameter, and return where it is true");
        }
    }
}

fn is_inside(chunk: &Chunk<'_>, function: FunctionId, around: FunctionId) -> bool {
    let parents = std::iter::successors(Some(function), |id| chunk.tree.function(*id).parent);
    parents.into_iter().any(|id| id == around)
}

/// Whether the function looks at its first argument, or asks whether the worker leaves.
fn is_guarded(chunk: &Chunk<'_>, function: FunctionId) -> bool {
    let tree = chunk.tree;
    let info = tree.function(function);
    let premature = tree.local_list(info.parameters).next();
    let looks = match premature {
        Some(premature) => tree.local(premature).reads > 0,
        None => info.variadic,
    };
    looks
        || chunk.calls.iter().any(|call| {
            chunk.callee(call) == "ngx.worker.exiting" && is_inside(chunk, tree.expr(call.expr).function, function)
        })
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn only_callbacks_that_set_themselves_unguarded_are_told() {
        assert_eq!(found("unguarded_timer", "local function f(p)\n  ngx.timer.at(1, f)\nend"), ["2:3"]);
        assert_eq!(
            found("unguarded_timer", "local f\nf = 1\nlocal at = ngx.timer.at\nlocal function g() at(0, g) end").len(),
            1
        );
        for text in [
            "local function f(p) if p then return end ngx.timer.at(1, f) end",
            "local function f() if not ngx.worker.exiting() then ngx.timer.at(1, f) end end",
            "local function f(...) if ... then return end ngx.timer.at(1, f) end",
            "local function f() end local function g() ngx.timer.at(1, f) end",
            "local function f() ngx.timer.every(1, f) end",
            "local function f(premature) ngx.timer.at(1, f, premature) end",
        ] {
            assert!(found("unguarded_timer", text).is_empty(), "{text}");
        }
    }
}
