//! Files that are appended to and can be reopened: error logs and access logs.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A file opened for appending, or the standard error.
///
/// Its descriptor number never changes: reopening puts the new file behind the same number, so that nobody who
/// writes needs to ask again.
#[derive(Debug)]
pub struct LogFile {
    path: Option<PathBuf>,
    descriptor: OnceLock<OwnedFd>,
}

impl LogFile {
    /// The standard error.
    pub fn stderr() -> Arc<Self> {
        Arc::new(Self { path: None, descriptor: OnceLock::new() })
    }

    /// A file that is not open yet; [`LogFile::open`] opens it.
    pub fn at(path: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self { path: Some(path.into()), descriptor: OnceLock::new() })
    }

    /// The path; `None` for the standard error.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Opens the file, or opens it anew behind the same descriptor; it is created where it does not exist.
    pub fn open(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.descriptor.get().is_some() {
            return self.reopen();
        }
        if self.descriptor.get().is_none() {
            let opened = open_for_append(path)?;
            // A second thread can't be here: files are opened while the configuration is built.
            let _ = self.descriptor.set(opened);
        }
        Ok(())
    }

    /// Opens the path anew behind the same descriptor, after somebody moved the file away.
    pub fn reopen(&self) -> io::Result<()> {
        let (Some(path), Some(current)) = (&self.path, self.descriptor.get()) else { return Ok(()) };
        let fresh = open_for_append(path)?;
        crate::process::replace_descriptor(&fresh, current)
    }

    /// Appends `bytes` in one system call. A short write is not repeated: lines of several processes must not
    /// mix.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        match self.descriptor() {
            Some(descriptor) => nix::unistd::write(descriptor, bytes).map(drop).map_err(Into::into),
            None => Ok(()),
        }
    }

    /// The open descriptor.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match (&self.path, self.descriptor.get()) {
            (None, _) => Some(crate::process::stderr_descriptor()),
            (Some(_), Some(descriptor)) => Some(descriptor.as_fd()),
            (Some(_), None) => None,
        }
    }
}

fn open_for_append(path: &Path) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().append(true).create(true).mode(0o644).open(path)?.into())
}

/// All files that a configuration opens for appending, one entry a path.
#[derive(Debug, Default)]
pub struct OpenFiles {
    files: Vec<Arc<LogFile>>,
    /// Those of the configuration before, which are taken over by path.
    before: Vec<Arc<LogFile>>,
}

impl OpenFiles {
    /// None yet; files which another configuration has open will be taken over.
    pub fn after(before: &Self) -> Self {
        Self { files: Vec::new(), before: before.files.clone() }
    }

    /// The file at an absolute path, shared with everybody who asks for the same path. Not open yet.
    pub fn file(&mut self, path: PathBuf) -> Arc<LogFile> {
        if let Some(known) = self.files.iter().find(|file| file.path() == Some(&path)) {
            return Arc::clone(known);
        }
        let before = self.before.iter().find(|file| file.path() == Some(&path)).cloned();
        let file = before.unwrap_or_else(|| LogFile::at(path));
        self.files.push(Arc::clone(&file));
        file
    }

    /// The files in the order in which they were asked for.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<LogFile>> {
        self.files.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_is_one_file() {
        let mut files = OpenFiles::default();
        let first = files.file("/a".into());
        assert!(Arc::ptr_eq(&first, &files.file("/a".into())));
        assert!(!Arc::ptr_eq(&first, &files.file("/b".into())));
        assert_eq!(files.iter().count(), 2);
    }

    #[test]
    fn reopening_writes_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let file = LogFile::at(&path);
        file.append(b"lost, not open yet\n").unwrap();
        file.open().unwrap();
        file.append(b"one\n").unwrap();
        std::fs::rename(&path, folder.path().join("old.log")).unwrap();
        file.append(b"two\n").unwrap();
        file.reopen().unwrap();
        file.append(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("old.log")).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }
}
