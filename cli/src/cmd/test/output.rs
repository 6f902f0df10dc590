//! What `rsty test` prints while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use rsty_diag::render;
use rsty_testspec::model::Plan;
use rsty_testspec::report::tap::Tap;
use rsty_testspec::report::{Summary, github, human, json};
use rsty_testspec::run::lane::Event;
use rsty_testspec::run::outcome::{BlockReport, BlockVerdict};

use crate::ui;
use crate::ui::progress::Progress;

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// JSON lines.
    Json,
    /// TAP.
    Tap,
}

/// Prints events, and gathers what the reports at the end need.
pub(crate) struct Output {
    format: Format,
    verbose: bool,
    annotate: bool,
    progress: Progress,
    tap: Tap,
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

impl Output {
    /// An output for `total` blocks.
    pub(crate) fn new(format: Format, total: usize, verbose: bool, quiet: bool) -> Self {
        if format == Format::Json {
            ui::answer(&json::start(total));
        }
        Self {
            format,
            verbose,
            annotate: format == Format::Human && std::env::var_os("GITHUB_ACTIONS").is_some(),
            progress: Progress::new(total, quiet || format != Format::Human),
            tap: Tap::default(),
            summary: Summary::default(),
            reports: Vec::new(),
            unusable: BTreeSet::new(),
            plans: BTreeMap::new(),
        }
    }

    /// Prints what there is to say about an event.
    pub(crate) fn observe(&mut self, event: Event) {
        match event {
            Event::Started { block, .. } => {
                self.progress.begin(format!("{}:{}", block.file.display(), block.line));
            }
            Event::Finished(report) => self.finished(*report),
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
            Format::Tap => ui::answer(&self.tap.plan()),
            Format::Json => ui::answer(&json::summary(&self.summary)),
            Format::Human => {
                let colour = if self.summary.failed > 0 { AnsiColor::Red } else { AnsiColor::Green };
                let style = Style::new().bold().fg_color(Some(colour.into()));
                ui::answer(&format!("{}\n", ui::paint(style, &self.summary.line())));
            }
        }
        Finished {
            reports: self.reports,
            summary: self.summary,
            plans: self.plans,
            unusable: !self.unusable.is_empty(),
        }
    }

    fn finished(&mut self, report: BlockReport) {
        self.summary.add(&report);
        self.progress.advance();
        let notes = human::notes(&report);
        if !notes.is_empty() {
            self.progress.above(|| ui::talk(&notes));
        }
        match self.format {
            Format::Tap => {
                let (lines, comments) = self.tap.block(&report);
                ui::answer(&lines);
                ui::talk(&comments);
            }
            Format::Json => ui::answer(&json::block(&report)),
            Format::Human => {
                let text = match report.verdict() {
                    // A file that can't be loaded has been explained once.
                    BlockVerdict::Failed if self.unusable.contains(&report.id.file) => String::new(),
                    BlockVerdict::Failed => format!("{}\n", human::failure(&report)),
                    BlockVerdict::Flaky => human::line(&report),
                    _ if self.verbose => human::line(&report),
                    _ => String::new(),
                };
                let annotation = if self.annotate { github::annotation(&report) } else { None };
                self.progress.above(|| {
                    ui::answer(&text);
                    ui::answer(&annotation.unwrap_or_default());
                });
            }
        }
        self.reports.push(report);
    }
}
