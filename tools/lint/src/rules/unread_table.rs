//! Tables that are filled and never read.

use rsty_diag::Severity;

use super::unused_local::is_unwanted;
use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprKind, LocalKind, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "unread_table",
    group: Group::Unused,
    severity: Severity::Warning,
    summary: "a local table is filled but never read",
    page: PAGE,
    check,
};

const PAGE: &str = "\
Fields of a local table are set, but the table is never read, passed on or returned.

```lua
local headers = {}                       -- finding
headers[\"Accept\"] = \"text/plain\"
return request(url)
```

Good:

```lua
local headers = {}
headers[\"Accept\"] = \"text/plain\"
return request(url, headers)
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut filled = vec![0_u32; tree.locals.len()];
    let mut any = false;
    for stat in &tree.stats {
        let targets: Vec<_> = match stat.kind {
            StatKind::Assign { targets, .. } => tree.expr_list(targets).collect(),
            StatKind::Function { target, .. } => vec![target],
            _ => continue,
        };
        for target in targets {
            if let ExprKind::Index { object, .. } = tree.expr(target).kind
                && let ExprKind::Local(local) = tree.expr(object).kind
            {
                filled[local.index()] += 1;
                any = true;
            }
        }
    }
    if !any {
        return;
    }
    for (local, filled) in tree.locals.iter().zip(filled) {
        let made = local.value.is_some_and(|value| matches!(tree.expr(value).kind, ExprKind::Table(_)));
        if filled > 0 && made && local.kind == LocalKind::Variable && local.writes == 0 && local.reads == filled {
            if is_unwanted(chunk, local) {
                continue;
            }
            let name = chunk.text(local.name);
            sink.report(chunk, local.range, format!("the table `{name}` is filled but never read"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn tables_that_are_only_filled_are_told() {
        assert_eq!(found("unread_table", "local t = {} t.a = 1 t[b] = 2 function t.f() end"), ["1:7"]);
        for text in ["local t = {} t.a = 1 return t", "local t = f() t.a = 1", "local t = {} t.a.b = 1", "local t = {}"]
        {
            assert!(found("unread_table", text).is_empty(), "{text}");
        }
    }
}
