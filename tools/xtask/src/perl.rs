//! `perl`: what this project's Perl makes of spec files, and what the system's does.
//!
//! Both sides evaluate prologue and sections and print plan and values; nothing is run. A value that depends on time,
//! process id or a random port differs for a good reason, so differences are for people to read.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Failure, Outcome};

const DUMP: &str = include_str!("dump.pl");

/// Compares the spec files below `suite`, or the given ones. `library` is test-nginx's `lib`.
pub(crate) fn compare(suite: &Path, library: &Path, files: &[&str]) -> Outcome {
    let dump = std::env::current_exe()?.with_file_name("examples").join("dump");
    if !dump.exists() {
        return Err(Failure::Tool("run `cargo build -p rsty-testspec --example dump` first".to_owned()));
    }
    let (suite, library) = (suite.canonicalize()?, library.canonicalize()?);
    let scratch = tempfile::tempdir()?;
    let script = scratch.path().join("dump.pl");
    std::fs::write(&script, DUMP)?;
    let version = scratch.path().join("version");
    let server = std::env::var_os("TEST_NGINX_BINARY").unwrap_or_else(|| "nginx".into());
    std::fs::write(&version, Command::new(&server).arg("-V").output()?.stderr)?;
    let files: Vec<String> =
        if files.is_empty() { specs(&suite) } else { files.iter().map(|file| (*file).to_owned()).collect() };
    let mut totals = Totals::default();
    for file in &files {
        let mut perl = Command::new("perl");
        perl.arg("-I").arg(&library).args(["-I.", "-It/lib", "-Ilib"]).arg(&script).arg(file);
        let theirs = line(perl.current_dir(&suite))?;
        let mut own = Command::new(&dump);
        own.arg(&version).arg(&suite).arg(file);
        let ours = line(own.current_dir(&suite))?;
        totals.file(file, &theirs, &ours);
    }
    eprintln!(
        "{} files, {} not comparable; {} plans and {} values equal, {} differ",
        files.len(),
        totals.incomparable,
        totals.plans,
        totals.values,
        totals.differences.len()
    );
    if totals.differences.is_empty() { Ok(()) } else { Err(Failure::Findings(totals.differences.join("\n"))) }
}

fn specs(suite: &Path) -> Vec<String> {
    let found = walkdir::WalkDir::new(suite).sort_by_file_name().into_iter().filter_map(Result::ok);
    let specs = found.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "t"));
    specs.filter_map(|entry| Some(entry.path().strip_prefix(suite).ok()?.display().to_string())).collect()
}

/// The one JSON line that a side prints; null where it prints none.
fn line(command: &mut Command) -> Result<Value, Failure> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.lines().find_map(|line| serde_json::from_str(line).ok());
    Ok(json.unwrap_or_default())
}

#[derive(Default)]
struct Totals {
    incomparable: usize,
    plans: usize,
    values: usize,
    differences: Vec<String>,
}

impl Totals {
    fn file(&mut self, file: &str, theirs: &Value, ours: &Value) {
        let has_failed = |side: &Value| side.is_null() || side.get("error").is_some();
        if has_failed(theirs) {
            self.incomparable += 1;
            return;
        }
        if has_failed(ours) {
            self.differences.push(format!("{file}\tis not understood: {}", ours.get("error").unwrap_or(&Value::Null)));
            return;
        }
        if theirs.get("plan") == ours.get("plan") {
            self.plans += 1;
        } else {
            self.differences.push(format!("{file}\tplan {:?} and {:?}", theirs.get("plan"), ours.get("plan")));
        }
        let empty = Vec::new();
        let blocks = |side: &'_ Value| side.get("blocks").and_then(Value::as_array).cloned().unwrap_or_default();
        for (theirs, ours) in blocks(theirs).iter().zip(&blocks(ours)) {
            let name = theirs.get("name").and_then(Value::as_str).unwrap_or_default();
            let sections = theirs.get("before").and_then(Value::as_array).unwrap_or(&empty);
            for section in sections {
                self.section(&format!("{file}\t{name}"), section, ours);
            }
        }
    }

    fn section(&mut self, place: &str, section: &Value, ours: &Value) {
        let Some(name) = section.get(0) else { return };
        let same =
            ours.get("before").and_then(Value::as_array).into_iter().flatten().find(|own| own.get(0) == Some(name));
        let value = same.and_then(|own| own.get(1)).unwrap_or(&Value::Null);
        let expected = section.get(1).unwrap_or(&Value::Null);
        if expected == value || expected.get("hash").is_some() {
            self.values += 1;
            return;
        }
        let short = |value: &Value| value.to_string().chars().take(300).collect::<String>();
        self.differences.push(format!("{place}\t{name}\n  perl {}\n  rsty {}", short(expected), short(value)));
    }
}
