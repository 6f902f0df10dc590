//! TAP, as `prove` reads it: the original's assertion names, numbered through the whole run.

use rsty_diag::render::printable;

use crate::run::check::{Assertion, Detail, Verdict};
use crate::run::outcome::{Attempt, BlockReport, BlockVerdict};

/// Which TAP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// As Test::More writes it: no version line, details as comments on stderr.
    #[default]
    Classic,
    /// Version 13: details in YAML below the lines.
    Thirteen,
    /// Version 14: each block is a subtest.
    Fourteen,
}

/// Numbers assertions and writes their lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tap {
    version: Version,
    count: usize,
}

impl Tap {
    /// For a version of TAP.
    pub fn new(version: Version) -> Self {
        Self { version, count: 0 }
    }

    /// The first line, where the version has one.
    pub fn head(&self) -> &'static str {
        match self.version {
            Version::Classic => "",
            Version::Thirteen => "TAP version 13\n",
            Version::Fourteen => "TAP version 14\n",
        }
    }

    /// The lines of a block: those for stdout, and the comments for stderr.
    pub fn block(&mut self, report: &BlockReport) -> (String, String) {
        let Some(attempt) = report.last() else { return (String::new(), String::new()) };
        if self.version != Version::Fourteen {
            return self.lines(report, attempt);
        }
        let mut inner = Self { version: Version::Thirteen, count: 0 };
        let (lines, comments) = inner.lines(report, attempt);
        let name = described(&format!("{} {}", report.id.file.display(), report.id.name));
        self.count += 1;
        let mut out = format!("# Subtest: {name}\n");
        for line in lines.lines().chain([format!("1..{}", inner.count).as_str()]) {
            out.push_str(&format!("    {line}\n"));
        }
        let verdict = if attempt.has_failed() { "not ok" } else { "ok" };
        let skip = if report.verdict() == BlockVerdict::Skipped { " # SKIP" } else { "" };
        out.push_str(&format!("{verdict} {} - {name}{skip}\n", self.count));
        (out, comments)
    }

    /// The plan, which stands at the end.
    pub fn plan(&self) -> String {
        format!("1..{}\n", self.count)
    }

    fn lines(&mut self, report: &BlockReport, attempt: &Attempt) -> (String, String) {
        let (mut lines, mut comments) = (String::new(), String::new());
        for assertion in &attempt.assertions {
            self.count += 1;
            let number = self.count;
            let name = described(&assertion.name);
            match assertion.verdict {
                Verdict::Passed => lines.push_str(&format!("ok {number} - {name}\n")),
                Verdict::Skipped => lines.push_str(&format!("ok {number} # skip {name}\n")),
                Verdict::Todo => lines.push_str(&format!("not ok {number} # TODO & SKIP {name}\n")),
                Verdict::Failed if self.version == Version::Classic => {
                    lines.push_str(&format!("not ok {number} - {name}\n"));
                    comments.push_str(&comment(&format!("  Failed test '{}'", assertion.name)));
                    comments.push_str(&detail(assertion.detail.as_ref()));
                }
                Verdict::Failed => {
                    lines.push_str(&format!("not ok {number} - {name}\n"));
                    lines.push_str(&yaml(report, assertion));
                }
            }
        }
        if let Some(reason) = &attempt.bail_out {
            self.count += 1;
            let name = described(&format!("{} {}", report.id.file.display(), report.id.name));
            lines.push_str(&format!("not ok {} - {name} - can be run\n", self.count));
            comments.push_str(&comment(reason));
        }
        for warning in &attempt.warnings {
            comments.push_str(&comment(&format!("WARNING: {} - {warning}", report.id.name)));
        }
        (lines, comments)
    }
}

/// A name that can't end its line, begin a directive or disturb a terminal.
fn described(name: &str) -> String {
    printable(name.lines().next().unwrap_or_default().as_bytes()).replace('#', "\\#")
}

/// The details of a failed assertion. JSON texts are YAML, whatever bytes they hold.
fn yaml(report: &BlockReport, assertion: &Assertion) -> String {
    let quoted = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes.get(..2000).unwrap_or(bytes)).into_owned();
        printable(serde_json::Value::String(text).to_string().as_bytes())
    };
    let mut out = String::from("  ---\n");
    let file = report.id.file.to_string_lossy();
    out.push_str(&format!("  at: {{file: {}, line: {}}}\n", quoted(file.as_bytes()), report.id.line));
    if let Some(section) = assertion.section {
        out.push_str(&format!("  section: {section}\n"));
    }
    match &assertion.detail {
        Some(Detail::Differs { expected, got }) => {
            let got = got.as_ref().map_or_else(|| "null".to_owned(), |got| quoted(got));
            out.push_str(&format!("  found: {got}\n  wanted: {}\n", quoted(expected)));
        }
        Some(Detail::NoMatch { pattern, got }) => {
            out.push_str(&format!("  found: {}\n  pattern: {}\n", quoted(got), quoted(pattern)));
        }
        Some(Detail::Unwanted { pattern, got }) => {
            out.push_str(&format!("  found: {}\n  unwanted: {}\n", quoted(got), quoted(pattern)));
        }
        Some(Detail::Note(note)) => out.push_str(&format!("  message: {}\n", quoted(note.as_bytes()))),
        None => {}
    }
    out.push_str("  ...\n");
    out
}

fn detail(detail: Option<&Detail>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..2000).unwrap_or(bytes)).into_owned();
    match detail {
        Some(Detail::Differs { expected, got }) => {
            let got = got.as_ref().map_or_else(|| "undef".to_owned(), |got| format!("'{}'", text(got)));
            comment(&format!("         got: {got}")) + &comment(&format!("    expected: '{}'", text(expected)))
        }
        Some(Detail::NoMatch { pattern, got }) => {
            comment(&format!("                  '{}'", text(got)))
                + &comment(&format!("    doesn't match '{}'", text(pattern)))
        }
        Some(Detail::Unwanted { pattern, got }) => {
            comment(&format!("                  '{}'", text(got)))
                + &comment(&format!("          matches '{}'", text(pattern)))
        }
        Some(Detail::Note(_)) | None => String::new(),
    }
}

fn comment(text: &str) -> String {
    let mut comment = String::new();
    for line in text.lines() {
        comment.push_str(&format!("# {}\n", printable(line.as_bytes())));
    }
    comment
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::check::Recorder;
    use crate::run::outcome::{Attempt, BlockId};

    #[test]
    fn lines_are_numbered_through() {
        let mut recorder = Recorder::new("t/a.t TEST 1: #1");
        recorder.pass("status code ok");
        recorder.is(Some(b"b"), Some(b"a"), "body");
        recorder.skip(1, "old");
        recorder.todo(1, "later");
        let (assertions, ..) = recorder.finish();
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 1, name: "TEST 1: #1".to_owned() };
        let report = BlockReport { id, attempts: vec![Attempt { assertions, ..Attempt::default() }] };
        let mut tap = Tap::default();
        let (lines, comments) = tap.block(&report);
        assert_eq!(
            lines,
            "ok 1 - t/a.t TEST 1: \\#1 - status code ok\n\
             not ok 2 - t/a.t TEST 1: \\#1 - body\n\
             ok 3 # skip t/a.t TEST 1: \\#1 - old\n\
             not ok 4 # TODO & SKIP t/a.t TEST 1: \\#1 - later\n"
        );
        assert!(comments.contains("#          got: 'b'\n#     expected: 'a'\n"), "{comments}");
        assert_eq!(tap.plan(), "1..4\n");
    }
    fn hostile() -> BlockReport {
        let name = "TEST 1: a\nok 9 - forged \x1b[2J#skip";
        let mut recorder = Recorder::new(format!("t/a.t {name}"));
        recorder.is(Some(b"x\nok 7 - forged\n  ...\n\x1b]0;x\x07\xff"), Some(b"y"), "body\r\nok 8 - forged");
        let (assertions, ..) = recorder.finish();
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 1, name: name.to_owned() };
        let bail_out = Some("stopped\nok 6 - forged\x1b[0m".to_owned());
        BlockReport { id, attempts: vec![Attempt { assertions, bail_out, ..Attempt::default() }] }
    }

    #[test]
    fn nothing_in_a_block_can_forge_a_line_or_reach_the_terminal() {
        for version in [Version::Classic, Version::Thirteen, Version::Fourteen] {
            let (lines, comments) = Tap::new(version).block(&hostile());
            let results = |line: &&str| line.trim_start().starts_with("ok") || line.trim_start().starts_with("not ok");
            let count = lines.lines().filter(results).count();
            assert_eq!(count, if version == Version::Fourteen { 3 } else { 2 }, "{lines}");
            assert!(comments.lines().all(|line| line.starts_with('#')), "{comments}");
            assert!(!lines.contains(" #skip"), "{lines}");
            let text = lines + &comments;
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        }
    }

    #[test]
    fn subtests_have_plans_and_details_of_their_own() {
        let mut tap = Tap::new(Version::Fourteen);
        let (lines, _) = tap.block(&hostile());
        assert!(lines.starts_with("# Subtest: t/a.t TEST 1: a\n    not ok 1 - "), "{lines}");
        assert!(lines.contains("\n      wanted: \"y\"\n      ...\n"), "{lines}");
        assert!(lines.ends_with("    1..2\nnot ok 1 - t/a.t TEST 1: a\n"), "{lines}");
        assert_eq!(tap.plan(), "1..1\n");
    }
}
