//! `module(…)`.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;

pub(super) static RULE: Rule = Rule {
    id: "module_call",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "`module` makes a global and gives the file an environment of its own",
    page: PAGE,
    check,
};

const PAGE: &str = "\
`module(\"name\")` sets a global of that name, replaces the file's environment, and with `package.seeall` lets every user
of the module reach all globals through it. It was removed from Lua 5.2.

```lua
module(\"app.users\", package.seeall)      -- finding

local _M = {}                            -- good
function _M.find(id) end
return _M
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for call in chunk.calls.iter().filter(|call| chunk.callee(call) == "module") {
        let range = chunk.tree.expr(call.expr).range;
        sink.report(chunk, range, "`module` makes a global").help("return a table of functions at the file's end");
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn only_the_global_function_is_meant() {
        assert_eq!(found("module_call", "module('a', package.seeall)"), ["1:1"]);
        assert!(found("module_call", "local function module() end module('a')").is_empty());
    }
}
