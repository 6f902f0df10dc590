//! A failed block for the person who has to repair it: what was sent, what was expected, what came, what the server
//! logged, and how to run the block again.

use similar::{ChangeTag, TextDiff};

use crate::report::summary::duration;
use crate::report::visible;
use crate::run::check::{Assertion, Detail};
use crate::run::outcome::{Attempt, BlockReport, BlockVerdict};
use crate::run::progress::SlowBlock;

pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const RED: &str = "\x1b[31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const DIM: &str = "\x1b[2m";
pub(super) const RESET: &str = "\x1b[0m";
const MARK: &str = "\x1b[7m";
const UNMARK: &str = "\x1b[27m";

/// The most failed blocks that are named again at the end.
const RECAP_MAX: usize = 20;
/// The most lines of one part of a failure.
const LINES_MAX: usize = 40;

/// One line about a block.
pub fn line(report: &BlockReport) -> String {
    let (colour, word) = match report.verdict() {
        BlockVerdict::Failed => (RED, "FAIL"),
        BlockVerdict::Flaky => (YELLOW, "FLAKY"),
        BlockVerdict::Passed => (GREEN, "PASS"),
        BlockVerdict::Skipped => (DIM, "SKIP"),
    };
    let id = &report.id;
    let time = duration(report.duration());
    format!(
        "{colour}{BOLD}{word}{RESET} {}:{}  {}  {DIM}{time}{RESET}\n",
        shown(&id.file.to_string_lossy()),
        id.line,
        shown(&id.name)
    )
}

/// A block that runs long, and what it waits for. `stuck` says that it will soon be given up.
pub fn slow(slow: &SlowBlock, stuck: bool) -> String {
    let (colour, word) = if stuck { (RED, "STUCK") } else { (YELLOW, "SLOW") };
    let id = &slow.block;
    let place = shown(&format!("{}:{}  {}", id.file.display(), id.line, id.name));
    let time = duration(slow.elapsed);
    format!("{colour}{BOLD}{word}{RESET} {place}  {DIM}{time}, waiting for {}{RESET}\n", slow.step.waits_for())
}

/// The blocks that failed, once more and together; nothing where one screen still shows them.
pub fn recap(reports: &[BlockReport]) -> String {
    let mut failed: Vec<&BlockReport> =
        reports.iter().filter(|report| report.verdict() == BlockVerdict::Failed).collect();
    if failed.len() < 2 {
        return String::new();
    }
    failed.sort_by(|left, right| left.id.cmp(&right.id));
    let lines: Vec<String> = failed.iter().take(RECAP_MAX).map(|report| line(report)).collect();
    let rest = failed.len() - lines.len();
    let rest =
        if rest > 0 { format!("{DIM}and {rest} more; --last-failed runs them again{RESET}\n") } else { String::new() };
    format!("{}{rest}\n", lines.concat())
}

/// What there is to tell beside the verdict, below the block's line; empty where there is nothing.
pub fn notes(report: &BlockReport) -> String {
    let notes = report.attempts.iter().flat_map(|attempt| &attempt.notes);
    let lines: Vec<&str> = notes.flat_map(|note| note.lines()).collect();
    if lines.is_empty() { String::new() } else { format!("{}  {}\n", line(report), lines.join("\n  ")) }
}

/// All about a failed block.
pub fn failure(report: &BlockReport) -> String {
    let mut out = line(report);
    let Some(attempt) = report.last() else { return out };
    let tries = report.attempts.len();
    if tries > 1 {
        out.push_str(&format!("  {DIM}failed {tries} times{RESET}\n"));
    }
    if let Some(reason) = &attempt.bail_out {
        push_text(&mut out, RED, reason.as_bytes());
    }
    let prefix = format!("{} {} - ", report.id.file.display(), report.id.name);
    let failures: Vec<&Assertion> = attempt.failures().collect();
    for assertion in failures.iter().take(10) {
        push_assertion(&mut out, report, assertion, &prefix);
    }
    if failures.len() > 10 {
        out.push_str(&format!("  {DIM}and {} more failed assertions{RESET}\n", failures.len() - 10));
    }
    push_exchange(&mut out, attempt);
    push_log(&mut out, &attempt.error_log);
    out.push_str(&format!(
        "  {DIM}rerun:{RESET} rsty test {}:{}\n",
        shown(&report.id.file.to_string_lossy()),
        report.id.line
    ));
    out
}

fn push_assertion(out: &mut String, report: &BlockReport, assertion: &Assertion, prefix: &str) {
    let name = assertion.name.strip_prefix(prefix).unwrap_or(&assertion.name);
    let name: String = shown(name.lines().next().unwrap_or_default()).chars().take(200).collect();
    let section = assertion.section.map(|section| format!("{DIM}--- {section}{RESET}  ")).unwrap_or_default();
    // As terminals and editors make links of it.
    let place = assertion.line.map(|line| format!("{}:{line} ", shown(&report.id.file.to_string_lossy())));
    out.push_str(&format!("  {RED}✗{RESET} {}{section}{name}\n", place.unwrap_or_default()));
    match &assertion.detail {
        None => {}
        Some(Detail::Differs { expected, got: Some(got) }) => push_difference(out, expected, got),
        Some(Detail::Differs { expected, got: None }) => {
            push_pair(out, "expected", expected);
            out.push_str("    got       nothing: there was no response\n");
        }
        Some(Detail::NoMatch { pattern, got }) => {
            push_pair(out, "pattern", pattern);
            push_got(out, "got", got);
        }
        Some(Detail::Unwanted { pattern, got }) => {
            push_pair(out, "pattern", pattern);
            push_got(out, "matches", got);
        }
        Some(Detail::Note(text)) if text.is_empty() || assertion.name.contains(text.as_str()) => {}
        Some(Detail::Note(text)) => push_text(out, "", text.as_bytes()),
    }
}

fn push_difference(out: &mut String, expected: &[u8], got: &[u8]) {
    let single = |text: &[u8]| text.len() <= 100 && !text.contains(&b'\n');
    if single(expected) && single(got) {
        push_pair(out, "expected", expected);
        push_pair(out, "got", got);
        return;
    }
    out.push_str(&format!("    {RED}- expected{RESET}  {GREEN}+ got{RESET}\n"));
    let limit = 256 * 1024;
    let cut = |text: &[u8]| text.get(..limit.min(text.len())).unwrap_or_default().to_vec();
    let (expected, got) = (cut(expected), cut(got));
    let diff = TextDiff::from_lines(expected.as_slice(), got.as_slice());
    let mut count = 0;
    for group in diff.grouped_ops(3) {
        for change in group.iter().flat_map(|operation| diff.iter_inline_changes(operation)) {
            count += 1;
            if count > LINES_MAX {
                out.push_str(&format!("    {DIM}…{RESET}\n"));
                return;
            }
            let (colour, sign) = match change.tag() {
                ChangeTag::Delete => (RED, '-'),
                ChangeTag::Insert => (GREEN, '+'),
                ChangeTag::Equal => (DIM, ' '),
            };
            let parts: Vec<(bool, &[u8])> = change.values().iter().map(|(marked, part)| (*marked, *part)).collect();
            let (text, ends) = marked_line(&parts);
            let end = if ends { "" } else { " (no line end)" };
            out.push_str(&format!("    {colour}{sign} {text}{RESET}{DIM}{end}{RESET}\n"));
        }
    }
}

/// A line of which some parts have changed, and whether it has a line end. Colour shows the parts; where there is none,
/// the line before or after shows them.
fn marked_line(parts: &[(bool, &[u8])]) -> (String, bool) {
    let whole: Vec<u8> = parts.iter().flat_map(|(_, part)| part.iter().copied()).collect();
    let ends = whole.ends_with(b"\n");
    let text = whole.strip_suffix(b"\n").unwrap_or(&whole);
    let is_plain = text.len() <= 200 && std::str::from_utf8(text).is_ok();
    if !is_plain || parts.iter().all(|(marked, _)| *marked) || !parts.iter().any(|(marked, _)| *marked) {
        return (short(text), ends);
    }
    let last = parts.iter().rposition(|(_, part)| *part != b"\n").unwrap_or(0);
    let mut out = String::new();
    for (index, (marked, part)) in parts.iter().enumerate().take(last + 1) {
        let shown = if index == last {
            visible(part.strip_suffix(b"\n").unwrap_or(part))
        } else {
            // Blanks at the end of a part are not at the end of the line.
            let mut shown = visible(&[*part, b"|"].concat());
            shown.pop();
            shown
        };
        out.push_str(&if *marked && !shown.is_empty() { format!("{MARK}{shown}{UNMARK}") } else { shown });
    }
    (out, ends)
}

fn push_pair(out: &mut String, label: &str, text: &[u8]) {
    out.push_str(&format!("    {label:<9} {}\n", if text.is_empty() { "(empty)".to_owned() } else { short(text) }));
}

/// What came, in few lines.
fn push_got(out: &mut String, label: &str, text: &[u8]) {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    match lines.as_slice() {
        [] => push_pair(out, label, b""),
        [line] => push_pair(out, label, line.strip_suffix(b"\n").unwrap_or(line)),
        many => {
            out.push_str(&format!("    {label}\n"));
            let skipped = many.len().saturating_sub(8);
            if skipped > 0 {
                out.push_str(&format!("      {DIM}… {skipped} lines{RESET}\n"));
            }
            for line in many.iter().skip(skipped) {
                out.push_str(&format!("      {}\n", short(line.strip_suffix(b"\n").unwrap_or(line))));
            }
        }
    }
}

fn push_text(out: &mut String, colour: &str, text: &[u8]) {
    for line in text.split(|byte| *byte == b'\n').take(LINES_MAX) {
        out.push_str(&format!("  {colour}{}{RESET}\n", short(line)));
    }
}

fn push_exchange(out: &mut String, attempt: &Attempt) {
    if attempt.sent.is_empty() {
        return;
    }
    out.push_str(&format!("  {DIM}request{RESET}\n"));
    let lines: Vec<&[u8]> = attempt.sent.split(|byte| *byte == b'\n').collect();
    let lines = lines.strip_suffix(&[b"".as_slice()]).unwrap_or(&lines);
    for line in lines.iter().take(15) {
        out.push_str(&format!("    {}\n", short(line.strip_suffix(b"\r").unwrap_or(line))));
    }
    if lines.len() > 15 {
        out.push_str(&format!("    {DIM}… {} more lines{RESET}\n", lines.len() - 15));
    }
}

/// The lines of the error log that tell of trouble.
fn push_log(out: &mut String, log: &[u8]) {
    let levels: [&[u8]; 5] = [b"[warn]", b"[error]", b"[crit]", b"[alert]", b"[emerg]"];
    let is_trouble = |line: &&[u8]| levels.iter().any(|level| memchr::memmem::find(line, level).is_some());
    let lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').filter(is_trouble).collect();
    if lines.is_empty() {
        return;
    }
    out.push_str(&format!("  {DIM}error.log{RESET}\n"));
    for line in lines.iter().skip(lines.len().saturating_sub(8)) {
        out.push_str(&format!("    {}\n", short(line)));
    }
}

fn shown(text: &str) -> String {
    visible(text.as_bytes())
}

/// A line, visible, and not longer than a person reads.
fn short(line: &[u8]) -> String {
    const WIDTH: usize = 500;
    let head = line.get(..WIDTH).unwrap_or(line);
    let rest = line.len() - head.len();
    if rest == 0 { visible(head) } else { format!("{}… ({rest} more bytes)", visible(head)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::check::{Recorder, Verdict};
    use crate::run::outcome::BlockId;

    fn report(build: impl FnOnce(&mut Recorder)) -> BlockReport {
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 12, name: "TEST 1: a".to_owned() };
        let mut recorder = Recorder::new("t/a.t TEST 1: a");
        build(&mut recorder);
        let (assertions, ..) = recorder.finish();
        let sent = b"GET /t HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
        let error_log = b"2026 [debug] x\n2026 [error] boom\n".to_vec();
        BlockReport { id, attempts: vec![Attempt { assertions, sent, error_log, ..Attempt::default() }] }
    }

    #[test]
    fn a_failure_shows_request_difference_log_and_rerun() {
        let report = report(|recorder| {
            recorder.section("response_body");
            recorder.is(Some(b"a\nc\r\n"), Some(b"a\nb\n"), "response_body - response is expected");
        });
        let text = anstyle_stripped(&failure(&report));
        insta::assert_snapshot!(text, @r"
        FAIL t/a.t:12  TEST 1: a  0 ms
          ✗ --- response_body  response_body - response is expected
            - expected  + got
              a
            - b
            + c\r
          request
            GET /t HTTP/1.1
            Host: localhost
            
          error.log
            2026 [error] boom
          rerun: rsty test t/a.t:12
        ");
    }

    #[test]
    fn changed_words_of_a_line_are_marked() {
        let report = report(|recorder| recorder.is(Some(b"x\nhello, Ada \n"), Some(b"x\nhello, Bob \n"), "body"));
        let text = failure(&report);
        assert!(text.contains(&format!("- hello, {MARK}Bob{UNMARK}·")), "{text:?}");
        assert!(text.contains(&format!("+ hello, {MARK}Ada{UNMARK}·")), "{text:?}");
    }

    #[test]
    fn blanks_that_a_line_should_not_end_with_are_shown() {
        let report = report(|recorder| recorder.is(Some(b"one\ntwo  \n"), Some(b"one\ntwo\n"), "body"));
        let text = anstyle_stripped(&failure(&report));
        assert!(text.contains("+ two··\n"), "{text}");
    }

    #[test]
    fn hostile_bytes_never_reach_the_terminal() {
        let report = report(|recorder| recorder.is(Some(b"\x1b]0;x\x07"), Some(b"y"), "status code ok"));
        let text = anstyle_stripped(&failure(&report));
        assert!(!text.contains('\x07'));
        assert!(text.contains("\\u{1b}]0;x\\u{7}"), "{text}");
        assert_eq!(report.attempts[0].assertions[0].verdict, Verdict::Failed);
    }

    fn anstyle_stripped(text: &str) -> String {
        let mut out = text.to_owned();
        for code in [BOLD, RED, GREEN, YELLOW, DIM, RESET, MARK, UNMARK] {
            out = out.replace(code, "");
        }
        out
    }
}
