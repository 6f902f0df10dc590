//! `ngx.exit` and friends without `return`.

use rsty_diag::{Applicability, Fix, Severity, Span};

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{BlockId, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "missing_return",
    group: Group::Style,
    severity: Severity::Warning,
    summary: "`ngx.exit`, `ngx.exec` or `ngx.redirect` is called without `return`",
    page: PAGE,
    check,
};

const PAGE: &str = "\
`ngx.exit`, `ngx.exec` and `ngx.redirect` look as if they came back. In most phases they don't; in some
(such as `header_filter_by_lua*`) they do, and the code behind them runs. With `return` it reads as it works.

```lua
if not token then
    ngx.exit(401)                        -- finding; write `return ngx.exit(401)`
end
```

Good:

```lua
if not token then
    return ngx.exit(401)
end
```

Fix: `return` is added where the call ends its block.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut ending = Vec::new();
    for call in &chunk.calls {
        if matches!(chunk.callee(call), "ngx.exit" | "ngx.exec" | "ngx.redirect") {
            ending.push(*call);
        }
    }
    if ending.is_empty() {
        return;
    }
    for block in 0..tree.blocks.len() {
        let mut stats = tree.block_stats(BlockId(block as u32)).peekable();
        while let Some(id) = stats.next() {
            let stat = tree.stat(id);
            let StatKind::Call(expr) = stat.kind else { continue };
            let Ok(index) = ending.binary_search_by_key(&expr, |call| call.expr) else { continue };
            let last = stats.peek().is_none();
            if !last && stats.peek().is_some_and(|next| matches!(tree.stat(*next).kind, StatKind::Return(_))) {
                continue;
            }
            let name = chunk.callee(&ending[index]).to_owned();
            let finding = sink.report(chunk, stat.range, format!("`{name}` is called without `return`"));
            if last && chunk.map.is_plain() {
                let place = Span::at(chunk.map.outer(stat.range.start));
                let edits = vec![(place, b"return ".to_vec())];
                finding.mend(Fix { title: "add `return`".into(), edits, applicability: Applicability::Safe });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn calls_without_return_are_told() {
        assert_eq!(found("missing_return", "if x then ngx.exit(1) end\nlocal e = ngx.exec e('/')"), ["1:11", "2:20"]);
        assert!(found("missing_return", "if x then return ngx.exit(1) end ngx.redirect('/') return").is_empty());
    }
}
