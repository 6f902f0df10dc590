//! `rsty lsp`.

use std::process::ExitCode;

use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty lsp`. Editors start servers with `--stdio`, which is the only way there is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Talk on stdin and stdout. Always so; the option is there for editors that give it.
    #[arg(long)]
    stdio: bool,
}

/// Runs the language server until the editor ends it.
pub(crate) fn run(_args: &Args) -> ExitCode {
    match rsty_lsp::serve_stdio() {
        Ok(()) => Exit::Fine.into(),
        Err(message) => {
            ui::error(&message);
            Exit::ToolFailure.into()
        }
    }
}
