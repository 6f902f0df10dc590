//! The terminal. Nothing else in the project prints.
//!
//! stdout is the answer, stderr is the talk. A reader that has gone away (`rsty test | head`) ends the output,
//! never the run.

pub(crate) mod progress;

use std::io::Write;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

use crate::exit::Exit;

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColourChoice {
    /// On a terminal that can, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Applies the choice to both streams.
pub(crate) fn choose_colour(choice: ColourChoice) {
    match choice {
        ColourChoice::Auto => anstream::ColorChoice::Auto,
        ColourChoice::Always => anstream::ColorChoice::Always,
        ColourChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// Writes to stdout. Colour codes in the text are removed where the stream takes none.
pub(crate) fn answer(text: &str) {
    // A closed pipe is the reader's decision, not a failure of the run.
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// Writes to stderr.
pub(crate) fn talk(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Tells that the command can't go on.
pub(crate) fn error(message: &str) {
    let label = paint(Style::new().bold().fg_color(Some(AnsiColor::Red.into())), "error:");
    talk(&format!("{label} {message}\n"));
}

/// Tells something that the user should know and that does not stop the command.
pub(crate) fn warning(message: &str) {
    let label = paint(Style::new().bold().fg_color(Some(AnsiColor::Yellow.into())), "warning:");
    talk(&format!("{label} {message}\n"));
}

/// Text in a style.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Answers a command line that asked for help or was wrong.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let wrong = error.use_stderr();
    let text = error.render().ansi().to_string();
    if wrong {
        talk(&text);
        Exit::Usage.into()
    } else {
        answer(&text);
        Exit::Fine.into()
    }
}
