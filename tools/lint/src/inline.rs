//! Comments in the code that change what is reported.
//!
//! | comment | meaning |
//! |---|---|
//! | `-- rsty: allow(rule, …)` | behind code: for that line; on a line of its own: for the next one |
//! | `-- rsty: allow-file(rule, …)` | for the whole chunk |
//! | `-- luacheck: ignore …`, `globals …`, `push`, `pop` … | as luacheck reads them |
//! | `-- selene: allow(lint)` | for the next line; `-- # selene:` for the chunk |
//!
//! An `allow` of ours that suppresses nothing is itself reported.

use rsty_diag::{Applicability, Fix, Severity, Source, Span};

use crate::chunk::Chunk;
use crate::codes::{Filter, selene_rules};
use crate::finding::Finding;
use crate::lua::tree::{FunctionId, Range};
use crate::rules;
use crate::settings::Settings;

/// The id of findings about comments that suppress nothing.
pub(crate) const UNUSED_ALLOW: &str = "unused_allow";

/// The id of findings about comments that name a rule which is none.
pub(crate) const UNKNOWN_RULE: &str = "unknown_rule";

/// Comments that are looked at in one chunk; more can only be an attempt to keep the linter busy.
const REMARKS_MAX: usize = 10_000;

/// A part of the chunk in which some findings are not wanted.
struct Suppression {
    /// Where it holds, in the chunk.
    range: Range,
    what: What,
    /// The comment.
    remark: Range,
    used: bool,
}

enum What {
    All,
    Filter(Filter),
    Rules(Vec<String>),
}

/// Drops the findings (from index `from` on) that comments of the chunk suppress.
pub(crate) fn apply(chunk: &Chunk<'_>, source: &Source, settings: &Settings, findings: &mut Vec<Finding>, from: usize) {
    if chunk.tree.remarks.is_empty() {
        return;
    }
    let mut suppressions = read(chunk);
    suppressions.sort_by_key(|suppression| suppression.range.start);
    let places = Places::of(chunk, &suppressions);
    let mut index = 0;
    findings.retain(|finding| {
        index += 1;
        index <= from || !is_suppressed(source, finding, &mut suppressions, &places)
    });
    for suppression in &suppressions {
        let What::Rules(names) = &suppression.what else { continue };
        if !chunk.tree.slice(suppression.remark).trim_ascii_start().starts_with(b"rsty:") {
            continue;
        }
        let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|name| !is_known(name)).collect();
        findings.extend(unknown.iter().map(|name| unknown_rule(chunk, suppression.remark, name)));
        let looked_for = |name: &String| name == "all" || settings.is_on(name);
        if !suppression.used && unknown.is_empty() && names.iter().any(looked_for) {
            findings.push(Finding {
                rule: UNUSED_ALLOW,
                severity: Severity::Warning,
                message: format!("this comment suppresses nothing: allow({})", names.join(", ")),
                span: chunk.span(suppression.remark),
                help: Some("remove it".into()),
                notes: Vec::new(),
                global: None,
                field: None,
                fix: removal(chunk, suppression.remark),
            });
        }
    }
}

/// Whether a comment may name it: a rule, `all`, or what the linter says besides its rules.
fn is_known(name: &str) -> bool {
    matches!(name, "all" | UNUSED_ALLOW | rules::SYNTAX_ERROR) || rules::find(name).is_some()
}

fn unknown_rule(chunk: &Chunk<'_>, remark: Range, name: &str) -> Finding {
    let like = rsty_diag::closest(name, rules::ALL.iter().map(|rule| rule.id));
    Finding {
        rule: UNKNOWN_RULE,
        severity: Severity::Warning,
        message: format!("unknown rule `{}`", rsty_diag::render::printable(name.as_bytes())),
        span: chunk.span(remark),
        help: like.map(|like| format!("did you mean `{like}`?")),
        notes: Vec::new(),
        global: None,
        field: None,
        fix: None,
    }
}

/// Takes a comment of one line away, with the blanks before it; with its line where nothing else stands there.
fn removal(chunk: &Chunk<'_>, remark: Range) -> Option<Fix> {
    let text = chunk.tree.text;
    let dashes = remark.start.checked_sub(2)?;
    if !chunk.map.is_plain() || chunk.tree.slice(Range { start: dashes, end: remark.start }) != b"--" {
        return None;
    }
    let before = text.get(..dashes as usize)?;
    let kept = before.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
    let alone = kept == 0 || before.get(kept - 1) == Some(&b'\n');
    let line_end = u32::from(alone && text.get(remark.end as usize) == Some(&b'\n'));
    let span = chunk.span(Range { start: kept as u32, end: remark.end + line_end });
    Some(Fix {
        title: "remove the comment".into(),
        edits: vec![(span, Vec::new())],
        applicability: Applicability::Safe,
    })
}

/// Where suppressions hold, so that each finding asks only few of them.
struct Places {
    /// For each suppression its span in the file.
    spans: Vec<Span>,
    /// Those that hold for more than a line.
    wide: Vec<usize>,
    /// The others, by the start of their line.
    narrow: Vec<usize>,
}

/// Suppressions that hold for more than a line in one chunk; each finding asks all of them.
const WIDE_MAX: usize = 1_000;

impl Places {
    fn of(chunk: &Chunk<'_>, suppressions: &[Suppression]) -> Self {
        let spans = suppressions.iter().map(|suppression| chunk.span(suppression.range)).collect();
        let is_wide = |index: &usize| {
            let range = suppressions.get(*index).map(|suppression| suppression.range);
            range.is_some_and(|range| memchr::memchr(b'\n', chunk.tree.slice(range)).is_some())
        };
        let (mut wide, narrow): (Vec<usize>, Vec<usize>) = (0..suppressions.len()).partition(is_wide);
        wide.truncate(WIDE_MAX);
        Self { spans, wide, narrow }
    }

    fn start(&self, index: usize) -> usize {
        self.spans.get(index).map_or(0, |span| span.start)
    }

    /// The suppressions that may hold at a place: the wide ones, and those of its line.
    fn at(&self, offset: usize) -> impl Iterator<Item = usize> + '_ {
        let next = self.narrow.partition_point(|index| self.start(*index) <= offset);
        let before = self.narrow.get(..next).unwrap_or_default();
        let line = before.last().map_or(0, |index| self.start(*index));
        let near = before.iter().rev().take_while(move |index| self.start(**index) == line);
        let holds =
            move |index: &usize| self.spans.get(*index).is_some_and(|span| (span.start..=span.end).contains(&offset));
        self.wide.iter().chain(near).copied().filter(holds)
    }
}

fn is_suppressed(source: &Source, finding: &Finding, suppressions: &mut [Suppression], places: &Places) -> bool {
    let name = || match &finding.global {
        Some((_, name)) => name.clone(),
        None => String::from_utf8_lossy(source.slice(finding.span)).into_owned(),
    };
    let mut suppressed = false;
    for index in places.at(finding.span.start) {
        let Some(suppression) = suppressions.get_mut(index) else { continue };
        let hit = match &suppression.what {
            What::All => true,
            What::Filter(filter) => filter.matches(finding.rule, &name()),
            What::Rules(rules) => rules.iter().any(|rule| rule == finding.rule || rule == "all"),
        };
        suppression.used |= hit;
        suppressed |= hit;
    }
    suppressed
}

fn read(chunk: &Chunk<'_>) -> Vec<Suppression> {
    let tree = chunk.tree;
    let mut found = Vec::new();
    let mut pushed: Vec<(u32, usize)> = Vec::new();
    for (start, end) in tree.remarks.iter().take(REMARKS_MAX) {
        let remark = Range { start: *start, end: *end };
        let text = String::from_utf8_lossy(tree.slice(remark)).into_owned();
        let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '[' | ']' | '='));
        if let Some(body) = text.strip_prefix("luacheck:") {
            luacheck(chunk, remark, body, &mut found, &mut pushed);
        } else if let Some(body) = text.strip_prefix("rsty:") {
            let (range, list) = match body.trim().strip_prefix("allow-file") {
                Some(list) => (whole(chunk), list),
                None => (own_or_next_line(chunk, remark), body.trim().strip_prefix("allow").unwrap_or_default()),
            };
            let rules = names_in_parentheses(list);
            if !rules.is_empty() {
                found.push(Suppression { range, what: What::Rules(rules), remark, used: false });
            }
        } else {
            let file = text.starts_with('#');
            let body = text.trim_start_matches(['#', ' ']).strip_prefix("selene:").unwrap_or_default();
            let lints = names_in_parentheses(body.trim().strip_prefix("allow").unwrap_or_default());
            let rules: Vec<_> =
                lints.iter().flat_map(|lint| selene_rules(lint)).map(|rule| (*rule).to_owned()).collect();
            let range = if file { whole(chunk) } else { own_or_next_line(chunk, remark) };
            found.push(Suppression { range, what: What::Rules(rules), remark, used: false });
        }
    }
    found
}

/// `(a, b)` as a list.
fn names_in_parentheses(text: &str) -> Vec<String> {
    let body = text.trim().strip_prefix('(').and_then(|rest| rest.split(')').next()).unwrap_or_default();
    body.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

fn luacheck(
    chunk: &Chunk<'_>,
    remark: Range,
    body: &str,
    found: &mut Vec<Suppression>,
    pushed: &mut Vec<(u32, usize)>,
) {
    let range = luacheck_range(chunk, remark);
    // Text in parentheses is for people.
    let said: String = body
        .split('(')
        .enumerate()
        .map(|(n, part)| if n == 0 { part } else { part.split(')').nth(1).unwrap_or("") })
        .collect();
    for option in said.split(',') {
        let words: Vec<&str> = option.split_whitespace().collect();
        let filters: Vec<String> = match words.as_slice() {
            ["push"] => {
                pushed.push((remark.end, found.len()));
                continue;
            }
            ["pop"] => {
                let (_, from) = pushed.pop().unwrap_or((0, found.len()));
                for suppression in found.iter_mut().skip(from) {
                    suppression.range.end = suppression.range.end.min(remark.start);
                }
                continue;
            }
            ["ignore"] => {
                found.push(Suppression { range, what: What::All, remark, used: false });
                continue;
            }
            ["ignore", names @ ..] => names.iter().map(|name| (*name).to_owned()).collect(),
            ["globals" | "new_globals", names @ ..] | ["new", "globals", names @ ..] => {
                names.iter().map(|name| format!("1/{}", root(name))).collect()
            }
            ["read_globals", names @ ..] | ["read" | "new", "globals" | "read_globals", names @ ..] => {
                names.iter().flat_map(|name| [format!("113/{}", root(name)), format!("112/{}", root(name))]).collect()
            }
            ["no", "global"] => vec!["1".to_owned()],
            ["no", "unused"] => vec!["2".to_owned(), "3".to_owned()],
            ["no", "unused", "args"] | ["no", "unused_args"] => vec!["212".to_owned()],
            ["no", "redefined"] => vec!["4".to_owned()],
            _ => continue,
        };
        let suppressions = filters.iter().map(|filter| What::Filter(Filter::new(filter)));
        found.extend(suppressions.map(|what| Suppression { range, what, remark, used: false }));
    }
}

fn root(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Behind code: that line. Alone: up to the end of the function around it.
fn luacheck_range(chunk: &Chunk<'_>, remark: Range) -> Range {
    let line = line_of(chunk, remark.start);
    if has_code(chunk, line, remark) {
        return line;
    }
    // Functions stand in the order of their starts: the last one before the remark, or one around that one.
    let functions = &chunk.tree.functions;
    let mut around = functions.partition_point(|function| function.range.start <= remark.start).checked_sub(1);
    while let Some(function) = around.and_then(|index| functions.get(index)) {
        if function.range.contains(remark.start) {
            return Range { start: remark.start, end: function.range.end };
        }
        around = function.parent.map(FunctionId::index);
    }
    Range { start: remark.start, end: chunk.tree.text.len() as u32 }
}

fn own_or_next_line(chunk: &Chunk<'_>, remark: Range) -> Range {
    let line = line_of(chunk, remark.start);
    if has_code(chunk, line, remark) { line } else { line_of(chunk, line.end.max(remark.end).saturating_add(1)) }
}

fn has_code(chunk: &Chunk<'_>, line: Range, remark: Range) -> bool {
    let before = chunk.tree.slice(Range { start: line.start, end: remark.start });
    !before.iter().all(|byte| byte.is_ascii_whitespace() || matches!(byte, b'-' | b'[' | b'='))
}

fn whole(chunk: &Chunk<'_>) -> Range {
    Range { start: 0, end: chunk.tree.text.len() as u32 }
}

fn line_of(chunk: &Chunk<'_>, at: u32) -> Range {
    let text = chunk.tree.text;
    let at = (at as usize).min(text.len());
    let start = text.get(..at).and_then(|head| memchr::memrchr(b'\n', head)).map_or(0, |newline| newline + 1);
    let end = text.get(at..).and_then(|tail| memchr::memchr(b'\n', tail)).map_or(text.len(), |length| at + length);
    Range { start: start as u32, end: end as u32 }
}

#[cfg(test)]
mod tests {
    use crate::testing::findings_with;

    fn lines(text: &str) -> Vec<String> {
        let (source, findings) = findings_with("globals", text, |_| {});
        findings.iter().map(|f| format!("{}:{}", source.location(f.span.start).line, f.rule)).collect()
    }

    #[test]
    fn ours_hold_for_a_line() {
        assert!(lines("x = 1 -- rsty: allow(undeclared_global)").is_empty());
        assert!(lines("-- rsty: allow(undeclared_global)\nx = 1").is_empty());
        assert_eq!(lines("-- rsty: allow(undeclared_global)\nx = 1\nx = 2"), ["3:undeclared_global"]);
        assert!(lines("-- rsty: allow-file(undeclared_global)\nx = 1\nx = 2").is_empty());
        assert_eq!(lines("local x -- rsty: allow(undeclared_global)"), ["1:unused_allow"]);
    }

    #[test]
    fn a_rule_that_is_none_is_told_with_one_like_it() {
        let (_, findings) = findings_with("globals", "f() -- rsty: allow(undefined_globl, undefined_global)", |_| {});
        let told: Vec<_> =
            findings.iter().map(|found| (found.rule, found.message.as_str(), found.help.as_deref())).collect();
        assert_eq!(
            told,
            [("unknown_rule", "unknown rule `undefined_globl`", Some("did you mean `undefined_global`?"))]
        );
    }

    #[test]
    fn a_comment_that_does_nothing_can_be_removed() {
        let fixed = |text: &str| {
            let (source, findings) = findings_with("globals", text, |_| {});
            let (text, count) =
                crate::fixes::apply(source.bytes(), &findings, crate::fixes::Level::Safe).expect("fixed");
            assert_eq!(count, 1);
            String::from_utf8(text).expect("text")
        };
        assert_eq!(fixed("local x  -- rsty: allow(undeclared_global)\ny()"), "local x\ny()");
        assert_eq!(fixed("f()\n  -- rsty: allow(undeclared_global)\nlocal x"), "f()\nlocal x");
    }

    #[test]
    fn luachecks_hold_for_a_line_or_a_function() {
        assert!(lines("x = 1 -- luacheck: ignore").is_empty());
        assert!(lines("x = 1 -- luacheck: ignore 111/x").is_empty());
        assert_eq!(lines("x = 1 -- luacheck: ignore 113"), ["1:undeclared_global"]);
        assert_eq!(lines("local function f()\n-- luacheck: globals x\nx = x\nend\nx = 1"), ["5:undeclared_global"]);
        assert_eq!(
            lines("-- luacheck: push\n-- luacheck: ignore\nx = 1\n-- luacheck: pop\nx = 2"),
            ["5:undeclared_global"]
        );
        assert!(lines("-- luacheck: read globals y (said so)\nprint(y)").is_empty());
    }

    #[test]
    fn selenes_hold_for_the_next_line() {
        assert!(lines("-- selene: allow(undefined_variable)\nprint(y)").is_empty());
        assert!(lines("--# selene: allow(unscoped_variables)\nlocal a\nx = 1").is_empty());
    }
}
