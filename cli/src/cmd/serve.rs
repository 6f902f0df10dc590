//! `rsty serve`, and the server under the name `nginx`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Arguments of `rsty serve`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Args {
    /// nginx's own options.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    drop(args.options);
    crate::not_built_in("serve")
}

/// Behaves as the program nginx, whose whole argument vector this is.
pub(crate) fn run_as_nginx(arguments: &[OsString]) -> ExitCode {
    let _ = arguments;
    crate::not_built_in("serve")
}
