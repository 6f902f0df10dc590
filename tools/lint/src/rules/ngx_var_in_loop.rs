//! Variables of nginx that a loop looks up again and again.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprId, ExprKind, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "ngx_var_in_loop",
    group: Group::Performance,
    severity: Severity::Note,
    summary: "a loop reads the same variable of nginx each turn",
    page: PAGE,
    check,
};

const PAGE: &str = "\
`ngx.var.name` is a call into nginx, which finds the variable by its name and copies its value. In a loop, read it once
before; the same holds for `ngx.ctx`.

```lua
for _, host in ipairs(hosts) do
    if host == ngx.var.host then         -- finding
        return true
    end
end

local wanted = ngx.var.host              -- good
for _, host in ipairs(hosts) do
    if host == wanted then
        return true
    end
end
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    if !tree.exprs.iter().any(|expr| expr.loops > 0 && is_lookup(chunk, expr.kind).is_some()) {
        return;
    }
    // What a loop assigns may differ each turn.
    let mut assigned: Vec<ExprId> = Vec::new();
    let mut written: Vec<&[u8]> = Vec::new();
    for stat in &tree.stats {
        if let StatKind::Assign { targets, .. } = stat.kind {
            for target in tree.expr_list(targets) {
                assigned.push(target);
                if let Some((_, key)) = is_lookup(chunk, tree.expr(target).kind) {
                    written.push(key);
                }
            }
        }
    }
    assigned.sort_unstable();
    written.sort_unstable();
    for (index, expr) in tree.exprs.iter().enumerate() {
        if expr.loops == 0 || assigned.binary_search(&ExprId(index as u32)).is_ok() {
            continue;
        }
        if let Some((what, key)) = is_lookup(chunk, expr.kind)
            && written.binary_search(&key).is_err()
        {
            let key = rsty_diag::render::printable(key);
            sink.report(chunk, expr.range, format!("the loop looks up `{what}.{key}` each turn"))
                .help("read it into a local before the loop");
        }
    }
}

/// `ngx.var.key` and `ngx.ctx.key`.
fn is_lookup<'s>(chunk: &Chunk<'s>, kind: ExprKind) -> Option<(&'static str, &'s [u8])> {
    let tree = chunk.tree;
    let ExprKind::Index { object, key } = kind else { return None };
    let ExprKind::Index { object: ngx, key: table } = tree.expr(object).kind else { return None };
    let what = match tree.string(table)? {
        b"var" => "ngx.var",
        b"ctx" => "ngx.ctx",
        _ => return None,
    };
    let is_ngx = match tree.expr(chunk.original(ngx)).kind {
        ExprKind::Global(index) => tree.name(tree.globals[index as usize].name) == b"ngx",
        _ => false,
    };
    tree.string(key).filter(|_| is_ngx).map(|key| (what, key))
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn only_reads_in_loops_are_told() {
        assert_eq!(found("ngx_var_in_loop", "while f() do g(ngx.var.host) end"), ["1:16"]);
        assert_eq!(found("ngx_var_in_loop", "local ngx = ngx for i = 1, 2 do g(ngx.ctx.a) end"), ["1:35"]);
        for text in [
            "g(ngx.var.host)",
            "for i = 1, 2 do ngx.var.a = i end",
            "for i = 1, 2 do g(ngx.var[i]) end",
            "for i = 1, 2 do ngx.var.a = i g(ngx.var.a) end",
        ] {
            assert!(found("ngx_var_in_loop", text).is_empty(), "{text}");
        }
    }
}
