//! The results of runs, one JSON file for each file of a suite and each side.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Failure, Outcome};

/// Who ran a file, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// `rsty test` on the built-in server.
    BuiltIn,
    /// test-nginx on the given server.
    Original,
    /// test-nginx on the blocks behind one with which it gave up.
    Rest,
    /// `rsty test` on the given server.
    Same,
}

impl Run {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Original => "test-nginx",
            Self::Rest => "rest",
            Self::Same => "same server",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in.json",
            Self::Original => "original.json",
            Self::Rest => "rest.json",
            Self::Same => "same.json",
        }
    }
}

/// What a side says about a block.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    /// The first failed assertion.
    pub(super) failure: Option<String>,
}

impl Counts {
    /// The verdict, as a word; `None` where nothing was asserted.
    pub(super) fn verdict(&self) -> Option<&'static str> {
        match self {
            Self { failed: 1.., .. } => Some("failed"),
            Self { passed: 1.., .. } => Some("passed"),
            Self { skipped: 1.., .. } => Some("skipped"),
            _ => None,
        }
    }
}

/// One side's run of a file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Results {
    /// Wall time. A file that was run together with others has its share of it.
    pub(super) seconds: f64,
    /// Whether it ended before all blocks had run.
    pub(super) gave_up: bool,
    /// Blocks that can't be run, mostly because their server doesn't start.
    pub(super) dead: BTreeSet<String>,
    pub(super) blocks: BTreeMap<String, Counts>,
}

impl Results {
    /// Counts these blocks as failed.
    pub(super) fn add_dead(&mut self, names: &BTreeSet<String>) {
        for name in names {
            let failure = Some("the run was given up".to_owned());
            self.blocks.insert(name.clone(), Counts { failed: 1, failure, ..Counts::default() });
        }
    }
}

/// The folder of results.
pub(super) struct Kept {
    folder: PathBuf,
}

impl Kept {
    pub(super) fn at(folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    pub(super) fn has(&self, file: &Path, run: Run) -> bool {
        self.path(file, run).exists()
    }

    pub(super) fn read(&self, file: &Path, run: Run) -> Result<Results, Failure> {
        let path = self.path(file, run);
        let text = std::fs::read(&path)?;
        serde_json::from_slice(&text).map_err(|error| Failure::Tool(format!("{}: {error}", path.display())))
    }

    /// Written beside and renamed, so that a broken run leaves no half of a file.
    pub(super) fn write(&self, file: &Path, run: Run, results: &Results) -> Outcome {
        let path = self.path(file, run);
        let text = serde_json::to_vec_pretty(results).map_err(|error| Failure::Tool(error.to_string()))?;
        let beside = path.with_extension("partial");
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, &path)?;
        Ok(())
    }

    fn path(&self, file: &Path, run: Run) -> PathBuf {
        self.folder.join(format!("{}.{}", file.display().to_string().replace('/', "_"), run.extension()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path()).unwrap();
        let file = Path::new("t/one/a.t");
        assert!(!kept.has(file, Run::Same));
        let mut results = Results { seconds: 1.5, ..Results::default() };
        results.add_dead(&BTreeSet::from(["TEST 1: x".to_owned()]));
        kept.write(file, Run::Same, &results).unwrap();
        assert!(kept.has(file, Run::Same) && !kept.has(file, Run::Original));
        let read = kept.read(file, Run::Same).unwrap();
        assert_eq!(read.blocks["TEST 1: x"].verdict(), Some("failed"));
        assert_eq!(read.blocks, results.blocks);
    }
}
