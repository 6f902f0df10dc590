//! Functions that LuaJIT does not compile, called in loops.

use std::collections::HashSet;
use std::sync::OnceLock;

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

Good:

```lua
for _, line in ipairs(lines) do
    local key = ngx.re.match(line, [[^(\\w+)]], \"jo\")
    table.insert(keys, key)
end
```

Which functions have one is read from LuaJIT's own table: `pairs`, `next`, `table.insert`, `string.format` and `pcall` do
compile.
";

/// One line a function: file of LuaJIT's source, function, kind, `NYI` where the recorder does not know it.
const FAST_FUNCTIONS: &str = include_str!("../standard/fast-functions.tsv");

/// They end the loop.
const LEAVING: [&str; 2] = ["error", "os.exit"];

/// A plain C function, which is no fast function.
const PLAIN: &str = "require";

/// Functions without a recorder, by the name that scripts use.
fn uncompiled() -> &'static HashSet<String> {
    static UNCOMPILED: OnceLock<HashSet<String>> = OnceLock::new();
    UNCOMPILED.get_or_init(|| {
        let row = |line: &str| {
            let mut columns = line.split('\t');
            let (library, function) = (columns.next()?.strip_prefix("lib_")?, columns.next()?);
            let internal = ["_aux", "_method_", "__", "_util_"].iter().any(|part| function.contains(part));
            let known = columns.nth(1)? != "NYI";
            let base = library == "base.c" && !function.starts_with("coroutine_");
            let name = if base { function.to_owned() } else { function.replacen('_', ".", 1) };
            (!internal && !known && !LEAVING.contains(&name.as_str())).then_some(name)
        };
        FAST_FUNCTIONS.lines().filter_map(row).chain([PLAIN.to_owned()]).collect()
    })
}

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for call in &chunk.calls {
        let expr = chunk.tree.expr(call.expr);
        let name = chunk.callee(call);
        if expr.loops > 0 && uncompiled().contains(name) {
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
    use super::uncompiled;
    use crate::testing::found;

    #[test]
    fn the_list_is_read() {
        for name in ["string.match", "coroutine.wrap", "unpack", "os.time", "require", "io.open", "table.sort"] {
            assert!(uncompiled().contains(name), "{name}");
        }
        for name in ["pairs", "string.find", "table.insert", "error", "os.exit", "io.method.read"] {
            assert!(!uncompiled().contains(name), "{name}");
        }
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
