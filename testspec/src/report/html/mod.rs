//! One HTML page about a run: one static file, no network, light and dark.
//!
//! Every file is a foldable card of its blocks, with the failed ones open; above them a bar, filters and a timeline.
//! What a block or its server says is text and nothing else: it is escaped, what can't be seen is made visible, and a
//! policy in the page allows no script but the page's own. Without JavaScript only search and the copy button are missing.

mod block;
mod timeline;

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::report::summary::{Summary, duration};
use crate::report::visible;
use crate::run::outcome::{BlockReport, BlockVerdict};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The verdicts in the order in which people want to see them.
const VERDICTS: [BlockVerdict; 4] =
    [BlockVerdict::Failed, BlockVerdict::Flaky, BlockVerdict::Skipped, BlockVerdict::Passed];

/// Writes the page.
pub fn write(reports: &[BlockReport], summary: &Summary, mut out: impl Write) -> io::Result<()> {
    let nonce = format!("{:032x}", rand::random::<u128>());
    head(summary, &nonce, &mut out)?;
    let mut files: BTreeMap<String, Vec<&BlockReport>> = BTreeMap::new();
    for report in reports {
        files.entry(report.id.file.to_string_lossy().into_owned()).or_default().push(report);
    }
    for reports in files.values_mut() {
        reports.sort_by_key(|report| report.id.number);
    }
    let ordered: Vec<&BlockReport> = files.values().flatten().copied().collect();
    let anchor =
        |report: &BlockReport| ordered.binary_search_by(|other| other.id.cmp(&report.id)).map_or(0, |index| index + 1);
    write!(out, "<main class=\"page\">\n{}", timeline::timeline(reports, anchor))?;
    // Files with something to look at come first.
    let mut cards: Vec<(&String, &Vec<&BlockReport>)> = files.iter().collect();
    let worst = |reports: &[&BlockReport]| {
        let place = |verdict| VERDICTS.iter().position(|other| *other == verdict).filter(|place| *place < 2);
        reports.iter().filter_map(|report| place(report.verdict())).min().unwrap_or(2)
    };
    cards.sort_by_key(|(_, reports)| worst(reports));
    for (file, reports) in cards {
        card(file, reports, anchor, &mut out)?;
    }
    write!(
        out,
        "<p class=\"none\" hidden=\"hidden\">No block is left with these filters.</p>\n</main>\n\
         <footer class=\"page\">Written by rsty {}. Press / to search.</footer>\n\
         <script nonce=\"{nonce}\">\n{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
    )?;
    out.flush()
}

fn head(summary: &Summary, nonce: &str, out: &mut impl Write) -> io::Result<()> {
    let (colour, title) = match (summary.failed, summary.total()) {
        (0, 0) => ("skipped", "Nothing ran".to_owned()),
        (0, total) if summary.skipped == total => ("skipped", "Everything was skipped".to_owned()),
        (0, _) if summary.flaky > 0 => ("flaky", format!("Passed, {} flaky", summary.flaky)),
        (0, _) => ("passed", "All passed".to_owned()),
        (failed, total) => ("failed", format!("{failed} of {total} failed")),
    };
    let blocks = counted(summary.total(), "block");
    let assertions = counted(summary.assertions, "assertion");
    let counts = [summary.failed, summary.flaky, summary.skipped, summary.passed];
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{title} · rsty test</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header class=\"page\">\n<h1 class=\"{colour}\">{title}</h1>\n\
         <p class=\"meta\">{blocks}, {assertions}, {time}</p>\n{bar}</header>\n<nav class=\"tools\"><div class=\"page\">\n\
         <input type=\"search\" placeholder=\"Search files and blocks\" aria-label=\"Search files and blocks\"/>\n",
        bar = bar(counts),
        time = duration(summary.elapsed),
    )?;
    for (verdict, count) in VERDICTS.into_iter().zip(counts) {
        let word = verdict.word();
        writeln!(
            out,
            "<label class=\"{word}\"><input type=\"checkbox\" id=\"show-{word}\" checked=\"checked\"/> {word} <b>{count}</b></label>"
        )?;
    }
    writeln!(out, "</div></nav>")
}

fn card(
    file: &str,
    reports: &[&BlockReport],
    anchor: impl Fn(&BlockReport) -> usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let count = |verdict| reports.iter().filter(|report| report.verdict() == verdict).count();
    let counts = VERDICTS.map(count);
    let [failed, flaky, _, passed] = counts;
    let open = if failed + flaky > 0 { " open=\"open\"" } else { "" };
    let time = duration(reports.iter().map(|report| report.duration()).sum());
    writeln!(
        out,
        "<details class=\"card file\"{open}>\n<summary><h2>{}</h2>{}<span class=\"count\">{} of {} passed</span>\
         <span class=\"time\">{time}</span></summary>",
        text(file),
        bar(counts),
        passed + flaky,
        reports.len(),
    )?;
    let needs_a_look = |report: &&BlockReport| matches!(report.verdict(), BlockVerdict::Failed | BlockVerdict::Flaky);
    let (first, rest): (Vec<&BlockReport>, Vec<&BlockReport>) = reports.iter().copied().partition(needs_a_look);
    for report in first.into_iter().chain(rest) {
        block::write(report, anchor(report), out)?;
    }
    writeln!(out, "</details>")
}

/// The shares of the verdicts as one bar, for the eye; words beside it say the same.
fn bar(counts: [usize; 4]) -> String {
    let mut bar = "<div class=\"bar\" aria-hidden=\"true\">".to_owned();
    for (verdict, count) in VERDICTS.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
        bar.push_str(&format!("<b class=\"{}\" style=\"flex-grow:{count}\"></b>", verdict.word()));
    }
    bar.push_str("</div>\n");
    bar
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// A text of a block or its server as HTML: escaped, and what can't be seen made visible.
fn text(text: &str) -> String {
    bytes(text.as_bytes())
}

fn bytes(bytes: &[u8]) -> String {
    escaped(&visible(bytes))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // The two that XML does not know.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
