//! Functions that LuaJIT does not compile, called in loops.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::ExprKind;

pub(super) static RULE: Rule = Rule {
    id: "uncompiled_in_loop",
    group: Group::Performance,
    severity: Severity::Note,
    summary: "a loop calls what LuaJIT can't compile",
    page: PAGE,
    check,
};

const PAGE: &str = "\
The loop calls a function for which OpenResty's LuaJIT has no recorder, or makes a closure. The loop's trace ends
there and goes on in the interpreter.

```lua
for _, line in ipairs(lines) do
    local key = string.match(line, \"^(%w+)\")    -- finding; `ngx.re.match` with \"jo\" compiles
    on_done(function() return key end)           -- finding: a closure a turn
end
```

The list was measured, not collected: `pairs`, `next`, `table.insert`, `string.format` and `pcall` do compile.
";

/// Functions without a recorder in LuaJIT 2.1 as OpenResty builds it.
const UNCOMPILED: &[&str] = &[
    "collectgarbage",
    "coroutine.create",
    "coroutine.resume",
    "coroutine.status",
    "coroutine.wrap",
    "coroutine.yield",
    "dofile",
    "error",
    "io.lines",
    "io.open",
    "io.popen",
    "io.read",
    "load",
    "loadfile",
    "loadstring",
    "newproxy",
    "os.clock",
    "os.date",
    "os.execute",
    "os.getenv",
    "os.remove",
    "os.rename",
    "os.time",
    "os.tmpname",
    "print",
    "require",
    "setfenv",
    "string.dump",
    "string.gmatch",
    "string.gsub",
    "string.match",
    "table.maxn",
    "table.pack",
    "table.sort",
    "unpack",
];

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for call in &chunk.calls {
        let expr = chunk.tree.expr(call.expr);
        let name = chunk.callee(call);
        if expr.loops > 0 && UNCOMPILED.binary_search(&name).is_ok() {
            let name = name.to_owned();
            sink.report(chunk, expr.range, format!("`{name}` in a loop is not compiled"));
        }
    }
    for expr in &chunk.tree.exprs {
        if expr.loops > 0 && matches!(expr.kind, ExprKind::Function(_)) {
            sink.report(chunk, expr.range, "making a closure in a loop is not compiled");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::UNCOMPILED;
    use crate::testing::found;

    #[test]
    fn the_list_is_sorted() {
        assert!(UNCOMPILED.is_sorted());
    }

    #[test]
    fn only_loops_are_looked_at() {
        assert_eq!(
            found("uncompiled_in_loop", "for i = 1, 2 do unpack(t) f(function() unpack(t) end) end"),
            ["1:17", "1:29"]
        );
        assert!(found("uncompiled_in_loop", "unpack(t) for k in pairs(t) do t.insert(k) next(t) end").is_empty());
    }
}
