//! Lines that are too long.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::Range;

pub(super) static RULE: Rule = Rule {
    id: "long_line",
    group: Group::Format,
    severity: Severity::Note,
    summary: "a line is too long",
    page: PAGE,
    check,
};

const PAGE: &str = "\
The line has more characters than `max-line-length` allows (120 unless configured; OpenResty's own libraries keep to 80).

```lua
-- with max-line-length = 40
local message = \"this line is too long for it\"   -- finding
```

Good:

```lua
-- with max-line-length = 40
local message = \"two lines are \"
    .. \"easier to read\"
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let (text, limit) = (chunk.tree.text, sink.settings.max_line_length);
    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', text).chain(std::iter::once(text.len())) {
        let line = text.get(start..newline).unwrap_or_default();
        if line.len() > limit {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // Bytes that go on with a character are not counted.
            let characters = line.iter().enumerate().filter(|(_, byte)| **byte & 0xc0 != 0x80);
            let count = characters.clone().count();
            if count > limit {
                let over = characters.map(|(at, _)| at).nth(limit).unwrap_or(limit);
                let range = Range { start: (start + over) as u32, end: (start + line.len()) as u32 };
                sink.report(chunk, range, format!("the line has {count} characters, more than {limit}"));
            }
        }
        start = newline + 1;
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found_with;

    #[test]
    fn characters_are_counted() {
        let limit = |settings: &mut crate::settings::Settings| settings.max_line_length = 10;
        assert_eq!(found_with("long_line", "a = 1\nb = '12345'\nc = '1234'\nd = 'äöüß'", limit), ["2:11"]);
    }
}
