//! `verdicts`: the same spec files by the original harness and by `rsty test`, on the same server.
//!
//! Both print TAP with the same assertion names, so each line belongs to a block, and a block has a verdict on either
//! side. The server is `TEST_NGINX_BINARY`; every other variable reaches both sides as it is.
//!
//! Where the original gives up a file because a server can't start, it says nothing about the blocks behind. It then
//! runs once more on a copy of the file without those blocks on which the server doesn't start for rsty either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Failure, Outcome};

mod time;

pub(crate) use time::measure;

/// What a side says about a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Counts {
    fn verdict(self) -> &'static str {
        match self {
            Self { failed: 1.., .. } => "failed",
            Self { passed: 1.., .. } => "passed",
            Self { skipped: 1.., .. } => "skipped",
            _ => "nothing",
        }
    }
}

/// One side's run of a file.
struct Side {
    blocks: BTreeMap<String, Counts>,
    /// Whether it ended before all blocks had run.
    gave_up: bool,
    /// Blocks that can't be run, mostly because their server doesn't start.
    dead: BTreeSet<String>,
    took: Duration,
}

/// Compares the verdicts of all spec files below `suite/t`, or of the given ones. `library` is test-nginx's `lib`.
pub(crate) fn compare(suite: &Path, library: &Path, files: &[&str]) -> Outcome {
    let server = std::env::var_os("TEST_NGINX_BINARY")
        .ok_or_else(|| Failure::Tool("TEST_NGINX_BINARY names no server".to_owned()))?;
    let rsty = std::env::current_exe()?.with_file_name("rsty");
    let library = library.canonicalize()?;
    let (mut blocks, mut differences) = (0, Vec::new());
    let (mut original_time, mut own_time) = (Duration::ZERO, Duration::ZERO);
    for file in chosen(suite, files) {
        let names = names(&rsty, suite, &file)?;
        let mut perl = Command::new("perl");
        perl.arg("-I").arg(&library).arg("-I.").arg(&file).env("TEST_NGINX_NO_SHUFFLE", "1");
        let mut original = run(&mut perl, suite, &file, &names)?;
        let mut test = Command::new(&rsty);
        test.args(["test", "--tap", "--no-records", "--quiet", "--server"]).arg(&server).arg(&file);
        let own = run(&mut test, suite, &file, &names)?;
        original_time += original.took;
        own_time += own.took;
        if original.gave_up && !own.dead.is_empty() {
            let rest = Rest::of(suite, &file, &own.dead)?;
            let mut perl = Command::new("perl");
            perl.arg("-I").arg(&library).arg("-I.").arg(&rest.path).env("TEST_NGINX_NO_SHUFFLE", "1");
            let again = run(&mut perl, suite, &rest.path, &names)?;
            original.gave_up = again.gave_up;
            original.blocks.extend(again.blocks);
            // On one of them it gave up, and would have on each: it fails.
            for name in own.dead.iter().filter(|_| !again.gave_up) {
                original.blocks.insert(name.clone(), Counts { failed: 1, ..Counts::default() });
            }
        }
        for name in &names {
            let of = |side: &Side| side.blocks.get(name).copied().unwrap_or_default();
            let (theirs, ours) = (of(&original), of(&own));
            // A harness that gave up says nothing about what would have come.
            if original.gave_up && theirs == Counts::default() {
                continue;
            }
            blocks += 1;
            if theirs.verdict() != ours.verdict() {
                differences.push(format!(
                    "{}\t{name}\toriginal {} {theirs:?}\trsty {} {ours:?}",
                    file.display(),
                    theirs.verdict(),
                    ours.verdict()
                ));
            }
        }
        eprintln!("{}: {:.1} s, {:.1} s", file.display(), original.took.as_secs_f64(), own.took.as_secs_f64());
    }
    eprintln!(
        "{blocks} blocks, {} differ; the original took {:.0} s, rsty {:.0} s",
        differences.len(),
        original_time.as_secs_f64(),
        own_time.as_secs_f64()
    );
    if differences.is_empty() { Ok(()) } else { Err(Failure::Findings(differences.join("\n"))) }
}

/// A copy of a spec file without some of its blocks, beside it, as long as this lives.
struct Rest {
    /// Relative to the suite.
    path: PathBuf,
    absolute: PathBuf,
}

impl Rest {
    fn of(suite: &Path, file: &Path, without: &BTreeSet<String>) -> Result<Self, Failure> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = file.with_file_name(format!("{name}-rest.t"));
        let absolute = suite.join(&path);
        let text = std::fs::read(suite.join(file))?;
        std::fs::write(&absolute, without_blocks(&text, without))?;
        Ok(Self { path, absolute })
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        // The system's own complaint would come too late for anybody.
        let _ = std::fs::remove_file(&self.absolute);
    }
}

/// The spec without the blocks of these names.
fn without_blocks(text: &[u8], without: &BTreeSet<String>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut keeps = true;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if let Some(name) = line.strip_prefix(b"===") {
            keeps = !without.contains(String::from_utf8_lossy(name).trim());
        }
        if keeps {
            out.extend_from_slice(line);
        }
    }
    out
}

fn chosen(suite: &Path, files: &[&str]) -> Vec<PathBuf> {
    if !files.is_empty() {
        return files.iter().map(PathBuf::from).collect();
    }
    let found = walkdir::WalkDir::new(suite.join("t")).sort_by_file_name().into_iter().filter_map(Result::ok);
    let specs = found.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "t"));
    specs.filter_map(|entry| entry.path().strip_prefix(suite).ok().map(Path::to_owned)).collect()
}

/// The names of a file's blocks.
fn names(rsty: &Path, suite: &Path, file: &Path) -> Result<Vec<String>, Failure> {
    let output = Command::new(rsty).args(["test", "--list"]).arg(file).current_dir(suite).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter_map(|line| line.split_once('\t')).map(|(_, name)| name.to_owned()).collect())
}

fn run(command: &mut Command, suite: &Path, file: &Path, names: &[String]) -> Result<Side, Failure> {
    let start = Instant::now();
    let output = command.current_dir(suite).stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    let took = start.elapsed();
    let tap = String::from_utf8_lossy(&output.stdout).into_owned();
    let (blocks, gave_up) = read(&tap, &file.display().to_string(), names);
    // What bails out in the original cannot be run here.
    let cannot_run = |line: &&str| line.starts_with("not ok") && line.ends_with(" - can be run");
    let name_in = |line: &str| {
        let line = line.replace("\\#", "#");
        names.iter().filter(|name| line.contains(name.as_str())).max_by_key(|name| name.len()).cloned()
    };
    let dead = tap.lines().filter(cannot_run).filter_map(name_in).collect();
    Ok(Side { blocks, gave_up, dead, took })
}

/// Counts each block's lines. A line belongs to the block with the longest name that it mentions.
fn read(tap: &str, script: &str, names: &[String]) -> (BTreeMap<String, Counts>, bool) {
    let mut blocks: BTreeMap<String, Counts> = BTreeMap::new();
    let mut gave_up = false;
    for line in tap.lines() {
        gave_up |= line.starts_with("Bail out!");
        let (passed, rest) = match (line.strip_prefix("not ok "), line.strip_prefix("ok ")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => continue,
        };
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().replace("\\#", "#");
        let skipped = rest.starts_with("# skip") || rest.starts_with("# TODO");
        let mentions = |name: &&String| {
            rest.contains(&format!("{script} {name}"))
                || rest.contains(&format!("- {name}"))
                || rest.contains(&format!("{name} - "))
        };
        let Some(name) = names.iter().filter(mentions).max_by_key(|name| name.len()) else { continue };
        let counts = blocks.entry(name.clone()).or_default();
        *match (skipped, passed) {
            (true, _) => &mut counts.skipped,
            (false, true) => &mut counts.passed,
            (false, false) => &mut counts.failed,
        } += 1;
    }
    (blocks, gave_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_left_out_by_their_names() {
        let text = b"plan 2;\n__DATA__\n=== A: one\n--- x\n1\n=== B: two \n--- x\n2\n=== C\n";
        let without = BTreeSet::from(["B: two".to_owned()]);
        assert_eq!(without_blocks(text, &without), b"plan 2;\n__DATA__\n=== A: one\n--- x\n1\n=== C\n");
    }

    #[test]
    fn lines_belong_to_blocks() {
        let names = ["TEST 1: a".to_owned(), "TEST 1: a b".to_owned(), "TEST 2: #".to_owned()];
        let tap = "1..4\nok 1 - t/a.t TEST 1: a - status code ok\nnot ok 2 - t/a.t TEST 1: a b - body\n\
            ok 3 # skip t/a.t TEST 2: \\# - old\nnot ok 4 - ERROR: client socket timed out - TEST 1: a\n";
        let (blocks, gave_up) = read(tap, "t/a.t", &names);
        assert!(!gave_up);
        assert_eq!(blocks["TEST 1: a"], Counts { passed: 1, failed: 1, skipped: 0 });
        assert_eq!(blocks["TEST 1: a b"].verdict(), "failed");
        assert_eq!(blocks["TEST 2: #"].verdict(), "skipped");
        assert!(read("Bail out!  no\n", "t/a.t", &names).1);
    }
}
