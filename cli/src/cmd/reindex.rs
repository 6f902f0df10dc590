//! `rsty reindex`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rsty_diag::{Source, render};
use rsty_reindex::atomic::Loaded;
use rsty_reindex::{Options, Rewrite, Style, compat, difference, files, format};

use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty reindex`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Spec files, folders of them, or `-` for stdin to stdout.
    #[arg(value_name = "PATH", default_value = "t")]
    paths: Vec<PathBuf>,

    /// Number of the first block.
    #[arg(short = 'b', long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    first: i64,

    /// Write exactly what the classic `reindex` script writes.
    #[arg(long, conflicts_with_all = ["no_numbers", "style", "unsafe_style"])]
    compat: bool,

    /// Write nothing; exit with 1 if a file would change.
    #[arg(long)]
    check: bool,

    /// Write nothing; show what would change.
    #[arg(long)]
    diff: bool,

    /// Take the numbers off the block headers.
    #[arg(long)]
    no_numbers: bool,

    /// Also remove trailing blanks from headers and inline values.
    #[arg(long)]
    style: bool,

    /// Also put sections into the usual order and indent configuration and Lua; line numbers in it may change.
    #[arg(long)]
    unsafe_style: bool,

    /// Say nothing about files that are fine or were rewritten.
    #[arg(short, long)]
    quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all files are formatted, or were rewritten
  1  --check or --diff found files that would change
  2  a file was refused or could not be read
  3  a file could not be written
  4  no spec file was selected";

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    if args.paths == [PathBuf::from("-")] {
        return stdin_to_stdout(&args).into();
    }
    let (found, errors) = files::find(&args.paths);
    for error in &errors {
        ui::error(&with_source(error));
    }
    let (specs, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| files::is_spec_name(path));
    for path in others.iter().filter(|_| !args.compat) {
        ui::warning(&format!("{} is not a spec file (`.t`), so it was left alone", shown(path)));
    }
    let outcomes = process_all(&specs, &args);
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let changed = count(|outcome| matches!(outcome, Outcome::Changed));
    let refused = count(|outcome| matches!(outcome, Outcome::Refused)) + errors.len();
    let failed = count(|outcome| matches!(outcome, Outcome::WriteFailed));
    if !args.quiet && !args.compat {
        summary(&args, outcomes.len(), changed, refused + failed);
    }
    let exit = if failed > 0 {
        Exit::ToolFailure
    } else if refused > 0 {
        Exit::Usage
    } else if specs.is_empty() && !args.compat {
        ui::error("no spec file was found");
        Exit::NothingSelected
    } else if (args.check || args.diff) && changed > 0 {
        Exit::Findings
    } else {
        Exit::Fine
    };
    exit.into()
}

enum Outcome {
    Changed,
    Refused,
    Unchanged,
    WriteFailed,
}

/// What a file's turn produced; printed in the order of the files.
struct Turn {
    outcome: Outcome,
    answer: Vec<u8>,
    talk: String,
}

fn process_all(specs: &[PathBuf], args: &Args) -> Vec<Outcome> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(specs.len());
    let next = AtomicUsize::new(0);
    let turns = Mutex::new(Printer { next: 0, waiting: specs.iter().map(|_| None).collect(), outcomes: Vec::new() });
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((index, path)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, specs.get(index)?)))
                {
                    let turn = process(path, args);
                    turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take(index, turn);
                }
            });
        }
    });
    turns.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).outcomes
}

/// Prints turns in the order of the files, as soon as all before them are there.
struct Printer {
    next: usize,
    waiting: Vec<Option<Turn>>,
    outcomes: Vec<Outcome>,
}

impl Printer {
    fn take(&mut self, index: usize, turn: Turn) {
        self.waiting[index] = Some(turn);
        while let Some(turn) = self.waiting.get_mut(self.next).and_then(Option::take) {
            write_answer(&turn.answer);
            if !turn.talk.is_empty() {
                ui::talk(&turn.talk);
            }
            self.outcomes.push(turn.outcome);
            self.next += 1;
        }
    }
}

fn process(path: &Path, args: &Args) -> Turn {
    let mut turn = Turn { outcome: Outcome::Unchanged, answer: Vec::new(), talk: String::new() };
    let loaded = match Loaded::read(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            turn.talk = format!("error: can't read {}: {error}\n", shown(path));
            turn.outcome = Outcome::Refused;
            return turn;
        }
    };
    let Ok(rewrite) = rewrite(path, loaded.bytes(), args, &mut turn.talk) else {
        turn.outcome = Outcome::Refused;
        return turn;
    };
    let Some(new) = rewrite else {
        if args.compat && !args.quiet {
            turn.talk.push_str(&format!("reindex: {}:\tskipped.\n", shown(path)));
        }
        return turn;
    };
    turn.outcome = Outcome::Changed;
    if args.diff {
        turn.answer = difference::unified(&shown(path), loaded.bytes(), &new);
    } else if args.check {
        turn.answer = format!("{}\n", shown(path)).into_bytes();
    } else if let Err(error) = loaded.replace(&new) {
        turn.talk.push_str(&format!("error: {}: {}\n", shown(path), with_source(&error)));
        turn.outcome = Outcome::WriteFailed;
    } else if args.compat && !args.quiet {
        turn.talk.push_str(&format!("reindex: {}:\tdone.\n", shown(path)));
    } else if !args.quiet {
        turn.talk.push_str(&format!("rewrote {}\n", shown(path)));
    }
    turn
}

/// The new content, if it differs. What there is to say goes to `talk`; a refused file is an error.
fn rewrite(path: &Path, bytes: &[u8], args: &Args, talk: &mut String) -> Result<Option<Vec<u8>>, ()> {
    if args.compat {
        return Ok(compat::rewrite(bytes, args.first));
    }
    let style = match (args.style, args.unsafe_style) {
        (_, true) => Style::Full,
        (true, false) => Style::Safe,
        (false, false) => Style::Kept,
    };
    let options = Options { first: args.first, numbers: !args.no_numbers, style };
    let Rewrite { text, diagnostics, remaining } = match format(&Source::new(path, bytes), &options) {
        Ok(rewrite) => rewrite,
        Err(refusal) => {
            talk.push_str(&format!("error: {}: {refusal}\n", shown(path)));
            return Err(());
        }
    };
    // What a rewrite mends is nothing to look after.
    let told = if args.check || args.diff { &diagnostics } else { &remaining };
    for diagnostic in told {
        talk.push_str(&format!("{}\n", render::concise(diagnostic)));
    }
    Ok(text)
}

fn stdin_to_stdout(args: &Args) -> Exit {
    let mut bytes = Vec::new();
    if let Err(error) = std::io::stdin().lock().read_to_end(&mut bytes) {
        ui::error(&format!("can't read stdin: {error}"));
        return Exit::ToolFailure;
    }
    let path = Path::new("<stdin>");
    let mut talk = String::new();
    let rewritten = rewrite(path, &bytes, args, &mut talk);
    ui::talk(&talk);
    match rewritten {
        Err(()) => Exit::Usage,
        Ok(new) if args.diff || args.check => {
            if let (true, Some(new)) = (args.diff, &new) {
                write_answer(&difference::unified("<stdin>", &bytes, new));
            }
            if new.is_some() { Exit::Findings } else { Exit::Fine }
        }
        Ok(new) => {
            write_answer(&new.unwrap_or(bytes));
            Exit::Fine
        }
    }
}

fn summary(args: &Args, files: usize, changed: usize, failed: usize) {
    let would = if args.check || args.diff { "would change" } else { "rewritten" };
    let mut text = format!("{} {would}, {} fine", counted(changed), files - changed - failed.min(files - changed));
    if failed > 0 {
        text.push_str(&format!(", {failed} failed"));
    }
    ui::talk(&format!("{text}\n"));
}

fn counted(files: usize) -> String {
    format!("{files} {}", if files == 1 { "file" } else { "files" })
}

/// File content is bytes, so it does not go through the styled stream.
fn write_answer(bytes: &[u8]) {
    let _ = std::io::stdout().lock().write_all(bytes);
}

fn shown(path: &Path) -> String {
    render::printable(path.as_os_str().as_encoded_bytes())
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
