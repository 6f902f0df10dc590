//! Blocks without statements.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{BlockId, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "empty_block",
    group: Group::Style,
    severity: Severity::Note,
    summary: "a branch or `do` block is empty",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A branch of an `if`, or a `do` block, has no statement.

```lua
if not ok then                           -- finding: the error is dropped
end
```

Good:

```lua
if not ok then
    return nil, err
end
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let is_empty = |block: BlockId| tree.block(block).stats.is_empty();
    for stat in &tree.stats {
        match stat.kind {
            StatKind::Do(body) if is_empty(body) => {
                sink.report(chunk, stat.range, "this block is empty");
            }
            StatKind::If { arms, otherwise } => {
                for (condition, _) in tree.arms(arms).filter(|(_, block)| is_empty(*block)) {
                    sink.report(chunk, tree.expr(condition).range, "the branch for this condition is empty");
                }
                if otherwise.is_some_and(is_empty) {
                    sink.report(chunk, stat.range, "the `else` of this statement is empty");
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn empty_branches_are_told() {
        assert_eq!(found("empty_block", "if a then elseif b then c() else end do end"), ["1:1", "1:4", "1:38"]);
        assert!(found("empty_block", "if a then b() end while x do end").is_empty());
    }
}
