//! `rsty test --bless` and `--interactive`: making failed blocks expect what came.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use rsty_diag::render;
use rsty_reindex::atomic::Loaded;
use rsty_reindex::difference;
use rsty_testspec::bless::{Edit, apply, edits};
use rsty_testspec::run::outcome::{BlockReport, BlockVerdict};
use rsty_testspec::run::select::PlannedFile;

use super::args::Args;
use super::keys::{ENDS, Keys};
use super::{Failure, failure};
use crate::exit::Exit;
use crate::ui;

/// What the user decides about a block.
enum Decision {
    Accept,
    AcceptAll,
    Quit,
    Skip,
}

/// Shows for each failed block what would be written, asks if the arguments say so, and writes.
pub(super) fn offer(args: &Args, files: &[PlannedFile], reports: &[BlockReport]) -> Result<(), Failure> {
    let asks = args.interactive;
    let keys = if asks { Keys::open() } else { None };
    if asks && keys.is_none() {
        return Err(Failure {
            exit: Exit::Usage,
            message: "--interactive needs a terminal; --bless asks nothing".to_owned(),
        });
    }
    let mut keys = keys;
    let mut accepted: BTreeMap<Arc<PathBuf>, Vec<Edit>> = BTreeMap::new();
    let (mut blessed, mut refused) = (0, 0);
    let mut failed: Vec<&BlockReport> =
        reports.iter().filter(|report| report.verdict() == BlockVerdict::Failed).collect();
    failed.sort_by(|left, right| left.id.cmp(&right.id));
    for report in failed {
        let Some(file) = files.iter().find(|file| file.path == report.id.file) else { continue };
        let place = format!("{}:{}  {}", report.id.file.display(), report.id.line, report.id.name);
        let place = render::printable(place.as_bytes());
        let found = match edits(report, &file.document) {
            Ok(found) => found,
            Err(refusal) => {
                ui::talk(&format!("not blessed: {place}: {refusal}\n"));
                refused += 1;
                continue;
            }
        };
        show(&place, file, &found)?;
        match keys.as_ref().map_or(Decision::Accept, ask) {
            Decision::Accept => {}
            Decision::AcceptAll => keys = None,
            Decision::Skip => continue,
            Decision::Quit => break,
        }
        blessed += 1;
        accepted.entry(Arc::clone(&report.id.file)).or_default().extend(found);
    }
    drop(keys);
    for (path, edits) in &accepted {
        if let Some(file) = files.iter().find(|file| file.path == *path) {
            write(file, edits)?;
        }
    }
    if blessed + refused > 0 {
        let blocks = if blessed == 1 { "block" } else { "blocks" };
        ui::talk(&format!("blessed {blessed} {blocks}, refused {refused}; run again to see them pass\n"));
    }
    Ok(())
}

fn show(place: &str, file: &PlannedFile, edits: &[Edit]) -> Result<(), Failure> {
    let new = apply(&file.document, edits).map_err(|error| failure(Exit::ToolFailure, "bless the block", &error))?;
    ui::talk(&format!("{place}\n"));
    let name = file.path.display().to_string();
    for line in difference::unified(&name, file.source.bytes(), &new).split(|byte| *byte == b'\n').skip(2) {
        let colour = match line.first() {
            Some(b'+') => anstyle::AnsiColor::Green,
            Some(b'-') => anstyle::AnsiColor::Red,
            Some(_) => anstyle::AnsiColor::BrightBlack,
            None => continue,
        };
        let style = anstyle::Style::new().fg_color(Some(colour.into()));
        ui::talk(&format!("  {}\n", ui::paint(style, &render::printable(line))));
    }
    Ok(())
}

fn ask(keys: &Keys) -> Decision {
    loop {
        ui::talk("  write this? [y]es [n]o [a]ll [q]uit ");
        let _ = std::io::stderr().flush();
        let key = keys.next();
        ui::talk("\n");
        match key {
            Some(b'y' | b'Y') => return Decision::Accept,
            Some(b'n' | b'N' | b's') => return Decision::Skip,
            Some(b'a' | b'A') => return Decision::AcceptAll,
            Some(b'q' | b'Q') | None => return Decision::Quit,
            Some(key) if ENDS.contains(&key) => return Decision::Quit,
            Some(_) => {}
        }
    }
}

/// Replaces the file whole or not at all, unless somebody changed it since it was read for the run.
fn write(file: &PlannedFile, edits: &[Edit]) -> Result<(), Failure> {
    let path = file.path.display();
    let tool = |error: &dyn std::error::Error| failure(Exit::ToolFailure, &format!("write {path}"), error);
    let loaded = Loaded::read(&file.path).map_err(|error| tool(&error))?;
    if loaded.bytes() != file.source.bytes() {
        return Err(Failure {
            exit: Exit::ToolFailure,
            message: format!("{path} was changed during the run, so it was left alone"),
        });
    }
    let new = apply(&file.document, edits).map_err(|error| tool(&error))?;
    loaded.replace(&new).map_err(|error| tool(&error))
}
