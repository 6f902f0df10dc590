//! The folders whose files are watched: those below the working directory, except hidden ones and such as tools fill.

use std::path::{Path, PathBuf};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::{Wake, Wakes};
use crate::cmd::test::{Failure, failure};
use crate::exit::Exit;
use crate::ui;

/// What happened to a file.
#[derive(Debug)]
pub(super) enum Happened {
    /// It was written, moved or removed.
    Changed(PathBuf),
    /// Somebody opened it.
    Opened(PathBuf, Instant),
}

/// The watched folders.
pub(super) struct Folders {
    watcher: RecommendedWatcher,
    count: usize,
}

/// More folders than a project has; what lies beyond is not watched.
const FOLDERS_MAX: usize = 4096;

impl Folders {
    /// Watches the folders below `root`, and tells `wakes` what happens there.
    pub(super) fn watch(root: &Path, wakes: Wakes) -> Result<Self, Failure> {
        let tell = move |event: notify::Result<notify::Event>| {
            // Without a receiver the watch is over.
            let Ok(event) = event else { return };
            let now = Instant::now();
            for path in event.paths {
                let happened = match event.kind {
                    EventKind::Access(AccessKind::Open(_)) => Happened::Opened(path, now),
                    EventKind::Access(AccessKind::Close(AccessMode::Write))
                    | EventKind::Create(_)
                    | EventKind::Modify(_)
                    | EventKind::Remove(_)
                        if is_of_interest(&path) =>
                    {
                        Happened::Changed(path)
                    }
                    _ => continue,
                };
                let _ = wakes.send(Wake::File(happened));
            }
        };
        let watcher = notify::recommended_watcher(tell);
        let watcher = watcher.map_err(|error| failure(Exit::ToolFailure, "watch files", &error))?;
        let mut folders = Self { watcher, count: 0 };
        folders.add(root);
        if folders.count == 0 {
            let message = format!("failed to watch {}: the system allows no more watches", root.display());
            return Err(Failure { exit: Exit::ToolFailure, message });
        }
        if folders.count >= FOLDERS_MAX {
            ui::warning(&format!("there are more than {FOLDERS_MAX} folders; the rest is not watched"));
        }
        Ok(folders)
    }

    /// Watches a folder that has just appeared, too.
    pub(super) fn adopt(&mut self, path: &Path) {
        if path.is_dir() {
            self.add(path);
        }
    }

    /// How many folders are watched, in words.
    pub(super) fn count_text(&self) -> String {
        format!("{} {}", self.count, if self.count == 1 { "folder" } else { "folders" })
    }

    fn add(&mut self, root: &Path) {
        let is_watched = |entry: &walkdir::DirEntry| {
            let name = entry.file_name().to_string_lossy();
            let is_filled = name.starts_with('.') || name.starts_with("servroot") || FILLED.contains(&&*name);
            entry.depth() == 0 || (entry.file_type().is_dir() && !is_filled)
        };
        for entry in walkdir::WalkDir::new(root).into_iter().filter_entry(is_watched).flatten() {
            if self.count >= FOLDERS_MAX {
                return;
            }
            let watched = self.watcher.watch(entry.path(), RecursiveMode::NonRecursive);
            self.count += usize::from(watched.is_ok());
        }
    }
}

/// Folders that tools fill.
const FILLED: [&str; 4] = ["node_modules", "target", "lua_modules", "__pycache__"];

/// Whether a change of the file says anything: editors write files of their own beside it.
fn is_of_interest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let numeric = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let ends = ["~", ".swp", ".swx", ".tmp", ".html", ".xml"];
    !name.starts_with(['.', '#']) && !numeric && !ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_editors_are_of_no_interest() {
        for name in ["t/.a.t.swp", "t/a.t~", "t/4913", "t/#a.t#", "t/.goutputstream-X"] {
            assert!(!is_of_interest(Path::new(name)), "{name}");
        }
        assert!(is_of_interest(Path::new("lib/a.lua")));
    }
}
