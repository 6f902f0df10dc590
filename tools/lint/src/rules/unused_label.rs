//! Labels that no `goto` uses.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;

pub(super) static RULE: Rule = Rule {
    id: "unused_label",
    group: Group::Unused,
    severity: Severity::Warning,
    summary: "a label is never used",
    page: PAGE,
    check,
};

const PAGE: &str = "\
No `goto` leads to the label.

```lua
for _, item in ipairs(items) do
    ::continue::                         -- finding
end
```

Good:

```lua
for _, item in ipairs(items) do
    if not item.wanted then
        goto continue
    end
    work(item)
    ::continue::
end
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for (name, range) in &chunk.tree.unused_labels {
        sink.report(chunk, *range, format!("the label `{}` is never used", chunk.text(*name)));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn labels_without_goto_are_told() {
        assert_eq!(found("unused_label", "::a:: do goto b end ::b::"), ["1:3"]);
        assert!(found("unused_label", "::a:: goto a").is_empty());
    }
}
