//! Semicolons that end nothing.

use rsty_diag::{Applicability, Fix, Severity};

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::StatKind;

pub(super) static RULE: Rule = Rule {
    id: "empty_statement",
    group: Group::Style,
    severity: Severity::Note,
    summary: "a semicolon ends no statement",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A semicolon stands where no statement is before it.

```lua
f();;                                    -- finding: the second one
f();                                     -- good
```

Fix: it is removed.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for stat in chunk.tree.stats.iter().filter(|stat| matches!(stat.kind, StatKind::Empty)) {
        let finding = sink.report(chunk, stat.range, "this semicolon ends no statement");
        if chunk.map.is_plain() {
            let edits = vec![(chunk.span(stat.range), Vec::new())];
            finding.mend(Fix { title: "remove it".into(), edits, applicability: Applicability::Safe });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn only_stray_ones_are_told() {
        assert_eq!(found("empty_statement", "f();; if x then ; end"), ["1:5", "1:17"]);
        assert!(found("empty_statement", "f(); local a = 1; return a;").is_empty());
    }
}
