//! Libraries that everybody shares, changed.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprId, ExprKind, StatKind};
use crate::standard;

pub(super) static RULE: Rule = Rule {
    id: "library_change",
    group: Group::Style,
    severity: Severity::Warning,
    summary: "a function or field of a library is replaced",
    page: PAGE,
    check,
};

const PAGE: &str = "\
Code sets a field of `ngx`, `string` or another library. All code of the worker sees the change, also that of other
authors.

```lua
string.split = split                     -- finding
ngx.status = 404                         -- good: meant to be set
```

If it is meant, list `string.split` under `globals`.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for stat in &chunk.tree.stats {
        match stat.kind {
            StatKind::Assign { targets, .. } => {
                for target in chunk.tree.expr_list(targets) {
                    judge(chunk, target, sink);
                }
            }
            StatKind::Function { target, .. } => judge(chunk, target, sink),
            _ => {}
        }
    }
}

fn judge(chunk: &Chunk<'_>, target: ExprId, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let ExprKind::Index { object, key } = tree.expr(target).kind else { return };
    let Some(key) = tree.string(key).and_then(|key| std::str::from_utf8(key).ok()) else { return };
    let Some(path) = chunk.path(object) else { return };
    let Some(library) = standard::library(chunk.subsystem, &path) else { return };
    let settable = library == "ngx" && matches!(key, "status" | "ctx");
    let path = format!("{library}.{key}");
    if settable || sink.settings.is_field_allowed(&path) {
        return;
    }
    sink.report(chunk, tree.expr(target).range, format!("`{path}` is set for everybody"));
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn fields_of_libraries_stay_as_they_are() {
        assert_eq!(
            found("library_change", "string.split = 1\nfunction ngx.say() end\nlocal t = table t.x = 1"),
            ["1:1", "2:10", "3:17"]
        );
        assert!(
            found("library_change", "ngx.status = 1 ngx.ctx = {} ngx.ctx.x = 1 ngx.header.a = 1 ngx.var.b = 1 x.y = 1")
                .is_empty()
        );
    }
}
