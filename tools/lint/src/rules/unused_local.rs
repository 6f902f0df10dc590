//! Locals that nobody reads.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprKind, Local, LocalKind};

pub(super) static RULE: Rule = Rule {
    id: "unused_local",
    group: Group::Unused,
    severity: Severity::Warning,
    summary: "a local variable is never read",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A local variable or function is never read. Often another variable was meant, or the code that used it is gone.

```lua
local size = #items                      -- finding: never read
local ok, err = pcall(f)                 -- fine for `ok` if `err` is read
return err
```

Good:

```lua
local size = #items
return size
```

A name that starts with `_` says that the value is not wanted. Values of a call that come before one that is
read are not reported.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    for (index, local) in tree.locals.iter().enumerate() {
        let kind = match local.kind {
            LocalKind::Variable => "variable",
            LocalKind::Function => "function",
            _ => continue,
        };
        if local.reads > 0 || is_unwanted(chunk, local) || is_needed_for_later(chunk, index) {
            continue;
        }
        let name = chunk.text(local.name);
        let what = if local.writes > 0 { "is assigned but never read" } else { "is never read" };
        sink.report(chunk, local.range, format!("the local {kind} `{name}` {what}"));
    }
}

/// Whether the name itself says that the value is not wanted.
pub(super) fn is_unwanted(chunk: &Chunk<'_>, local: &Local) -> bool {
    chunk.tree.name(local.name).starts_with(b"_")
}

/// Whether the same call gives a later local that is read: `local ok, err = f()` with `err` only.
fn is_needed_for_later(chunk: &Chunk<'_>, index: usize) -> bool {
    let tree = chunk.tree;
    let Some(local) = tree.locals.get(index) else { return false };
    let is_call = local.value.is_none_or(|value| {
        matches!(tree.expr(value).kind, ExprKind::Call { .. } | ExprKind::MethodCall { .. } | ExprKind::Dots)
    });
    let later = tree.locals.iter().skip(index + 1);
    let mut siblings = later.take_while(|next| next.kind == LocalKind::Variable && next.value.is_none());
    is_call && siblings.any(|next| next.reads > 0 && next.function == local.function && near(local, next))
}

/// Whether two declarations stand in one statement; they are not far apart then.
fn near(a: &Local, b: &Local) -> bool {
    b.range.start - a.range.end < 200
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn what_nobody_reads_is_told() {
        assert_eq!(found("unused_local", "local a, b = 1, 2\nlocal function f() end\nreturn b"), ["1:7", "2:16"]);
        assert_eq!(found("unused_local", "local a; a = 1"), ["1:7"]);
    }

    #[test]
    fn what_is_read_or_unwanted_is_not() {
        assert!(found("unused_local", "local _, b = f() return function() return b end").is_empty());
        assert!(found("unused_local", "local ok, err = pcall(f) return err").is_empty());
    }
}
