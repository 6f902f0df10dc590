//! Values that are replaced before anybody reads them.

use rsty_diag::Severity;

use super::unused_local::is_unwanted;
use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::flow::solve::backward;
use crate::flow::{How, Step, Write, gives_many};
use crate::lua::tree::{ExprKind, FunctionId, LocalKind, Tree};

pub(super) static RULE: Rule = Rule {
    id: "unused_value",
    group: Group::Unused,
    severity: Severity::Warning,
    summary: "a value given to a local is never read",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A local gets a value, and on every way from there it gets another one or goes out of scope before it is read. Often the
wrong variable was assigned, or an error is dropped.

```lua
local ok, err = connect(host)            -- finding: this `ok` is never looked at
ok, err = send(data)
if not ok then
    return nil, err
end
```

Good:

```lua
local size = #body                       -- read before it changes
log(size)
size = size + 1
return size
```

Locals that functions inside use are left alone, as are `nil`, `false` and other placeholders in declarations, and values
of a call of which another one is read.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut interesting = vec![false; tree.functions.len()];
    for local in tree.locals.iter().filter(|local| local.writes > 0 && local.reads > 0 && !local.captured) {
        interesting[local.function.index()] = true;
    }
    for function in (0..tree.functions.len()).filter(|index| interesting[*index]) {
        function_values(chunk, FunctionId(function as u32), sink);
    }
}

fn function_values(chunk: &Chunk<'_>, function: FunctionId, sink: &mut Sink<'_>) {
    let (tree, flow) = (chunk.tree, chunk.flow());
    let steps = flow.steps(function);
    let mut lost: Vec<(usize, Write)> = Vec::new();
    let mut read: Vec<usize> = Vec::new();
    backward(
        steps,
        |step, live| match step {
            Step::Read { local, .. } => live.insert(flow.slot(*local)),
            Step::Write(write) => live.remove(flow.slot(write.local)),
            _ => {}
        },
        |index, step, live| {
            if let Step::Write(write) = step {
                if live.has(flow.slot(write.local)) { read.push(index) } else { lost.push((index, *write)) }
            }
        },
    );
    for (index, write) in lost {
        let local = tree.local(write.local);
        if local.captured
            || local.reads == 0
            || local.writes == 0
            || is_unwanted(chunk, local)
            || is_placeholder(tree, &write)
        {
            continue;
        }
        // Another value of the same call is read.
        let sibling = |other: usize| matches!(steps.get(other), Some(Step::Write(w)) if w.value == write.value);
        let spread = write.value.is_some_and(|value| gives_many(tree, value));
        if spread && read.iter().any(|other| other.abs_diff(index) < 16 && sibling(*other)) {
            continue;
        }
        let what = match local.kind {
            LocalKind::Parameter => "the value passed for",
            _ => "the value given to",
        };
        let name = chunk.text(local.name);
        sink.report(chunk, write.range, format!("{what} `{name}` is never read"));
    }
}

/// Whether the write only prepares the variable: `local x`, `local x = nil`, a loop's variable.
fn is_placeholder(tree: &Tree<'_>, write: &Write) -> bool {
    let constant =
        |kind| matches!(kind, ExprKind::Nil | ExprKind::False | ExprKind::True | ExprKind::Number | ExprKind::Text);
    let kind = write.value.map(|value| tree.expr(value).kind);
    match write.how {
        How::Not => true,
        How::Given => tree.local(write.local).kind != LocalKind::Parameter,
        How::Declared => {
            kind.is_none_or(|kind| constant(kind) || matches!(kind, ExprKind::Table(list) if list.is_empty()))
        }
        How::Assigned => kind == Some(ExprKind::Nil),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn values_that_nobody_reads_are_told() {
        assert_eq!(found("unused_value", "local a = f() a = g() return a"), ["1:7"]);
        assert_eq!(found("unused_value", "local function f(a) a = g() return a end"), ["1:18"]);
        assert_eq!(found("unused_value", "local a = f() print(a)\nif x then a = 1 end"), ["2:11"]);
        assert_eq!(found("unused_value", "local a = f() while a do a = 2 a = g() end"), ["1:26"]);
    }

    #[test]
    fn values_that_somebody_may_read_are_not() {
        for text in [
            "local a a = 1 return a",
            "local a = nil if x then a = 1 else a = 2 end return a",
            "local a = f() if x then a = g() end return a",
            "local a = f() local function h() return a end a = g() h()",
            "local a = f() for i = 1, 2 do print(a) a = i end",
            "local ok, err = f() print(ok, err) ok, err = g() return err",
            "local a = f() repeat local b = a a = g() until b",
            "local a = 1 ::top:: print(a) a = 2 goto top",
        ] {
            assert!(found("unused_value", text).is_empty(), "{text}");
        }
    }
}
