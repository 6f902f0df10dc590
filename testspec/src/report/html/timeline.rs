//! When each block ran in which lane, and which took longest.

use std::collections::BTreeMap;

use super::block::steps;
use super::text;
use crate::report::summary::duration;
use crate::run::outcome::{Attempt, BlockReport, BlockVerdict};

/// How many of the slowest blocks are listed.
const SLOWEST: usize = 8;
/// Narrower than this share of the whole, passed blocks are drawn together: nobody could tell them apart.
const NARROW: f64 = 0.0008;

/// The timeline of a run; nothing where times are not known.
pub(super) fn timeline(reports: &[BlockReport], anchor: impl Fn(&BlockReport) -> usize) -> String {
    let attempts = || reports.iter().flat_map(|report| report.attempts.iter().map(move |attempt| (report, attempt)));
    let end = attempts().map(|(_, attempt)| (attempt.began + attempt.duration).as_secs_f64()).fold(0.0, f64::max);
    if end <= 0.0 || reports.len() < 2 {
        return String::new();
    }
    let mut lanes: BTreeMap<usize, Vec<(&BlockReport, &Attempt)>> = BTreeMap::new();
    for (report, attempt) in attempts() {
        lanes.entry(attempt.lane).or_default().push((report, attempt));
    }
    let mut out = format!(
        "<details class=\"card timeline\">\n<summary><h2>Timeline</h2><span class=\"count\">{} in {}</span>\
         <span class=\"time\">{}</span></summary>\n<div class=\"inside\">\n<div class=\"lanes\">\n",
        super::counted(reports.len(), "block"),
        super::counted(lanes.len(), "lane"),
        duration(std::time::Duration::try_from_secs_f64(end).unwrap_or_default()),
    );
    for attempts in lanes.values_mut() {
        attempts.sort_by_key(|(_, attempt)| attempt.began);
        out.push_str("<div class=\"lane\">");
        lane(attempts, end, &anchor, &mut out);
        out.push_str("</div>\n");
    }
    out.push_str("</div>\n<div class=\"axis\">");
    for tick in 0..=4 {
        let at = std::time::Duration::try_from_secs_f64(end * f64::from(tick) / 4.0).unwrap_or_default();
        out.push_str(&format!("<span>{}</span>", duration(at)));
    }
    out.push_str("</div>\n");
    out.push_str(&slowest(reports, anchor));
    out.push_str("</div>\n</details>\n");
    out
}

fn lane(attempts: &[(&BlockReport, &Attempt)], end: f64, anchor: &impl Fn(&BlockReport) -> usize, out: &mut String) {
    let mut drawn = -1.0;
    for (report, attempt) in attempts {
        let left = attempt.began.as_secs_f64() / end;
        let width = attempt.duration.as_secs_f64() / end;
        let word = if attempt.has_failed() { "failed" } else { report.verdict().word() };
        // What lies within a pixel of the one before adds bytes to the page and nothing for the eye.
        if word == "passed" && width < NARROW && left + width < drawn + NARROW {
            continue;
        }
        drawn = left + width;
        let title = format!("{}:{}  {}", report.id.file.display(), report.id.line, report.id.name);
        out.push_str(&format!(
            "<a class=\"{word}\" href=\"#b{}\" style=\"left:{:.3}%;width:{:.3}%\" title=\"{}, {}\"></a>",
            anchor(report),
            left * 100.0,
            width * 100.0,
            text(&title),
            duration(attempt.duration),
        ));
    }
}

/// The slowest blocks with the steps of their last attempt.
fn slowest(reports: &[BlockReport], anchor: impl Fn(&BlockReport) -> usize) -> String {
    let mut slow: Vec<&BlockReport> =
        reports.iter().filter(|report| report.verdict() != BlockVerdict::Skipped).collect();
    slow.sort_by_key(|report| std::cmp::Reverse(report.duration()));
    slow.truncate(SLOWEST);
    let mut out = "<div class=\"slowest\">\n".to_owned();
    for report in slow {
        let bar = report.last().map(steps).unwrap_or_default();
        out.push_str(&format!(
            "<a href=\"#b{}\">{}:{}  {}</a>{bar}<span class=\"time\">{}</span>\n",
            anchor(report),
            text(&report.id.file.to_string_lossy()),
            report.id.line,
            text(&report.id.name),
            duration(report.duration()),
        ));
    }
    out.push_str("</div>\n<ul class=\"legend\">");
    for step in crate::run::progress::Step::ALL {
        out.push_str(&format!("<li><i class=\"{0}\"></i>{0}</li>", step.word()));
    }
    out.push_str("</ul>\n");
    out
}
