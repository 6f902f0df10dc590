//! The error log, and what a block says about it.
//!
//! A server writes to its log after it has answered. The original sleeps 45 ms before it looks. Here a check ends as
//! soon as every wanted line is there and the server has nothing left to do (see [`crate::run::idle`]); a wanted line
//! that is late gets somewhat longer. Where nobody can tell what the server does, a check that a line is absent keeps
//! the original's pause, and so does one between two requests where time may matter to the second ([`ages`]).
//!
//! [`ages`]: crate::run::ageing

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::model::{Block, Regex, Value};
use crate::run::check::assertion::Detail;
use crate::run::check::{BailOut, Pattern, Recorder, patterns};
use crate::run::expand::Expander;

/// The error log of a running block with the place up to which it has been checked.
#[derive(Debug)]
pub struct ErrorLog {
    path: PathBuf,
    position: usize,
    accumulate: bool,
}

/// How long to wait for the log.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long an unwanted line may take to appear.
    pub settle: Duration,
    /// How long a wanted line may take to appear.
    pub patience: Duration,
    /// Wait for the server to be done even if nothing is looked for: more requests follow.
    pub more_follows: bool,
    /// What happens in them may depend on how long after this one they come: `settle` never ends early.
    pub ages: bool,
}

/// The circumstances of one check.
pub struct LogCheck<'a> {
    /// The block.
    pub block: &'a Block,
    /// Which repetition, from 0.
    pub repeat: usize,
    /// How long to wait.
    pub pace: Pace,
    /// Whether the server will write nothing more before this moment.
    pub is_idle: &'a dyn Fn(Instant) -> bool,
}

impl ErrorLog {
    /// The log at `path`, from its start. With `accumulate` every check sees the whole log.
    pub fn new(path: PathBuf, accumulate: bool) -> Self {
        Self { path, position: 0, accumulate }
    }

    /// The whole text.
    pub fn text(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap_or_default()
    }

    /// From now on checks see the log from its start again.
    pub fn rewind(&mut self) {
        self.position = 0;
    }

    /// The lines not yet checked, once `enough` holds for them and no more will come.
    fn lines(&mut self, wait: &Wait<'_>, enough: impl Fn(&[&[u8]]) -> bool) -> Vec<Vec<u8>> {
        let start = Instant::now();
        let settled = start + wait.settle;
        let mut pause = Duration::from_millis(1);
        let mut seen = None;
        let mut looked_idle = false;
        loop {
            let elapsed = start.elapsed();
            // Twice in a row: what the client sent last may still be on its way to the server.
            let idle = (wait.is_idle)(settled.max(Instant::now()));
            let is_quiet = idle && looked_idle;
            looked_idle = idle;
            let is_settled = elapsed >= wait.settle || (is_quiet && wait.settle_can_end);
            let give_up = elapsed >= if is_quiet { wait.settle.max(wait.floor) } else { wait.settle.max(wait.limit) };
            let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
            if give_up || (is_settled && seen != Some(length)) {
                let text = self.text();
                seen = Some(length);
                let from = if self.accumulate { 0 } else { self.position.min(text.len()) };
                let lines: Vec<&[u8]> =
                    text.get(from..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n').collect();
                if give_up || enough(&lines) {
                    let lines = lines.into_iter().map(<[u8]>::to_vec).collect();
                    self.position = text.len();
                    return lines;
                }
            }
            let rest = wait.settle.saturating_sub(elapsed);
            std::thread::sleep(if wait.settle_can_end || rest.is_zero() { pause } else { rest });
            pause = (pause * 3 / 2).min(Duration::from_millis(10));
        }
    }
}

/// Until when a check looks.
struct Wait<'a> {
    /// How long an unwanted line may take.
    settle: Duration,
    /// Whether that ends as soon as the server has nothing left to do.
    settle_can_end: bool,
    /// How long a wanted line may take while the server has nothing left to do.
    floor: Duration,
    /// How long a wanted line may take while the server is at work.
    limit: Duration,
    /// Whether the server will write nothing more before this moment.
    is_idle: &'a dyn Fn(Instant) -> bool,
}

/// `grep_error_log`, `error_log`, `no_error_log`, and the remarks about alarming lines.
pub fn check_error_log(
    check: &LogCheck<'_>,
    log: &mut ErrorLog,
    expander: &mut Expander<'_>,
    recorder: &mut Recorder,
) -> Result<(), BailOut> {
    let block = check.block;
    let grep = Grep::of(check, expander)?;
    let wanted = block.value("error_log").map(|value| patterns(&value)).unwrap_or_default();
    let unwanted = block.value("no_error_log").map(|value| patterns(&value)).unwrap_or_default();
    let lines = if recorder.dry_run().is_some() {
        Vec::new()
    } else {
        let must_settle = grep.is_some() || !unwanted.is_empty() || check.pace.more_follows;
        let settle = if must_settle { check.pace.settle } else { Duration::ZERO };
        let looks_for_lines = grep.is_some() || !wanted.is_empty();
        let wait = Wait {
            settle,
            settle_can_end: !(check.pace.more_follows && check.pace.ages),
            floor: if looks_for_lines { check.pace.settle } else { settle },
            limit: if looks_for_lines { check.pace.patience } else { settle },
            is_idle: check.is_idle,
        };
        log.lines(&wait, |lines| {
            wanted.iter().all(|pattern| lines.iter().any(|line| pattern.matches(line)))
                && grep.as_ref().is_none_or(|grep| grep.is_satisfied(lines))
        })
    };
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let request = format!(" (req {})", check.repeat);
    if let Some(grep) = &grep {
        grep.check(&lines, &request, recorder);
    }
    recorder.section("error_log");
    check_wanted(&wanted, &lines, "error.log", &request, recorder);
    recorder.section("no_error_log");
    check_unwanted(&unwanted, &lines, "error.log", &request, recorder);
    if recorder.dry_run().is_none() {
        remark(block, &lines, recorder);
    }
    Ok(())
}

/// How many patterns a block wants to look for in what its server writes while it ends.
pub fn shutdown_patterns(block: &Block) -> u32 {
    let count = |name: &str| block.value(name).map_or(0, |value| patterns(&value).len());
    u32::try_from(count("shutdown_error_log") + count("no_shutdown_error_log")).unwrap_or(u32::MAX)
}

/// `shutdown_error_log` and `no_shutdown_error_log`, after the server has ended.
pub fn check_shutdown_log(block: &Block, log: &mut ErrorLog, recorder: &mut Recorder) {
    let wanted = block.value("shutdown_error_log").map(|value| patterns(&value)).unwrap_or_default();
    let unwanted = block.value("no_shutdown_error_log").map(|value| patterns(&value)).unwrap_or_default();
    // The server has gone: its log is complete.
    let none = Duration::ZERO;
    let wait = Wait { settle: none, settle_can_end: true, floor: none, limit: none, is_idle: &|_| true };
    let lines = log.lines(&wait, |_| true);
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    recorder.section("shutdown_error_log");
    check_wanted(&wanted, &lines, "error.log", "", recorder);
    recorder.section("no_shutdown_error_log");
    check_unwanted(&unwanted, &lines, "error.log", "", recorder);
}

/// Passes in the order of the log, then a failure for each pattern that no line matched.
pub(super) fn check_wanted(wanted: &[Pattern], lines: &[&[u8]], file: &str, end: &str, recorder: &mut Recorder) {
    let mut open: Vec<Option<&Pattern>> = wanted.iter().map(Some).collect();
    for line in lines {
        for slot in &mut open {
            if let Some(pattern) = slot.filter(|pattern| pattern.matches(line)) {
                let text = shown(&pattern.text());
                recorder.pass(&format!("pattern \"{text}\" matches a line in {file}{end}"));
                *slot = None;
            }
        }
    }
    for pattern in open.into_iter().flatten() {
        let text = pattern.text();
        let what = format!("pattern \"{}\" should match a line in {file}{end}", shown(&text));
        recorder.fail(&what, Detail::NoMatch { pattern: text, got: lines.concat() });
    }
}

/// A failure for each line that a pattern matches, then a pass for each pattern that matched none.
pub(super) fn check_unwanted(unwanted: &[Pattern], lines: &[&[u8]], file: &str, end: &str, recorder: &mut Recorder) {
    let mut hits = vec![0_usize; unwanted.len()];
    for (index, line) in lines.iter().enumerate() {
        for (pattern, hits) in unwanted.iter().zip(&mut hits) {
            if !pattern.matches(line) {
                continue;
            }
            *hits += 1;
            // A pattern that matches a whole debug log must not fill the report.
            if *hits > 100 {
                continue;
            }
            let text = pattern.text();
            let what = format!(
                "pattern \"{}\" should not match any line in {file} but matches line \"{}\"{end}",
                quoted(&text),
                quoted(line),
            );
            let more = lines.iter().skip(index).take(10).copied().collect::<Vec<_>>().concat();
            recorder.fail(&what, Detail::Unwanted { pattern: text, got: more });
        }
    }
    for (pattern, _) in unwanted.iter().zip(&hits).filter(|(_, hits)| **hits == 0) {
        let text = quoted(&pattern.text());
        recorder.pass(&format!("pattern \"{text}\" does not match a line in {file}{end}"));
    }
}

/// `grep_error_log` with what it should find.
struct Grep {
    pattern: Pattern,
    expected: Value,
}

impl Grep {
    fn of(check: &LogCheck<'_>, expander: &mut Expander<'_>) -> Result<Option<Self>, BailOut> {
        let block = check.block;
        let bail = |text: &str| BailOut(format!("{} - {text}", block.display_name()));
        let Some(pattern) = block.value("grep_error_log") else {
            return if block.has("grep_error_log_out") {
                Err(bail("No --- grep_error_log defined but --- grep_error_log_out is defined"))
            } else {
                Ok(None)
            };
        };
        let at_repeat = |value: Value| match value {
            Value::Array(items) => items.borrow().get(check.repeat).cloned().unwrap_or_default(),
            other => other,
        };
        let pattern = at_repeat(pattern);
        if !pattern.is_defined() {
            return Ok(None);
        }
        let Some(expected) = block.value("grep_error_log_out") else {
            return Err(bail("No --- grep_error_log_out defined but --- grep_error_log is defined"));
        };
        let mut expected = at_repeat(expected);
        if expected.reference_kind().is_empty() && expected.is_defined() {
            let text = expander.expand(&expected.to_bytes()).map_err(|error| bail(&error.to_string()))?;
            expected = Value::str(text);
        }
        Ok(Some(Self { pattern: Pattern::of(&pattern), expected }))
    }

    fn found(&self, lines: &[&[u8]]) -> Vec<u8> {
        let mut found = Vec::new();
        for place in lines.iter().filter_map(|line| self.pattern.find(line)) {
            if !place.contains(&b'\n') {
                found.extend_from_slice(place);
                found.push(b'\n');
            }
        }
        found
    }

    fn is_satisfied(&self, lines: &[&[u8]]) -> bool {
        let found = self.found(lines);
        match &self.expected {
            Value::Regex(regex) => regex.is_match(&found).unwrap_or(false),
            text => text.is_defined() && **text.to_bytes() == found,
        }
    }

    fn check(&self, lines: &[&[u8]], request: &str, recorder: &mut Recorder) {
        let found = self.found(lines);
        let what = format!("grep_error_log_out{request}");
        recorder.section("grep_error_log_out");
        match &self.expected {
            Value::Regex(regex) => {
                recorder.like(&found, regex.is_match(&found).unwrap_or(false), &regex.to_text(), &what);
            }
            Value::Undef => recorder.is(Some(&found), None, &what),
            text => recorder.is(Some(&found), Some(&text.to_bytes()), &what),
        }
    }
}

/// Remarks about lines that usually mean trouble, unless the block speaks of them; a failed assertion in the
/// server is a failure.
fn remark(block: &Block, lines: &[&[u8]], recorder: &mut Recorder) {
    let mentioned = |text: &[u8]| {
        ["error_log", "no_error_log"]
            .into_iter()
            .any(|name| block.value(name).is_some_and(|value| mentions(&value, text)))
    };
    for (word, section_word) in [
        ("writing a global lua variable", "writing a global lua variable"),
        ("[alert]", "[alert"),
        ("[crit]", "[crit"),
        ("[emerg]", "[emerg"),
    ] {
        if mentioned(section_word.as_bytes()) {
            continue;
        }
        for line in lines.iter().filter(|line| memchr::memmem::find(line, word.as_bytes()).is_some()) {
            recorder.warn(shown(line.trim_ascii_end()));
        }
    }
    let assertion = Regex::new(r"\bAssertion .*?failed\b", "");
    for line in lines.iter().filter(|line| assertion.is_match(line).unwrap_or(false)) {
        recorder.extra_failure(format!("{} - {}", block.display_name(), shown(line.trim_ascii_end())));
    }
}

fn mentions(value: &Value, text: &[u8]) -> bool {
    match value {
        Value::Array(items) => items.borrow().iter().any(|item| mentions(item, text)),
        other => memchr::memmem::find(&other.to_bytes(), text).is_some(),
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A line in quotes: without its end, quotes and line ends escaped.
fn quoted(bytes: &[u8]) -> String {
    let text = shown(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    text.replace('"', "\\\"").replace('\r', "\\r").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rsty_diag::Span;

    use super::*;
    use crate::run::check::Verdict;

    const PACE: Pace = Pace {
        settle: Duration::from_millis(1),
        patience: Duration::from_millis(20),
        more_follows: false,
        ages: false,
    };

    fn verdicts(log: &str, sections: &[(&str, Value)]) -> Result<Vec<(Verdict, String)>, BailOut> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), log).unwrap();
        let block = Block::new(b"b".to_vec(), Vec::new(), Span::at(0), 1, 1);
        for (name, value) in sections {
            block.set_value(name, value.clone());
        }
        let variables = BTreeMap::new();
        let mut recorder = Recorder::new("b");
        let check = LogCheck { block: &block, repeat: 0, pace: PACE, is_idle: &|_| false };
        let mut log = ErrorLog::new(file.path().to_owned(), false);
        check_error_log(&check, &mut log, &mut Expander::new(&variables, 1984), &mut recorder)?;
        let (assertions, ..) = recorder.finish();
        Ok(assertions.into_iter().map(|assertion| (assertion.verdict, assertion.name)).collect())
    }

    fn time_of_check(is_idle: &dyn Fn(Instant) -> bool, follows: bool, ages: bool, text: &str) -> Duration {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let block = Block::new(b"b".to_vec(), Vec::new(), Span::at(0), 1, 1);
        block.set_value("error_log", Value::from("wanted"));
        block.set_value("no_error_log", Value::from("[error]"));
        let variables = BTreeMap::new();
        let (settle, patience) = (Duration::from_millis(300), Duration::from_millis(900));
        let check = LogCheck {
            block: &block,
            repeat: 0,
            pace: Pace { settle, patience, more_follows: follows, ages },
            is_idle,
        };
        let mut log = ErrorLog::new(file.path().to_owned(), false);
        let start = Instant::now();
        check_error_log(&check, &mut log, &mut Expander::new(&variables, 1984), &mut Recorder::new("b")).unwrap();
        start.elapsed()
    }

    #[test]
    fn an_idle_server_ends_the_pause() {
        let settle = Duration::from_millis(300);
        assert!(time_of_check(&|_| true, false, true, "wanted\n") < settle);
        assert!(time_of_check(&|_| false, false, true, "wanted\n") >= settle);
    }

    #[test]
    fn the_pause_between_requests_stays_where_time_may_matter() {
        let settle = Duration::from_millis(300);
        assert!(time_of_check(&|_| true, true, true, "wanted\n") >= settle);
        assert!(time_of_check(&|_| false, true, false, "wanted\n") >= settle);
        assert!(time_of_check(&|_| true, true, false, "wanted\n") < settle);
    }

    #[test]
    fn a_wanted_line_gets_the_pause_and_more_only_from_a_server_at_work() {
        let missing = time_of_check(&|_| true, false, true, "");
        assert!((Duration::from_millis(300)..Duration::from_millis(900)).contains(&missing), "{missing:?}");
        assert!(time_of_check(&|_| false, false, true, "") >= Duration::from_millis(900));
    }

    #[test]
    fn wanted_lines_pass_in_log_order_and_missing_ones_fail_last() {
        let found = verdicts("one\ntwo\n", &[("error_log", Value::from("absent\ntwo\none\n"))]).unwrap();
        assert_eq!(found[0], (Verdict::Passed, "b - pattern \"one\" matches a line in error.log (req 0)".to_owned()));
        assert_eq!(found[2].0, Verdict::Failed);
        assert_eq!(found[2].1, "b - pattern \"absent\" should match a line in error.log (req 0)");
    }

    #[test]
    fn each_unwanted_line_is_a_failure() {
        let found = verdicts("[error] a\n[error] b\n", &[("no_error_log", Value::from("[error]\n[warn]"))]).unwrap();
        let failed = found.iter().filter(|(verdict, _)| *verdict == Verdict::Failed).count();
        assert_eq!((found.len(), failed), (3, 2));
    }

    #[test]
    fn grep_joins_the_first_match_of_each_line() {
        let sections = [
            ("grep_error_log", Value::Regex(Regex::new(r"n=\d", ""))),
            ("grep_error_log_out", Value::array(vec![Value::from("n=1\nn=3\n"), Value::from("other")])),
        ];
        let found = verdicts("n=1 n=2\nx\nn=3\n", &sections).unwrap();
        assert_eq!(found, [(Verdict::Passed, "b - grep_error_log_out (req 0)".to_owned())]);
    }

    #[test]
    fn one_half_of_a_grep_is_a_mistake() {
        assert!(verdicts("", &[("grep_error_log_out", Value::from("x"))]).is_err());
        assert!(verdicts("", &[("grep_error_log", Value::from("x"))]).is_err());
    }

    #[test]
    fn a_failed_assertion_in_the_server_is_an_extra_failure() {
        let found = verdicts("nginx: x.c:1: f: Assertion `x' failed.\n", &[]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, Verdict::Failed);
    }
}
