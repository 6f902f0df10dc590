//! Response headers set after the response began.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::flow::Step;
use crate::flow::solve::{Certain, forward};
use crate::lua::tree::{ExprId, ExprKind, FunctionId, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "header_after_output",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "a response header or the status is set after output",
    page: PAGE,
    check,
};

const PAGE: &str = "\
Headers and status are sent with the first output; setting them afterwards only logs an error.

```lua
ngx.say(\"hello\")
ngx.header[\"X-Answer\"] = 42             -- finding
ngx.status = 201                         -- finding
```

Good:

```lua
ngx.status = 201
ngx.header[\"X-Answer\"] = 42
ngx.say(\"hello\")
```

Told where every way to the statement has written something; what other functions write is not looked at.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut output: Vec<ExprId> = Vec::new();
    let mut functions: Vec<FunctionId> = Vec::new();
    for call in &chunk.calls {
        if matches!(chunk.callee(call), "ngx.say" | "ngx.print" | "ngx.flush" | "ngx.eof" | "ngx.send_headers") {
            output.push(call.expr);
            functions.push(tree.expr(call.expr).function);
        }
    }
    functions.sort_unstable();
    functions.dedup();
    // Functions that set nothing of the kind need no walk.
    let mut setting: Vec<FunctionId> = Vec::new();
    for stat in &tree.stats {
        if let StatKind::Assign { targets, .. } = stat.kind
            && functions.binary_search(&stat.function).is_ok()
            && tree.expr_list(targets).any(|target| header_or_status(chunk, target).is_some())
        {
            setting.push(stat.function);
        }
    }
    setting.sort_unstable();
    setting.dedup();
    for function in setting {
        forward(
            chunk.flow().steps(function),
            Certain(None),
            |_, step, _, sent| {
                if let Step::Call(call) = step
                    && output.binary_search(call).is_ok()
                {
                    sent.0 = sent.0.or(Some(*call));
                }
            },
            |_, step, sent| {
                let (Step::Stat(stat), Some(sent)) = (step, sent.0) else { return };
                let StatKind::Assign { targets, .. } = tree.stat(*stat).kind else { return };
                for target in tree.expr_list(targets) {
                    if let Some(what) = header_or_status(chunk, target) {
                        sink.report(chunk, tree.expr(target).range, format!("the {what} is set after output")).note(
                            chunk,
                            tree.expr(sent).range,
                            "the headers are sent here",
                        );
                    }
                }
            },
        );
    }
}

fn header_or_status(chunk: &Chunk<'_>, target: ExprId) -> Option<&'static str> {
    let tree = chunk.tree;
    if !matches!(tree.expr(target).kind, ExprKind::Index { .. }) {
        return None;
    }
    match tree.global_path(target)?.as_slice() {
        [b"ngx", b"header", _] => Some("header"),
        [b"ngx", b"status"] => Some("status"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn only_what_comes_after_output_is_told() {
        assert_eq!(found("header_after_output", "ngx.say(1)\nngx.header.a = 1\nngx.status = 2"), ["2:1", "3:1"]);
        assert_eq!(found("header_after_output", "ngx.say(1) if x then ngx.status = 1 end"), ["1:22"]);
        for text in [
            "ngx.header.a = 1 ngx.say(1)",
            "if x then ngx.say(1) end ngx.status = 2",
            "for i = 1, 2 do ngx.header.a = 1 ngx.say(1) end",
            "ngx.say(1) local function f() ngx.status = 1 end",
        ] {
            assert!(found("header_after_output", text).is_empty(), "{text}");
        }
    }
}
