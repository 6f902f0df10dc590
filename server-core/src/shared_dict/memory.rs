//! The mapping and checked access to it.
//!
//! Offsets come from memory that other processes write. One that does not fit into the mapping is answered with the
//! address of the mapping's last page, which holds nothing ([`Memory::at`]): a damaged zone gives wrong answers, but
//! nothing outside of it is touched.

use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicI64;

pub(super) const PAGE: usize = 4096;

/// A shared, anonymous mapping.
pub(super) struct Memory {
    base: NonNull<u8>,
    /// Bytes that offsets may reach; one more page follows.
    len: usize,
}

// SAFETY: the memory is shared between processes anyway; every access to its content happens under the zone's lock.
unsafe impl Send for Memory {}
// SAFETY: see `Send`.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `len` zero bytes and a page for strays.
    pub(super) fn map(len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(PAGE);
        // SAFETY: a new anonymous mapping touches no existing memory.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len + PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { base, len })
    }

    /// Bytes that offsets may reach.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The address of a `T` at an offset; always valid for reads and writes of one `T`, which has to be plain data
    /// of at most a page. One that begins just before the end reaches into the last page, which does no harm.
    #[inline]
    pub(super) fn at<T>(&self, offset: usize) -> *mut T {
        const { assert!(size_of::<T>() <= PAGE && align_of::<T>() <= PAGE) };
        let offset = if offset.is_multiple_of(align_of::<T>()) { offset.min(self.len) } else { self.len };
        // SAFETY: the offset and the `T` behind it lie in the mapping, the stray page included.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    /// The offset of something in the mapping; one that does not fit for what lies elsewhere.
    #[inline]
    pub(super) fn offset<T>(&self, place: *const T) -> usize {
        place.addr().wrapping_sub(self.base.addr().get())
    }

    /// The bytes at an offset, or none when they are not all in the mapping.
    ///
    /// # Safety
    /// The zone's lock is held, and nothing writes to these bytes while the slice is in use.
    #[inline]
    pub(super) unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return &[];
        }
        // SAFETY: in the mapping, as just checked; the caller's promise.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(offset), len) }
    }

    /// Copies bytes to an offset, unless they would leave the mapping.
    ///
    /// # Safety
    /// The zone's lock is held; `src` does not lie in the mapping.
    #[inline]
    pub(super) unsafe fn write(&self, offset: usize, src: &[u8]) {
        if offset.checked_add(src.len()).is_some_and(|end| end <= self.len) {
            // SAFETY: in the mapping, as just checked; the caller's promise.
            unsafe { ptr::copy_nonoverlapping(src.as_ptr(), self.base.as_ptr().add(offset), src.len()) }
        }
    }

    /// Fills bytes with zero.
    ///
    /// # Safety
    /// The zone's lock is held.
    pub(super) unsafe fn clear(&self, offset: usize, len: usize) {
        if offset.checked_add(len).is_some_and(|end| end <= self.len) {
            // SAFETY: in the mapping, as just checked; the caller's promise.
            unsafe { ptr::write_bytes(self.base.as_ptr().add(offset), 0, len) }
        }
    }
}

/// Numbers, all 0 at first, that this process shares with those it forks. Its mapping ends with it.
pub(crate) struct Numbers {
    memory: Memory,
    count: usize,
}

impl Numbers {
    /// Maps this many.
    pub(crate) fn new(count: usize) -> io::Result<Self> {
        Ok(Self { memory: Memory::map(count * size_of::<AtomicI64>())?, count })
    }
}

impl Deref for Numbers {
    type Target = [AtomicI64];

    fn deref(&self) -> &[AtomicI64] {
        let base: *const AtomicI64 = self.memory.at(0);
        // SAFETY: the mapping is large enough, aligned to a page, and lives as long as the value; zero bytes are valid
        // numbers, and they are only touched atomically.
        unsafe { std::slice::from_raw_parts(base, self.count) }
    }
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len + PAGE) };
    }
}
