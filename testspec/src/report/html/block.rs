//! One block of the page: a row, and for one that failed everything that helps to repair it.

use std::io::{self, Write};

use similar::{ChangeTag, TextDiff};

use super::{bytes, text};
use crate::report::summary::duration;
use crate::run::check::{Assertion, Detail};
use crate::run::outcome::{Attempt, BlockReport, BlockVerdict};

/// The most lines of a difference, an exchange or a log.
const LINES_MAX: usize = 400;
/// The most bytes of a text that are compared line by line.
const DIFF_MAX: usize = 128 * 1024;

/// Writes a block whose anchor has this number.
pub(super) fn write(report: &BlockReport, anchor: usize, out: &mut impl Write) -> io::Result<()> {
    let verdict = report.verdict();
    let word = verdict.word();
    let sign = match verdict {
        BlockVerdict::Failed => "✗",
        BlockVerdict::Flaky => "≈",
        BlockVerdict::Passed => "✓",
        BlockVerdict::Skipped => "–",
    };
    let row = format!(
        "<span class=\"sign {word}\" title=\"{word}\">{sign}</span><span class=\"name\">{}</span>\
         <span class=\"at\">line {}</span><span class=\"time\">{}</span>",
        text(&report.id.name),
        report.id.line,
        duration(report.duration()),
    );
    let failed: Vec<&Attempt> = report.attempts.iter().filter(|attempt| attempt.has_failed()).collect();
    if failed.is_empty() {
        return writeln!(out, "<div class=\"block is-{word}\" id=\"b{anchor}\"><div class=\"row\">{row}</div></div>");
    }
    let open = if verdict == BlockVerdict::Failed { " open=\"open\"" } else { "" };
    writeln!(
        out,
        "<details class=\"block is-{word}\" id=\"b{anchor}\"{open}><summary class=\"row\">{row}</summary>\n\
         <div class=\"body\">"
    )?;
    let tries = report.attempts.len();
    // Attempts that failed alike are told once.
    let mut told: Vec<(Vec<&str>, &Attempt, usize)> = Vec::new();
    for attempt in failed {
        let names: Vec<&str> =
            attempt.bail_out.as_deref().into_iter().chain(attempt.failures().map(|a| a.name.as_str())).collect();
        match told.iter_mut().find(|(known, ..)| *known == names) {
            Some((_, last, count)) => (*last, *count) = (attempt, *count + 1),
            None => told.push((names, attempt, 1)),
        }
    }
    for (_, attempt, count) in told {
        if tries > 1 {
            writeln!(out, "<h3>{count} of {tries} attempts</h3>")?;
        }
        write_attempt(report, attempt, out)?;
    }
    let place = format!("{}:{}", report.id.file.display(), report.id.line);
    writeln!(
        out,
        "<div class=\"rerun\"><code>rsty test {}</code><button hidden=\"hidden\" type=\"button\">Copy</button></div>\n</div></details>",
        text(&shell_word(&place)),
    )
}

fn write_attempt(report: &BlockReport, attempt: &Attempt, out: &mut impl Write) -> io::Result<()> {
    if let Some(reason) = &attempt.bail_out {
        writeln!(out, "<pre class=\"log\"><span class=\"bad\">{}</span></pre>", lines(reason.as_bytes(), LINES_MAX))?;
    }
    let prefix = format!("{} {} - ", report.id.file.display(), report.id.name);
    for assertion in attempt.failures() {
        write_assertion(assertion, &prefix, out)?;
    }
    for warning in &attempt.warnings {
        writeln!(out, "<p class=\"why flaky\">{}</p>", text(warning))?;
    }
    for note in &attempt.notes {
        writeln!(out, "<pre>{}</pre>", lines(note.as_bytes(), LINES_MAX))?;
    }
    for (title, content) in [("Request", &attempt.sent), ("Response", &attempt.received)] {
        if !content.is_empty() {
            writeln!(out, "<h3>{title}</h3>\n<pre>{}</pre>", lines(content, 60))?;
        }
    }
    if !attempt.error_log.is_empty() {
        writeln!(out, "<h3>error.log</h3>\n<pre class=\"log\">{}</pre>", log(&attempt.error_log))?;
    }
    if !attempt.steps.is_empty() {
        writeln!(out, "<h3>Where the time went</h3>\n{}{}", steps(attempt), steps_legend(attempt))?;
    }
    Ok(())
}

fn write_assertion(assertion: &Assertion, prefix: &str, out: &mut impl Write) -> io::Result<()> {
    let name = assertion.name.strip_prefix(prefix).unwrap_or(&assertion.name);
    let name: String = name.lines().next().unwrap_or_default().chars().take(300).collect();
    let section = assertion.section.map(|section| format!("<code>--- {section}</code> ")).unwrap_or_default();
    writeln!(out, "<p class=\"why\">{section}{}</p>", text(&name))?;
    let pair = |label: &str, value: &[u8]| format!("<h3>{label}</h3>\n<pre>{}</pre>\n", lines(value, 60));
    match &assertion.detail {
        Some(Detail::Differs { expected, got: Some(got) }) => {
            writeln!(out, "<pre class=\"diff\">{}</pre>", difference(expected, got))
        }
        Some(Detail::Differs { expected, got: None }) => {
            writeln!(out, "{}<p class=\"why\">There was no response.</p>", pair("Expected", expected))
        }
        Some(Detail::NoMatch { pattern, got }) => {
            write!(out, "{}{}", pair("Pattern", pattern), pair("Which did not match", got))
        }
        Some(Detail::Unwanted { pattern, got }) => {
            write!(out, "{}{}", pair("Pattern", pattern), pair("Which matched", got))
        }
        Some(Detail::Note(note)) if !note.is_empty() && !assertion.name.contains(note.as_str()) => {
            writeln!(out, "<pre>{}</pre>", lines(note.as_bytes(), LINES_MAX))
        }
        Some(Detail::Note(_)) | None => Ok(()),
    }
}

/// Lines that went and came, with marks on what changed within a line.
fn difference(expected: &[u8], got: &[u8]) -> String {
    let cut = |text: &[u8]| text.get(..DIFF_MAX.min(text.len())).unwrap_or_default().to_vec();
    let (expected, got) = (cut(expected), cut(got));
    let diff = TextDiff::from_lines(expected.as_slice(), got.as_slice());
    let mut out = String::new();
    let mut count = 0;
    for (index, group) in diff.grouped_ops(3).iter().enumerate() {
        if index > 0 {
            out.push_str("<span class=\"gap\">⋯</span>");
        }
        for change in group.iter().flat_map(|operation| diff.iter_inline_changes(operation)) {
            count += 1;
            if count > LINES_MAX {
                out.push_str("<span class=\"gap\">⋯ and more</span>");
                return out;
            }
            let (class, sign) = match change.tag() {
                ChangeTag::Delete => ("old", '-'),
                ChangeTag::Insert => ("new", '+'),
                ChangeTag::Equal => ("same", ' '),
            };
            out.push_str(&format!("<span class=\"{class}\">{sign} "));
            let values: Vec<(bool, &[u8])> = change.values().iter().map(|(mark, value)| (*mark, *value)).collect();
            let last = values.len().saturating_sub(1);
            let mut ends = false;
            for (index, (marked, value)) in values.into_iter().enumerate() {
                let stripped = if index == last { value.strip_suffix(b"\n") } else { None };
                ends |= stripped.is_some();
                let value = stripped.unwrap_or(value);
                let value = if index == last { bytes(value) } else { piece(value) };
                out.push_str(&if marked { format!("<mark>{value}</mark>") } else { value });
            }
            out.push_str(if ends { "</span>" } else { " <i class=\"gap\">(no line end)</i></span>" });
        }
    }
    if out.is_empty() {
        out.push_str("<span class=\"gap\">no visible difference in the first lines</span>");
    }
    out
}

/// A part of a line; blanks at its end are not at the line's end.
fn piece(part: &[u8]) -> String {
    let mut shown = bytes(&[part, b"|"].concat());
    shown.pop();
    shown
}

/// A text line by line, the first ones of it.
fn lines(content: &[u8], max: usize) -> String {
    if content.is_empty() {
        return "<i class=\"gap\">(empty)</i>".to_owned();
    }
    let mut all = content.split(|byte| *byte == b'\n');
    let mut out: Vec<String> =
        all.by_ref().take(max).map(|line| bytes(line.strip_suffix(b"\r").unwrap_or(line))).collect();
    let rest = all.count();
    if rest > 0 {
        out.push(format!("… {rest} more lines"));
    }
    out.join("\n").trim_end_matches('\n').to_owned()
}

/// The end of an error log, with what is trouble in another colour than the rest.
fn log(content: &[u8]) -> String {
    let levels: [&[u8]; 5] = [b"[warn]", b"[error]", b"[crit]", b"[alert]", b"[emerg]"];
    let all: Vec<&[u8]> = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let skipped = all.len().saturating_sub(LINES_MAX);
    let mut out = Vec::new();
    if skipped > 0 {
        out.push(format!("<span class=\"soft\">… {skipped} lines before</span>"));
    }
    for line in all.into_iter().skip(skipped) {
        let is_bad = levels.iter().any(|level| memchr::memmem::find(line, level).is_some());
        let is_debug = memchr::memmem::find(line, b"[debug]").is_some();
        let class = if is_bad {
            "bad"
        } else if is_debug {
            "soft"
        } else {
            ""
        };
        let line: String = String::from_utf8_lossy(line).chars().take(1000).collect();
        out.push(if class.is_empty() {
            text(&line)
        } else {
            format!("<span class=\"{class}\">{}</span>", text(&line))
        });
    }
    out.join("\n")
}

/// The steps of an attempt as one bar.
pub(super) fn steps(attempt: &Attempt) -> String {
    let mut out = "<div class=\"steps\" aria-hidden=\"true\">".to_owned();
    for (step, time) in &attempt.steps {
        let (word, time) = (step.word(), time.as_secs_f64() * 1000.0);
        out.push_str(&format!("<b class=\"{word}\" style=\"flex-grow:{time:.2}\" title=\"{word} {time:.1} ms\"></b>"));
    }
    out.push_str("</div>\n");
    out
}

fn steps_legend(attempt: &Attempt) -> String {
    let item = |(step, time): &(crate::run::progress::Step, std::time::Duration)| {
        format!("<li><i class=\"{0}\"></i>{0} {1}</li>", step.word(), duration(*time))
    };
    format!("<ul class=\"legend\">{}</ul>", attempt.steps.iter().map(item).collect::<String>())
}

/// The text as one word for a shell.
fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:+@,".contains(&byte);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
