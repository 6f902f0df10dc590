//! Functions with too many ways through them.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{Binary, ExprKind, Range, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "complex_function",
    group: Group::Style,
    severity: Severity::Note,
    summary: "a function has too many ways through it",
    page: PAGE,
    check,
};

const PAGE: &str = "\
The function's cyclomatic complexity is above `max-complexity` (25 unless configured): one, and one for each condition,
loop, `and` and `or` in it. Such a function is hard to test; parts of it want names of their own.

```lua
-- with max-complexity = 3
local function route(r)                  -- finding
    if r.a then return 1 elseif r.b then return 2 elseif r.c then return 3 end
end
```

Good:

```lua
-- with max-complexity = 3
local routes = { a = 1, b = 2 }
local function route(r)
    return routes[r.name]
end
```

The main chunk is not looked at.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut ways = vec![1_u32; tree.functions.len()];
    for stat in &tree.stats {
        let added = match stat.kind {
            StatKind::If { arms, .. } => arms.len() as u32 / 2,
            StatKind::While { .. }
            | StatKind::Repeat { .. }
            | StatKind::NumericFor { .. }
            | StatKind::GenericFor { .. } => 1,
            _ => continue,
        };
        ways[stat.function.index()] += added;
    }
    for expr in &tree.exprs {
        if let ExprKind::Binary { operator: Binary::And | Binary::Or, .. } = expr.kind {
            ways[expr.function.index()] += 1;
        }
    }
    for (function, ways) in tree.functions.iter().zip(ways).skip(1) {
        if ways > sink.settings.max_complexity {
            let word = Range { start: function.range.start, end: function.range.start + "function".len() as u32 };
            sink.report(chunk, word, format!("{ways} ways lead through this function"))
                .help("give parts of it names of their own");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{found, found_with};

    #[test]
    fn conditions_are_counted() {
        let text = "local function f() if a and b then elseif c then end for i = 1, 2 do end end";
        assert_eq!(found_with("complex_function", text, |settings| settings.max_complexity = 4), ["1:7"]);
        assert!(found_with("complex_function", text, |settings| settings.max_complexity = 5).is_empty());
        assert!(found("complex_function", &"if a then end ".repeat(50)).is_empty());
    }
}
