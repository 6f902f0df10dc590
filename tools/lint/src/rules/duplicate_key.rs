//! Tables that give a key twice.

use std::collections::HashMap;

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::ExprKind;

pub(super) static RULE: Rule = Rule {
    id: "duplicate_key",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "a table constructor gives a key twice",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A table constructor has the same key twice; the later value wins silently.

```lua
local options = {
    timeout = 1000,
    pool = 10,
    timeout = 5000,                      -- finding
}
```

Good:

```lua
local options = { timeout = 1000, pool = 10 }
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut seen = HashMap::new();
    for expr in &tree.exprs {
        let ExprKind::Table(fields) = expr.kind else { continue };
        seen.clear();
        for field in tree.field_list(fields) {
            let Some(key) = field.key else { continue };
            let Some(text) = tree.string(key) else { continue };
            let range = tree.expr(key).range;
            if let Some(first) = seen.insert(text, range) {
                let name = rsty_diag::render::printable(text);
                sink.report(chunk, range, format!("the key `{name}` is given twice")).note(chunk, first, "first here");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn equal_keys_of_one_table_are_told() {
        assert_eq!(found("duplicate_key", "t = {a=1, ['a']=2, b=3, {a=1}, b=4}"), ["1:12", "1:32"]);
        assert!(found("duplicate_key", "t = {a={a=1}, [a]=1, 'a', 1, 1}").is_empty());
    }
}
