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
                Some(theirs) if theirs.verdict() == rsty.verdict() => compared += 1,
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

/// Prints the sums of the times.
pub(super) fn print_times(kept: &Kept, files: &[PathBuf]) -> Outcome {
    let mut sums = [0.0_f64; 3];
    for file in files {
        for (sum, run) in sums.iter_mut().zip([Run::Original, Run::Same, Run::BuiltIn]) {
            *sum += kept.read(file, run)?.seconds;
        }
    }
    let [original, same, own] = sums;
    println!("{:>6} {:>12} {:>12} {:>12}", "files", "test-nginx", "same server", "built-in");
    println!("{:>6} {original:>10.1} s {same:>10.1} s {own:>10.1} s", files.len());
    println!("{:>6} {:>12} {:>10.1} × {:>10.1} ×", "faster", "", original / same.max(0.001), original / own.max(0.001));
    Ok(())
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
