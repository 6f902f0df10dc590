//! `rsty completions` and `rsty man`: what packages install beside the program.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;

use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Arguments of `rsty man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Write a page for each command into this folder; without, print the page of rsty itself.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Prints the completions for a shell.
pub(crate) fn completions(args: Completions, mut command: Command) -> ExitCode {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut command, "rsty", &mut out);
    ui::answer(&String::from_utf8_lossy(&out));
    Exit::Fine.into()
}

/// Prints or writes manual pages.
pub(crate) fn man(args: Man, command: Command) -> ExitCode {
    let written = match &args.output {
        Some(folder) => std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder)),
        None => {
            let mut out = Vec::new();
            let rendered = clap_mangen::Man::new(command).render(&mut out);
            // The page is for a formatter, not for the terminal's styles.
            rendered.and_then(|()| std::io::stdout().lock().write_all(&out))
        }
    };
    match written {
        Ok(()) => Exit::Fine.into(),
        Err(error) => {
            ui::error(&format!("failed to write the manual: {error}"));
            Exit::ToolFailure.into()
        }
    }
}
