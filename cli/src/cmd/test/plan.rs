//! Which blocks `rsty test` runs, and in which order.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rsty_diag::render;
use rsty_testspec::report::records::Records;
use rsty_testspec::run::schedule;
use rsty_testspec::run::sections::unknown_sections;
use rsty_testspec::run::select::{NameFilter, PlannedFile, Selector, select};

use super::args::Args;
use super::{Failure, RECORDS, failure};
use crate::exit::Exit;
use crate::ui;

/// The chosen blocks, by file.
pub(super) fn plan(args: &Args, records: &Records) -> Result<Vec<PlannedFile>, Failure> {
    let usage = |error: &dyn std::error::Error| failure(Exit::Usage, "select blocks", error);
    let selectors: Vec<Selector> = args.paths.iter().map(|path| Selector::parse(path)).collect();
    let filter = args.filter.as_deref().map(NameFilter::parse).transpose().map_err(|error| usage(&error))?;
    let mut files = select(&selectors, filter.as_ref()).map_err(|error| usage(&error))?;
    tell_switched(&files);
    if args.last_failed {
        let any = files.iter().flat_map(|file| &file.blocks).any(|id| records.failed(id));
        if any {
            for file in &mut files {
                file.blocks.retain(|id| records.failed(id));
            }
        } else {
            ui::talk("no failures are recorded; running all blocks\n");
        }
    }
    if let Some((part, parts)) = args.partition {
        // Each machine has records of its own, so they can't decide: only a file that all of them share can.
        let shared = match &args.durations {
            Some(path) => {
                Records::read_file(path).map_err(|error| failure(Exit::Usage, "read the durations", &error))?
            }
            None => Records::default(),
        };
        partition(&mut files, part, parts, &shared);
    }
    files.retain(|file| !file.blocks.is_empty());
    if args.failed_first {
        files.sort_by_key(|file| !file.blocks.iter().any(|id| records.failed(id)));
    }
    if let Some(seed) = args.shuffle {
        let seed = if seed == 0 { u64::from(std::process::id()) } else { seed };
        ui::talk(&format!("shuffled with --shuffle {seed}\n"));
        shuffle(&mut files, seed);
    }
    Ok(files)
}

/// Prints the chosen blocks.
pub(super) fn list(args: &Args) -> Result<Exit, Failure> {
    let files = plan(args, &Records::read(Path::new(RECORDS)))?;
    for id in files.iter().flat_map(|file| &file.blocks) {
        let file = render::printable(id.file.as_os_str().as_encoded_bytes());
        ui::answer(&format!("{file}:{}\t{}\n", id.line, render::printable(id.name.as_bytes())));
    }
    Ok(if files.is_empty() { Exit::NothingSelected } else { Exit::Fine })
}

/// In CI, tells of blocks that a forgotten `ONLY` keeps from running: there nobody would notice.
fn tell_switched(files: &[PlannedFile]) {
    if std::env::var_os("CI").is_none() {
        return;
    }
    for file in files.iter().filter(|file| file.document.selection().only) {
        let path = render::printable(file.path.as_os_str().as_encoded_bytes());
        ui::warning(&format!("{path}: only one block runs because of its `--- ONLY`"));
    }
}

/// Tells of sections that nothing reads. By default only of likely slips: suites have sections for tools of their
/// own. Whether there was one.
pub(super) fn tell_unknown_sections(files: &[PlannedFile], strict: bool) -> bool {
    let mut any = false;
    let of_file = |file: &PlannedFile| {
        let chosen: BTreeSet<usize> = file.blocks.iter().map(|id| id.number).collect();
        unknown_sections(&file.document, |number| chosen.contains(&number))
    };
    for unknown in files.iter().flat_map(of_file) {
        if strict {
            any = true;
        } else if !unknown.is_slip {
            continue;
        }
        let mut diagnostic = unknown.diagnostic;
        if strict {
            diagnostic.severity = rsty_diag::Severity::Error;
        }
        ui::talk(&format!("{}\n\n", render::full(&diagnostic, render::Style::Coloured)));
    }
    any
}

/// Keeps the part's share: files go, longest first, to the part that has the least to do. It depends only on the
/// chosen files and on the shared durations, so that machines with the same checkout agree. A block without a
/// duration takes as long as its text says.
fn partition(files: &mut Vec<PlannedFile>, part: usize, parts: usize, durations: &Records) {
    let cost = |file: &PlannedFile| -> Duration {
        let block = |id| durations.duration(id).unwrap_or_else(|| schedule::estimate(file, id));
        file.blocks.iter().map(block).sum()
    };
    let costs: Vec<Duration> = files.iter().map(cost).collect();
    let mut shares = share(&costs, parts).into_iter();
    files.retain(|_| shares.next() == Some(part - 1));
}

/// To which of `parts` each cost goes, from 0.
fn share(costs: &[Duration], parts: usize) -> Vec<usize> {
    let mut order: Vec<(usize, Duration)> = costs.iter().copied().enumerate().collect();
    order.sort_by_key(|(index, cost)| (std::cmp::Reverse(*cost), *index));
    let mut loads = vec![Duration::ZERO; parts];
    let mut shares = vec![0; costs.len()];
    for (index, cost) in order {
        let least = loads.iter_mut().enumerate().min_by_key(|(part, load)| (**load, *part));
        if let (Some((part, load)), Some(share)) = (least, shares.get_mut(index)) {
            *load += cost;
            *share = part;
        }
    }
    shares
}

/// A Fisher–Yates shuffle by a small generator: the order must be the same for a seed on every machine.
fn shuffle(files: &mut [PlannedFile], seed: u64) {
    let mut state = seed;
    for last in (1..files.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        files.swap(last, (state >> 33) as usize % (last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_every_file_has_exactly_one() {
        let costs: Vec<Duration> = [9, 1, 1, 1, 5, 4, 3].into_iter().map(Duration::from_secs).collect();
        let shares = share(&costs, 3);
        let mut loads = [0; 3];
        for (share, cost) in shares.iter().zip(&costs) {
            loads[*share] += cost.as_secs();
        }
        assert_eq!(loads, [9, 8, 7]);
        assert_eq!(share(&costs, 3), shares);
        assert!(share(&costs, 1).iter().all(|share| *share == 0));
    }
}
