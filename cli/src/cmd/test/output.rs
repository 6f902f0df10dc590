//! What `rsty test` prints while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use rsty_diag::render;
use rsty_testspec::model::Plan;
use rsty_testspec::report::github::Shield;
use rsty_testspec::report::tap::{Tap, Version};
use rsty_testspec::report::{Summary, github, human, json};
use rsty_testspec::run::lane::Event;
use rsty_testspec::run::outcome::{BlockId, BlockReport, BlockVerdict};
use rsty_testspec::run::progress::SlowBlock;

use super::args::{Args, FlakyResult, Format};
use crate::ui;
use crate::ui::progress::Progress;

/// Prints events, and gathers what the reports at the end need.
pub(crate) struct Output {
    format: Format,
    verbose: bool,
    flaky_fails: bool,
    /// Whether a block that runs this long will soon be given up.
    stuck: Duration,
    progress: Progress,
    tap: Tap,
    shield: Shield,
    summary: Summary,
    reports: Vec<BlockReport>,
    unusable: BTreeSet<Arc<PathBuf>>,
    plans: BTreeMap<Arc<PathBuf>, Plan>,
}

/// What a run has shown.
pub(crate) struct Finished {
    pub(crate) reports: Vec<BlockReport>,
    pub(crate) summary: Summary,
    /// What the files promised.
    pub(crate) plans: BTreeMap<Arc<PathBuf>, Plan>,
    /// Whether a file could not be loaded.
    pub(crate) unusable: bool,
}

/// The most bytes of a failed block's log and exchange that the reports keep.
const KEPT_MAX: usize = 64 * 1024;

impl Output {
    /// An output for `total` blocks.
    pub(super) fn new(args: &Args, total: usize) -> Self {
        let format = args.output_format();
        let tap = Tap::new(match format {
            Format::Tap13 => Version::Thirteen,
            Format::Tap14 => Version::Fourteen,
            _ => Version::Classic,
        });
        let shield = Shield::new();
        match format {
            Format::Json => ui::answer(&json::start(total)),
            Format::Tap13 | Format::Tap14 => ui::answer(tap.head()),
            Format::Github => ui::answer(&shield.up()),
            Format::Human | Format::Tap => {}
        }
        let for_people = matches!(format, Format::Human | Format::Github);
        Self {
            format,
            verbose: args.verbose,
            flaky_fails: args.flaky_result == FlakyResult::Fail,
            stuck: Duration::try_from_secs_f64(args.block_timeout / 4.0).unwrap_or_default(),
            progress: Progress::new(total, args.quiet || !for_people),
            tap,
            shield,
            summary: Summary::default(),
            reports: Vec::new(),
            unusable: BTreeSet::new(),
            plans: BTreeMap::new(),
        }
    }

    /// How many blocks have failed so far.
    pub(super) fn failures(&self) -> usize {
        self.summary.failed
    }

    /// Prints what there is to say about an event.
    pub(crate) fn observe(&mut self, event: Event) {
        match event {
            Event::Started { block, .. } => {
                self.progress.begin(place(&block));
            }
            Event::Finished { report, .. } => self.finished(*report),
            Event::Slow(slow) => self.slow(&slow),
            Event::Waiting(why) => self.progress.above(|| ui::talk(&format!("waiting: {why}\n"))),
            Event::Unusable { file, diagnostics } => {
                if self.unusable.insert(file) {
                    self.progress.above(|| {
                        for diagnostic in &diagnostics {
                            ui::talk(&format!("{}\n\n", render::full(diagnostic, render::Style::Coloured)));
                        }
                    });
                }
            }
            Event::Loaded { file, plan } => {
                self.plans.insert(file, plan);
            }
        }
    }

    /// Prints the summary.
    pub(crate) fn finish(mut self, elapsed: Duration) -> Finished {
        self.progress.finish();
        self.summary.elapsed = elapsed;
        match self.format {
            Format::Tap | Format::Tap13 | Format::Tap14 => ui::answer(&self.tap.plan()),
            Format::Json => ui::answer(&json::summary(&self.summary)),
            Format::Human | Format::Github => {
                let red = self.summary.failed > 0 || (self.flaky_fails && self.summary.flaky > 0);
                let colour = if red { AnsiColor::Red } else { AnsiColor::Green };
                let style = Style::new().bold().fg_color(Some(colour.into()));
                ui::answer(&human::recap(&self.reports));
                ui::answer(&format!("{}\n", ui::paint(style, &self.summary.line())));
                if self.format == Format::Github {
                    ui::answer(&self.shield.down());
                }
            }
        }
        Finished {
            reports: self.reports,
            summary: self.summary,
            plans: self.plans,
            unusable: !self.unusable.is_empty(),
        }
    }

    fn slow(&self, slow: &SlowBlock) {
        match self.format {
            Format::Json => ui::answer(&json::slow(slow)),
            _ => {
                let line = human::slow(slow, slow.elapsed >= self.stuck);
                self.progress.above(|| ui::talk(&line));
            }
        }
    }

    fn finished(&mut self, mut report: BlockReport) {
        self.summary.add(&report);
        self.progress.done(&place(&report.id), report.verdict() == BlockVerdict::Failed);
        let notes = human::notes(&report);
        if !notes.is_empty() {
            self.progress.above(|| ui::talk(&notes));
        }
        match self.format {
            Format::Tap | Format::Tap13 | Format::Tap14 => {
                let (lines, comments) = self.tap.block(&report);
                ui::answer(&lines);
                ui::talk(&comments);
            }
            Format::Json => ui::answer(&json::block(&report)),
            Format::Human | Format::Github => {
                let text = match report.verdict() {
                    // A file that can't be loaded has been explained once.
                    BlockVerdict::Failed if self.unusable.contains(&report.id.file) => String::new(),
                    BlockVerdict::Failed => format!("{}\n", human::failure(&report)),
                    BlockVerdict::Flaky => human::line(&report),
                    _ if self.verbose => human::line(&report),
                    _ => String::new(),
                };
                let annotation = if self.format == Format::Github { github::annotation(&report) } else { None };
                self.progress.above(|| {
                    ui::answer(&text);
                    ui::answer(&annotation.map_or_else(String::new, |command| self.shield.through(&command)));
                });
            }
        }
        keep_essentials(&mut report);
        self.reports.push(report);
    }
}

/// Where a block stands, for the live line.
pub(super) fn place(block: &BlockId) -> String {
    render::printable(format!("{}:{}", block.file.display(), block.line).as_bytes())
}

/// Lets go of what no report shows, so that a run over thousands of blocks stays small.
fn keep_essentials(report: &mut BlockReport) {
    for attempt in &mut report.attempts {
        let room = if attempt.has_failed() { KEPT_MAX } else { 0 };
        // Of a request the beginning says most; of a log, the end.
        attempt.sent.truncate(room);
        attempt.received.truncate(room);
        let from = attempt.error_log.len().saturating_sub(room);
        attempt.error_log.drain(..from);
        for bytes in [&mut attempt.sent, &mut attempt.received, &mut attempt.error_log] {
            bytes.shrink_to_fit();
        }
        attempt.assertions.shrink_to_fit();
    }
}
