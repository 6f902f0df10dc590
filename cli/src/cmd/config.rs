//! `rsty config`: what `rsty.toml` may say and what it says.

use std::process::ExitCode;

use crate::config::keys::{KEYS, default_file, schema, sections};
use crate::config::{File, effective, find};
use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print a file with all keys, their defaults and what they mean.
    Default,
    /// Print a JSON schema of the file, for editors.
    Schema,
    /// Print the values that count here.
    Show {
        /// Also tell where each value comes from.
        #[arg(long)]
        origin: bool,
    },
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    match args.what {
        What::Default => ui::answer(&default_file()),
        What::Schema => ui::answer(&format!("{:#}\n", schema())),
        What::Show { origin } => return show(origin).into(),
    }
    Exit::Fine.into()
}

fn show(origin: bool) -> Exit {
    let file = match find().as_deref().map(File::read).transpose() {
        Ok(file) => file,
        Err(error) => {
            ui::error(&error.to_string());
            return Exit::Usage;
        }
    };
    for warning in file.iter().flat_map(|file| &file.warnings) {
        ui::warning(warning);
    }
    for section in sections() {
        let set = KEYS.iter().filter(|key| key.section == section).filter_map(|key| {
            let (value, place) = effective(key, file.as_ref());
            (!value.is_empty()).then_some((key, value, place))
        });
        let mut lines = String::new();
        for (key, value, place) in set {
            let place = match place {
                _ if !origin => String::new(),
                Some((path, line)) => format!("  # {}:{line}", path.display()),
                None => "  # default".to_owned(),
            };
            lines.push_str(&format!("{} = {value}{place}\n", key.name));
        }
        if !lines.is_empty() {
            ui::answer(&format!("[{section}]\n{lines}"));
        }
    }
    Exit::Fine
}
