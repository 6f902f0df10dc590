//! Output after the response's end.

use std::collections::HashSet;

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::flow::Step;
use crate::flow::solve::{Certain, forward};
use crate::lua::tree::{ExprId, FunctionId, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "output_after_eof",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "the response is written to after `ngx.eof`",
    page: PAGE,
    check,
};

const PAGE: &str = "\
`ngx.eof` ends the response. What is written afterwards is dropped; the call returns nil and «seen eof».

```lua
ngx.say(\"accepted\")
ngx.eof()
work()
ngx.say(\"done\")                        -- finding
```

Good:

```lua
ngx.say(\"accepted\")
ngx.eof()
work()
ngx.log(ngx.INFO, \"done\")
```

Told where every way to the call has ended the response and the call's results are not used.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut ends: Vec<ExprId> = Vec::new();
    let mut output: Vec<(ExprId, String)> = Vec::new();
    let mut functions: Vec<FunctionId> = Vec::new();
    for call in &chunk.calls {
        match chunk.callee(call) {
            "ngx.eof" => {
                ends.push(call.expr);
                functions.push(tree.expr(call.expr).function);
            }
            name @ ("ngx.say" | "ngx.print" | "ngx.flush") => output.push((call.expr, name.to_owned())),
            _ => {}
        }
    }
    if functions.is_empty() || output.is_empty() {
        return;
    }
    functions.sort_unstable();
    functions.dedup();
    let statements: HashSet<ExprId> = tree
        .stats
        .iter()
        .filter_map(|stat| match stat.kind {
            StatKind::Call(expr) => Some(expr),
            _ => None,
        })
        .collect();
    for function in functions {
        forward(
            chunk.flow().steps(function),
            Certain(None),
            |_, step, _, ended| {
                if let Step::Call(call) = step
                    && ends.binary_search(call).is_ok()
                {
                    ended.0 = ended.0.or(Some(*call));
                }
            },
            |_, step, ended| {
                let (Step::Call(call), Some(eof)) = (step, ended.0) else { return };
                let Ok(index) = output.binary_search_by_key(call, |(expr, _)| *expr) else { return };
                if let (Some((_, name)), true) = (output.get(index), statements.contains(call)) {
                    let message = format!("`{name}` after the end of the response");
                    sink.report(chunk, tree.expr(*call).range, message).note(
                        chunk,
                        tree.expr(eof).range,
                        "it ends here",
                    );
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn only_what_is_certainly_late_is_told() {
        assert_eq!(found("output_after_eof", "ngx.eof()\nngx.say(1)\nngx.flush(true)"), ["2:1", "3:1"]);
        for text in [
            "ngx.say(1) ngx.eof()",
            "if x then ngx.eof() end ngx.say(1)",
            "ngx.eof() local ok, err = ngx.say(1)",
            "if x then ngx.eof() return end ngx.say(1)",
            "ngx.eof() local function f() ngx.say(1) end",
        ] {
            assert!(found("output_after_eof", text).is_empty(), "{text}");
        }
    }
}
