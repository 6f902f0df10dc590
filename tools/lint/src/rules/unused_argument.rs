//! Parameters and loop variables that nobody reads.

use rsty_diag::Severity;

use super::unused_local::is_unwanted;
use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::LocalKind;

pub(super) static RULE: Rule = Rule {
    id: "unused_argument",
    group: Group::Unused,
    severity: Severity::Note,
    summary: "a parameter or loop variable is never read",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A parameter or a loop's variable is never read. Name it `_` (or start its name with `_`) if it must be there.

```lua
local function handler(id, reason)       -- finding for `reason`
    return delete(id)
end

for i, item in ipairs(items) do          -- finding for `i`; write `_`
    print(item)
end
```

Good:

```lua
local function handler(_, id)
    return delete(id)
end
```

`self` of a function declared with a colon is never reported, nor is a parameter before one that is read.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    for (index, local) in tree.locals.iter().enumerate() {
        let what = match local.kind {
            LocalKind::Parameter => "parameter",
            LocalKind::Loop => "loop variable",
            _ => continue,
        };
        let following = tree.locals.iter().skip(index + 1).take_while(|next| {
            next.kind == local.kind && next.function == local.function && next.range.start - local.range.end < 200
        });
        let mut following = following.filter(|_| local.kind == LocalKind::Parameter);
        if local.reads == 0 && !is_unwanted(chunk, local) && !following.any(|next| next.reads > 0) {
            let name = chunk.text(local.name);
            sink.report(chunk, local.range, format!("the {what} `{name}` is never read"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn trailing_parameters_and_loop_variables_are_told() {
        assert_eq!(found("unused_argument", "local function f(a, b, c) return b end"), ["1:24"]);
        assert_eq!(found("unused_argument", "for i, v in pairs(t) do print(v) end"), ["1:5"]);
        assert!(found("unused_argument", "function m:f(_, _x) end for _ = 1, 2 do end").is_empty());
    }
}
