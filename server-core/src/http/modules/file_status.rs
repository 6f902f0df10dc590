//! What a path leads to: the questions of `if (-f …)`, `index`, `try_files` and static files.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::rewrite::condition::FileTest;
use crate::http::code::Code;
use crate::http::request::Request;
use crate::log::Level;

/// Bytes as a path.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// What a path leads to; an error is a number of the operating system.
pub(super) fn status(bytes: &[u8]) -> Result<Metadata, i32> {
    std::fs::metadata(path(bytes)).map_err(|error| number(&error))
}

/// The operating system's number of an error.
pub(super) fn number(error: &io::Error) -> i32 {
    // A path with a NUL byte in it names nothing.
    error.raw_os_error().unwrap_or(libc::ENOENT)
}

/// Whether there just is no such file.
pub(super) fn is_absent(errno: i32) -> bool {
    matches!(errno, libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG)
}

/// The status and the log level for a file that can't be opened.
pub(super) fn fault(errno: i32) -> (Code, Level) {
    match errno {
        libc::EACCES | libc::EMLINK | libc::ELOOP => (Code::FORBIDDEN, Level::Error),
        errno if is_absent(errno) => (Code::NOT_FOUND, Level::Error),
        _ => (Code::INTERNAL_SERVER_ERROR, Level::Crit),
    }
}

/// Answers a file test; a failure that is no absence is logged.
pub(super) fn holds(r: &Request, bytes: &[u8], test: FileTest) -> bool {
    match super::disable_symlinks::status(r, bytes) {
        Ok(found) => match test {
            FileTest::File => found.is_file(),
            FileTest::Directory => found.is_dir(),
            FileTest::Exists => true,
            FileTest::Executable => found.permissions().mode() & 0o100 != 0,
        },
        Err(errno) => {
            if !is_absent(errno) {
                let message = format!("stat() \"{}\" failed", path(bytes).display());
                r.log_errno(Level::Crit, errno, format_args!("{message}"));
            }
            false
        }
    }
}
