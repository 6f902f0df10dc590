//! A mutex between processes, with the promise that the death of its owner does not lock out the others.

use std::io;
use std::mem::MaybeUninit;

/// How the mutex was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Free, after its last owner released it.
    Released,
    /// Held by a process that died: the data may be half changed.
    Abandoned,
}

/// A robust POSIX mutex that lies in shared memory.
#[repr(transparent)]
pub(super) struct SharedMutex(libc::pthread_mutex_t);

impl SharedMutex {
    /// Makes the mutex at this address usable by all processes that map it.
    ///
    /// # Safety
    /// `place` is writable, aligned, and no mutex in use lies there.
    pub(super) unsafe fn init(place: *mut Self) -> io::Result<()> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised before they are used; the caller's promise for `place`.
        let code = unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            let code = libc::pthread_mutex_init(place.cast(), attributes.as_ptr());
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
            code
        };
        if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
    }

    /// Waits for the mutex.
    ///
    /// # Safety
    /// `place` holds an initialised mutex that this thread does not hold.
    pub(super) unsafe fn lock(place: *mut Self) -> Found {
        // SAFETY: the caller's promise.
        unsafe {
            if libc::pthread_mutex_lock(place.cast()) == libc::EOWNERDEAD {
                libc::pthread_mutex_consistent(place.cast());
                return Found::Abandoned;
            }
        }
        Found::Released
    }

    /// Releases the mutex.
    ///
    /// # Safety
    /// `place` holds a mutex that this thread holds.
    pub(super) unsafe fn unlock(place: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { libc::pthread_mutex_unlock(place.cast()) };
    }
}
