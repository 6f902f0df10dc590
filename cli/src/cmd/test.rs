//! `rsty test`: runs spec files.
//!
//! The command runs in a grandchild of itself ([`supervise`]). There, [`plan`] chooses the blocks, [`session`] runs them
//! and says what came out; [`against`], [`watch`] and [`bless`] are the other things to do with chosen blocks.

mod against;
mod args;
mod bless;
mod keys;
mod options;
mod output;
mod plan;
mod session;
mod supervise;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use rsty_testspec::report::records::Records;
use rsty_testspec::run::lane::{self, Rendered};

pub(crate) use self::args::Args;
use crate::exit::Exit;
use crate::ui;

/// Where records of past runs are kept.
const RECORDS: &str = ".rsty";

/// Whether this process is below the one that was called, which has talked about the configuration.
pub(crate) fn is_child() -> bool {
    supervise::is_child()
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    let Some(scratch) = supervise::scratch() else {
        return if args.list { finish(plan::list(&args)) } else { supervise::supervise() };
    };
    let result = if args.dry_run {
        dry_run(&args, &scratch)
    } else if args.watch {
        watch::watch(&args, &scratch)
    } else if args.against.is_some() {
        against::run(&args, &scratch)
    } else {
        session::run(&args, &scratch)
    };
    let exit = finish(result);
    // Those above remove it too, unless they were killed.
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

fn dry_run(args: &Args, scratch: &Path) -> Result<Exit, Failure> {
    let files = plan::plan(args, &Records::read(Path::new(RECORDS)))?;
    let total: usize = files.iter().map(|file| file.blocks.len()).sum();
    let options = options::options(args, scratch, Arc::default())?;
    let mut unusable = false;
    let mut last_mistake = None;
    let rendered = lane::render(files, &options, |id, rendered| {
        let heading = format!("# {}:{}  {}\n", id.file.display(), id.line, id.name);
        match rendered {
            Rendered::Configuration(text) => {
                // One block alone keeps its line numbers.
                let heading = if total > 1 { heading.as_str() } else { "" };
                ui::answer(&format!("{heading}{}", String::from_utf8_lossy(&text)));
            }
            Rendered::Nothing(reason) => ui::answer(&format!("{heading}# {reason}\n")),
            Rendered::Mistake(reason) => {
                unusable = true;
                // A file that can't be loaded says so once, and not for each of its blocks.
                let mistake = Some((Arc::clone(&id.file), reason.clone()));
                if last_mistake != mistake {
                    ui::error(&format!("{}:{}: {reason}", id.file.display(), id.line));
                }
                last_mistake = mistake;
            }
        }
    });
    rendered.map_err(|error| failure(Exit::ToolFailure, "render the configuration", &error))?;
    Ok(match (unusable, total) {
        (true, _) => Exit::Usage,
        (false, 0) => Exit::NothingSelected,
        (false, _) => Exit::Fine,
    })
}
