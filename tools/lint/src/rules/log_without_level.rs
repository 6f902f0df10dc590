//! `ngx.log` whose first argument is no level.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{Binary, ExprId, ExprKind};

pub(super) static RULE: Rule = Rule {
    id: "log_without_level",
    group: Group::Correctness,
    severity: Severity::Error,
    summary: "the first argument of `ngx.log` is no level",
    page: PAGE,
    check,
};

const PAGE: &str = "\
`ngx.log` wants a level first, `ngx.ERR` for one. With anything else it fails with «bad argument #1 to 'log'», or,
with another number of `ngx`, it writes at a level that nobody meant.

```lua
ngx.log(\"no peer: \", err)               -- finding
ngx.log(ngx.HTTP_OK, \"done\")            -- finding
ngx.log()                                -- finding
```

Good:

```lua
ngx.log(ngx.ERR, \"no peer: \", err)
local level = verbose and ngx.INFO or ngx.DEBUG
ngx.log(level, \"done\")
```
";

const LEVELS: [&str; 9] = ["STDERR", "EMERG", "ALERT", "CRIT", "ERR", "WARN", "NOTICE", "INFO", "DEBUG"];

/// Functions that give text.
const TEXT: [&str; 3] = ["string.format", "table.concat", "tostring"];

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for call in &chunk.calls {
        if chunk.callee(call) != "ngx.log" {
            continue;
        }
        let first = chunk.tree.expr_list(call.arguments).next();
        if first.is_none_or(|first| is_no_level(chunk, first)) {
            let range = chunk.tree.expr(first.unwrap_or(call.expr)).range;
            let help = "put a level before it: `ngx.ERR`, `ngx.WARN`, `ngx.INFO` …";
            sink.report(chunk, range, "`ngx.log` is called without a level").help(help);
        }
    }
}

/// Whether the value is certainly no level.
fn is_no_level(chunk: &Chunk<'_>, id: ExprId) -> bool {
    let at = chunk.original(id);
    match chunk.tree.expr(at).kind {
        ExprKind::Nil | ExprKind::True | ExprKind::False | ExprKind::Table(_) | ExprKind::Function(_) => true,
        // A string that reads as a number is one for C functions.
        ExprKind::Text => {
            let text = chunk.tree.string(at).and_then(|text| std::str::from_utf8(text).ok());
            text.is_none_or(|text| text.trim().parse::<f64>().is_err())
        }
        ExprKind::Binary { operator, .. } => operator == Binary::Concat,
        ExprKind::Call { .. } => {
            let index = chunk.calls.binary_search_by_key(&at, |call| call.expr).ok();
            index.and_then(|index| chunk.calls.get(index)).is_some_and(|call| TEXT.contains(&chunk.callee(call)))
        }
        ExprKind::Index { .. } => {
            let path = chunk.path(at).unwrap_or_default();
            let name = path.strip_prefix("ngx.").filter(|name| !LEVELS.contains(name));
            name.is_some_and(|name| {
                name == "null" || name.starts_with("HTTP_") || matches!(name, "OK" | "ERROR" | "DONE")
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn what_is_certainly_no_level_is_told() {
        for text in [
            "ngx.log('x')",
            "ngx.log('x' .. y)",
            "ngx.log()",
            "ngx.log(ngx.ERROR, 1)",
            "local log = ngx.log log({})",
            "ngx.log(tostring(x))",
            "local m = 'x' ngx.log(m)",
        ] {
            assert_eq!(found("log_without_level", text).len(), 1, "{text}");
        }
        for text in [
            "ngx.log(ngx.ERR)",
            "ngx.log(level, 'x')",
            "ngx.log(4, 'x')",
            "ngx.log('4', 'x')",
            "ngx.log(...)",
            "ngx.log(x and ngx.ERR or ngx.WARN)",
            "ngx.log(ngx[name], 1)",
            "local ngx = {} ngx.log('x')",
        ] {
            assert!(found("log_without_level", text).is_empty(), "{text}");
        }
    }
}
