//! Globals that are set through the table of globals.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprId, ExprKind, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "global_table_write",
    group: Group::Globals,
    severity: Severity::Warning,
    summary: "a global is set through `_G`, `getfenv(0)` or `rawset`",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A global is set through the table that holds them. This passes by what other tools see, and all
requests of a worker share the value.

```lua
_G.count = 1                             -- finding
rawset(_G, \"count\", 1)                   -- finding
local globals = getfenv(0)
globals.count = 1                        -- finding
```

Good:

```lua
local count = 1
ngx.ctx.count = count
```

If it is meant, list the name under `globals` in `rsty.toml`.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    for stat in &tree.stats {
        match stat.kind {
            StatKind::Assign { targets, .. } => {
                for target in tree.expr_list(targets) {
                    through_table(chunk, sink, target);
                }
            }
            StatKind::Function { target, .. } => through_table(chunk, sink, target),
            _ => {}
        }
    }
    for call in &chunk.calls {
        let mut arguments = tree.expr_list(call.arguments);
        if chunk.callee(call) == "rawset"
            && let (Some(table), Some(key)) = (arguments.next(), arguments.next())
            && chunk.is_globals_table(table)
        {
            tell(chunk, sink, call.expr, key);
        }
    }
}

fn through_table(chunk: &Chunk<'_>, sink: &mut Sink<'_>, target: ExprId) {
    if let ExprKind::Index { object, key } = chunk.tree.expr(target).kind
        && chunk.is_globals_table(object)
    {
        tell(chunk, sink, target, key);
    }
}

fn tell(chunk: &Chunk<'_>, sink: &mut Sink<'_>, place: ExprId, key: ExprId) {
    let range = chunk.tree.expr(place).range;
    match chunk.tree.string(key) {
        Some(name) if sink.settings.is_writable(name) => {}
        Some(name) => {
            let name = rsty_diag::render::printable(name);
            sink.report(chunk, range, format!("setting the global `{name}` through the table of globals"));
        }
        None => {
            sink.report(chunk, range, "setting a computed name in the table of globals");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn every_way_to_the_table_is_seen() {
        let text = "_G.a = 1\n_G['b'] = 1\nlocal g = _G; g.c = 1\nrawset(_G, 'd', 1)\ngetfenv(0).e = 1\n\
                    function _G.f() end\n_G[k] = 1\n_G._G.h = 1";
        assert_eq!(found("global_table_write", text), ["1:1", "2:1", "3:15", "4:1", "5:1", "6:10", "7:1", "8:1"]);
    }

    #[test]
    fn other_tables_and_reads_are_not() {
        assert!(found("global_table_write", "local t = {}; t.x = _G.y; rawset(t, 1, 2); getfenv(2).x = 1").is_empty());
    }
}
