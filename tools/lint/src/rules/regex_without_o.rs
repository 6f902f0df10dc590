//! Regular expressions that are compiled at each call, or cached without end.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{Binary, ExprId, ExprKind};

pub(super) static RULE: Rule = Rule {
    id: "regex_without_o",
    group: Group::Performance,
    severity: Severity::Note,
    summary: "`ngx.re` with a constant pattern lacks `o`, or a built one has it",
    page: PAGE,
    check,
};

const PAGE: &str = "\
With the option `o` a pattern is compiled once a worker and kept. A constant pattern should have it. A pattern that is
put together from data should not: each new one stays in the cache.

```lua
ngx.re.find(uri, \"^/api/\")                      -- finding: compiled at each call; add \"jo\"
ngx.re.find(uri, \"^/\" .. name, \"jo\")            -- finding: fills the cache
```

Good:

```lua
ngx.re.find(uri, \"^/api/\", \"jo\")
ngx.re.find(uri, \"^/\" .. name)
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    for call in &chunk.calls {
        let name = chunk.callee(call);
        if !matches!(name, "ngx.re.match" | "ngx.re.find" | "ngx.re.gmatch" | "ngx.re.sub" | "ngx.re.gsub") {
            continue;
        }
        let replaces = name.ends_with("sub");
        let mut arguments = tree.expr_list(call.arguments).skip(1);
        let Some(pattern) = arguments.next() else { continue };
        let options = if replaces { arguments.nth(1) } else { arguments.next() };
        let text = options.map_or(Some(&b""[..]), |options| tree.string(chunk.original(options)));
        let Some(text) = text else { continue };
        let once = text.contains(&b'o');
        let range = tree.expr(pattern).range;
        match tree.expr(chunk.original(pattern)).kind {
            ExprKind::Text if !once => {
                sink.report(chunk, range, "a constant pattern is compiled at each call").help("add the option `o`");
            }
            ExprKind::Binary { operator: Binary::Concat, .. } if once && !is_constant(chunk, pattern) => {
                sink.report(chunk, range, "a built pattern is kept for ever").help("leave the option `o` out");
            }
            _ => {}
        }
    }
}

/// Parts of a pattern that are looked at.
const PARTS_MAX: usize = 32;

/// Whether a pattern is put together of strings that never change.
fn is_constant(chunk: &Chunk<'_>, pattern: ExprId) -> bool {
    let mut pending = vec![pattern];
    for _ in 0..PARTS_MAX {
        let Some(part) = pending.pop() else { return true };
        match chunk.tree.expr(chunk.original(part)).kind {
            ExprKind::Text | ExprKind::Number => {}
            ExprKind::Binary { operator: Binary::Concat, left, right } => pending.extend([left, right]),
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn constant_patterns_want_it_and_built_ones_do_not() {
        assert_eq!(
            found("regex_without_o", "ngx.re.find(s, 'a') ngx.re.gsub(s, 'a' .. b, 'x', 'jo')"),
            ["1:16", "1:36"]
        );
        assert!(
            found("regex_without_o", "local a = 'a' ngx.re.find(s, a .. '(.*)' .. a, 'jo')").is_empty()
                && found(
                    "regex_without_o",
                    "ngx.re.find(s, 'a', 'jo') ngx.re.sub(s, 'a' .. b, 'x') ngx.re.match(s, p, o)"
                )
                .is_empty()
        );
    }
}
