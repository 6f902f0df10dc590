//! The tables: blocks whose verdicts differ, and times.

use std::path::{Path, PathBuf};

use super::kept::{Counts, Kept, Results, Run};
use crate::{Failure, Outcome};

/// A block about which the two sides say different things.
struct Difference {
    file: PathBuf,
    name: String,
    original: Counts,
    rsty: Counts,
}

/// Prints the blocks that differ; how many they are.
pub(super) fn print(kept: &Kept, files: &[PathBuf]) -> Result<usize, Failure> {
    let (mut compared, mut unsaid, mut differences) = (0, 0, Vec::new());
    for file in files {
        let (original, same) = (kept.read(file, Run::Original)?, kept.read(file, Run::Same)?);
        let rest = if original.gave_up { Some(kept.read(file, Run::Rest)?) } else { None };
        for (name, rsty) in &same.blocks {
            match said(name, &original, rest.as_ref()) {
                Some(theirs) if agree(&theirs, rsty) => compared += 1,
                Some(theirs) => {
                    compared += 1;
                    let (original, rsty) = (theirs, rsty.clone());
                    differences.push(Difference { file: file.clone(), name: name.clone(), original, rsty });
                }
                None => unsaid += 1,
            }
        }
    }
    println!("| file | block | test-nginx | rsty | what fails |");
    println!("|---|---|---|---|---|");
    for difference in &differences {
        println!("{}", row(difference));
    }
    println!("\n{compared} blocks compared, {} differ; about {unsaid} the original says nothing", differences.len());
    Ok(differences.len())
}

/// The original names what it skips by the reason alone, so that nothing it says belongs to such a block.
fn agree(original: &Counts, rsty: &Counts) -> bool {
    original.verdict().unwrap_or("skipped") == rsty.verdict().unwrap_or("skipped")
}

/// What the original says about a block. A run that gave up says nothing about what would have come.
fn said(name: &str, original: &Results, rest: Option<&Results>) -> Option<Counts> {
    let in_rest = rest.and_then(|rest| rest.blocks.get(name));
    match (in_rest.or_else(|| original.blocks.get(name)), rest) {
        (Some(counts), _) => Some(counts.clone()),
        (None, Some(rest)) if rest.gave_up => None,
        (None, _) => Some(Counts::default()),
    }
}

fn row(difference: &Difference) -> String {
    let Difference { file, name, original, rsty } = difference;
    let word = |counts: &Counts| counts.verdict().unwrap_or("nothing");
    let failure = original.failure.as_ref().or(rsty.failure.as_ref()).map_or("", String::as_str);
    let failure = failure.split_once(name.as_str()).map_or(failure, |(_, rest)| rest.trim_start_matches(" - "));
    let failure = failure.replace('|', "\\|").replace('\n', " ");
    format!("| {} | {name} | {} | {} | {failure} |", short(file), word(original), word(rsty))
}

fn short(file: &Path) -> String {
    file.strip_prefix("t").unwrap_or(file).display().to_string()
}

/// Prints the sums of the times: of all files, and of those that test-nginx ran to the end. Of the others it ran a part
/// only, and rsty everything.
pub(super) fn print_times(kept: &Kept, files: &[PathBuf]) -> Outcome {
    let (mut all, mut ended) = (Sums::default(), Sums::default());
    for file in files {
        let mut times = [0.0; 3];
        for (time, run) in times.iter_mut().zip([Run::Original, Run::Same, Run::BuiltIn]) {
            *time = kept.read(file, run)?.seconds;
        }
        all.add(times);
        if !kept.read(file, Run::Original)?.gave_up {
            ended.add(times);
        }
    }
    println!("| files | test-nginx | same server | built-in | same server | built-in |");
    println!("|---|---|---|---|---|---|");
    println!("{}", all.row("all"));
    println!("{}", ended.row("run to the end by test-nginx"));
    Ok(())
}

/// Times of the original, of rsty on the same server, and on its own, in seconds.
#[derive(Default)]
struct Sums {
    files: usize,
    times: [f64; 3],
}

impl Sums {
    fn add(&mut self, times: [f64; 3]) {
        self.files += 1;
        for (sum, time) in self.times.iter_mut().zip(times) {
            *sum += time;
        }
    }

    fn row(&self, which: &str) -> String {
        let [original, same, own] = self.times;
        let (faster, own_faster) = (original / same.max(0.001), original / own.max(0.001));
        let files = self.files;
        format!("| {files} {which} | {original:.0} s | {same:.0} s | {own:.0} s | {faster:.1} × | {own_faster:.1} × |")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn results(blocks: &[(&str, usize)], gave_up: bool) -> Results {
        let counts = |failed| Counts { passed: 1, failed, ..Counts::default() };
        let blocks: BTreeMap<_, _> =
            blocks.iter().map(|(name, failed)| ((*name).to_owned(), counts(*failed))).collect();
        Results { gave_up, blocks, ..Results::default() }
    }

    #[test]
    fn what_the_original_skips_has_no_name() {
        let skipped = Counts { skipped: 2, ..Counts::default() };
        let passed = Counts { passed: 1, ..Counts::default() };
        assert!(agree(&Counts::default(), &skipped));
        assert!(agree(&passed, &passed.clone()));
        assert!(!agree(&Counts::default(), &passed));
    }

    #[test]
    fn sums_have_a_ratio() {
        let mut sums = Sums::default();
        sums.add([10.0, 2.0, 1.0]);
        sums.add([10.0, 2.0, 1.0]);
        assert_eq!(sums.row("all"), "| 2 all | 20 s | 4 s | 2 s | 5.0 × | 10.0 × |");
    }

    #[test]
    fn a_run_that_gave_up_says_nothing_about_the_rest() {
        let original = results(&[("one", 0)], true);
        let rest = results(&[("two", 1)], true);
        assert_eq!(said("two", &original, Some(&rest)).unwrap().verdict(), Some("failed"));
        assert_eq!(said("one", &original, Some(&rest)).unwrap().verdict(), Some("passed"));
        assert!(said("three", &original, Some(&rest)).is_none());
        let rest = results(&[], false);
        assert_eq!(said("three", &original, Some(&rest)).unwrap().verdict(), None);
    }
}
