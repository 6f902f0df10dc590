//! The original's output. Its assertion names hold the block's name, and so each line belongs to a block.

use std::collections::BTreeMap;

use super::kept::{Counts, Results};

/// Counts each block's lines. A line belongs to the block with the longest name that it mentions.
pub(super) fn read(tap: &str, script: &str, names: &[String]) -> Results {
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
        match (skipped, passed) {
            (true, _) => counts.skipped += 1,
            (false, true) => counts.passed += 1,
            (false, false) => {
                counts.failed += 1;
                counts.failure.get_or_insert_with(|| rest.trim_start_matches("- ").to_owned());
            }
        }
    }
    Results { gave_up, blocks, ..Results::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_to_blocks() {
        let names = ["TEST 1: a".to_owned(), "TEST 1: a b".to_owned(), "TEST 2: #".to_owned()];
        let tap = "1..4\nok 1 - t/a.t TEST 1: a - status code ok\nnot ok 2 - t/a.t TEST 1: a b - body\n\
            ok 3 # skip t/a.t TEST 2: \\# - old\nnot ok 4 - ERROR: client socket timed out - TEST 1: a\n";
        let results = read(tap, "t/a.t", &names);
        assert!(!results.gave_up);
        let one = &results.blocks["TEST 1: a"];
        assert_eq!((one.passed, one.failed), (1, 1));
        assert_eq!(one.failure.as_deref(), Some("ERROR: client socket timed out - TEST 1: a"));
        assert_eq!(results.blocks["TEST 1: a b"].verdict(), Some("failed"));
        assert_eq!(results.blocks["TEST 2: #"].verdict(), Some("skipped"));
        assert!(read("Bail out!  no\n", "t/a.t", &names).gave_up);
    }
}
