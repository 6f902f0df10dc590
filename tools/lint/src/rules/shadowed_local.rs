//! Locals that hide others.

use rsty_diag::Severity;

use super::unused_local::is_unwanted;
use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::LocalKind;

pub(super) static RULE: Rule = Rule {
    id: "shadowed_local",
    group: Group::Style,
    severity: Severity::Note,
    summary: "a local has the name of another one that is in scope",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A local hides another one of the same name. Code below may mean the hidden one.

```lua
local err
for _, host in ipairs(hosts) do
    local ok, err = connect(host)        -- finding: hides the outer `err`, which stays nil
end
return err
```

Good:

```lua
local ok, err
for _, host in ipairs(hosts) do
    ok, err = connect(host)
end
return ok, err
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for local in &chunk.tree.locals {
        let Some(hidden) = local.shadows.map(|id| chunk.tree.local(id)) else { continue };
        if is_unwanted(chunk, local) || local.kind == LocalKind::SelfParameter {
            continue;
        }
        let name = chunk.text(local.name);
        sink.report(chunk, local.range, format!("the local `{name}` hides another one")).note(
            chunk,
            hidden.range,
            "this one is hidden",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn hiding_is_told_at_the_inner_one() {
        assert_eq!(found("shadowed_local", "local a\ndo local a end\nlocal function f(a) end"), ["2:10", "3:18"]);
        assert!(found("shadowed_local", "do local a end local a local _ local _").is_empty());
    }
}
