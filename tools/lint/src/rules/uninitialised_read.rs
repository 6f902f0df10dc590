//! Locals that are read before they have a value.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::flow::solve::{Slots, forward};
use crate::flow::{How, Step};
use crate::lua::tree::{FunctionId, LocalKind};

pub(super) static RULE: Rule = Rule {
    id: "uninitialised_read",
    group: Group::Unused,
    severity: Severity::Warning,
    summary: "a local is read before it gets a value",
    page: PAGE,
    check,
};

const PAGE: &str = "\
On every way to this place the local was declared without a value and got none since: it is `nil` here.

```lua
local port
connect(host, port)                      -- finding: `port` is nil
port = tonumber(ngx.var.server_port)

local total                              -- finding: nobody ever gives it a value
return total
```

Good:

```lua
local port = tonumber(ngx.var.server_port)
connect(host, port)
```

Locals that functions inside use are left alone, as they may get their value there.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut interesting = vec![false; tree.functions.len()];
    for local in
        tree.locals.iter().filter(|local| local.kind == LocalKind::Variable && !local.captured && local.reads > 0)
    {
        if local.value.is_none() {
            interesting[local.function.index()] |= local.writes > 0;
        }
    }
    for stat in &tree.stats {
        let crate::lua::tree::StatKind::Local { locals, values } = stat.kind else { continue };
        if !values.is_empty() {
            continue;
        }
        for local in tree.local_list(locals).map(|id| tree.local(id)) {
            if local.writes == 0 && local.reads > 0 {
                let name = chunk.text(local.name);
                sink.report(chunk, local.range, format!("the local `{name}` never gets a value"));
            }
        }
    }
    for function in (0..tree.functions.len()).filter(|index| interesting[*index]) {
        function_reads(chunk, FunctionId(function as u32), sink);
    }
}

fn function_reads(chunk: &Chunk<'_>, function: FunctionId, sink: &mut Sink<'_>) {
    let (tree, flow) = (chunk.tree, chunk.flow());
    forward(
        flow.steps(function),
        Slots::default(),
        |_, step, _, given| {
            if let Step::Write(write) = step {
                let slot = flow.slot(write.local);
                if write.how == How::Not { given.remove(slot) } else { given.insert(slot) }
            }
        },
        |_, step, given| {
            let Step::Read { local: id, expr } = step else { return };
            let local = tree.local(*id);
            let own = local.function == function && !local.captured && local.kind == LocalKind::Variable;
            if own && local.writes > 0 && !given.has(flow.slot(*id)) {
                let name = chunk.text(local.name);
                let range = tree.expr(*expr).range;
                sink.report(chunk, range, format!("the local `{name}` has no value yet")).note(
                    chunk,
                    local.range,
                    "declared here",
                );
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn reads_before_any_value_are_told() {
        assert_eq!(found("uninitialised_read", "local a print(a) a = 1"), ["1:15"]);
        assert_eq!(found("uninitialised_read", "local a if x then a = 1 else print(a) end"), ["1:36"]);
        assert_eq!(found("uninitialised_read", "local a return a"), ["1:7"]);
    }

    #[test]
    fn reads_that_may_see_one_are_not() {
        for text in [
            "local a if x then a = 1 end print(a)",
            "local a for i = 1, 2 do print(a) a = i end",
            "local a local function f() a = 1 end f() print(a)",
            "local a, b = f() print(b)",
            "local a = nil print(a) a = 1",
        ] {
            assert!(found("uninitialised_read", text).is_empty(), "{text}");
        }
    }
}
