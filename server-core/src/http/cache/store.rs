//! A response on its way into a cache: written beside it, and renamed when it is complete.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::entry::Meta;
use crate::http::header::{HeaderId, HeaderList};

/// A response that is being written. It is gone unless it is finished.
pub(crate) struct Writer {
    file: File,
    temp: PathBuf,
    target: PathBuf,
    modified: Option<i64>,
    finished: bool,
}

impl Writer {
    /// Begins a file with what is to know and the head.
    pub(crate) fn begin(target: PathBuf, folder: Option<PathBuf>, meta: &Meta, head: &[u8]) -> io::Result<Self> {
        let (mut file, temp) = create(&target, folder)?;
        file.write_all(&meta.write(head))?;
        Ok(Self { file, temp, target, modified: None, finished: false })
    }

    /// Begins a plain file with certain rights, and in the end with the time of a last change.
    pub(crate) fn plain(
        target: PathBuf,
        folder: Option<PathBuf>,
        mode: u32,
        modified: Option<i64>,
    ) -> io::Result<Self> {
        let (file, temp) = create(&target, folder)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        Ok(Self { file, temp, target, modified, finished: false })
    }

    /// Appends a part of the body.
    pub(crate) fn write(&mut self, part: &[u8]) -> io::Result<()> {
        self.file.write_all(part)
    }

    /// The response is complete: it takes the place of what was there.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let Some(seconds) = self.modified {
            let seconds = u64::try_from(seconds).unwrap_or(0);
            self.file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))?;
        }
        if let Some(folder) = self.target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if let Err(error) = std::fs::rename(&self.temp, &self.target) {
            if error.kind() != io::ErrorKind::CrossesDevices {
                return Err(error);
            }
            // Between file systems there is no renaming: a copy beside the target is renamed.
            let beside = self.target.with_extension(format!("new-{}", std::process::id()));
            std::fs::copy(&self.temp, &beside)?;
            std::fs::rename(&beside, &self.target)?;
            std::fs::remove_file(&self.temp)?;
        }
        self.finished = true;
        Ok(())
    }
}

/// A new file in a folder, or beside its target.
fn create(target: &Path, folder: Option<PathBuf>) -> io::Result<(File, PathBuf)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!(".new-{}-{number}", std::process::id());
    let folder = folder.or_else(|| target.parent().map(PathBuf::from)).ok_or(io::ErrorKind::NotFound)?;
    std::fs::create_dir_all(&folder)?;
    let temp = folder.join(name);
    let file = File::options().write(true).create_new(true).open(&temp)?;
    Ok((file, temp))
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            // What can't be removed is found by the manager later.
            let _ = std::fs::remove_file(&self.temp);
        }
    }
}

/// A head as HTTP/1 text, without what frames or carries the message. `length` tells a length that was told.
pub(crate) fn head_text(status: u16, status_line: &[u8], fields: &HeaderList) -> Bytes {
    let mut out = b"HTTP/1.1 ".to_vec();
    if status_line.is_empty() {
        out.extend_from_slice(status.to_string().as_bytes());
        out.push(b' ');
    } else {
        out.extend_from_slice(status_line);
    }
    out.extend_from_slice(b"\r\n");
    for field in fields {
        if matches!(field.id, HeaderId::TransferEncoding | HeaderId::Connection | HeaderId::KeepAlive) {
            continue;
        }
        for part in [&field.name[..], b": ", &field.value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_responses_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("a/b");
        let write = |body: &[u8]| {
            let mut writer = Writer::begin(target.clone(), None, &Meta::default(), b"head").expect("writable");
            writer.write(body).expect("writable");
            writer
        };
        drop(write(b"cut off"));
        assert_eq!(std::fs::read_dir(folder.path().join("a")).expect("a folder").count(), 0);
        write(b"all").finish().expect("renamed");
        assert!(std::fs::read(&target).expect("there").ends_with(b"headall"));
    }

    #[test]
    fn heads_lose_what_carried_them() {
        let mut fields = HeaderList::default();
        fields.add("Transfer-Encoding", "chunked");
        fields.add("X-A", "b");
        assert_eq!(&head_text(200, b"200 OK", &fields)[..], b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n");
    }
}
