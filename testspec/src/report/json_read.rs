//! Reading back what [`json`](crate::report::json) writes: to join the reports of several machines, and to make other
//! reports of them.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::load::INHERITED;
use crate::report::Summary;
use crate::report::json::VERSION;
use crate::run::check::{Assertion, Detail, Verdict};
use crate::run::outcome::{Attempt, BlockId, BlockReport};
use crate::run::progress::Step;

/// Why a text is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The text can't be read.
    #[error("read it")]
    Io(#[from] io::Error),
    /// A line is not what this program writes.
    #[error("line {line}: {message}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// It does not begin as a report does.
    #[error("it does not begin with the line that starts a report")]
    NoStart,
    /// It comes from another version of the format.
    #[error("it has version {0} of the format; this program reads version {VERSION}")]
    Version(u32),
}

/// What a report holds.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The blocks.
    pub reports: Vec<BlockReport>,
    /// The figures. The time is the longest of all runs that were joined: they ran side by side.
    pub summary: Summary,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Start {
        version: u32,
    },
    Block {
        file: String,
        line: usize,
        number: usize,
        name: String,
        attempts: Vec<AttemptLine>,
    },
    Summary {
        seconds: f64,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct AttemptLine {
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    began: f64,
    #[serde(default)]
    lane: usize,
    #[serde(default)]
    steps: serde_json::Map<String, serde_json::Value>,
    assertions: Vec<AssertionLine>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    bail_out: Option<String>,
    #[serde(default)]
    request: String,
    #[serde(default)]
    response: String,
    #[serde(default)]
    error_log: String,
}

#[derive(Deserialize)]
struct AssertionLine {
    verdict: String,
    name: String,
    section: Option<String>,
    line: Option<usize>,
    expected: Option<String>,
    #[serde(default)]
    got: Option<String>,
    pattern: Option<String>,
    note: Option<String>,
}

/// The longest line that is read: a block with all its attempts.
const LINE_MAX: u64 = 64 << 20;

/// Reads a report.
pub fn read(mut text: impl BufRead) -> Result<Run, ReadError> {
    let mut run = Run::default();
    let mut number = 0;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if io::Read::take(&mut text, LINE_MAX).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        number += 1;
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let line = serde_json::from_slice(&bytes);
        let line = line.map_err(|error: serde_json::Error| {
            if number == 1 { ReadError::NoStart } else { ReadError::Line { line: number, message: error.to_string() } }
        })?;
        match line {
            Line::Start { version: VERSION } => {}
            Line::Start { version } => return Err(ReadError::Version(version)),
            _ if number == 1 => return Err(ReadError::NoStart),
            Line::Block { file, line, number, name, attempts } => {
                let id = BlockId { file: Arc::new(file.into()), number, line, name };
                let report = BlockReport { id, attempts: attempts.into_iter().map(attempt).collect() };
                run.summary.add(&report);
                run.reports.push(report);
            }
            Line::Summary { seconds } => run.summary.elapsed = duration(seconds),
            Line::Other => {}
        }
    }
    if number == 0 { Err(ReadError::NoStart) } else { Ok(run) }
}

impl Run {
    /// Takes in another run. Of a block that both have, the attempts are joined: the later run's count.
    pub fn join(&mut self, other: Self) {
        self.summary.elapsed = self.summary.elapsed.max(other.summary.elapsed);
        let known: std::collections::BTreeMap<BlockId, usize> =
            self.reports.iter().enumerate().map(|(index, report)| (report.id.clone(), index)).collect();
        // Lanes of another machine are other lanes.
        let lanes = self.reports.iter().flat_map(|report| &report.attempts).map(|attempt| attempt.lane + 1);
        let shift = lanes.max().unwrap_or(0);
        for mut report in other.reports {
            for attempt in &mut report.attempts {
                attempt.lane += shift;
            }
            match known.get(&report.id).and_then(|index| self.reports.get_mut(*index)) {
                Some(own) => own.attempts.extend(report.attempts),
                None => self.reports.push(report),
            }
        }
        let mut summary = Summary { elapsed: self.summary.elapsed, ..Summary::default() };
        for report in &self.reports {
            summary.add(report);
        }
        self.summary = summary;
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn attempt(line: AttemptLine) -> Attempt {
    let steps = line.steps.iter().filter_map(|(word, time)| Some((Step::from_word(word)?, duration(time.as_f64()?))));
    Attempt {
        steps: steps.collect(),
        assertions: line.assertions.into_iter().map(assertion).collect(),
        warnings: line.warnings,
        notes: line.notes,
        bail_out: line.bail_out,
        sent: line.request.into_bytes(),
        received: line.response.into_bytes(),
        error_log: line.error_log.into_bytes(),
        extra: false,
        duration: duration(line.seconds),
        began: duration(line.began),
        lane: line.lane.min(100_000),
    }
}

fn assertion(line: AssertionLine) -> Assertion {
    let verdict = match line.verdict.as_str() {
        "passed" => Verdict::Passed,
        "skipped" => Verdict::Skipped,
        "todo" => Verdict::Todo,
        _ => Verdict::Failed,
    };
    let bytes = |text: Option<String>| text.map(String::into_bytes);
    let detail = match (line.expected, line.pattern, line.note) {
        (Some(expected), ..) => Some(Detail::Differs { expected: expected.into_bytes(), got: bytes(line.got) }),
        (None, Some(pattern), _) => {
            Some(Detail::NoMatch { pattern: pattern.into_bytes(), got: bytes(line.got).unwrap_or_default() })
        }
        (None, None, Some(note)) => Some(Detail::Note(note)),
        (None, None, None) => None,
    };
    let section = line.section.and_then(|name| INHERITED.iter().find(|known| **known == name)).copied();
    Assertion { verdict, name: line.name, section, line: line.line, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json;
    use crate::run::check::Recorder;

    fn text(name: &str, passes: bool) -> String {
        let mut recorder = Recorder::new("t/a.t TEST 1");
        recorder.section("response_body");
        recorder.is(Some(if passes { b"a" } else { b"b" }), Some(b"a"), "body");
        let (assertions, ..) = recorder.finish();
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 3, name: name.to_owned() };
        let steps = vec![(Step::Start, Duration::from_millis(5))];
        let attempt = Attempt { assertions, steps, lane: 1, sent: b"GET /".to_vec(), ..Attempt::default() };
        let report = BlockReport { id, attempts: vec![attempt] };
        let mut summary = Summary { elapsed: Duration::from_secs(2), ..Summary::default() };
        summary.add(&report);
        format!("{}{}{}", json::start(1), json::block(&report), json::summary(&summary))
    }

    #[test]
    fn what_was_written_is_read_and_written_again_the_same() {
        let text = text("TEST 1: \u{1}\"</script>", false);
        let run = read(text.as_bytes()).unwrap();
        assert_eq!(run.summary.failed, 1);
        let block = text.lines().nth(1).unwrap();
        assert_eq!(json::block(&run.reports[0]).trim_end(), block);
    }

    #[test]
    fn runs_are_joined_and_a_block_of_both_keeps_all_attempts() {
        let mut run = read(text("one", false).as_bytes()).unwrap();
        run.join(read(text("one", true).as_bytes()).unwrap());
        run.join(read(text("two", true).as_bytes()).unwrap());
        assert_eq!((run.summary.flaky, run.summary.passed, run.summary.failed), (1, 1, 0));
        assert_eq!(run.summary.elapsed, Duration::from_secs(2));
        let lanes: Vec<usize> = run.reports.iter().flat_map(|r| &r.attempts).map(|attempt| attempt.lane).collect();
        assert_eq!(lanes, [1, 3, 5]);
    }

    #[test]
    fn what_is_no_report_is_refused_with_its_line() {
        assert!(matches!(read(b"".as_slice()), Err(ReadError::NoStart)));
        assert!(matches!(read(b"<xml/>".as_slice()), Err(ReadError::NoStart)));
        assert!(matches!(read(b"{\"type\":\"start\",\"version\":9}\n".as_slice()), Err(ReadError::Version(9))));
        let broken = format!("{}{{\"type\":\"block\"}}\n", json::start(1));
        assert!(matches!(read(broken.as_bytes()), Err(ReadError::Line { line: 2, .. })));
        let unknown = format!("{}{{\"type\":\"later\"}}\n", json::start(1));
        assert!(read(unknown.as_bytes()).unwrap().reports.is_empty());
    }
}
