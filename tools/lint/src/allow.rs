//! Comments that allow what is there today: `-- rsty: allow(rule)`.

use std::collections::BTreeMap;

use rsty_diag::{Source, Span};

use crate::finding::Finding;
use crate::rules;
use crate::settings::Settings;
use crate::{Input, check};

/// Where a comment that allows a rule at `offset` goes, and its text.
pub fn comment(source: &Source, offset: usize, rule: &str) -> (usize, String) {
    place(source, offset, &[rule])
}

/// Behind the line's code where nothing on the line speaks against it, else on a line of its own before it.
fn place(source: &Source, offset: usize, rules: &[&str]) -> (usize, String) {
    let line = source.location(offset).line;
    let start = source.line_start(line).unwrap_or_default();
    let text = source.bytes().get(start..).unwrap_or_default();
    let text = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let code = text.trim_ascii_end();
    let list = rules.join(", ");
    // A comment or a long string on the line may reach over its end.
    let simple = !code.windows(2).any(|pair| matches!(pair, b"--" | b"[[" | b"[=" | b"]]" | b"=]"))
        && !matches!(code.last(), Some(b'\\' | b'}'));
    if simple {
        return (start + code.len(), format!(" -- rsty: allow({list})"));
    }
    let indentation: Vec<u8> = text.iter().copied().take_while(|byte| matches!(byte, b' ' | b'\t')).collect();
    (start, format!("{}-- rsty: allow({list})\n", String::from_utf8_lossy(&indentation)))
}

/// The text with comments that allow all its findings, and how many findings that are. `None` where there are none, or
/// where no comment can be put, as in quoted code.
pub fn all(input: &Input, findings: &[Finding], settings: &Settings) -> Option<(Vec<u8>, usize)> {
    let mut lines: BTreeMap<usize, Vec<&Finding>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| rules::find(finding.rule).is_some()) {
        lines.entry(input.source.location(finding.span.start).line).or_default().push(finding);
    }
    let edit = |findings: &[&Finding]| {
        let mut rules: Vec<&str> = findings.iter().map(|finding| finding.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        findings.first().map(|first| place(&input.source, first.span.start, &rules))
    };
    let edits: Vec<(usize, String)> = lines.values().filter_map(|findings| edit(findings)).collect();
    let text = applied(input.source.bytes(), &edits);
    let left = |text: Vec<u8>| {
        let source = Source::new(input.source.path(), text);
        check(&Input { source, kind: input.kind }, settings).len()
    };
    // Where a comment did not help (it stands in a string, say), the others are tried one by one.
    let before = findings.len();
    let after = left(text.clone());
    if after == findings.len() - lines.values().map(Vec::len).sum::<usize>() {
        return (after < before).then(|| (text, before - after));
    }
    let (mut kept, mut best) = (Vec::new(), before);
    for edit in edits.into_iter().take(ONE_BY_ONE_MAX) {
        kept.push(edit);
        let now = left(applied(input.source.bytes(), &kept));
        if now < best {
            best = now;
        } else {
            kept.pop();
        }
    }
    (best < before).then(|| (applied(input.source.bytes(), &kept), before - best))
}

/// Comments that are tried one by one; each costs a look at the whole file.
const ONE_BY_ONE_MAX: usize = 1_000;

fn applied(text: &[u8], edits: &[(usize, String)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + edits.len() * 40);
    let mut copied = 0;
    for (at, comment) in edits {
        out.extend_from_slice(text.get(Span::new(copied, *at).range()).unwrap_or_default());
        out.extend_from_slice(comment.as_bytes());
        copied = *at;
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InputKind;

    fn allowed(text: &str, kind: InputKind) -> Option<String> {
        let input = Input { source: Source::new("a", text), kind };
        let settings = Settings::default();
        let findings = check(&input, &settings);
        let (text, count) = all(&input, &findings, &settings)?;
        assert_eq!(count, findings.len());
        let source = Source::new("a", text.clone());
        assert!(check(&Input { source, kind }, &settings).is_empty());
        Some(String::from_utf8(text).expect("text"))
    }

    #[test]
    fn comments_go_behind_the_code_or_before_it() {
        let text = allowed("x = y\n  z = [[\n]]\n", InputKind::Lua).expect("changed");
        let expected = "x = y -- rsty: allow(undeclared_global, undefined_global)\n  -- rsty: allow(undeclared_global)\n  z = [[\n]]\n";
        assert_eq!(text, expected);
        assert_eq!(allowed("return 1\n", InputKind::Lua), None);
    }

    #[test]
    fn embedded_code_takes_them_too() {
        let text = allowed("init_by_lua_block {\n    x = 1\n}\n", InputKind::Configuration).expect("changed");
        assert_eq!(text, "init_by_lua_block {\n    x = 1 -- rsty: allow(undeclared_global)\n}\n");
    }
}
