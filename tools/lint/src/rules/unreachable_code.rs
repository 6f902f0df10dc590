//! Statements that never run.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{BlockId, ExprKind, StatId, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "unreachable_code",
    group: Group::Unused,
    severity: Severity::Warning,
    summary: "code can never run",
    page: PAGE,
    check,
};

const PAGE: &str = "\
No way leads to the statement: every way before it returns, breaks or jumps.

```lua
if ok then
    return 1
else
    return 2
end
log(\"done\")                              -- finding
```

Good:

```lua
log(\"done\")
if ok then
    return 1
end
return 2
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    // Blocks and statements come children first, so what a statement consists of is known when it is its turn.
    let mut ends = vec![false; tree.stats.len()];
    let breaks = blocks_with_break(chunk);
    // A jump may leave a loop; where any is, loops count as left.
    let jumps = tree.stats.iter().any(|stat| matches!(stat.kind, StatKind::Goto(_)));
    let block_ends = |ends: &[bool], block: BlockId| tree.block_stats(block).any(|id| ends[id.index()]);
    for (index, stat) in tree.stats.iter().enumerate() {
        ends[index] = match stat.kind {
            StatKind::Return(_) | StatKind::Break | StatKind::Goto(_) => true,
            StatKind::Do(body) => block_ends(&ends, body),
            StatKind::If { arms, otherwise } => {
                otherwise.is_some_and(|block| block_ends(&ends, block))
                    && tree.arms(arms).all(|(_, block)| block_ends(&ends, block))
            }
            StatKind::While { condition, body } => {
                tree.expr(condition).kind == ExprKind::True && !breaks[body.index()] && !jumps
            }
            _ => false,
        };
    }
    for block in 0..tree.blocks.len() {
        let mut stats = tree.block_stats(BlockId(block as u32));
        let after = stats.by_ref().find(|id| ends[id.index()]);
        let live = |id: &StatId| !matches!(tree.stat(*id).kind, StatKind::Empty);
        if after.is_some()
            && let Some(dead) = stats.find(live)
            && !matches!(tree.stat(dead).kind, StatKind::Label(_))
        {
            sink.report(chunk, tree.stat(dead).range, "this code can never run");
        }
    }
}

/// For each block: whether a `break` in it, outside inner loops, leaves it.
fn blocks_with_break(chunk: &Chunk<'_>) -> Vec<bool> {
    let tree = chunk.tree;
    let mut found = vec![false; tree.blocks.len()];
    // Inner blocks stand before outer ones.
    for block in 0..tree.blocks.len() {
        found[block] = tree.block_stats(BlockId(block as u32)).any(|id| match tree.stat(id).kind {
            StatKind::Break => true,
            StatKind::Do(body) => found[body.index()],
            StatKind::If { arms, otherwise } => {
                otherwise.is_some_and(|block| found[block.index()]) || tree.arms(arms).any(|(_, b)| found[b.index()])
            }
            _ => false,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn what_follows_the_end_of_all_ways_is_told() {
        assert_eq!(found("unreachable_code", "if x then return else return end\ny()"), ["2:1"]);
        assert_eq!(found("unreachable_code", "do return end y() z()"), ["1:15"]);
        assert_eq!(found("unreachable_code", "while true do f() end\ny()"), ["2:1"]);
        assert_eq!(found("unreachable_code", "while x do do break end\ny() end"), ["2:1"]);
    }

    #[test]
    fn open_ways_are_not() {
        for text in [
            "if x then return end y()",
            "while true do if x then break end end y()",
            "while x do return end y()",
            "goto a; ::a:: y()",
            "repeat return until x",
        ] {
            assert!(found("unreachable_code", text).is_empty(), "{text}");
        }
    }
}
