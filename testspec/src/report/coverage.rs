//! Which lines of a project's Lua files ran.
//!
//! A script is run in each server before any other Lua. It notes, in a file for each process, the lines that have code
//! (`A`) and those that ran (`H`). Any server with Lua will do; compiled code calls no hooks, so the compiler is off.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::report::human::{DIM, RESET};
use crate::report::visible;

const SCRIPT: &str = include_str!("coverage.lua");

/// The variable of the environment that holds the Lua to be run first. The loader puts it into configurations.
pub const VARIABLE: &str = "RSTY_COVERAGE";

/// Lays out the script and the folder of notes in `scratch`; returns the Lua that runs it for the project at `home`.
pub fn prepare(scratch: &Path, home: &Path) -> io::Result<String> {
    let notes = notes(scratch);
    std::fs::create_dir_all(&notes)?;
    // Workers of another user write into it, too.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&notes, std::fs::Permissions::from_mode(0o777))?;
    let script = scratch.join("coverage.lua");
    std::fs::write(&script, SCRIPT)?;
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    Ok(format!("assert(loadfile({}))({}, {})", quoted(&script), quoted(&notes), quoted(home)))
}

fn notes(scratch: &Path) -> std::path::PathBuf {
    scratch.join("coverage")
}

/// How often each line with code ran, by file; "often" counts Lua states, not executions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    files: BTreeMap<String, BTreeMap<u32, u32>>,
}

impl Coverage {
    /// What the servers of a run have noted.
    pub fn read(scratch: &Path) -> io::Result<Self> {
        let mut coverage = Self::default();
        for entry in std::fs::read_dir(notes(scratch))? {
            coverage.add(&String::from_utf8_lossy(&std::fs::read(entry?.path())?));
        }
        Ok(coverage)
    }

    /// A last line that a killed server left unfinished is passed over.
    fn add(&mut self, notes: &str) {
        for note in notes.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let mut fields = note.splitn(3, '\t');
            let (Some(kind), Some(Ok(line)), Some(path)) =
                (fields.next(), fields.next().map(str::parse::<u32>), fields.next())
            else {
                continue;
            };
            let file = self.files.entry(path.to_owned()).or_default();
            let count = file.entry(line).or_default();
            *count += u32::from(kind == "H");
        }
    }

    /// As `lcov` and editors read it.
    pub fn lcov(&self) -> String {
        let mut out = String::new();
        for (path, lines) in &self.files {
            let _ = writeln!(out, "TN:\nSF:{path}");
            for (line, count) in lines {
                let _ = writeln!(out, "DA:{line},{count}");
            }
            let _ = writeln!(out, "LF:{}\nLH:{}\nend_of_record", lines.len(), ran(lines));
        }
        out
    }

    /// A table for people: each file's share, and the lines that never ran.
    pub fn table(&self) -> String {
        let mut out = format!("{DIM}{:>7}  {:>11}  file, and lines that never ran{RESET}\n", "covered", "lines");
        let (mut all, mut all_ran) = (0, 0);
        for (path, lines) in &self.files {
            all += lines.len();
            all_ran += ran(lines);
            let share = share(ran(lines), lines.len());
            let count = format!("{}/{}", ran(lines), lines.len());
            let _ = writeln!(out, "{share:>6.1}%  {count:>11}  {}{}", visible(path.as_bytes()), missing(lines));
        }
        let _ = writeln!(out, "{:>6.1}%  {:>11}  all", share(all_ran, all), format!("{all_ran}/{all}"));
        out
    }
}

fn ran(lines: &BTreeMap<u32, u32>) -> usize {
    lines.values().filter(|count| **count > 0).count()
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// The first runs of lines that never ran, as `  12-15, 20`.
fn missing(lines: &BTreeMap<u32, u32>) -> String {
    const RUNS_MAX: usize = 8;
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let mut extends = false;
    for (line, count) in lines {
        match runs.last_mut() {
            Some((_, last)) if *count == 0 && extends => *last = *line,
            _ if *count == 0 => runs.push((*line, *line)),
            _ => {}
        }
        extends = *count == 0;
    }
    if runs.is_empty() {
        return String::new();
    }
    let shown = runs.iter().take(RUNS_MAX);
    let texts: Vec<String> =
        shown.map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") }).collect();
    let more = if runs.len() > RUNS_MAX { ", …" } else { "" };
    format!("  {DIM}{}{more}{RESET}", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage() -> Coverage {
        let mut coverage = Coverage::default();
        coverage.add("A\t1\tlib/a.lua\nA\t2\tlib/a.lua\nA\t4\tlib/a.lua\nA\t9\tlib/a.lua\nH\t1\tlib/a.lua\n");
        coverage.add("A\t1\tlib/a.lua\nH\t1\tlib/a.lua\nH\t9\tlib/a.lua\nH\t2\tlib/");
        coverage
    }

    #[test]
    fn processes_are_joined() {
        let expected = "TN:\nSF:lib/a.lua\nDA:1,2\nDA:2,0\nDA:4,0\nDA:9,1\nLF:4\nLH:2\nend_of_record\n";
        assert_eq!(coverage().lcov(), expected);
    }

    #[test]
    fn lines_that_never_ran_are_named() {
        let table = coverage().table();
        assert!(table.contains("50.0%          2/4  lib/a.lua"), "{table}");
        assert!(table.contains("2-4"), "{table}");
        assert!(table.contains("all"), "{table}");
    }
}
