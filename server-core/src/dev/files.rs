//! Telling that files have changed, by looking at them from time to time: it needs no thread, and works on every file
//! system.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a file looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    seconds: i64,
    nanoseconds: i64,
    size: u64,
    inode: u64,
}

impl Stamp {
    /// `None` when the file isn't there.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        let (seconds, nanoseconds) = (meta.mtime(), meta.mtime_nsec());
        Some(Self { seconds, nanoseconds, size: meta.len(), inode: meta.ino() })
    }
}

/// Files, and what they looked like when they were read.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// A change was seen, which may not be complete.
    unsettled: bool,
}

impl Watched {
    /// Begins with the present state.
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = paths.into_iter().map(|path| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        });
        Self { files: files.collect(), unsettled: false }
    }

    /// Whether something changed before the last look and nothing since: an editor may write a file in pieces.
    pub(crate) fn has_changed(&mut self) -> bool {
        let mut changes = false;
        for (path, known) in &mut self.files {
            let now = Stamp::of(path);
            if now != *known {
                *known = now;
                changes = true;
            }
        }
        let settled = self.unsettled && !changes;
        self.unsettled = changes;
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::Watched;

    #[test]
    fn a_change_counts_when_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "1").unwrap();
        let mut watched = Watched::new([path.clone()]);
        assert!(!watched.has_changed());
        std::fs::write(&path, "12").unwrap();
        assert!(!watched.has_changed());
        std::fs::write(&path, "123").unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
        assert!(!watched.has_changed());
        std::fs::remove_file(&path).unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
    }
}
