//! TAP, as `prove` reads it: the original's assertion names, numbered through the whole run.

use crate::run::check::{Detail, Verdict};
use crate::run::outcome::BlockReport;

/// Numbers assertions and writes their lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tap {
    count: usize,
}

impl Tap {
    /// The lines of a block: those for stdout, and the comments for stderr.
    pub fn block(&mut self, report: &BlockReport) -> (String, String) {
        let (mut lines, mut comments) = (String::new(), String::new());
        let Some(attempt) = report.last() else { return (lines, comments) };
        for assertion in &attempt.assertions {
            self.count += 1;
            let number = self.count;
            let name = assertion.name.replace('#', "\\#");
            let name = name.lines().next().unwrap_or_default();
            match assertion.verdict {
                Verdict::Passed => lines.push_str(&format!("ok {number} - {name}\n")),
                Verdict::Skipped => lines.push_str(&format!("ok {number} # skip {name}\n")),
                Verdict::Todo => lines.push_str(&format!("not ok {number} # TODO & SKIP {name}\n")),
                Verdict::Failed => {
                    lines.push_str(&format!("not ok {number} - {name}\n"));
                    comments.push_str(&comment(&format!("  Failed test '{}'", assertion.name)));
                    comments.push_str(&detail(assertion.detail.as_ref()));
                }
            }
        }
        if let Some(reason) = &attempt.bail_out {
            self.count += 1;
            let name = format!("{} {}", report.id.file.display(), report.id.name).replace('#', "\\#");
            lines.push_str(&format!("not ok {} - {name} - can be run\n", self.count));
            comments.push_str(&comment(reason));
        }
        for warning in &attempt.warnings {
            comments.push_str(&comment(&format!("WARNING: {} - {warning}", report.id.name)));
        }
        (lines, comments)
    }

    /// The plan, which stands at the end.
    pub fn plan(&self) -> String {
        format!("1..{}\n", self.count)
    }
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
        comment.push_str(&format!("# {line}\n"));
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
}
