//! System calls that need `unsafe`, each wrapped so that callers need none.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Broken-down local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalTime {
    pub(crate) year: i32,
    /// From 1.
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    /// From Sunday, 0.
    pub(crate) weekday: u8,
    /// East of UTC.
    pub(crate) offset_minutes: i32,
}

/// The local time of a number of seconds since 1970.
pub(crate) fn local_time(seconds: i64) -> LocalTime {
    // SAFETY: all-zero bytes are a valid `tm`: integers and a null pointer that nobody reads.
    let mut time: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types; the function writes only into `time`.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut time) };
    LocalTime {
        year: time.tm_year + 1900,
        month: (time.tm_mon + 1) as u8,
        day: time.tm_mday as u8,
        hour: time.tm_hour as u8,
        minute: time.tm_min as u8,
        second: time.tm_sec as u8,
        weekday: time.tm_wday as u8,
        offset_minutes: (time.tm_gmtoff / 60) as i32,
    }
}

/// Puts what `fresh` refers to behind the number of `current`.
pub(crate) fn replace_descriptor(fresh: &OwnedFd, current: &OwnedFd) -> io::Result<()> {
    // SAFETY: both descriptors are open and owned; afterwards `current` still owns its number.
    let code = unsafe { libc::dup3(fresh.as_raw_fd(), current.as_raw_fd(), libc::O_CLOEXEC) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The standard error.
pub(crate) fn stderr_descriptor() -> BorrowedFd<'static> {
    // SAFETY: the process never closes descriptor 2; it only redirects it.
    unsafe { BorrowedFd::borrow_raw(2) }
}
