//! `speed`: the linter and the formatter beside the programs that they replace, in one run on the same files.
//!
//! The files of the given folders are copied to a folder of their own, each content once, so that no configuration
//! counts. Each program goes over them several times in turn; the best CPU time of each is compared, since a
//! busy machine makes programs slower, never faster. CPU time and memory are what GNU `time` tells.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Failure, Outcome};

/// How often each program runs.
const ROUNDS: usize = 3;

/// luacheck is stopped after that many seconds; its figure is then a lower bound.
const LUACHECK_SECONDS: u32 = 120;

/// What the linter must reach: times luacheck, megabytes.
const LUACHECK_FACTOR: f64 = 40.0;
const MEGABYTES_MAX: f64 = 100.0;

/// What part of the original's CPU time the formatter may take.
const REINDEX_PART: f64 = 1.0 / 3.0;

/// What selene is told: that `ngx` exists.
const SELENE: &str = "std = \"openresty\"\n";
const SELENE_STD: &str = "base: lua51\nglobals:\n  ngx:\n    any: true\n  ndk:\n    any: true\n";

/// The programs and the files.
struct Options<'a> {
    rsty: &'a str,
    selene: Option<&'a str>,
    original: Option<&'a str>,
    folders: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn read(arguments: &[&'a str]) -> Result<Self, Failure> {
        let mut options = Self { rsty: "target/release/rsty", selene: None, original: None, folders: Vec::new() };
        let mut arguments = arguments.iter().copied();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| Failure::Tool(format!("{argument} wants a path")));
            match argument {
                "--rsty" => options.rsty = value()?,
                "--selene" => options.selene = Some(value()?),
                "--reindex" => options.original = Some(value()?),
                folder => options.folders.push(folder),
            }
        }
        match options.folders.is_empty() {
            true => Err(Failure::Tool("speed wants folders".to_owned())),
            false => Ok(options),
        }
    }
}

/// What a run cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// User and system CPU time.
    seconds: f64,
    wall: f64,
    megabytes: f64,
    /// Whether it came to its end.
    whole: bool,
}

impl Cost {
    fn better(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.seconds < self.seconds => {
                Self { megabytes: other.megabytes.max(self.megabytes), ..other }
            }
            Some(other) => Self { megabytes: other.megabytes.max(self.megabytes), ..self },
            None => self,
        }
    }
}

/// Measures and compares.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let options = Options::read(arguments)?;
    let rsty = fs::canonicalize(options.rsty)
        .map_err(|error| Failure::Tool(format!("{}: {error}; build it with --release", options.rsty)))?;
    let scratch = tempfile::tempdir()?;
    let lint = lint(&options, &rsty, scratch.path())?;
    let reindex = reindex(&options, &rsty, scratch.path())?;
    let missed: Vec<String> = lint.into_iter().chain(reindex).collect();
    if missed.is_empty() { Ok(()) } else { Err(Failure::Findings(missed.join("\n"))) }
}

fn lint(options: &Options<'_>, rsty: &Path, scratch: &Path) -> Result<Vec<String>, Failure> {
    let folder = scratch.join("lua");
    let corpus = copy(&options.folders, "lua", &folder)?;
    println!("{corpus}\n\n| program | CPU s | wall s | peak MB |\n|---|---|---|---|");
    fs::write(scratch.join("selene.toml"), SELENE)?;
    fs::write(scratch.join("openresty.yml"), SELENE_STD)?;
    let judge = |options: &[&str]| {
        let mut command = Command::new(rsty);
        command.args(["lint", "--no-config", "--quiet", "--format", "concise"]).args(options).arg("lua");
        command
    };
    let (mut all, mut defaults, mut threads, mut selene) = (None, None, None, None);
    for _ in 0..ROUNDS {
        all = Some(measure(judge(&["--select", "all", "--jobs", "1"]), scratch)?.better(all));
        defaults = Some(measure(judge(&["--jobs", "1"]), scratch)?.better(defaults));
        threads = Some(measure(judge(&["--select", "all"]), scratch)?.better(threads));
        if let Some(program) = options.selene {
            let mut command = Command::new(program);
            command.args(["--num-threads", "1", "--display-style", "quiet", "lua"]);
            selene = Some(measure(command, scratch)?.better(selene));
        }
    }
    let mut luacheck = Command::new("timeout");
    luacheck.arg(LUACHECK_SECONDS.to_string()).args(["luacheck", "--no-config", "--no-cache", "-q", "--codes", "lua"]);
    let luacheck = measure(luacheck, scratch)?;
    let rows = [
        ("rsty, all rules, one thread", all),
        ("rsty, rules on by default, one thread", defaults),
        ("rsty, all rules, all cores", threads),
        ("selene, one thread", selene),
        ("luacheck", Some(luacheck)),
    ];
    rows.iter().for_each(|(name, cost)| row(name, *cost));
    let Some(all) = all else { return Ok(Vec::new()) };
    let factor = luacheck.seconds / all.seconds;
    println!("\nluacheck takes {factor:.0} times as much CPU time.");
    let mut missed = Vec::new();
    if factor < LUACHECK_FACTOR {
        missed.push(format!("the linter is {factor:.1} times as fast as luacheck, not {LUACHECK_FACTOR}"));
    }
    if let Some(selene) = selene {
        println!("selene takes {:.1} times as much.", selene.seconds / all.seconds);
        if selene.seconds <= all.seconds {
            missed.push("selene is faster".to_owned());
        }
    }
    if all.megabytes >= MEGABYTES_MAX {
        missed.push(format!("the linter takes {:.0} MB", all.megabytes));
    }
    Ok(missed)
}

fn reindex(options: &Options<'_>, rsty: &Path, scratch: &Path) -> Result<Vec<String>, Failure> {
    let folder = scratch.join("t");
    let corpus = copy(&options.folders, "t", &folder)?;
    println!("\n{corpus}\n\n| program | CPU s | wall s | peak MB |\n|---|---|---|---|");
    let mut missed = Vec::new();
    // From 0 on most files change, and from 1 on nearly none do.
    for (first, what) in [("1", "few files change"), ("0", "most files change")] {
        let (mut own, mut compatible, mut original) = (None, None, None);
        for _ in 0..ROUNDS {
            let fresh = |program: &Path, arguments: &[&str]| -> Result<Cost, Failure> {
                fs::remove_dir_all(&folder)?;
                copy(&options.folders, "t", &folder)?;
                // What the copies left for the disk is not the program's to write.
                Command::new("sync").status()?;
                let mut command = Command::new(program);
                command.args(arguments);
                measure(command, scratch)
            };
            own = Some(fresh(rsty, &["reindex", "-q", "-b", first, "t"])?.better(own));
            compatible = Some(fresh(rsty, &["reindex", "--compat", "-b", first, "t"])?.better(compatible));
            if let Some(program) = options.original {
                let program = fs::canonicalize(program)?.display().to_string();
                // The shell lists the files, at next to no cost.
                let script = "exec perl \"$0\" -b \"$1\" t/*.t";
                original = Some(fresh(Path::new("sh"), &["-c", script, &program, first])?.better(original));
            }
        }
        row(&format!("rsty, {what}"), own);
        row(&format!("rsty, compatible, {what}"), compatible);
        row(&format!("the original, {what}"), original);
        if let (Some(own), Some(original)) = (compatible, original)
            && own.seconds > original.seconds * REINDEX_PART
        {
            missed.push(format!("reindex takes {:.2} s, the original {:.2} s ({what})", own.seconds, original.seconds));
        }
    }
    Ok(missed)
}

fn row(name: &str, cost: Option<Cost>) {
    let Some(cost) = cost else { return };
    let open = if cost.whole { "" } else { "> " };
    println!("| {name} | {open}{:.2} | {open}{:.2} | {:.0} |", cost.seconds, cost.wall, cost.megabytes);
}

/// Runs a command in a folder, under GNU `time`.
fn measure(command: Command, folder: &Path) -> Result<Cost, Failure> {
    let told = folder.join("cost");
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["--quiet", "-f", "%U %S %e %M %x", "-o"]).arg(&told).arg(command.get_program());
    timed.args(command.get_args()).current_dir(folder).stdin(Stdio::null());
    timed.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let text = fs::read_to_string(&told)?;
    let numbers: Vec<f64> = text.lines().last().unwrap_or_default().split(' ').filter_map(|n| n.parse().ok()).collect();
    let [user, system, wall, kilobytes, code] = numbers[..] else {
        return Err(Failure::Tool(format!("GNU time said {text:?} of {command:?}")));
    };
    match code as u32 {
        126 | 127 => Err(Failure::Tool(format!("{command:?} could not be run"))),
        code => Ok(Cost { seconds: user + system, wall, megabytes: kilobytes / 1024.0, whole: code != 124 }),
    }
}

/// Copies all files with an ending below folders to one folder, and tells how many there are.
fn copy(folders: &[&str], ending: &str, to: &Path) -> Result<String, Failure> {
    fs::create_dir_all(to)?;
    let mut seen = HashSet::new();
    let (mut bytes, mut lines) = (0, 0);
    for folder in folders {
        for path in files(folder, ending) {
            // Links that lead nowhere.
            let Ok(content) = fs::read(&path) else { continue };
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                bytes += content.len();
                lines += content.iter().filter(|byte| **byte == b'\n').count();
                fs::write(to.join(format!("{:05}.{ending}", seen.len())), content)?;
            }
        }
    }
    Ok(format!("{} files `.{ending}`, {lines} lines, {:.1} MB", seen.len(), bytes as f64 / 1e6))
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok);
    let wanted = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == ending));
    wanted.filter(|entry| !entry.file_type().is_dir()).map(walkdir::DirEntry::into_path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_run_counts_and_the_most_memory() {
        let cost = |seconds, megabytes| Cost { seconds, wall: seconds, megabytes, whole: true };
        let best = cost(3.0, 10.0).better(Some(cost(2.0, 5.0)));
        assert_eq!((best.seconds, best.megabytes), (2.0, 10.0));
        assert!(cost(1.0, 1.0).better(Some(best)).megabytes > 9.0);
    }

    #[test]
    fn each_content_is_copied_once() {
        let folder = tempfile::tempdir().expect("folder");
        for (name, text) in [("a.lua", "x\n"), ("b.lua", "x\n"), ("c.lua", "y\n"), ("d.t", "z\n")] {
            fs::write(folder.path().join(name), text).expect("write");
        }
        let from = folder.path().to_str().expect("a name");
        let to = tempfile::tempdir().expect("folder");
        let told = copy(&[from], "lua", to.path()).expect("copied");
        assert_eq!(told, "2 files `.lua`, 2 lines, 0.0 MB");
        assert_eq!(files(to.path().to_str().expect("a name"), "lua").len(), 2);
    }
}
