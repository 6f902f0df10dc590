//! `rsty lint --lj-releng`: the options and output of the script of that name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use rsty_diag::render;
use rsty_lint::{driver, releng};

use crate::exit::Exit;
use crate::ui;

/// Options of the script.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// With --lj-releng: don't look at the length of lines.
    #[arg(short = 'L', requires = "lj_releng")]
    no_long_lines: bool,

    /// With --lj-releng: show neither versions nor progress.
    #[arg(short = 's', requires = "lj_releng")]
    silent: bool,

    /// With --lj-releng: stop at the first file with an error.
    #[arg(short = 'e', requires = "lj_releng")]
    stop: bool,

    /// With --lj-releng: a file of names that may be used, one a line.
    #[arg(short = 'a', value_name = "FILE", requires = "lj_releng")]
    allowed: Option<PathBuf>,
}

/// Examines files in the script's way.
pub(crate) fn run(paths: &[PathBuf], options: &Options) -> Result<Exit, String> {
    let allowed = match &options.allowed {
        Some(path) => {
            let text = std::fs::read(path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
            text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
        }
        None => BTreeSet::new(),
    };
    let (files, unread) = driver::find(paths);
    for error in &unread {
        ui::error(&format!("can't read {}: {}", error.path.display(), error.source));
    }
    let (mut specs, mut luas): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.extension().is_some_and(|extension| extension == "t"));
    luas.retain(|file| file.extension().is_none_or(|extension| extension != "conf"));
    luas.sort();
    specs.sort();
    let mut failed = !unread.is_empty();
    let mut first_version: Option<(String, String)> = None;
    for file in &luas {
        let hits = examine(file, &allowed, options, &mut first_version)?;
        failed |= hits;
        if hits && options.stop {
            return Ok(Exit::Findings);
        }
    }
    for file in &specs {
        let text = std::fs::read(file).map_err(|error| format!("can't read {}: {error}", file.display()))?;
        let lines = releng::focused_blocks(&shown(file), &text);
        for line in &lines {
            ui::answer(&format!("{}\n", render::printable(line.as_bytes())));
        }
        if options.stop && !lines.is_empty() {
            return Ok(Exit::Findings);
        }
    }
    Ok(if failed { Exit::Findings } else { Exit::Fine })
}

fn examine(
    file: &Path,
    allowed: &BTreeSet<Vec<u8>>,
    options: &Options,
    first_version: &mut Option<(String, String)>,
) -> Result<bool, String> {
    let text = std::fs::read(file).map_err(|error| format!("can't read {}: {error}", file.display()))?;
    let name = shown(file);
    let mut examined = releng::examine(&name, &text, allowed);
    if !options.silent {
        ui::talk(&format!("{}\n", render::printable(examined.version_line.as_bytes())));
    }
    if let Some(version) = examined.version.take() {
        match first_version {
            Some((first, of)) if *first != version => {
                examined.errors.push(format!("{name}: version {version} differs from {first} in {of}"));
            }
            Some(_) => {}
            None => *first_version = Some((version, name)),
        }
    }
    let word = ui::paint(Style::new().bold().fg_color(Some(AnsiColor::Red.into())), "ERROR");
    for error in &examined.errors {
        ui::talk(&format!("{word}: {}\n", render::printable(error.as_bytes())));
    }
    if !options.no_long_lines {
        if !options.silent {
            ui::answer("Checking line length exceeding 80...\n");
        }
        for line in &examined.long_lines {
            ui::answer(&format!("{}\n", render::printable(line.as_bytes())));
        }
        if options.stop && !examined.long_lines.is_empty() {
            return Ok(true);
        }
    }
    Ok(!examined.errors.is_empty())
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
