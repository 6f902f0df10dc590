//! JUnit XML: one test suite a file, one test case a block.
//!
//! `classname` is the file as given, `name` the block's name. All attempts, failures and the server's log are inside
//! the case. The text is safe for XML 1.0 whatever bytes a server sent.

use std::fmt::Write as _;
use std::io;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use crate::report::tap::Tap;
use crate::run::outcome::{Attempt, BlockReport, BlockVerdict};

/// Writes the report of a whole run.
pub fn write(reports: &[BlockReport], out: impl io::Write) -> io::Result<()> {
    let mut document = Report::new("rsty test");
    let mut sorted: Vec<&BlockReport> = reports.iter().collect();
    sorted.sort_by(|left, right| left.id.cmp(&right.id));
    for group in sorted.chunk_by(|left, right| left.id.file == right.id.file) {
        let Some(first) = group.first() else { continue };
        let mut suite = TestSuite::new(clean(&first.id.file.to_string_lossy()));
        suite.add_test_cases(group.iter().map(|report| case(report)));
        document.add_test_suite(suite);
    }
    document.serialize(out).map_err(io::Error::other)
}

fn case(report: &BlockReport) -> TestCase {
    let file = clean(&report.id.file.to_string_lossy());
    let mut case = TestCase::new(clean(&report.id.name), status(report));
    case.set_classname(file.as_str()).set_time(report.duration());
    case.extra.insert("file".into(), file.as_str().into());
    case.extra.insert("line".into(), report.id.line.to_string().into());
    if let Some(attempt) = report.last() {
        case.set_system_out(clean(&log(report, attempt)));
    }
    case
}

fn status(report: &BlockReport) -> TestCaseStatus {
    match report.verdict() {
        BlockVerdict::Passed => TestCaseStatus::success(),
        BlockVerdict::Skipped => TestCaseStatus::skipped(),
        BlockVerdict::Flaky => {
            let mut status = TestCaseStatus::success();
            for attempt in report.attempts.iter().filter(|attempt| attempt.has_failed()) {
                status.add_rerun(rerun(attempt));
            }
            status
        }
        BlockVerdict::Failed => {
            let kind = |attempt: &Attempt| {
                if attempt.bail_out.is_some() { NonSuccessKind::Error } else { NonSuccessKind::Failure }
            };
            let mut status = TestCaseStatus::non_success(report.last().map_or(NonSuccessKind::Error, kind));
            if let Some(attempt) = report.last() {
                status.set_message(clean(&message(attempt))).set_description(clean(&description(attempt)));
            }
            let before = report.attempts.len().saturating_sub(1);
            for attempt in report.attempts.iter().take(before) {
                status.add_rerun(rerun(attempt));
            }
            status
        }
    }
}

fn rerun(attempt: &Attempt) -> TestRerun {
    let mut rerun = TestRerun::new(NonSuccessKind::Failure);
    rerun
        .set_time(attempt.duration)
        .set_message(clean(&message(attempt)))
        .set_description(clean(&description(attempt)));
    rerun
}

/// The text without the two characters that the writer lets through and XML does not have.
fn clean(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn message(attempt: &Attempt) -> String {
    let first = attempt.failures().next().map(|assertion| assertion.name.clone());
    let text = attempt.bail_out.clone().or(first).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn description(attempt: &Attempt) -> String {
    let mut text = attempt.bail_out.clone().unwrap_or_default();
    for assertion in attempt.failures() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&assertion.name);
    }
    text
}

/// TAP of the attempt, its exchange and the end of the error log.
fn log(report: &BlockReport, attempt: &Attempt) -> String {
    const LOG_MAX: usize = 8 * 1024;
    let (mut text, comments) = Tap::default().block(report);
    text.push_str(&comments);
    if attempt.has_failed() {
        let tail = |bytes: &[u8]| {
            let from = bytes.len().saturating_sub(LOG_MAX);
            String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
        };
        for (title, bytes) in
            [("request", &attempt.sent), ("response", &attempt.received), ("error.log", &attempt.error_log)]
        {
            let _ = write!(text, "\n--- {title}\n{}", tail(bytes));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::check::Recorder;
    use crate::run::outcome::BlockId;

    #[test]
    fn each_block_is_one_case_and_the_text_is_xml() {
        let report = |number, name: &str, got: &[u8]| {
            let mut recorder = Recorder::new(name);
            recorder.is(Some(got), Some(b"a"), "body");
            let (assertions, ..) = recorder.finish();
            let id = BlockId { file: Arc::new("t/a.t".into()), number, line: number, name: name.to_owned() };
            let received = b"\x00\x0b\xff]]>\xef\xbf\xbe\x1b[31m</system-out>".to_vec();
            BlockReport { id, attempts: vec![Attempt { assertions, received, ..Attempt::default() }] }
        };
        let reports = [report(2, "TEST 2: <b> \x01\u{ffff}", b"b\xef\xbf\xbe"), report(1, "TEST 1: a", b"a")];
        let mut out = Vec::new();
        write(&reports, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("<testcase ").count(), 2, "{text}");
        assert!(text.find("TEST 1: a").unwrap() < text.find("TEST 2: &lt;b&gt;").unwrap());
        assert!(text.contains("classname=\"t/a.t\""));
        let is_xml = |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'));
        assert!(text.chars().all(is_xml), "{text:?}");
        let read = Report::deserialize_from_str(&text).unwrap();
        assert_eq!(read.tests, 2);
    }
}
