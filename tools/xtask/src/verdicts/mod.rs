//! `verdicts`: the same spec files by the original harness and by `rsty test`, on the same server, and how long each took.
//!
//! Every other side's run is a *side*: test-nginx on the server `TEST_NGINX_BINARY`, `rsty test` on the same server and,
//! with `--time`, `rsty test` on its built-in server. `rsty test` runs all files in one piece, as a user does: cut into
//! groups, each group's end would leave lanes idle. What counts of the times is the ratio of the sums.
//!
//! A whole suite takes the original an hour and more, so it comes last. With `--keep FOLDER` every run of a file is kept
//! there and is not repeated; `--part N/M` runs a part of the files, so that several shares of a suite can be worked at
//! side by side, in network namespaces and folders of their own. A call without `--part` prints the tables. `--kept`
//! runs nothing and prints them for the files that all sides have run so far.
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
    /// Whether only what is kept is printed.
    only_print: bool,
    /// The part to run, and of how many.
    part: Option<(usize, usize)>,
}

impl<'a> Options<'a> {
    /// `[--time] [--keep FOLDER [--kept]] [--part N/M] DIR LIB [FILE]…`
    pub(crate) fn read(arguments: &[&'a str]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut words = arguments.iter().copied();
        let mut places = Vec::new();
        while let Some(word) = words.next() {
            match word {
                "--time" => options.times = true,
                "--kept" => options.only_print = true,
                "--keep" => options.keep = Some(words.next().ok_or_else(|| usage("--keep needs a folder"))?),
                "--part" => {
                    let part = words.next().and_then(part).ok_or_else(|| usage("--part needs N/M, as in 1/3"))?;
                    options.part = Some(part);
                }
                word if word.starts_with('-') => return Err(usage(&format!("unknown option {word}"))),
                word => places.push(word),
            }
        }
        if options.only_print && options.keep.is_none() {
            return Err(usage("--kept needs --keep FOLDER"));
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
    let files = chosen(suite, &options.files);
    let mine: Vec<PathBuf> = match options.part {
        Some((number, parts)) => files.iter().skip(number - 1).step_by(parts).cloned().collect(),
        None => files.clone(),
    };
    let files = if options.only_print {
        files.into_iter().filter(|file| is_complete(&kept, file, options.times)).collect()
    } else {
        run_files(&Sides::new(suite, Path::new(options.library))?, &kept, &mine, options.times)?;
        files
    };
    if options.part.is_some() {
        return Ok(());
    }
    let differences = table::print(&kept, &files)?;
    if options.times {
        table::print_times(&kept, &files)?;
    }
    if differences == 0 { Ok(()) } else { Err(Failure::Findings(format!("{differences} blocks differ"))) }
}

/// Whether every side has run a file.
fn is_complete(kept: &Kept, file: &Path, times: bool) -> bool {
    let runs = [Run::Original, Run::Same].into_iter().chain(times.then_some(Run::BuiltIn));
    let has_rest =
        || kept.has(file, Run::Rest) || kept.read(file, Run::Original).is_ok_and(|original| !original.gave_up);
    runs.into_iter().all(|run| kept.has(file, run)) && has_rest()
}

/// Each side runs the files that it hasn't run yet.
fn run_files(sides: &Sides, kept: &Kept, files: &[PathBuf], times: bool) -> Outcome {
    let runs: &[Run] = if times { &[Run::Same, Run::BuiltIn] } else { &[Run::Same] };
    for run in runs {
        let missing: Vec<&PathBuf> = files.iter().filter(|file| !kept.has(file, *run)).collect();
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
    for file in files {
        if !kept.has(file, Run::Original) {
            let result = sides.original(file)?;
            eprintln!("{}: test-nginx {:.1} s", file.display(), result.seconds);
            kept.write(file, Run::Original, &result)?;
        }
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
    use super::kept::Results;
    use super::*;

    #[test]
    fn options_are_read() {
        let options = Options::read(&["--time", "--part", "2/3", "suite", "lib", "--keep", "k", "t/a.t"]).unwrap();
        assert!(options.times);
        assert_eq!((options.part, options.keep), (Some((2, 3)), Some("k")));
        assert_eq!((options.suite, options.library, options.files), ("suite", "lib", vec!["t/a.t"]));
        assert!(Options::read(&["suite"]).is_err());
        assert!(Options::read(&["--kept", "suite", "lib"]).is_err(), "nothing is kept");
        assert!(Options::read(&["--part", "4/3", "suite", "lib"]).is_err());
        assert!(Options::read(&["--tme", "suite", "lib"]).is_err());
    }

    #[test]
    fn a_file_is_complete_with_the_rest_of_what_was_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path()).unwrap();
        let file = Path::new("t/a.t");
        kept.write(file, Run::Original, &Results { gave_up: true, ..Results::default() }).unwrap();
        kept.write(file, Run::Same, &Results::default()).unwrap();
        assert!(!is_complete(&kept, file, false));
        kept.write(file, Run::Rest, &Results::default()).unwrap();
        assert!(is_complete(&kept, file, false));
        assert!(!is_complete(&kept, file, true), "the built-in server hasn't run it");
    }
}
