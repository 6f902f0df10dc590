//! `rsty report`: joining reports of several machines, and making other reports of them.

use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rsty_testspec::report::json_read::{self, Run};
use rsty_testspec::report::records::Records;
use rsty_testspec::report::{html, json, junit, merge};

use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Join reports: JUnit files to one, or JSON lines to one.
    Merge(Files),
    /// Make an HTML page of JSON lines.
    Html(Files),
    /// Make a JUnit file of JSON lines.
    Junit(Files),
    /// Make durations for `rsty test --partition --durations` of JSON lines.
    Durations(Files),
}

#[derive(Debug, clap::Args)]
struct Files {
    /// Reports of `rsty test --format json`, or with `merge` of `rsty test --junit`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to write; stdout without.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    let result = match &args.what {
        What::Merge(files) => merge(files),
        What::Html(files) => {
            joined(files).and_then(|run| write(files, |out| html::write(&run.reports, &run.summary, out)))
        }
        What::Junit(files) => joined(files).and_then(|run| write(files, |out| junit::write(&run.reports, out))),
        What::Durations(files) => joined(files).and_then(|run| {
            let mut records = Records::default();
            for report in &run.reports {
                records.add(report);
            }
            write(files, |out| records.write_to(out))
        }),
    };
    match result {
        Ok(()) => Exit::Fine.into(),
        Err((exit, message)) => {
            ui::error(&message);
            exit.into()
        }
    }
}

type Outcome<T> = Result<T, (Exit, String)>;

fn merge(files: &Files) -> Outcome<()> {
    let is_xml = |path: &PathBuf| -> Outcome<bool> {
        let mut start = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| unusable(path, &error))?;
        file.take(256).read_to_end(&mut start).map_err(|error| unusable(path, &error))?;
        // Some tools put a mark before UTF-8.
        let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
        Ok(start.trim_ascii_start().starts_with(b"<"))
    };
    let kinds = files.files.iter().map(is_xml).collect::<Outcome<Vec<bool>>>()?;
    if kinds.iter().all(|xml| *xml) {
        let mut texts = Vec::new();
        for path in &files.files {
            texts.push((path.as_path(), std::fs::read_to_string(path).map_err(|error| unusable(path, &error))?));
        }
        let merged = merge::junit(texts.iter().map(|(_, text)| text.as_str())).map_err(|(index, error)| {
            let path = texts.get(index).map_or(Path::new("?"), |(path, _)| path);
            unusable(path, &error)
        })?;
        return write(files, |out| merge::write(&merged, out));
    }
    if kinds.iter().any(|xml| *xml) {
        return Err((Exit::Usage, "JUnit files and JSON lines can't be joined to one report".to_owned()));
    }
    let run = joined(files)?;
    write(files, |out| {
        out.write_all(json::start(run.reports.len()).as_bytes())?;
        for report in &run.reports {
            out.write_all(json::block(report).as_bytes())?;
        }
        out.write_all(json::summary(&run.summary).as_bytes())
    })
}

fn joined(files: &Files) -> Outcome<Run> {
    let mut all = Run::default();
    for path in &files.files {
        let file = std::fs::File::open(path).map_err(|error| unusable(path, &error))?;
        all.join(json_read::read(BufReader::new(file)).map_err(|error| unusable(path, &error))?);
    }
    Ok(all)
}

fn write(files: &Files, content: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> Outcome<()> {
    let failed = |error: std::io::Error| {
        let place = files.output.as_ref().map_or_else(|| "stdout".to_owned(), |path| path.display().to_string());
        (Exit::ToolFailure, format!("failed to write {place}: {error}"))
    };
    match &files.output {
        Some(path) => {
            let mut out = BufWriter::new(std::fs::File::create(path).map_err(failed)?);
            content(&mut out).and_then(|()| out.flush()).map_err(failed)
        }
        None => {
            let mut out = Vec::new();
            content(&mut out).map_err(failed)?;
            ui::answer(&String::from_utf8_lossy(&out));
            Ok(())
        }
    }
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> (Exit, String) {
    let mut message = format!("failed to use {} as a report: {error}", path.display());
    if let Some(source) = error.source() {
        message.push_str(&format!(": {source}"));
    }
    (Exit::Usage, message)
}
