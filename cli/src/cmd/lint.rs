//! `rsty lint`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use rsty_diag::{Source, render};
use rsty_lint::driver::{self, FileReport};
use rsty_lint::settings::{Allowed, Inline, Settings, Switch, UnknownName};
use rsty_lint::{Input, InputKind, check, report, rules};

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

    /// Ignore comments in the code that change what is reported.
    #[arg(long)]
    no_inline: bool,

    /// The name of what comes from stdin; its ending tells what it holds.
    #[arg(long, value_name = "NAME", default_value = "stdin.lua")]
    filename: PathBuf,

    /// Show a rule's page.
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
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    if let Some(rule) = &args.explain {
        return explain(rule).into();
    }
    if args.list_rules {
        return list_rules().into();
    }
    let settings = match settings(&args) {
        Ok(settings) => settings,
        Err(error) => {
            ui::error(&error.to_string());
            return Exit::Usage.into();
        }
    };
    let (reports, errors) = if args.paths == [PathBuf::from("-")] {
        (stdin(&args, &settings).into_iter().collect(), 0)
    } else {
        let (files, unread) = driver::find(&args.paths);
        if files.is_empty() && unread.is_empty() {
            ui::error("no file was found");
            return Exit::NothingSelected.into();
        }
        let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let (reports, failed) = driver::run(&files, jobs, |_: &Path| settings.clone());
        for error in unread.iter().chain(&failed) {
            ui::error(&format!(
                "can't read {}: {}",
                render::printable(error.path.as_os_str().as_encoded_bytes()),
                error.source
            ));
        }
        (reports, unread.len() + failed.len())
    };
    write(&args, &reports);
    let found: usize = reports.iter().map(|report| report.findings.len()).sum();
    let exit = match (errors, found) {
        (0, 0) => Exit::Fine,
        (0, _) => Exit::Findings,
        _ => Exit::Usage,
    };
    exit.into()
}

fn settings(args: &Args) -> Result<Settings, UnknownName> {
    let mut settings = Settings::default();
    if let Some(names) = &args.std {
        settings.set_standards(names)?;
    }
    args.globals.iter().for_each(|name| settings.allow_global(name, Allowed::Write));
    args.read_globals.iter().for_each(|name| settings.allow_global(name, Allowed::Read));
    for name in &args.select {
        settings.switch(name, Switch::On)?;
    }
    for name in &args.ignore {
        settings.switch(name, Switch::Off)?;
    }
    if args.no_inline {
        settings.inline = Inline::Ignored;
    }
    Ok(settings)
}

fn stdin(args: &Args, settings: &Settings) -> Option<FileReport> {
    let mut bytes = Vec::new();
    if let Err(error) = std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes) {
        ui::error(&format!("can't read stdin: {error}"));
        return None;
    }
    let source = Source::new(args.filename.as_path(), bytes);
    let kind = InputKind::of(&args.filename).unwrap_or(InputKind::Lua);
    let findings = check(&Input { source: source.clone(), kind }, settings);
    Some(FileReport { source, findings })
}

fn write(args: &Args, reports: &[FileReport]) {
    match args.format {
        Format::Json => ui::answer(&(report::json(reports) + "\n")),
        Format::Full => ui::answer(&report::full(reports)),
        Format::Concise => ui::answer(&report::concise(reports)),
    }
    if !args.quiet && matches!(args.format, Format::Full | Format::Concise) {
        ui::talk(&report::summary(reports));
    }
}

fn explain(id: &str) -> Exit {
    match rules::find(id) {
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
