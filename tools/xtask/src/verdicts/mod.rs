//! `verdicts`: the same spec files by the original harness and by `rsty test`, on the same server, and how long each took.
//!
//! Every other side's run is a *side*: test-nginx on the server `TEST_NGINX_BINARY`, `rsty test` on the same server and,
//! with `--time`, `rsty test` on its built-in server. The files are cut into groups and each group is run by all sides in
//! turns, so that whatever else the machine does meets all of them alike. What counts of the times is the ratio of the
//! sums.
//!
//! A whole suite takes the original an hour and more. With `--keep FOLDER` every run of a file is kept there and is not
//! repeated; `--part N/M` runs a part of the files, so that several shares of a suite can be worked at side by side, in
//! network namespaces and folders of their own. A call without `--part` prints the tables for everything that is kept.
//!
//! Where the original gives up a file because a server can't start, it says nothing about the blocks behind. It then
//! runs once more on a copy of the file without those blocks on which the server doesn't start for rsty either. That
//! second run counts for the verdicts, not for the times.

use std::path::{Path, PathBuf};

use crate::{Failure, Outcome};

mod kept;
mod rest;
mod side;
mod table;
mod tap;

use kept::{Kept, Run};
use rest::Rest;
use side::Sides;

/// How many files are run in a row by one side.
const GROUP: usize = 8;

/// What to compare.
#[derive(Debug, Default)]
pub(crate) struct Options<'a> {
    /// The folder of a suite; its specs are below `t`.
    suite: &'a str,
    /// test-nginx's `lib`.
    library: &'a str,
    /// Only these files, relative to the suite.
    files: Vec<&'a str>,
    /// Whether the built-in server is measured, too.
    times: bool,
    /// Where runs are kept.
    keep: Option<&'a str>,
    /// The part to run, and of how many.
    part: Option<(usize, usize)>,
}

impl<'a> Options<'a> {
    /// `[--time] [--keep FOLDER] [--part N/M] DIR LIB [FILE]…`
    pub(crate) fn read(arguments: &[&'a str]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut words = arguments.iter().copied();
        let mut places = Vec::new();
        while let Some(word) = words.next() {
            match word {
                "--time" => options.times = true,
                "--keep" => options.keep = Some(words.next().ok_or_else(|| usage("--keep needs a folder"))?),
                "--part" => {
                    let part = words.next().and_then(part).ok_or_else(|| usage("--part needs N/M, as in 1/3"))?;
                    options.part = Some(part);
                }
                word if word.starts_with('-') => return Err(usage(&format!("unknown option {word}"))),
                word => places.push(word),
            }
        }
        let [suite, library, files @ ..] = places.as_slice() else {
            return Err(usage("the folders of the suite and of test-nginx's lib are needed"));
        };
        options.suite = suite;
        options.library = library;
        options.files = files.to_vec();
        Ok(options)
    }
}

fn usage(text: &str) -> Failure {
    Failure::Tool(format!("verdicts: {text}"))
}

/// `N/M`, counted from 1.
fn part(text: &str) -> Option<(usize, usize)> {
    let (number, parts) = text.split_once('/')?;
    let (number, parts) = (number.parse().ok()?, parts.parse().ok()?);
    (1..=parts).contains(&number).then_some((number, parts))
}

/// Runs what isn't kept yet and prints what differs, and the times.
pub(crate) fn run(options: &Options) -> Outcome {
    let suite = Path::new(options.suite);
    let temporary = tempfile::tempdir()?;
    let kept = Kept::at(options.keep.map_or(temporary.path(), Path::new))?;
    let sides = Sides::new(suite, Path::new(options.library))?;
    let files = chosen(suite, &options.files);
    let mine: Vec<PathBuf> = match options.part {
        Some((number, parts)) => files.iter().skip(number - 1).step_by(parts).cloned().collect(),
        None => files.clone(),
    };
    for group in mine.chunks(GROUP) {
        run_group(&sides, &kept, group, options.times)?;
    }
    if options.part.is_some() {
        return Ok(());
    }
    let differences = table::print(&kept, &files)?;
    if options.times {
        table::print_times(&kept, &files)?;
    }
    if differences == 0 { Ok(()) } else { Err(Failure::Findings(format!("{differences} blocks differ"))) }
}

/// Each side runs the files of a group that it hasn't run yet.
fn run_group(sides: &Sides, kept: &Kept, group: &[PathBuf], times: bool) -> Outcome {
    for file in group {
        if !kept.has(file, Run::Original) {
            let result = sides.original(file)?;
            eprintln!("{}: test-nginx {:.1} s", file.display(), result.seconds);
            kept.write(file, Run::Original, &result)?;
        }
    }
    let runs: &[Run] = if times { &[Run::Same, Run::BuiltIn] } else { &[Run::Same] };
    for run in runs {
        let missing: Vec<&PathBuf> = group.iter().filter(|file| !kept.has(file, *run)).collect();
        if missing.is_empty() {
            continue;
        }
        let results = sides.rsty(&missing, *run)?;
        eprintln!(
            "{} files: {} {:.1} s",
            missing.len(),
            run.name(),
            results.iter().map(|result| result.seconds).sum::<f64>()
        );
        for (file, result) in missing.into_iter().zip(&results) {
            kept.write(file, *run, result)?;
        }
    }
    for file in group {
        let (original, same) = (kept.read(file, Run::Original)?, kept.read(file, Run::Same)?);
        if original.gave_up && !kept.has(file, Run::Rest) {
            let rest = Rest::of(sides.suite(), file, &same.dead)?;
            let mut again = sides.original(&rest.path)?;
            // On one of them it gave up, and would have on each: they fail.
            again.add_dead(&same.dead);
            eprintln!("{}: test-nginx, the rest {:.1} s", file.display(), again.seconds);
            kept.write(file, Run::Rest, &again)?;
        }
    }
    Ok(())
}

fn chosen(suite: &Path, files: &[&str]) -> Vec<PathBuf> {
    if !files.is_empty() {
        return files.iter().map(PathBuf::from).collect();
    }
    let found = walkdir::WalkDir::new(suite.join("t")).sort_by_file_name().into_iter().filter_map(Result::ok);
    let specs = found.filter(|entry| {
        let path = entry.path();
        path.extension().is_some_and(|extension| extension == "t") && !rest::is_one(path)
    });
    specs.filter_map(|entry| entry.path().strip_prefix(suite).ok().map(Path::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let options = Options::read(&["--time", "--part", "2/3", "suite", "lib", "--keep", "k", "t/a.t"]).unwrap();
        assert!(options.times);
        assert_eq!((options.part, options.keep), (Some((2, 3)), Some("k")));
        assert_eq!((options.suite, options.library, options.files), ("suite", "lib", vec!["t/a.t"]));
        assert!(Options::read(&["suite"]).is_err());
        assert!(Options::read(&["--part", "4/3", "suite", "lib"]).is_err());
        assert!(Options::read(&["--tme", "suite", "lib"]).is_err());
    }
}
