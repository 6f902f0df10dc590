//! One run of the chosen blocks: run, record, report, judge.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rsty_testspec::model::Plan;
use rsty_testspec::report::baseline::{Baseline, Update};
use rsty_testspec::report::coverage::Coverage;
use rsty_testspec::report::records::Records;
use rsty_testspec::report::{html, junit, stress};
use rsty_testspec::run::lane::{self, Event, Options};
use rsty_testspec::run::outcome::{BlockReport, BlockVerdict};
use rsty_testspec::run::process;
use rsty_testspec::run::select::PlannedFile;

use super::args::{Args, FlakyResult, Format};
use super::output::{Finished, Output};
use super::plan::{plan, tell_unknown_sections};
use super::{Failure, RECORDS, bless, failure, options, supervise};
use crate::exit::Exit;
use crate::ui;

/// Runs the chosen blocks once, or as often as `--stress` says.
pub(super) fn run(args: &Args, scratch: &Path) -> Result<Exit, Failure> {
    let mut records = Records::read(Path::new(RECORDS));
    let files = plan(args, &records)?;
    if files.is_empty() {
        ui::error("no block was selected");
        return Ok(Exit::NothingSelected);
    }
    if tell_unknown_sections(&files, args.strict) {
        return Ok(Exit::Usage);
    }
    let mut baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop, scratch);
    let mut options = options::options(args, scratch, Arc::clone(&stop))?;
    let finished = pass(args, &files, &mut options, &mut records, |_| {})?;
    write_reports(args, &finished)?;
    if let Some(path) = &args.coverage {
        let coverage =
            Coverage::read(scratch).map_err(|error| failure(Exit::ToolFailure, "read the coverage", &error))?;
        std::fs::write(path, coverage.lcov())
            .map_err(|error| failure(Exit::ToolFailure, "write the coverage", &error))?;
        ui::talk(&coverage.table());
    }
    if args.bless || args.interactive {
        bless::offer(args, &files, &finished.reports)?;
    }
    let mut failed = finished.summary.failed > 0;
    failed |= args.flaky_result == FlakyResult::Fail && finished.summary.flaky > 0;
    let mut unusable = finished.unusable;
    if let (Some(baseline), Some(path)) = (&mut baseline, &args.baseline) {
        failed = compare(baseline, path, args, &finished.reports)?;
        // The list decides: the blocks of a file that can't be read count as failed, and it may not have them.
        unusable = false;
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(Exit::ToolFailure);
    }
    if args.stress.is_none() {
        failed |= tell_unbalanced_plans(&finished, &whole(&files)) > 0 && args.strict;
    }
    Ok(match (failed, unusable) {
        (_, true) => Exit::Usage,
        (true, false) => Exit::Findings,
        (false, false) => Exit::Fine,
    })
}

/// Runs the blocks, prints, and keeps records. `also` sees each event first.
pub(super) fn pass(
    args: &Args,
    files: &[PlannedFile],
    options: &mut Options,
    records: &mut Records,
    mut also: impl FnMut(&Event),
) -> Result<Finished, Failure> {
    let start = Instant::now();
    if args.shuffle.is_none() && !args.failed_first {
        let all = files.iter().flat_map(|file| &file.blocks);
        options.durations = all.filter_map(|id| Some((id.clone(), records.duration(id)?))).collect();
    }
    let rounds = args.stress.unwrap_or(1);
    let total: usize = files.iter().map(|file| file.blocks.len()).sum();
    let mut output = Output::new(args, total.saturating_mul(rounds));
    for _ in 0..rounds {
        let ran = lane::run(files.to_vec(), options, |event| {
            also(&event);
            output.observe(event);
        });
        ran.map_err(|error| failure(Exit::ToolFailure, "run the blocks", &error))?;
        let enough = args.failures_max().is_some_and(|max| output.failures() >= max);
        if enough || options.stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let mut finished = output.finish(start.elapsed());
    if rounds > 1 {
        finished.reports = stress::joined(finished.reports);
        ui::talk(&stress::table(&finished.reports));
    }
    if !args.no_records {
        for report in &finished.reports {
            records.add(report);
        }
        if let Err(error) = records.write(Path::new(RECORDS)) {
            ui::warning(&format!("failed to keep records of this run: {error}"));
        }
    }
    Ok(finished)
}

/// Writes the report files that the arguments ask for.
pub(super) fn write_reports(args: &Args, finished: &Finished) -> Result<(), Failure> {
    let create = |path: &PathBuf| std::fs::File::create(path).map(BufWriter::new);
    if let Some(path) = &args.junit {
        let written = create(path).and_then(|file| junit::write(&finished.reports, file));
        written.map_err(|error| failure(Exit::ToolFailure, "write the JUnit report", &error))?;
    }
    if let Some(path) = &args.html {
        let written = create(path).and_then(|file| html::write(&finished.reports, &finished.summary, file));
        written.map_err(|error| failure(Exit::ToolFailure, "write the HTML report", &error))?;
        if args.output_format() == Format::Human {
            ui::talk(&format!("wrote {}\n", path.display()));
        }
    }
    Ok(())
}

/// The files of which all blocks run, with their number.
fn whole(files: &[PlannedFile]) -> BTreeMap<Arc<PathBuf>, usize> {
    let is_whole = |file: &&PlannedFile| file.blocks.len() == file.document.selection().blocks.len();
    files.iter().filter(is_whole).map(|file| (Arc::clone(&file.path), file.blocks.len())).collect()
}

/// Tells of files whose blocks all passed with another number of assertions than the file plans. How many there are.
fn tell_unbalanced_plans(finished: &Finished, whole: &BTreeMap<Arc<PathBuf>, usize>) -> usize {
    let mut unbalanced = 0;
    for (file, plan) in &finished.plans {
        let reports: Vec<_> = finished.reports.iter().filter(|report| report.id.file == *file).collect();
        let is_whole = whole.get(file) == Some(&reports.len());
        let passed = reports.iter().all(|report| report.verdict() != BlockVerdict::Failed);
        let made: usize = reports.iter().filter_map(|report| report.last()).map(|last| last.assertions.len()).sum();
        if let Plan::Tests(planned) = plan
            && is_whole
            && passed
            && usize::try_from(*planned) != Ok(made)
        {
            ui::warning(&format!("{}: planned {planned} assertions but made {made}", file.display()));
            unbalanced += 1;
        }
    }
    unbalanced
}

fn read_baseline(path: &Path) -> Result<Baseline, Failure> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.map_err(|error| failure(Exit::Usage, "read the baseline", &error))?,
    };
    Baseline::parse(&text).map_err(|line| Failure {
        exit: Exit::Usage,
        message: format!("{}:{line}: expected a file, a tab and a block's name", path.display()),
    })
}

/// Whether blocks were lost.
fn compare(baseline: &mut Baseline, path: &Path, args: &Args, reports: &[BlockReport]) -> Result<bool, Failure> {
    let comparison = baseline.compare(reports);
    for (file, name) in &comparison.lost {
        ui::talk(&format!("no longer passes: {file}  {name}\n"));
    }
    for (file, name) in &comparison.gained {
        ui::talk(&format!("newly passes: {file}  {name}\n"));
    }
    if args.update_baseline {
        let update = if args.allow_shrink { Update::GrowAndShrink } else { Update::Grow };
        baseline.update(&comparison, update);
        let written = std::fs::write(path, baseline.render());
        written.map_err(|error| failure(Exit::ToolFailure, "write the baseline", &error))?;
    } else if !comparison.gained.is_empty() {
        ui::talk("add them with --update-baseline\n");
    }
    Ok(!comparison.lost.is_empty() && !args.allow_shrink)
}

/// The first interrupt lets the running blocks end; the second ends everything at once, and so does the death of the
/// parent, who would have cleaned up.
pub(super) fn stop_on_signals(stop: &Arc<AtomicBool>, scratch: &Path) {
    let (stop, scratch) = (Arc::clone(stop), scratch.to_owned());
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
            else {
                return;
            };
            // A thread of the parent may die before the parent has: its signal then comes too early to tell an orphan.
            let mut look = tokio::time::interval(supervise::LOOK);
            loop {
                let is_signalled = tokio::select! {
                    _ = interrupt.recv() => true,
                    _ = terminate.recv() => true,
                    _ = hang_up.recv() => true,
                    _ = look.tick() => false,
                };
                if supervise::is_orphan() {
                    stop.store(true, Ordering::Relaxed);
                    supervise::leave(&scratch);
                }
                if !is_signalled {
                    continue;
                }
                if stop.swap(true, Ordering::Relaxed) {
                    process::end_descendants();
                } else {
                    ui::talk("\ninterrupted; waiting for the running blocks\n");
                }
            }
        });
    });
}
