//! `rsty test`.

use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `rsty test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Spec files and folders.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    drop(args.paths);
    crate::not_built_in("test")
}
