//! One HTML page about a run: no scripts from elsewhere, no network, light and dark.
//!
//! Every file is a foldable list of its blocks, with the failed ones open; what a failed block shows is what the
//! terminal shows. Without JavaScript only the filter is missing.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::report::human;
use crate::report::summary::{Summary, duration};
use crate::run::outcome::{BlockReport, BlockVerdict};

/// Writes the page.
pub fn write(reports: &[BlockReport], summary: &Summary, mut out: impl Write) -> io::Result<()> {
    let title = escaped(&summary.line());
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <header><h1>{title}</h1>{bar}\
         <input type=\"search\" placeholder=\"Filter blocks\" aria-label=\"Filter blocks\"></header>\n<main>\n",
        bar = bar(summary),
    )?;
    let mut files: BTreeMap<String, Vec<&BlockReport>> = BTreeMap::new();
    for report in reports {
        files.entry(report.id.file.display().to_string()).or_default().push(report);
    }
    for (file, mut reports) in files {
        reports.sort_by_key(|report| report.id.number);
        write_file(&file, &reports, &mut out)?;
    }
    write!(out, "</main>\n<script>{SCRIPT}</script>\n</html>\n")?;
    out.flush()
}

fn write_file(file: &str, reports: &[&BlockReport], out: &mut impl Write) -> io::Result<()> {
    let count = |verdict| reports.iter().filter(|report| report.verdict() == verdict).count();
    let failed = count(BlockVerdict::Failed);
    let open = if failed > 0 { " open" } else { "" };
    let time = duration(reports.iter().map(|report| report.duration()).sum());
    let passed = count(BlockVerdict::Passed) + count(BlockVerdict::Flaky);
    writeln!(
        out,
        "<details class=\"file\"{open}><summary><b>{}</b> <span>{passed} of {} passed, {time}</span></summary>",
        escaped(file),
        reports.len(),
    )?;
    for report in reports {
        let verdict = report.verdict();
        let name = escaped(&report.id.name);
        let time = duration(report.duration());
        let head = format!(
            "<i class=\"{word}\">{word}</i> <span class=\"name\">{name}</span> <span>{time}</span>",
            word = verdict.word()
        );
        if verdict == BlockVerdict::Failed {
            let text = escaped(&plain(&human::failure(report)));
            writeln!(out, "<details class=\"block\" open><summary>{head}</summary><pre>{text}</pre></details>")?;
        } else {
            writeln!(out, "<div class=\"block\">{head}</div>")?;
        }
    }
    writeln!(out, "</details>")
}

/// The shares of the verdicts as one bar, for the eye; the heading says the same in words.
fn bar(summary: &Summary) -> String {
    let parts = [
        ("failed", summary.failed),
        ("flaky", summary.flaky),
        ("skipped", summary.skipped),
        ("passed", summary.passed),
    ];
    let mut bar = "<div class=\"bar\" aria-hidden=\"true\">".to_owned();
    for (word, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        bar.push_str(&format!("<b class=\"{word}\" style=\"flex-grow:{count}\"></b>"));
    }
    bar.push_str("</div>");
    bar
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// A text for the terminal without its colours.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, code)) = rest.split_once("\x1b[") {
        out.push_str(before);
        rest = code.split_once('m').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

const STYLE: &str = "
:root{--fg:#1d1d1f;--bg:#fff;--soft:#6a6a70;--line:#e3e3e8;--box:#f6f6f8;
--failed:#c62828;--flaky:#a86400;--skipped:#6a6a70;--passed:#1b7f3b}
@media(prefers-color-scheme:dark){:root{--fg:#ececf1;--bg:#17171a;--soft:#a0a0a8;--line:#33333a;--box:#202025;
--failed:#ff7b72;--flaky:#e3b341;--skipped:#a0a0a8;--passed:#56d364}}
*{box-sizing:border-box}
body{margin:0;font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg)}
header,main{max-width:72rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;margin:0 0 .6rem}
.bar{display:flex;gap:2px;height:.5rem;border-radius:.25rem;overflow:hidden}
.bar b{min-width:3px;background:currentColor}
input{margin-top:.8rem;width:100%;padding:.4rem .6rem;font:inherit;color:inherit;background:var(--box);
border:1px solid var(--line);border-radius:.4rem}
.file{border-top:1px solid var(--line);padding:.5rem 0}
.file>summary span,.block span:last-child{color:var(--soft);font-size:.85em}
summary{cursor:pointer}
.block{padding:.1rem 0 .1rem 1.2rem}
i{display:inline-block;min-width:4rem;font-style:normal;font-weight:600}
.failed{color:var(--failed)}.flaky{color:var(--flaky)}.skipped{color:var(--skipped)}.passed{color:var(--passed)}
pre{margin:.3rem 0 .6rem;padding:.7rem;overflow-x:auto;background:var(--box);border-radius:.4rem;
font:13px/1.45 ui-monospace,monospace}
@media print{input{display:none}pre{white-space:pre-wrap}}
";

const SCRIPT: &str = "
document.querySelector('input').addEventListener('input',event=>{
const wanted=event.target.value.toLowerCase();
for(const file of document.querySelectorAll('.file')){
const path=file.querySelector('b').textContent.toLowerCase();let any=false;
for(const block of file.querySelectorAll('.block')){
const shown=path.includes(wanted)||block.textContent.toLowerCase().includes(wanted);
block.hidden=!shown;any=any||shown}
file.hidden=!any;if(wanted&&any)file.open=true}});
";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::outcome::{Attempt, BlockId};

    #[test]
    fn a_page_tells_of_each_block_and_escapes_what_specs_say() {
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 1, name: "TEST 1: <b>&".to_owned() };
        let report = BlockReport { id, attempts: vec![Attempt::impossible("</pre><script>x")] };
        let mut summary = Summary::default();
        summary.add(&report);
        let mut page = Vec::new();
        write(&[report], &summary, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("TEST 1: &lt;b&gt;&amp;"));
        assert!(page.contains("&lt;/pre&gt;&lt;script&gt;x"));
        assert_eq!(page.matches("<script>").count(), 1);
        assert!(!page.contains('\x1b'));
        assert!(!page.contains("http"), "the page needs nothing from elsewhere");
    }
}
