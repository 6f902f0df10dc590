//! Numeric loops that run the wrong way.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprId, ExprKind, StatKind, Unary};

pub(super) static RULE: Rule = Rule {
    id: "reversed_loop",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "a numeric loop counts down without a step",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A loop from a length down to a number needs the step `-1`; without it, its body runs once at most.

```lua
for i = #items, 1 do                     -- finding; write `for i = #items, 1, -1 do`
    table.remove(items, i)
end
```

Good:

```lua
for i = #items, 1, -1 do
    table.remove(items, i)
end
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    for stat in &tree.stats {
        let StatKind::NumericFor { start, limit, step: None, .. } = stat.kind else { continue };
        let is_length = |id: ExprId| matches!(tree.expr(id).kind, ExprKind::Unary { operator: Unary::Length, .. });
        let down = match (number(chunk, start), number(chunk, limit)) {
            (Some(start), Some(limit)) => start > limit,
            (None, Some(limit)) => is_length(start) && limit <= 1.0,
            _ => false,
        };
        if down {
            let range = tree.expr(start).range.to(tree.expr(limit).range);
            sink.report(chunk, range, "this loop counts down but has no negative step").help("add `, -1`");
        }
    }
}

fn number(chunk: &Chunk<'_>, id: ExprId) -> Option<f64> {
    let expr = chunk.tree.expr(id);
    match expr.kind {
        ExprKind::Number => std::str::from_utf8(chunk.tree.slice(expr.range)).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn only_loops_that_go_down_are_told() {
        assert_eq!(found("reversed_loop", "for i = #t, 1 do end for i = 10, 1 do end"), ["1:9", "1:30"]);
        assert!(found("reversed_loop", "for i = #t, 1, -1 do end for i = 1, #t do end for i = 1, 1 do end").is_empty());
    }
}
