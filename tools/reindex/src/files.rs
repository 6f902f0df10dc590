//! Finding the spec files that a command line means.

use std::io;
use std::path::{Path, PathBuf};

use ignore::{WalkBuilder, WalkState};

/// A path that could not be visited.
#[derive(Debug, thiserror::Error)]
#[error("can't read {}", path.display())]
pub struct FindError {
    /// The path as the user or the walk named it.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

/// Whether the name ends like a spec file's: `.t` or `.t_`.
pub fn is_spec_name(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    name.ends_with(b".t") || name.ends_with(b".t_")
}

/// The spec files that `paths` name: files as they are, folders with all spec files below them.
///
/// Folders respect `.gitignore` and skip hidden entries. The files of a folder come sorted; the order of
/// `paths` stays, and a file named twice comes once.
pub fn find(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<FindError>) {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for path in paths {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let (files, failures) = walk(path);
                found.extend(files.into_iter().filter(|file| seen.insert(file.clone())));
                errors.extend(failures);
            }
            Ok(_) if seen.insert(path.clone()) => found.push(path.clone()),
            Ok(_) => {}
            Err(source) => errors.push(FindError { path: path.clone(), source }),
        }
    }
    (found, errors)
}

fn walk(folder: &Path) -> (Vec<PathBuf>, Vec<FindError>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    WalkBuilder::new(folder).require_git(false).build_parallel().run(|| {
        let sender = sender.clone();
        Box::new(move |entry| {
            let result = match entry {
                Ok(entry) if entry.file_type().is_some_and(|kind| !kind.is_dir()) && is_spec_name(entry.path()) => {
                    Ok(entry.into_path())
                }
                Ok(_) => return WalkState::Continue,
                Err(error) => Err(error),
            };
            // The receiver lives until all walkers have ended.
            if sender.send(result).is_err() { WalkState::Quit } else { WalkState::Continue }
        })
    });
    drop(sender);
    let mut files = Vec::new();
    let mut errors = Vec::new();
    for result in receiver {
        match result {
            Ok(path) => files.push(path),
            Err(error) => {
                let text = error.to_string();
                let source = error.into_io_error().unwrap_or_else(|| io::Error::other(text));
                errors.push(FindError { path: folder.to_path_buf(), source });
            }
        }
    }
    files.sort();
    (files, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_their_specs_sorted_without_ignored_ones() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for name in ["b.t", "a.t", "c.lua", "gone.t", "old.t_"] {
            std::fs::write(folder.path().join(name), "").expect("write");
        }
        std::fs::write(folder.path().join(".gitignore"), "gone.t\n").expect("write");
        let (files, errors) = find(&[folder.path().to_path_buf(), folder.path().join("b.t")]);
        let names: Vec<_> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
        assert_eq!(names, ["a.t", "b.t", "old.t_"]);
        assert!(errors.is_empty());
    }

    #[test]
    fn a_missing_path_is_an_error_and_the_others_go_on() {
        let (files, errors) = find(&["/nonexistent/x.t".into(), "/dev/null".into()]);
        assert_eq!(files, [PathBuf::from("/dev/null")]);
        assert_eq!(errors.len(), 1);
    }
}
