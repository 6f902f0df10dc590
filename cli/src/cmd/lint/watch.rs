//! `--watch`: look again whenever a file changes.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use rsty_lint::InputKind;

/// Editors write a file in several steps; all of them count as one change.
const SETTLE: Duration = Duration::from_millis(50);

/// Calls `look` now and after each change below `paths`, until the watch breaks; the error says why.
pub(super) fn watch(paths: &[PathBuf], mut look: impl FnMut()) -> String {
    let (sender, changes) = mpsc::channel();
    let mut watcher = match notify::recommended_watcher(sender) {
        Ok(watcher) => watcher,
        Err(error) => return format!("can't watch: {error}"),
    };
    for path in paths {
        if let Err(error) = watcher.watch(path, RecursiveMode::Recursive) {
            return format!("can't watch {}: {error}", path.display());
        }
    }
    look();
    loop {
        match changes.recv() {
            Ok(Ok(event)) if matters(&event) => {
                while changes.recv_timeout(SETTLE).is_ok() {}
                look();
            }
            Ok(_) => {}
            Err(_) => return "the watch ended".to_owned(),
        }
    }
}

/// Whether a change may change the findings. Reading a file is an event as well, and must not be one.
fn matters(event: &notify::Event) -> bool {
    let written = matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_));
    written
        && event.paths.iter().any(|path| {
            let config = path.file_name().is_some_and(|name| name == "rsty.toml" || name == ".luacheckrc");
            config || InputKind::of(path).is_some()
        })
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind};

    use super::*;

    #[test]
    fn only_written_files_of_ours_matter() {
        let event = |kind, path: &str| notify::Event::new(kind).add_path(path.into());
        assert!(matters(&event(EventKind::Create(CreateKind::File), "a.lua")));
        assert!(matters(&event(EventKind::Create(CreateKind::File), ".luacheckrc")));
        assert!(!matters(&event(EventKind::Create(CreateKind::File), "a.png")));
        assert!(!matters(&event(EventKind::Access(AccessKind::Any), "a.lua")));
    }
}
