//! Blanks at the end of lines.

use rsty_diag::{Applicability, Fix, Severity};

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprKind, Range};

pub(super) static RULE: Rule = Rule {
    id: "trailing_blank",
    group: Group::Format,
    severity: Severity::Note,
    summary: "a line ends in blanks",
    page: PAGE,
    check,
};

const PAGE: &str = "\
Blanks at the end of a line show up in differences and nowhere else.

```lua
local a = 1   -- finding   \x20
```

Good:

```lua
local a = 1
```

Fix: they are removed, but not inside long strings, where they count.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut strings: Option<Vec<Range>> = None;
    for newline in memchr::memchr_iter(b'\n', tree.text).chain(std::iter::once(tree.text.len())) {
        let line = tree.text.get(..newline).unwrap_or_default();
        // CRLF is no blank.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !matches!(line.last(), Some(b' ' | b'\t')) {
            continue;
        }
        let start = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
        // The end of a snippet belongs to the text around it.
        if newline == tree.text.len() && !chunk.map.is_whole_file() {
            continue;
        }
        let range = Range { start: start as u32, end: line.len() as u32 };
        let strings = strings.get_or_insert_with(|| long_strings(chunk));
        let at = strings.partition_point(|string| string.start <= range.start);
        let inside = at > 0 && strings[at - 1].end > range.start;
        let empty = start == 0 || line.get(start - 1) == Some(&b'\n');
        let what = if inside {
            "a line of a string ends in blanks"
        } else if empty {
            "a line holds nothing but blanks"
        } else {
            "the line ends in blanks"
        };
        let finding = sink.report(chunk, range, what);
        if !inside && chunk.map.is_plain() {
            let edits = vec![(chunk.span(range), Vec::new())];
            finding.mend(Fix { title: "remove them".into(), edits, applicability: Applicability::Safe });
        }
    }
}

/// Strings of several lines, in the order of the text.
fn long_strings(chunk: &Chunk<'_>) -> Vec<Range> {
    let is_long = |text: &[u8]| memchr::memchr(b'\n', text).is_some();
    let texts = chunk.tree.exprs.iter().filter(|expr| expr.kind == ExprKind::Text).map(|expr| expr.range);
    texts.filter(|range| is_long(chunk.tree.slice(*range))).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{found, messages};

    #[test]
    fn blanks_at_line_ends_are_told() {
        assert_eq!(found("trailing_blank", "local a \n\t\nlocal b\r\nlocal c\t"), ["1:8", "2:1", "4:8"]);
        assert_eq!(messages("trailing_blank", "a = [[ \n]]"), ["a line of a string ends in blanks"]);
        assert!(found("trailing_blank", "local a\n\n").is_empty());
    }
}
