//! Replacing a file's content whole or not at all.
//!
//! The new content goes to a temporary file beside the target, reaches the disk, takes over mode and
//! owner, and then the name. Symbolic links are followed first, so a link stays one. A target that is no
//! longer what was read is left alone. Whatever fails, the old file stays and the temporary one goes.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

/// Why a file was not replaced. The old content is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// Somebody wrote to the file since it was read.
    #[error("the file changed while it was being formatted")]
    ChangedMeanwhile,
    /// The system refused.
    #[error("{action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// A file's content as read, with what is needed to replace it safely.
#[derive(Debug)]
pub struct Loaded {
    target: PathBuf,
    metadata: Metadata,
    bytes: Vec<u8>,
}

impl Loaded {
    /// Reads `path`, through symbolic links. Only regular files are read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        let (target, metadata) = if found.is_symlink() {
            (fs::canonicalize(path)?, fs::metadata(path)?)
        } else {
            (path.to_path_buf(), found)
        };
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let bytes = fs::read(&target)?;
        Ok(Self { target, metadata, bytes })
    }

    /// The content as it was read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts `new` in the place of the content that was read.
    pub fn replace(&self, new: &[u8]) -> Result<(), ReplaceError> {
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A file that may not be written is not replaced either, though the folder would allow it.
        File::options().write(true).open(&self.target).map_err(failed("open the file for writing"))?;
        let mut temporary = tempfile::Builder::new()
            .prefix(".reindex-")
            .tempfile_in(folder)
            .map_err(failed("create a temporary file beside it"))?;
        temporary.write_all(new).map_err(failed("write the temporary file"))?;
        self.adopt_owner_and_mode(temporary.as_file())?;
        temporary.as_file().sync_data().map_err(failed("flush the temporary file to disk"))?;
        self.check_unchanged()?;
        // The folder is not flushed: after a power failure the name may still mean the old content, which is whole.
        temporary.persist(&self.target).map_err(|error| failed("rename the temporary file")(error.error))?;
        Ok(())
    }

    fn adopt_owner_and_mode(&self, file: &File) -> Result<(), ReplaceError> {
        let fresh = file.metadata().map_err(failed("inspect the temporary file"))?;
        if (fresh.uid(), fresh.gid()) != (self.metadata.uid(), self.metadata.gid()) {
            fchown(file, Some(self.metadata.uid()), Some(self.metadata.gid()))
                .map_err(failed("keep the file's owner"))?;
        }
        file.set_permissions(self.metadata.permissions()).map_err(failed("keep the file's mode"))
    }

    fn check_unchanged(&self) -> Result<(), ReplaceError> {
        let now = fs::metadata(&self.target).map_err(failed("inspect the file again"))?;
        let identity = |m: &Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec());
        if identity(&now) != identity(&self.metadata) {
            return Err(ReplaceError::ChangedMeanwhile);
        }
        Ok(())
    }
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> ReplaceError {
    move |source| ReplaceError::Io { action, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn mode_and_link_stay_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let real = folder.path().join("real.t");
        let link = folder.path().join("link.t");
        fs::write(&real, "old").expect("write");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("chmod");
        symlink("real.t", &link).expect("symlink");
        Loaded::read(&link).expect("read").replace(b"new").expect("replace");
        assert_eq!(fs::read(&real).expect("read"), b"new");
        assert!(fs::symlink_metadata(&link).expect("stat").is_symlink());
        assert_eq!(fs::metadata(&real).expect("stat").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 2);
    }

    #[test]
    fn a_file_that_changed_since_it_was_read_is_left_alone() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.t");
        fs::write(&path, "old").expect("write");
        let loaded = Loaded::read(&path).expect("read");
        fs::write(&path, "somebody else's").expect("write");
        assert!(matches!(loaded.replace(b"new"), Err(ReplaceError::ChangedMeanwhile)));
        assert_eq!(fs::read(&path).expect("read"), b"somebody else's");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    }

    #[test]
    fn folders_and_devices_are_not_read() {
        assert!(Loaded::read(Path::new("/")).is_err());
        assert!(Loaded::read(Path::new("/dev/null")).is_err());
    }
}
