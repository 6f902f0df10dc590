//! JSON lines: one object an event, for tools.
//!
//! The first line has `"type":"start"` with the format's version. Fields are added, never changed, within a version.

use serde_json::{Value, json};

use crate::report::Summary;
use crate::run::check::{Assertion, Detail, Verdict};
use crate::run::outcome::{Attempt, BlockReport};
use crate::run::progress::SlowBlock;

/// The version of the format.
pub const VERSION: u32 = 1;

/// The first line.
pub fn start(blocks: usize) -> String {
    line(&json!({"type": "start", "version": VERSION, "blocks": blocks}))
}

/// The line of a block.
pub fn block(report: &BlockReport) -> String {
    let id = &report.id;
    line(&json!({
        "type": "block",
        "file": id.file.to_string_lossy(),
        "line": id.line,
        "number": id.number,
        "name": id.name,
        "verdict": report.verdict().word(),
        "seconds": report.duration().as_secs_f64(),
        "attempts": report.attempts.iter().map(attempt).collect::<Vec<_>>(),
    }))
}

/// The line of a block that runs long.
pub fn slow(slow: &SlowBlock) -> String {
    let id = &slow.block;
    line(&json!({
        "type": "slow",
        "file": id.file.to_string_lossy(),
        "line": id.line,
        "number": id.number,
        "name": id.name,
        "seconds": slow.elapsed.as_secs_f64(),
        "step": slow.step.word(),
    }))
}

/// The last line.
pub fn summary(summary: &Summary) -> String {
    line(&json!({
        "type": "summary",
        "passed": summary.passed,
        "failed": summary.failed,
        "flaky": summary.flaky,
        "skipped": summary.skipped,
        "assertions": summary.assertions,
        "seconds": summary.elapsed.as_secs_f64(),
    }))
}

fn attempt(attempt: &Attempt) -> Value {
    let steps = attempt.steps.iter().map(|(step, time)| (step.word().to_owned(), json!(time.as_secs_f64())));
    let steps = Value::Object(steps.collect());
    let mut object = json!({
        "seconds": attempt.duration.as_secs_f64(),
        "began": attempt.began.as_secs_f64(),
        "lane": attempt.lane,
        "steps": steps,
        "assertions": attempt.assertions.iter().map(assertion).collect::<Vec<_>>(),
        "warnings": attempt.warnings,
        "notes": attempt.notes,
    });
    if let Some(reason) = &attempt.bail_out {
        object["bail_out"] = json!(reason);
    }
    if attempt.has_failed() {
        object["request"] = json!(text(&attempt.sent));
        object["response"] = json!(text(&attempt.received));
        object["error_log"] = json!(text(&attempt.error_log));
    }
    object
}

fn assertion(assertion: &Assertion) -> Value {
    let verdict = match assertion.verdict {
        Verdict::Failed => "failed",
        Verdict::Passed => "passed",
        Verdict::Skipped => "skipped",
        Verdict::Todo => "todo",
    };
    let mut object = json!({"verdict": verdict, "name": assertion.name});
    if let Some(section) = assertion.section {
        object["section"] = json!(section);
    }
    if let Some(line) = assertion.line {
        object["line"] = json!(line);
    }
    match &assertion.detail {
        Some(Detail::Differs { expected, got }) => {
            object["expected"] = json!(text(expected));
            object["got"] = json!(got.as_ref().map(|got| text(got)));
        }
        Some(Detail::NoMatch { pattern, got } | Detail::Unwanted { pattern, got }) => {
            object["pattern"] = json!(text(pattern));
            object["got"] = json!(text(got));
        }
        Some(Detail::Note(note)) => object["note"] = json!(note),
        None => {}
    }
    object
}

/// The end of a text, where it is very long.
fn text(bytes: &[u8]) -> String {
    const TEXT_MAX: usize = 64 * 1024;
    let from = bytes.len().saturating_sub(TEXT_MAX);
    String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
}

fn line(value: &Value) -> String {
    let mut line = value.to_string();
    line.push('\n');
    line
}
