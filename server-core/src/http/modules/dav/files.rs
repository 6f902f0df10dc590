//! The work on files and folders. Everything here blocks, and runs beside the event loop.

use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A system call on a path that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) call: &'static str,
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

type Outcome<T = ()> = Result<T, Failure>;

fn attempt<T>(call: &'static str, path: &Path, result: io::Result<T>) -> Outcome<T> {
    result.map_err(|error| Failure { call, path: path.to_owned(), error })
}

/// What a path leads to, without following a link.
pub(super) fn status(path: &Path) -> Outcome<Metadata> {
    attempt("lstat()", path, fs::symlink_metadata(path))
}

/// Makes a folder.
pub(super) fn make_folder(path: &Path, mode: u32) -> Outcome {
    attempt("mkdir()", path, fs::DirBuilder::new().mode(mode).create(path))
}

/// Makes the folders above a path.
fn make_parents(path: &Path, mode: u32) -> Outcome {
    let Some(parent) = path.parent() else { return Ok(()) };
    attempt("mkdir()", parent, fs::DirBuilder::new().recursive(true).mode(mode).create(parent))
}

/// Removes a file, or a folder with everything in it.
pub(super) fn remove(path: &Path, folder: bool) -> Outcome {
    if folder {
        attempt("rmdir()", path, fs::remove_dir_all(path))
    } else {
        attempt("unlink()", path, fs::remove_file(path))
    }
}

/// How a file becomes another.
pub(super) struct Put {
    /// Mode of the file; none leaves it as it is.
    pub(super) mode: Option<u32>,
    /// Mode of folders that are made on the way; none makes none.
    pub(super) parents: Option<u32>,
    /// Modification time.
    pub(super) modified: Option<SystemTime>,
}

/// Moves a file to where it belongs, also to another file system; readers see the old file or the new one.
pub(super) fn put(from: &Path, to: &Path, how: &Put) -> Outcome {
    if let Some(mode) = how.mode {
        attempt("chmod()", from, fs::set_permissions(from, fs::Permissions::from_mode(mode)))?;
    }
    if let Some(modified) = how.modified {
        let times = FileTimes::new().set_modified(modified);
        let changed = File::options().write(true).open(from).and_then(|file| file.set_times(times));
        attempt("futimens()", from, changed)?;
    }
    let renamed = match (fs::rename(from, to), how.parents) {
        (Err(error), Some(mode)) if error.kind() == io::ErrorKind::NotFound => {
            make_parents(to, mode)?;
            fs::rename(from, to)
        }
        (renamed, _) => renamed,
    };
    match renamed {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let near = near(to);
            let copied = fs::copy(from, &near).and_then(|_| fs::rename(&near, to));
            if copied.is_err() {
                // The failure that is reported is that of the copy.
                let _ = fs::remove_file(&near);
            }
            attempt("rename()", to, copied)?;
            attempt("unlink()", from, fs::remove_file(from))
        }
        other => attempt("rename()", to, other),
    }
}

/// A name beside a path, for a file that is not complete yet.
fn near(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", crate::process::pid()));
    PathBuf::from(name)
}

/// Copies a file with its mode and time.
pub(super) fn copy_file(from: &Path, to: &Path, metadata: &Metadata) -> Outcome {
    attempt("copy", to, fs::copy(from, to))?;
    let modified = attempt("stat()", from, metadata.modified())?;
    let times = FileTimes::new().set_modified(modified);
    attempt("futimens()", to, File::options().write(true).open(to).and_then(|file| file.set_times(times)))
}

/// Copies a folder with everything in it but what is neither file nor folder.
pub(super) fn copy_folder(from: &Path, to: &Path, metadata: &Metadata) -> Outcome {
    make_folder(to, metadata.permissions().mode() & 0o777)?;
    for entry in attempt("opendir()", from, fs::read_dir(from))? {
        let entry = attempt("readdir()", from, entry)?;
        let (inner, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = attempt("stat()", &inner, fs::metadata(&inner))?;
        if metadata.is_dir() {
            copy_folder(&inner, &target, &metadata)?;
        } else if metadata.is_file() {
            copy_file(&inner, &target, &metadata)?;
        }
    }
    Ok(())
}

/// Moves a folder, also to another file system.
pub(super) fn move_folder(from: &Path, to: &Path, metadata: &Metadata) -> Outcome {
    match fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(_) => {
            copy_folder(from, to, metadata)?;
            remove(from, true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_copied_and_moved_with_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b, c) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
        fs::create_dir_all(a.join("in")).unwrap();
        fs::write(a.join("in/x"), "hello").unwrap();
        copy_folder(&a, &b, &status(&a).unwrap()).unwrap();
        move_folder(&a, &c, &status(&a).unwrap()).unwrap();
        assert!(!a.exists());
        for copy in [b, c] {
            assert_eq!(fs::read_to_string(copy.join("in/x")).unwrap(), "hello");
            remove(&copy, true).unwrap();
        }
    }

    #[test]
    fn a_put_makes_parents_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("temp");
        let to = folder.path().join("x/y/z");
        fs::write(&from, "body").unwrap();
        let how = |parents| Put { mode: Some(0o640), parents, modified: Some(SystemTime::UNIX_EPOCH) };
        assert_eq!(put(&from, &to, &how(None)).unwrap_err().call, "rename()");
        put(&from, &to, &how(Some(0o755))).unwrap();
        let metadata = status(&to).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
        assert_eq!(metadata.modified().unwrap(), SystemTime::UNIX_EPOCH);
    }
}
