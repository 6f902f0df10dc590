//! The committed list of blocks that pass.
//!
//! A project whose suite is not all green yet keeps it in version control: a block in the list that fails is an
//! error, a block that newly passes is reported until it is added. One line a block, `file<TAB>name`, sorted.

use std::collections::BTreeSet;

use crate::run::outcome::{BlockId, BlockReport, BlockVerdict};

/// The blocks that are known to pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    blocks: BTreeSet<(String, String)>,
}

/// How a run compares with the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Blocks in the list that no longer pass.
    pub lost: Vec<(String, String)>,
    /// Blocks that pass and are not in the list.
    pub gained: Vec<(String, String)>,
}

/// Whether an update may take blocks out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only add what newly passes.
    Grow,
    /// Also take out what no longer passes.
    GrowAndShrink,
}

impl Baseline {
    /// Reads the list. Empty lines and `#` comments don't count; a line without a tab is an error (its number).
    pub fn parse(text: &str) -> Result<Self, usize> {
        let mut blocks = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (file, name) = line.split_once('\t').ok_or(index + 1)?;
            blocks.insert((file.to_owned(), name.to_owned()));
        }
        Ok(Self { blocks })
    }

    /// The text of the list.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (file, name) in &self.blocks {
            text.push_str(&format!("{file}\t{name}\n"));
        }
        text
    }

    /// Compares a run with the list. Blocks of the list that did not run don't count as lost.
    pub fn compare(&self, reports: &[BlockReport]) -> Comparison {
        let mut comparison = Comparison::default();
        for report in reports {
            let key = key(&report.id);
            match (self.blocks.contains(&key), report.verdict()) {
                (true, BlockVerdict::Failed | BlockVerdict::Skipped) => comparison.lost.push(key),
                (false, BlockVerdict::Passed) => comparison.gained.push(key),
                _ => {}
            }
        }
        comparison.lost.sort();
        comparison.gained.sort();
        comparison
    }

    /// Applies what a run showed.
    pub fn update(&mut self, comparison: &Comparison, update: Update) {
        self.blocks.extend(comparison.gained.iter().cloned());
        if update == Update::GrowAndShrink {
            for lost in &comparison.lost {
                self.blocks.remove(lost);
            }
        }
    }
}

fn key(id: &BlockId) -> (String, String) {
    // One line and one tab, whatever the name holds.
    let clean = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    (clean(&id.file.to_string_lossy()), clean(&id.name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::check::Recorder;
    use crate::run::outcome::Attempt;

    fn report(name: &str, passes: bool) -> BlockReport {
        let mut recorder = Recorder::new(name);
        recorder.is(Some(b"a"), Some(if passes { b"a" } else { b"b" }), "x");
        let (assertions, ..) = recorder.finish();
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 1, name: name.to_owned() };
        BlockReport { id, attempts: vec![Attempt { assertions, ..Attempt::default() }] }
    }

    #[test]
    fn losses_and_gains_are_told_and_updates_grow() {
        let mut baseline = Baseline::parse("# ours\nt/a.t\tTEST 1: a\nt/a.t\tTEST 9: elsewhere\n").unwrap();
        let comparison = baseline.compare(&[report("TEST 1: a", false), report("TEST 2:  b", true)]);
        assert_eq!(comparison.lost, [("t/a.t".to_owned(), "TEST 1: a".to_owned())]);
        assert_eq!(comparison.gained, [("t/a.t".to_owned(), "TEST 2: b".to_owned())]);
        baseline.update(&comparison, Update::Grow);
        assert_eq!(baseline.render(), "t/a.t\tTEST 1: a\nt/a.t\tTEST 2: b\nt/a.t\tTEST 9: elsewhere\n");
        baseline.update(&comparison, Update::GrowAndShrink);
        assert!(!baseline.render().contains("TEST 1"));
        assert_eq!(Baseline::parse("no tab"), Err(1));
    }
}
