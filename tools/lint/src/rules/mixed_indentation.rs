//! Spaces before tabs.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::Range;

pub(super) static RULE: Rule = Rule {
    id: "mixed_indentation",
    group: Group::Format,
    severity: Severity::Note,
    summary: "a line's indentation has a space before a tab",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A space before a tab in the indentation looks different in each editor.

```lua
  \tlocal a = 1                          -- finding
```

Good:

```lua
    local a = 1
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let text = chunk.tree.text;
    for found in memchr::memmem::find_iter(text, b" \t") {
        let line = text.get(..found).and_then(|head| memchr::memrchr(b'\n', head)).map_or(0, |newline| newline + 1);
        let before = text.get(line..found).unwrap_or_default();
        if before.iter().all(|byte| matches!(byte, b' ' | b'\t')) && !before.windows(2).any(|pair| pair == b" \t") {
            let range = Range { start: line as u32, end: found as u32 + 2 };
            sink.report(chunk, range, "the indentation has a space before a tab");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn only_indentation_is_looked_at() {
        assert_eq!(found("mixed_indentation", "a = 1\n \tb = 2\n\tc = 3"), ["2:1"]);
        assert!(found("mixed_indentation", "a = 1 \tb = 2").is_empty());
    }
}
