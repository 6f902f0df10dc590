//! Connections that nobody looked at.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprId, ExprKind, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "unchecked_connect",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "nobody looks at whether `connect` succeeded",
    page: PAGE,
    check,
};

const PAGE: &str = "\
`connect` returns `nil` and an error where it fails, and it will fail one day. Code that goes on without looking gets
«closed» from the next call, far from the cause.

```lua
local sock = ngx.socket.tcp()
sock:connect(\"127.0.0.1\", 6379)          -- finding
local ok, err = sock:connect(host, 80)   -- good: `err` is read
return ok, err
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    for stat in &tree.stats {
        match stat.kind {
            StatKind::Call(call) if is_connect(chunk, call) => {
                sink.report(chunk, tree.expr(call).range, "nobody looks at whether `connect` succeeded");
            }
            StatKind::Local { locals, values } if values.len() == 1 => {
                let unread = tree.local_list(locals).all(|local| tree.local(local).reads == 0);
                if let Some(call) = tree.expr_list(values).next()
                    && unread
                    && is_connect(chunk, call)
                {
                    sink.report(chunk, tree.expr(call).range, "nobody looks at whether `connect` succeeded");
                }
            }
            _ => {}
        }
    }
}

/// Whether the call is `s:connect(…)` of a socket made here.
fn is_connect(chunk: &Chunk<'_>, call: ExprId) -> bool {
    let tree = chunk.tree;
    let ExprKind::MethodCall { object, method, .. } = tree.expr(call).kind else { return false };
    if tree.name(method) != b"connect" {
        return false;
    }
    let ExprKind::Call { callee, .. } = tree.expr(chunk.original(object)).kind else { return false };
    chunk.path(callee).is_some_and(|path| matches!(path.as_str(), "ngx.socket.tcp" | "ngx.socket.stream"))
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn results_nobody_reads_are_told() {
        assert_eq!(found("unchecked_connect", "local s = ngx.socket.tcp() s:connect('h', 1)"), ["1:28"]);
        assert_eq!(found("unchecked_connect", "local s = ngx.socket.tcp() local ok = s:connect('h', 1)"), ["1:39"]);
        for text in [
            "local ok, err = s:connect('h', 1) print(err)",
            "if not s:connect('h', 1) then return end",
            "return s:connect()",
        ] {
            assert!(found("unchecked_connect", &format!("local s = ngx.socket.tcp() {text}")).is_empty(), "{text}");
        }
        assert!(found("unchecked_connect", "local s = mine() s:connect('h', 1)").is_empty());
    }
}
