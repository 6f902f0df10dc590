//! `rsty test --against`: each block on two servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rsty_testspec::report::against::{Difference, Sight, table};
use rsty_testspec::report::records::Records;
use rsty_testspec::run::binary::ServerBinary;
use rsty_testspec::run::lane::{self, Event, Options};
use rsty_testspec::run::outcome::{BlockId, BlockVerdict};
use rsty_testspec::run::select::PlannedFile;

use super::args::{Args, Format};
use super::output::place;
use super::plan::{plan, tell_unknown_sections};
use super::session::stop_on_signals;
use super::{Failure, RECORDS, failure, options};
use crate::exit::Exit;
use crate::ui;
use crate::ui::progress::Progress;

/// Runs the chosen blocks on both servers and shows where they differ. A difference is a finding; blocks that fail
/// alike on both are none.
pub(super) fn run(args: &Args, scratch: &Path) -> Result<Exit, Failure> {
    let Some(other) = &args.against else { return Ok(Exit::Fine) };
    let files = plan(args, &Records::read(Path::new(RECORDS)))?;
    if files.is_empty() {
        ui::error("no block was selected");
        return Ok(Exit::NothingSelected);
    }
    if tell_unknown_sections(&files, args.strict) {
        return Ok(Exit::Usage);
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop, scratch);
    let first = options::options(args, scratch, Arc::clone(&stop))?;
    let second = options::options_for(args, scratch, Arc::clone(&stop), options::external(other)?)?;
    let names = (name(&first.binary, &second.binary), name(&second.binary, &first.binary));
    let blocks: usize = files.iter().map(|file| file.blocks.len()).sum();
    let progress = Progress::new(blocks * 2, args.quiet || args.output_format() == Format::Json);
    let mut seen = look(&files, &first, &progress)?;
    let mut differences = Vec::new();
    let mut compared = 0;
    let mut agreed: BTreeMap<&'static str, usize> = BTreeMap::new();
    for (id, second) in look(&files, &second, &progress)? {
        let Some(first) = seen.remove(&id) else { continue };
        compared += 1;
        let verdict = first.verdict;
        match Difference::between(&id, first, second) {
            Some(difference) => differences.push(difference),
            None => *agreed.entry(verdict.word()).or_default() += 1,
        }
    }
    progress.finish();
    if args.output_format() == Format::Json {
        for difference in &differences {
            ui::answer(&difference.json());
        }
    } else {
        for difference in &differences {
            ui::answer(&format!("{}\n", difference.text()));
        }
        ui::answer(&table(&differences, (&names.0, &names.1)));
        let verdicts: Vec<String> = agreed.iter().map(|(word, count)| format!("{count} {word} on both")).collect();
        let agreed = if verdicts.is_empty() { String::new() } else { format!(" ({})", verdicts.join(", ")) };
        let differ = differences.len();
        ui::answer(&format!("{differ} of {compared} blocks differ, {} agree{agreed}\n", compared - differ));
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(Exit::ToolFailure);
    }
    Ok(if differences.is_empty() { Exit::Fine } else { Exit::Findings })
}

/// What each block shows on a server.
fn look(files: &[PlannedFile], options: &Options, progress: &Progress) -> Result<BTreeMap<BlockId, Sight>, Failure> {
    let mut sights = BTreeMap::new();
    let ran = lane::run(files.to_vec(), options, |event| match event {
        Event::Started { block, .. } => progress.begin(place(&block)),
        Event::Finished { report, .. } => {
            progress.done(&place(&report.id), report.verdict() == BlockVerdict::Failed);
            sights.insert(report.id.clone(), Sight::of(&report));
        }
        Event::Unusable { file, diagnostics } => {
            let texts: Vec<String> = diagnostics.iter().map(rsty_diag::render::concise).collect();
            progress.above(|| ui::warning(&format!("{}: {}", file.display(), texts.join("; "))));
        }
        Event::Loaded { .. } | Event::Slow(_) | Event::Waiting(_) => {}
    });
    ran.map_err(|error| failure(Exit::ToolFailure, "run the blocks", &error))?;
    Ok(sights)
}

/// A short name that tells a server from the other one.
fn name(server: &ServerBinary, other: &ServerBinary) -> String {
    let short = |server: &ServerBinary| {
        let stem = server.program().file_name().unwrap_or_default().to_string_lossy().into_owned();
        if server.is_built_in() { "built-in".to_owned() } else { stem }
    };
    let own = short(server);
    if own == short(other) { server.program().display().to_string() } else { own }
}
