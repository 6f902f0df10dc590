//! `rsty lint`.

use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `rsty lint`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    drop(args.paths);
    crate::not_built_in("lint")
}
