//! `rsty lint`.

mod changed;
mod watch;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use rsty_diag::{Source, render};
use rsty_lint::baseline::Baseline;
use rsty_lint::config::Config;
use rsty_lint::driver::{self, FileReport};
use rsty_lint::settings::{Allowed, Inline, Settings, Switch, UnknownName, WrittenFiles};
use rsty_lint::{Input, InputKind, check, fixes, report, rules};
use rsty_reindex::atomic::Loaded;
use rsty_reindex::difference;

use crate::cmd::lint_releng;
use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Lua, nginx configuration and spec files, folders of them, or `-` for stdin.
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,

    /// How findings are written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,

    /// Turn rules on: ids, groups or `all`, separated by commas.
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    select: Vec<String>,

    /// Turn rules off: ids, groups or `all`, separated by commas.
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    ignore: Vec<String>,

    /// The globals that exist, such as `ngx_lua+busted`; with a leading `+`, besides the configured ones.
    #[arg(long, value_name = "NAMES", allow_hyphen_values = true)]
    std: Option<String>,

    /// Globals that may be read and assigned, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    globals: Vec<String>,

    /// Globals that may be read, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    read_globals: Vec<String>,

    /// Also look at the Lua files that `user_files` sections of specs hold.
    #[arg(long)]
    written_files: bool,

    /// Use this configuration file instead of the nearest `rsty.toml` or `.luacheckrc`.
    #[arg(long, value_name = "FILE", conflicts_with = "no_config")]
    config: Option<PathBuf>,

    /// Ignore configuration files.
    #[arg(long)]
    no_config: bool,

    /// Ignore comments in the code that change what is reported.
    #[arg(long)]
    no_inline: bool,

    /// The name of what comes from stdin; its ending tells what it holds.
    #[arg(long, value_name = "NAME", default_value = "stdin.lua")]
    filename: PathBuf,

    /// Apply fixes that keep the meaning.
    #[arg(long)]
    fix: bool,

    /// Apply fixes that may change the meaning, too.
    #[arg(long)]
    unsafe_fixes: bool,

    /// Show what fixes would change, and write nothing.
    #[arg(long)]
    diff: bool,

    /// Don't tell findings that this file lists.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Write all findings to this baseline file.
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    write_baseline: Option<PathBuf>,

    /// Write a comment that allows it behind each line with a finding.
    #[arg(long, conflicts_with_all = ["fix", "unsafe_fixes", "diff", "baseline", "write_baseline"])]
    add_allow: bool,

    /// Look only at files that differ from a commit (from the last one unless it is named).
    #[arg(long, value_name = "COMMIT", num_args = 0..=1, require_equals = true, default_missing_value = "HEAD")]
    changed: Option<String>,

    /// Stay, and look again whenever a file changes.
    #[arg(short, long)]
    watch: bool,

    /// Report what the script lj-releng reports: any use of a global inside a function.
    #[arg(long)]
    lj_releng: bool,

    #[command(flatten)]
    releng: lint_releng::Options,

    /// Show a rule's page, or `all` pages.
    #[arg(long, value_name = "RULE", conflicts_with = "paths")]
    explain: Option<String>,

    /// List all rules.
    #[arg(long, conflicts_with = "paths")]
    list_rules: bool,

    /// Number of files to work on at the same time.
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,

    /// Say nothing but the findings.
    #[arg(short, long)]
    quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  nothing was found
  1  there are findings
  2  the command line or a configuration is wrong, or a file could not be read
  3  a fixed file could not be written
  4  no file was selected";

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With the line of the code.
    #[default]
    Full,
    /// One line a finding.
    Concise,
    /// One JSON array.
    Json,
    /// SARIF 2.1.0, for code scanning services.
    Sarif,
    /// JUnit's XML.
    Junit,
    /// checkstyle's XML.
    Checkstyle,
    /// Annotations of GitHub Actions.
    Github,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    if let Some(rule) = &args.explain {
        return explain(rule).into();
    }
    if args.list_rules {
        return list_rules().into();
    }
    if args.watch {
        return watched(&args).into();
    }
    let result = if args.lj_releng { lint_releng::run(&args.paths, &args.releng) } else { lint(&args) };
    match result {
        Ok(exit) => exit.into(),
        Err(message) => {
            ui::error(&message);
            Exit::Usage.into()
        }
    }
}

/// Looks again and again. Only a watch that breaks ends this.
fn watched(args: &Args) -> Exit {
    let reason = watch::watch(&args.paths, || {
        ui::talk("\n");
        if let Err(message) = lint(args) {
            ui::error(&message);
        }
    });
    ui::error(&reason);
    Exit::ToolFailure
}

/// Everything but the pages. An error is a message about the command line or a configuration.
fn lint(args: &Args) -> Result<Exit, String> {
    let configurations = Configurations::new(args)?;
    let (mut reports, failed) = if args.paths == [PathBuf::from("-")] {
        match stdin(args, &configurations)? {
            Some(report) => (vec![report], 0),
            None => return Ok(Exit::ToolFailure),
        }
    } else {
        let (mut files, unread) = driver::find(&args.paths);
        configurations.load(&files)?;
        files.retain(|file| !configurations.excludes(file));
        let all = files.clone();
        if let Some(commit) = &args.changed {
            changed::only(&mut files, commit)?;
            if files.is_empty() && unread.is_empty() {
                return Ok(Exit::Fine);
            }
        }
        if files.is_empty() && unread.is_empty() {
            ui::error("no file was found");
            return Ok(Exit::NothingSelected);
        }
        let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let (mut reports, failed) = driver::run(&files, jobs, |path: &Path| configurations.settings(path));
        driver::forget_fields_set_in(&all, &mut reports);
        for error in unread.iter().chain(&failed) {
            let path = render::printable(error.path.as_os_str().as_encoded_bytes());
            ui::error(&format!("can't read {path}: {}", error.source));
        }
        (reports, unread.len() + failed.len())
    };
    if let Some(path) = &args.write_baseline {
        std::fs::write(path, Baseline::of(&reports).write())
            .map_err(|error| format!("can't write {}: {error}", path.display()))?;
        return Ok(Exit::Fine);
    }
    if let Some(path) = &args.baseline {
        let text = std::fs::read_to_string(path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
        let baseline = Baseline::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        baseline.remove_known(&mut reports);
    }
    let mut unwritten = 0;
    if args.add_allow {
        unwritten = allow(args, &configurations, &mut reports);
    }
    if args.fix || args.unsafe_fixes || args.diff {
        unwritten = mend(args, &configurations, &mut reports);
    }
    if !args.diff {
        write(args, &reports);
    }
    let found = reports.iter().any(|report| !report.findings.is_empty());
    Ok(match (failed, unwritten, found) {
        (0, 0, false) => Exit::Fine,
        (0, 0, true) => Exit::Findings,
        (_, 0, _) => Exit::Usage,
        _ => Exit::ToolFailure,
    })
}

/// The settings of each file: defaults, then its configuration, then the command line.
struct Configurations<'a> {
    args: &'a Args,
    given: Option<Arc<Config>>,
    by_folder: Mutex<HashMap<PathBuf, Option<Arc<Config>>>>,
}

impl<'a> Configurations<'a> {
    fn new(args: &'a Args) -> Result<Self, String> {
        let mut probe = Settings::default();
        apply_arguments(args, &mut probe).map_err(|error| error.to_string())?;
        let given = match &args.config {
            Some(path) => Some(Arc::new(Config::read(path).map_err(|error| error.to_string())?)),
            None => None,
        };
        let configurations = Self { args, given, by_folder: Mutex::default() };
        configurations.given.iter().for_each(|config| warn(config));
        Ok(configurations)
    }

    /// Reads the configurations of all folders before the work starts, so that a mistake in one is told first.
    fn load(&self, files: &[PathBuf]) -> Result<(), String> {
        if self.given.is_some() || self.args.no_config {
            return Ok(());
        }
        let mut by_folder = self.by_folder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known: HashMap<PathBuf, Arc<Config>> = HashMap::new();
        for file in files {
            let folder = file.parent().unwrap_or(Path::new(""));
            if by_folder.contains_key(folder) {
                continue;
            }
            let config = Config::find(folder).map_err(|error| error.to_string())?.map(|config| {
                let shared = known.entry(config.path.clone()).or_insert_with(|| {
                    warn(&config);
                    Arc::new(config)
                });
                shared.clone()
            });
            by_folder.insert(folder.to_path_buf(), config);
        }
        Ok(())
    }

    fn config(&self, file: &Path) -> Option<Arc<Config>> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let by_folder = self.by_folder.lock().unwrap_or_else(PoisonError::into_inner);
        self.given.clone().or_else(|| by_folder.get(folder).cloned().flatten())
    }

    fn excludes(&self, file: &Path) -> bool {
        self.config(file).is_some_and(|config| config.excludes(file))
    }

    fn settings(&self, file: &Path) -> Settings {
        let mut settings = Settings::default();
        if let Some(config) = self.config(file) {
            // All names were checked when the configuration was read.
            config.apply(file, &mut settings).ok();
        }
        settings.add_conventions(file);
        apply_arguments(self.args, &mut settings).ok();
        settings
    }
}

fn warn(config: &Config) {
    for warning in &config.warnings {
        ui::warning(&format!("{}: {warning}", config.path.display()));
    }
}

fn apply_arguments(args: &Args, settings: &mut Settings) -> Result<(), UnknownName> {
    if let Some(names) = &args.std {
        settings.set_standards(names)?;
    }
    args.globals.iter().for_each(|name| settings.allow_global(name, Allowed::Write));
    args.read_globals.iter().for_each(|name| settings.allow_global(name, Allowed::Read));
    // What is said about a rule counts more than what is said about its group, and that more than `all`.
    let said =
        args.select.iter().map(|name| (name, Switch::On)).chain(args.ignore.iter().map(|name| (name, Switch::Off)));
    let mut said: Vec<_> = said.collect();
    said.sort_by_key(|(name, _)| Settings::precision(name));
    for (name, state) in said {
        settings.switch(name, state)?;
    }
    if args.no_inline {
        settings.inline = Inline::Ignored;
    }
    if args.written_files {
        settings.written_files = WrittenFiles::Checked;
    }
    Ok(())
}

fn stdin(args: &Args, configurations: &Configurations<'_>) -> Result<Option<FileReport>, String> {
    let mut bytes = Vec::new();
    if let Err(error) = std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes) {
        ui::error(&format!("can't read stdin: {error}"));
        return Ok(None);
    }
    configurations.load(std::slice::from_ref(&args.filename))?;
    let source = Source::new(args.filename.as_path(), bytes);
    let kind = InputKind::of(&args.filename).unwrap_or(InputKind::Lua);
    let findings = check(&Input { source: source.clone(), kind }, &configurations.settings(&args.filename));
    Ok(Some(FileReport { source, findings }))
}

/// Applies fixes to the files, or shows them. The reports of changed files are renewed. Tells how many files could not
/// be written.
fn mend(args: &Args, configurations: &Configurations<'_>, reports: &mut [FileReport]) -> usize {
    let level = if args.unsafe_fixes { fixes::Level::Unsafe } else { fixes::Level::Safe };
    let (mut failed, mut applied) = (0, 0);
    for report in reports {
        let Some((text, count)) = fixes::apply(report.source.bytes(), &report.findings, level) else { continue };
        let name = render::printable(report.source.name().as_bytes());
        if args.diff {
            ui::answer(&String::from_utf8_lossy(&difference::unified(&name, report.source.bytes(), &text)));
            continue;
        }
        let written = replace(report, &text);
        if let Err(message) = written {
            ui::error(&format!("{name}: {message}"));
            failed += 1;
            continue;
        }
        applied += count;
        let source = Source::new(report.source.path(), text);
        let kind = InputKind::of(source.path()).unwrap_or(InputKind::Lua);
        let settings = configurations.settings(source.path());
        report.findings = check(&Input { source: source.clone(), kind }, &settings);
        report.source = source;
    }
    if applied > 0 && !args.quiet {
        ui::talk(&format!("{applied} {} applied\n", if applied == 1 { "fix" } else { "fixes" }));
    }
    failed
}

/// Writes comments that allow what was found. Tells how many files could not be written.
fn allow(args: &Args, configurations: &Configurations<'_>, reports: &mut [FileReport]) -> usize {
    let (mut failed, mut allowed) = (0, 0);
    for report in reports {
        let settings = configurations.settings(report.source.path());
        let kind = InputKind::of(report.source.path()).unwrap_or(InputKind::Lua);
        let input = Input { source: report.source.clone(), kind };
        let Some((text, count)) = rsty_lint::allow::all(&input, &report.findings, &settings) else { continue };
        if let Err(message) = replace(report, &text) {
            ui::error(&format!("{}: {message}", render::printable(report.source.name().as_bytes())));
            failed += 1;
            continue;
        }
        allowed += count;
        report.source = Source::new(report.source.path(), text);
        report.findings = check(&Input { source: report.source.clone(), kind }, &settings);
    }
    if allowed > 0 && !args.quiet {
        ui::talk(&format!("{allowed} {} allowed\n", if allowed == 1 { "finding" } else { "findings" }));
    }
    failed
}

/// Puts a new text in the place of the one that was judged.
fn replace(report: &FileReport, text: &[u8]) -> Result<(), String> {
    match Loaded::read(report.source.path()) {
        Ok(loaded) if loaded.bytes() != report.source.bytes() => Err("the file changed meanwhile".to_owned()),
        Ok(loaded) => loaded.replace(text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn write(args: &Args, reports: &[FileReport]) {
    let text = match args.format {
        Format::Full => report::full(reports),
        Format::Concise => report::concise(reports),
        Format::Json => report::json(reports) + "\n",
        Format::Sarif => report::sarif(reports),
        Format::Junit => report::junit(reports),
        Format::Checkstyle => report::checkstyle(reports),
        Format::Github => report::github(reports),
    };
    ui::answer(&text);
    if !args.quiet && matches!(args.format, Format::Full | Format::Concise) {
        ui::talk(&report::summary(reports));
    }
}

fn explain(id: &str) -> Exit {
    match rules::find(id) {
        None if id == "all" => {
            ui::answer(&rules::pages());
            Exit::Fine
        }
        Some(rule) => {
            ui::answer(&format!("# {}\n\n{}\n", rule.id, rule.page));
            Exit::Fine
        }
        None => {
            let like = rsty_diag::closest(id, rules::ALL.iter().map(|rule| rule.id));
            let like = like.map(|like| format!("; did you mean `{like}`?")).unwrap_or_default();
            ui::error(&format!("there is no rule `{id}`{like}"));
            Exit::Usage
        }
    }
}

fn list_rules() -> Exit {
    let width = rules::ALL.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    for rule in rules::ALL {
        let state = if rule.group.on_by_default() { "on " } else { "off" };
        ui::answer(&format!("{:width$}  {state}  {:11}  {}\n", rule.id, rule.group.name(), rule.summary));
    }
    Exit::Fine
}
