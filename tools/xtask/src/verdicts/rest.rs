//! A copy of a spec file without some of its blocks, for a second run of what stands behind them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::Failure;

/// How the names of such copies end.
const ENDING: &str = "-rest.t";

/// A copy beside its original, as long as this lives.
pub(super) struct Rest {
    /// Relative to the suite.
    pub(super) path: PathBuf,
    absolute: PathBuf,
}

impl Rest {
    /// A copy of `suite`'s `file` without the blocks named `without`.
    pub(super) fn of(suite: &Path, file: &Path, without: &BTreeSet<String>) -> Result<Self, Failure> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = file.with_file_name(format!("{name}{ENDING}"));
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

/// Whether a file is the copy of another one.
pub(super) fn is_one(path: &Path) -> bool {
    path.to_string_lossy().ends_with(ENDING)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_left_out_by_their_names() {
        let text = b"plan 2;\n__DATA__\n=== A: one\n--- x\n1\n=== B: two \n--- x\n2\n=== C\n";
        let without = BTreeSet::from(["B: two".to_owned()]);
        assert_eq!(without_blocks(text, &without), b"plan 2;\n__DATA__\n=== A: one\n--- x\n1\n=== C\n");
    }
}
