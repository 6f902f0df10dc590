//! The harnesses: how each is started, and how its answer is read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Deserialize;

use super::kept::{Counts, Results, Run};
use super::tap;
use crate::Failure;

/// The longest time for the original's run of a file, in seconds.
const ORIGINAL_MAX: &str = "900";

/// What is needed to run the files of a suite by either harness.
pub(super) struct Sides {
    suite: PathBuf,
    library: PathBuf,
    rsty: PathBuf,
    server: OsString,
}

/// A line of `rsty test --json`; other lines have no `file` or no `attempts`.
#[derive(Deserialize)]
struct Block {
    file: PathBuf,
    name: String,
    seconds: f64,
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Attempt {
    assertions: Vec<Assertion>,
    bail_out: Option<String>,
}

#[derive(Deserialize)]
struct Assertion {
    verdict: String,
    name: String,
}

impl Sides {
    /// The server is `TEST_NGINX_BINARY`; every other variable reaches both sides as it is.
    pub(super) fn new(suite: &Path, library: &Path) -> Result<Self, Failure> {
        Ok(Self {
            suite: suite.canonicalize()?,
            library: library.canonicalize()?,
            rsty: std::env::current_exe()?.with_file_name("rsty"),
            server: std::env::var_os("TEST_NGINX_BINARY")
                .ok_or_else(|| Failure::Tool("TEST_NGINX_BINARY names no server".to_owned()))?,
        })
    }

    pub(super) fn suite(&self) -> &Path {
        &self.suite
    }

    /// test-nginx runs one file, in file order.
    pub(super) fn original(&self, file: &Path) -> Result<Results, Failure> {
        let names = self.names(file)?;
        let mut command = Command::new("timeout");
        command.args(["-k", "5", ORIGINAL_MAX, "perl", "-I"]).arg(&self.library).args(["-I.", "-It/lib"]).arg(file);
        command.env("TEST_NGINX_NO_SHUFFLE", "1").current_dir(&self.suite);
        let start = Instant::now();
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        let seconds = start.elapsed().as_secs_f64();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Results { seconds, ..tap::read(&text, &file.display().to_string(), &names) })
    }

    /// `rsty test` runs some files at once.
    pub(super) fn rsty(&self, files: &[&PathBuf], run: Run) -> Result<Vec<Results>, Failure> {
        let mut command = Command::new(&self.rsty);
        command.args(["test", "--json", "--no-records", "--quiet"]).args(files).current_dir(&self.suite);
        if run == Run::BuiltIn {
            command.env_remove("TEST_NGINX_BINARY").env_remove("TEST_NGINX_LOAD_MODULES");
        } else {
            command.arg("--server").arg(&self.server);
        }
        let start = Instant::now();
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(shares(&String::from_utf8_lossy(&output.stdout), files, seconds))
    }

    /// The names of a file's blocks.
    fn names(&self, file: &Path) -> Result<Vec<String>, Failure> {
        let output = Command::new(&self.rsty).args(["test", "--list"]).arg(file).current_dir(&self.suite).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(|line| line.split_once('\t')).map(|(_, name)| name.to_owned()).collect())
    }
}

/// Each file's results, with a share of the wall time as large as its share of the blocks' times.
fn shares(json: &str, files: &[&PathBuf], seconds: f64) -> Vec<Results> {
    let mut of: BTreeMap<PathBuf, Results> = BTreeMap::new();
    for block in json.lines().filter_map(|line| serde_json::from_str::<Block>(line).ok()) {
        let results = of.entry(block.file.clone()).or_default();
        results.seconds += block.seconds;
        let Some(attempt) = block.attempts.last() else { continue };
        if attempt.bail_out.is_some() {
            results.dead.insert(block.name.trim().to_owned());
        }
        results.blocks.insert(block.name.trim().to_owned(), attempt.counts());
    }
    let sum: f64 = of.values().map(|results| results.seconds).sum();
    let share = |file: &&PathBuf| {
        let mut results = of.remove(*file).unwrap_or_default();
        results.seconds *= seconds / sum.max(f64::MIN_POSITIVE);
        results
    };
    files.iter().map(share).collect()
}

impl Attempt {
    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for assertion in &self.assertions {
            match assertion.verdict.as_str() {
                "passed" => counts.passed += 1,
                "failed" => {
                    counts.failed += 1;
                    counts.failure.get_or_insert_with(|| assertion.name.clone());
                }
                _ => counts.skipped += 1,
            }
        }
        if let Some(reason) = &self.bail_out {
            counts.failed += 1;
            counts.failure.get_or_insert_with(|| reason.clone());
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_time_is_shared() {
        let json = r#"{"type":"start","version":1,"blocks":2}
{"type":"block","file":"t/a.t","name":"one ","seconds":3.0,"attempts":[{"assertions":[{"verdict":"passed","name":"x"}]}]}
{"type":"block","file":"t/b.t","name":"two","seconds":1.0,"attempts":[{"assertions":[],"bail_out":"no server"}]}"#;
        let (a, b, c) = (PathBuf::from("t/a.t"), PathBuf::from("t/b.t"), PathBuf::from("t/c.t"));
        let results = shares(json, &[&a, &b, &c], 2.0);
        let seconds: Vec<f64> = results.iter().map(|results| results.seconds).collect();
        assert_eq!(seconds, [1.5, 0.5, 0.0]);
        assert_eq!(results[0].blocks["one"].verdict(), Some("passed"));
        assert_eq!(results[1].blocks["two"].failure.as_deref(), Some("no server"));
        assert!(results[1].dead.contains("two"));
    }
}
