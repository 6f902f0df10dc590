//! Assignments with more or fewer values than variables.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprKind, List, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "unbalanced_assignment",
    group: Group::Style,
    severity: Severity::Warning,
    summary: "an assignment has more or fewer values than variables",
    page: PAGE,
    check,
};

const PAGE: &str = "\
There are more values than variables (the last ones are dropped), or fewer and the last one is no call (the last
variables become nil).

```lua
local host, port = \"127.0.0.1\"           -- finding: `port` is nil
host, port = parse(url), 80, true        -- finding: `true` is dropped
```

Good:

```lua
local host, port = \"127.0.0.1\", 80
host, port = parse(url)
```

A declaration without values, or with just `nil`, is fine.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for stat in &chunk.tree.stats {
        let (variables, values) = match stat.kind {
            StatKind::Assign { targets, values } => (targets.len(), values),
            StatKind::Local { locals, values } => (locals.len(), values),
            _ => continue,
        };
        if values.len() > variables {
            sink.report(chunk, stat.range, "there are more values than variables");
        } else if values.len() < variables && !values.is_empty() && !is_open(chunk, values) {
            sink.report(chunk, stat.range, "there are fewer values than variables");
        }
    }
}

/// Whether the last value may be several, or is a plain `nil` that says it all.
fn is_open(chunk: &Chunk<'_>, values: List) -> bool {
    let Some(last) = chunk.tree.expr_list(values).next_back() else { return true };
    let last = chunk.tree.expr(last);
    match last.kind {
        ExprKind::Call { .. } | ExprKind::MethodCall { .. } | ExprKind::Dots => !last.parenthesised,
        ExprKind::Nil => values.len() == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn counts_are_compared() {
        assert_eq!(
            found("unbalanced_assignment", "local a, b = 1\na = 1, 2\nlocal c, d = (f())"),
            ["1:1", "2:1", "3:1"]
        );
        assert!(
            found("unbalanced_assignment", "local a, b a, b = f() a, b = ... local c, d = nil local e = 1").is_empty()
        );
    }
}
