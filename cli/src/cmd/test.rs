//! `rsty test`: runs spec files.

mod output;
mod supervise;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rsty_diag::render;
use rsty_testspec::load::Shell;
use rsty_testspec::model::Plan;
use rsty_testspec::report::baseline::{Baseline, Update};
use rsty_testspec::report::records::Records;
use rsty_testspec::run::binary::ServerBinary;
use rsty_testspec::run::lane::{self, Options};
use rsty_testspec::run::outcome::BlockVerdict;
use rsty_testspec::run::process;
use rsty_testspec::run::sections::unknown_sections;
use rsty_testspec::run::select::{NameFilter, PlannedFile, Selector, select};
use rsty_testspec::run::spec_file;

use crate::cmd::test::output::{Finished, Format, Output};
use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty test`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Spec files and folders; FILE:LINE, FILE:FROM-TO or FILE:'TEST N' for a part of a file.
    #[arg(value_name = "PATH", default_value = "t")]
    paths: Vec<String>,

    /// Run the specs on this nginx binary instead of the built-in server.
    #[arg(long, value_name = "PROGRAM", help_heading = "Server")]
    server: Option<PathBuf>,
    /// Refuse shell commands in spec files.
    #[arg(long, help_heading = "Server")]
    no_shell: bool,
    /// Look here for local Perl modules.
    #[arg(short = 'I', long = "include", value_name = "FOLDER", help_heading = "Server")]
    include: Vec<PathBuf>,

    /// Only blocks whose path and name match: words with `and`, `or`, `not`, parentheses.
    #[arg(short = 'k', long = "filter", value_name = "EXPR", help_heading = "Selection")]
    filter: Option<String>,
    /// Only blocks that failed in the last run; all of them if none did.
    #[arg(long, help_heading = "Selection")]
    last_failed: bool,
    /// Blocks that failed in the last run come first.
    #[arg(long, help_heading = "Selection")]
    failed_first: bool,
    /// Only the Nth of M parts, balanced by recorded durations.
    #[arg(long, value_name = "N/M", value_parser = parse_partition, help_heading = "Selection")]
    partition: Option<(usize, usize)>,
    /// Print the chosen blocks and run nothing.
    #[arg(long, help_heading = "Selection")]
    list: bool,
    /// Print the nginx.conf of the chosen blocks and run nothing.
    #[arg(long, conflicts_with = "list", help_heading = "Selection")]
    dry_run: bool,

    /// Take unknown sections and plans that do not balance for errors.
    #[arg(long, help_heading = "Run")]
    strict: bool,
    /// How many blocks run at the same time.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Run")]
    jobs: Option<u16>,
    /// Run files in a random order; a seed repeats one.
    #[arg(long, value_name = "SEED", num_args = 0..=1, default_missing_value = "0", help_heading = "Run")]
    shuffle: Option<u64>,
    /// Stop after the first failed block.
    #[arg(short = 'x', long, help_heading = "Run")]
    fail_fast: bool,
    /// Stop after N failed blocks.
    #[arg(long, value_name = "N", conflicts_with = "fail_fast", help_heading = "Run")]
    max_fail: Option<usize>,
    /// Try a failed block again, up to N times; one that then passes is reported as flaky.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Run")]
    retries: u32,
    /// The client's idle timeout in seconds (as TEST_NGINX_TIMEOUT).
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Run")]
    timeout: Option<f64>,
    /// The longest time for one block in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "120", help_heading = "Run")]
    block_timeout: f64,

    /// Print TAP, as `prove` reads it.
    #[arg(long, help_heading = "Output", conflicts_with = "json")]
    tap: bool,
    /// Print JSON lines.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write a JUnit report.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    junit: Option<PathBuf>,
    /// Write an HTML report.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,
    /// Name every block, not only those that fail.
    #[arg(short, long, help_heading = "Output")]
    verbose: bool,
    /// Keep no records of this run for --last-failed and --partition.
    #[arg(long, help_heading = "Output")]
    no_records: bool,
    /// No live progress.
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,

    /// Fail only where a block in this list no longer passes.
    #[arg(long, value_name = "FILE", help_heading = "Baseline")]
    baseline: Option<PathBuf>,
    /// Add the blocks that pass to the baseline.
    #[arg(long, requires = "baseline", help_heading = "Baseline")]
    update_baseline: bool,
    /// With --update-baseline: also remove blocks that no longer pass.
    #[arg(long, requires = "update_baseline", help_heading = "Baseline")]
    allow_shrink: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all passed   1  a block failed   2  wrong usage or unusable spec file
  3  the runner could not work        4  nothing was selected";

/// Where records of past runs are kept.
const RECORDS: &str = ".rsty";

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    let Some(scratch) = supervise::scratch() else {
        return if args.list { finish(list(&args)) } else { supervise::supervise() };
    };
    let exit = finish(if args.dry_run { dry_run(&args, &scratch) } else { run_specs(&args, &scratch) });
    // The parent removes it too, unless it was killed.
    let _ = std::fs::remove_dir_all(&scratch);
    exit
}

fn finish(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(Failure { exit, message }) => {
            ui::error(&message);
            exit.into()
        }
    }
}

/// Why there is no result.
struct Failure {
    exit: Exit,
    message: String,
}

fn failure(exit: Exit, action: &str, error: &dyn std::error::Error) -> Failure {
    let mut message = format!("failed to {action}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Failure { exit, message }
}

fn list(args: &Args) -> Result<Exit, Failure> {
    let files = plan(args, &Records::read(Path::new(RECORDS)))?;
    for id in files.iter().flat_map(|file| &file.blocks) {
        ui::answer(&format!("{}:{}\t{}\n", id.file.display(), id.line, id.name));
    }
    Ok(if files.is_empty() { Exit::NothingSelected } else { Exit::Fine })
}

fn dry_run(args: &Args, scratch: &Path) -> Result<Exit, Failure> {
    let files = plan(args, &Records::read(Path::new(RECORDS)))?;
    let total: usize = files.iter().map(|file| file.blocks.len()).sum();
    let options = options(args, scratch, Arc::default())?;
    let mut unusable = false;
    let rendered = lane::render(files, &options, |id, text| match text {
        Ok(text) => {
            // One file alone keeps its line numbers.
            let heading = format!("# {}:{}  {}\n", id.file.display(), id.line, id.name);
            let heading = if total > 1 { heading.as_str() } else { "" };
            ui::answer(&format!("{heading}{}", String::from_utf8_lossy(&text)));
        }
        Err(reason) => {
            unusable = true;
            ui::error(&format!("{}:{}: {reason}", id.file.display(), id.line));
        }
    });
    rendered.map_err(|error| failure(Exit::ToolFailure, "render the configuration", &error))?;
    Ok(match (unusable, total) {
        (true, _) => Exit::Usage,
        (false, 0) => Exit::NothingSelected,
        (false, _) => Exit::Fine,
    })
}

/// Tells of sections that nothing reads. By default only of likely slips: suites have sections for tools of their
/// own. Whether there was one.
fn tell_unknown_sections(files: &[PlannedFile], strict: bool) -> bool {
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

fn run_specs(args: &Args, scratch: &Path) -> Result<Exit, Failure> {
    let start = Instant::now();
    let mut records = Records::read(Path::new(RECORDS));
    let files = plan(args, &records)?;
    let total: usize = files.iter().map(|file| file.blocks.len()).sum();
    if total == 0 {
        ui::error("no block was selected");
        return Ok(Exit::NothingSelected);
    }
    if tell_unknown_sections(&files, args.strict) {
        return Ok(Exit::Usage);
    }
    let is_whole = |file: &&PlannedFile| file.blocks.len() == file.document.selection().blocks.len();
    let whole: BTreeMap<Arc<PathBuf>, usize> =
        files.iter().filter(is_whole).map(|file| (Arc::clone(&file.path), file.blocks.len())).collect();
    let mut baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop);
    let mut options = options(args, scratch, Arc::clone(&stop))?;
    if args.shuffle.is_none() && !args.failed_first {
        let all = files.iter().flat_map(|file| &file.blocks);
        options.durations = all.filter_map(|id| Some((id.clone(), records.duration(id)?))).collect();
    }
    let format = if args.tap {
        Format::Tap
    } else if args.json {
        Format::Json
    } else {
        Format::Human
    };
    let mut output = Output::new(format, total, args.verbose, args.quiet);
    let ran = lane::run(files, &options, |event| output.observe(event));
    ran.map_err(|error| failure(Exit::ToolFailure, "run the blocks", &error))?;
    let finished = output.finish(start.elapsed());
    if !args.no_records {
        for report in &finished.reports {
            records.add(report);
        }
        if let Err(error) = records.write(Path::new(RECORDS)) {
            ui::warning(&format!("failed to keep records of this run: {error}"));
        }
    }
    if let Some(path) = &args.junit {
        let written = std::fs::File::create(path)
            .and_then(|file| rsty_testspec::report::junit::write(&finished.reports, std::io::BufWriter::new(file)));
        written.map_err(|error| failure(Exit::ToolFailure, "write the JUnit report", &error))?;
    }
    if let Some(path) = &args.html {
        let written = std::fs::File::create(path).and_then(|file| {
            let file = std::io::BufWriter::new(file);
            rsty_testspec::report::html::write(&finished.reports, &finished.summary, file)
        });
        written.map_err(|error| failure(Exit::ToolFailure, "write the HTML report", &error))?;
    }
    let mut failed = finished.summary.failed > 0;
    let mut unusable = finished.unusable;
    if let (Some(baseline), Some(path)) = (&mut baseline, &args.baseline) {
        failed = compare(baseline, path, args, &finished.reports)?;
        // The list decides: the blocks of a file that can't be read count as failed, and it may not have them.
        unusable = false;
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(Exit::ToolFailure);
    }
    failed |= tell_unbalanced_plans(&finished, &whole) > 0 && args.strict;
    Ok(match (failed, unusable) {
        (_, true) => Exit::Usage,
        (true, false) => Exit::Findings,
        (false, false) => Exit::Fine,
    })
}

fn plan(args: &Args, records: &Records) -> Result<Vec<PlannedFile>, Failure> {
    let usage = |error: &dyn std::error::Error| failure(Exit::Usage, "select blocks", error);
    let selectors: Vec<Selector> = args.paths.iter().map(|path| Selector::parse(path)).collect();
    let filter = args.filter.as_deref().map(NameFilter::parse).transpose().map_err(|error| usage(&error))?;
    let mut files = select(&selectors, filter.as_ref()).map_err(|error| usage(&error))?;
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
        partition(&mut files, part, parts, records);
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

/// Keeps the part's share: files go, longest first, to the part that has the least to do. Depends only on the
/// chosen files and the records, so that machines with the same checkout agree.
fn partition(files: &mut Vec<PlannedFile>, part: usize, parts: usize, records: &Records) {
    let cost = |file: &PlannedFile| -> Duration {
        file.blocks.iter().map(|id| records.duration(id).unwrap_or(Duration::from_millis(100))).sum()
    };
    let mut order: Vec<(usize, Duration)> = files.iter().map(cost).enumerate().collect();
    order.sort_by_key(|(index, cost)| (std::cmp::Reverse(*cost), *index));
    let mut loads = vec![Duration::ZERO; parts];
    let mut mine = vec![false; files.len()];
    for (index, cost) in order {
        let Some((least, load)) = loads.iter_mut().enumerate().min_by_key(|(index, load)| (**load, *index)) else {
            continue;
        };
        *load += cost;
        if let Some(mine) = mine.get_mut(index) {
            *mine = least + 1 == part;
        }
    }
    let mut mine = mine.into_iter();
    files.retain(|_| mine.next().unwrap_or(false));
}

/// A Fisher–Yates shuffle by a small generator: the order must be the same for a seed on every machine.
fn shuffle(files: &mut [PlannedFile], seed: u64) {
    let mut state = seed;
    for last in (1..files.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        files.swap(last, (state >> 33) as usize % (last + 1));
    }
}

fn options(args: &Args, scratch: &Path, stop: Arc<AtomicBool>) -> Result<Options, Failure> {
    let tool = |action: &str, error: &dyn std::error::Error| failure(Exit::ToolFailure, action, error);
    let mut variables: BTreeMap<String, Vec<u8>> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, OsString::into_vec(value))))
        .filter(|(name, _)| !supervise::is_own_variable(name))
        .collect();
    let wanted = args.server.clone().or_else(|| std::env::var_os("TEST_NGINX_BINARY").map(PathBuf::from));
    let binary = match wanted {
        Some(program) => {
            let found = ServerBinary::external(&program, std::env::var_os("PATH").as_ref());
            found.map_err(|error| failure(Exit::Usage, "use the server", &error))?
        }
        None => {
            let program = std::env::current_exe().map_err(|error| tool("find the running program", &error))?;
            let link = scratch.join("nginx");
            std::os::unix::fs::symlink(&program, &link).map_err(|error| tool("link the server", &error))?;
            ServerBinary::built_in(link).map_err(|error| tool("use the built-in server", &error))?
        }
    };
    variables.insert("TEST_NGINX_BINARY".to_owned(), binary.program().as_os_str().to_owned().into_vec());
    if let Some(timeout) = args.timeout {
        variables.insert("TEST_NGINX_TIMEOUT".to_owned(), timeout.to_string().into_bytes());
    }
    let working_directory = std::env::current_dir().map_err(|error| tool("find the working directory", &error))?;
    let mut library_paths = args.include.clone();
    library_paths.extend(std::env::var_os("PERL5LIB").iter().flat_map(std::env::split_paths));
    // Blocks mostly wait, so there are more of them than processors.
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    Ok(Options {
        binary: Arc::new(binary),
        loader: spec_file::loader(),
        jobs: args.jobs.map_or(processors * 4, usize::from),
        variables,
        working_directory,
        library_paths,
        shell: if args.no_shell { Shell::Refused } else { Shell::Allowed },
        scratch: scratch.to_owned(),
        block_limit: Duration::try_from_secs_f64(args.block_timeout).unwrap_or(Duration::from_mins(2)),
        retries: args.retries,
        durations: BTreeMap::new(),
        max_failures: if args.fail_fast { Some(1) } else { args.max_fail },
        stop,
    })
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
fn compare(
    baseline: &mut Baseline,
    path: &Path,
    args: &Args,
    reports: &[rsty_testspec::run::outcome::BlockReport],
) -> Result<bool, Failure> {
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

/// The first interrupt lets the running blocks end; the second ends everything at once.
fn stop_on_signals(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
            else {
                return;
            };
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
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

fn parse_partition(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(part, parts)| part.parse().ok().zip(parts.parse().ok()));
    match parsed {
        Some((part, parts)) if part >= 1 && part <= parts && parts <= 10_000 => Ok((part, parts)),
        _ => Err("expected N/M with N from 1 to M".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds < 1e6 => Ok(seconds),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}
