//! Loops that never come to a second turn.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::flow::solve::{State, forward};
use crate::lua::tree::StatKind;

pub(super) static RULE: Rule = Rule {
    id: "loop_runs_once",
    group: Group::Unused,
    severity: Severity::Warning,
    summary: "a loop never comes to its second turn",
    page: PAGE,
    check,
};

const PAGE: &str = "\
Every way through the loop's body leaves it. Either the loop is not needed or a condition is missing.

```lua
for _, peer in ipairs(peers) do          -- finding
    local ok = try(peer)
    if ok then
        return peer
    else
        break                            -- the second peer is never tried
    end
end
```

Good:

```lua
for _, peer in ipairs(peers) do
    if try(peer) then
        return peer
    end
end
```

`repeat … until true` and `for k in pairs(t) do return k end` (the first key of a table) are left alone.
";

#[derive(Clone)]
struct Reached;

impl State for Reached {
    fn join(&mut self, _: &Self) -> bool {
        false
    }
}

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    if !tree
        .stats
        .iter()
        .any(|stat| stat.loops > 0 && matches!(stat.kind, StatKind::Break | StatKind::Return(_) | StatKind::Goto(_)))
    {
        return;
    }
    let flow = chunk.flow();
    let mut loops = flow.loops.iter().peekable();
    let mut reached: Vec<bool> = Vec::new();
    while let Some(first) = loops.next() {
        let steps = flow.steps(first.function);
        reached.clear();
        reached.resize(steps.len(), false);
        forward(steps, Reached, |_, _, _, _| {}, |index, _, _| reached[index] = true);
        let mut judge = |end: &crate::flow::LoopEnd| {
            let stat = tree.stat(end.stat);
            let takes_first = match stat.kind {
                StatKind::GenericFor { body, .. } => tree.block_stats(body).len() == 1,
                _ => false,
            };
            if !takes_first && !reached.get(end.back as usize).copied().unwrap_or(true) {
                let line =
                    crate::lua::tree::Range { start: stat.range.start, end: stat.range.start + keyword(stat.kind) };
                sink.report(chunk, line, "this loop never comes to its second turn");
            }
        };
        judge(first);
        while let Some(end) = loops.next_if(|end| end.function == first.function) {
            judge(end);
        }
    }
}

fn keyword(kind: StatKind) -> u32 {
    match kind {
        StatKind::Repeat { .. } => 6,
        StatKind::While { .. } => 5,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn loops_without_a_way_back_are_told() {
        assert_eq!(found("loop_runs_once", "while x do f() break end"), ["1:1"]);
        assert_eq!(found("loop_runs_once", "for i = 1, 2 do if x then return else break end end"), ["1:1"]);
    }

    #[test]
    fn other_loops_are_not() {
        for text in [
            "while x do if y then break end end",
            "for k in pairs(t) do return k end",
            "repeat f() until true",
            "while x do goto continue ::continue:: end",
        ] {
            assert!(found("loop_runs_once", text).is_empty(), "{text}");
        }
    }
}
