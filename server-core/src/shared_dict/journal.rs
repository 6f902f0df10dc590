//! What a change in a zone overwrites, kept until the change is complete.
//!
//! A worker can die at any instruction. Whoever locks the zone next finds what the dead one had overwritten, in the
//! order of the writes, and puts it back from last to first: the zone is as it was before the change, and nothing that
//! had been acknowledged is lost. So nothing that is in use may be written before [`Journal::save`] has kept what is
//! there. Blocks that were free when the change began are not in use; therefore a change ends ([`Journal::commit`])
//! before a block that it gave back may be handed out again.
//!
//! A killed process has executed its instructions in order up to some point, and other processors see its stores when
//! they see that it gave up the lock; what has to be kept in order is only the compiler, which the fences do.
//!
//! ```text
//! | bytes, padded to eight | offset | length | bytes … | offset | length |   ← `len` of the zone's header points here
//! ```

use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};

use super::memory::Memory;

/// Two numbers follow each record's bytes.
const TRAILER: usize = 16;
/// Bytes that any change without a value may overwrite.
const LEAST: usize = 64 << 10;
/// Stands for a change that overwrote more than there was room for.
const OVERFLOW: u64 = u64::MAX;

/// How a zone was found whose last user died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovered {
    /// No change was under way.
    Nothing,
    /// A change was under way and is undone.
    Undone,
    /// A change was under way that cannot be undone.
    Damaged,
}

/// The journal of one zone, while the zone's lock is held.
#[derive(Clone, Copy)]
pub(super) struct Journal<'a> {
    zone: &'a Memory,
    records: &'a Memory,
    len: *mut u64,
}

/// Room for the journal of a zone of that size: one value may be as large as the zone. Pages that were never used take
/// no memory.
pub(super) const fn capacity(zone_size: usize) -> usize {
    zone_size + zone_size / 8 + LEAST
}

impl<'a> Journal<'a> {
    /// # Safety
    /// `len` lies in the header of this zone, and the zone's lock is held while the value is used.
    pub(super) unsafe fn new(zone: &'a Memory, records: &'a Memory, len: *mut u64) -> Self {
        Self { zone, records, len }
    }

    /// Keeps what lies at an offset of the zone. To be called before it is overwritten.
    #[inline]
    pub(super) fn save(self, offset: usize, count: usize) {
        #[cfg(test)]
        kill_point();
        let len = self.len();
        let at = len as usize;
        let padded = count.next_multiple_of(8);
        let end = at.saturating_add(padded).saturating_add(TRAILER);
        if end > self.records.len() {
            self.set_len(OVERFLOW);
            return;
        }
        // SAFETY: the lock is held; both ranges are checked by `Memory`.
        unsafe {
            let old = self.zone.bytes(offset, count);
            if old.len() != count {
                return;
            }
            self.records.write(at, old);
            self.records.at::<[u64; 2]>(at + padded).write([offset as u64, count as u64]);
        }
        self.set_len(end as u64);
        #[cfg(test)]
        kill_point();
    }

    /// Ends a change: what it has written stays.
    #[inline]
    pub(super) fn commit(self) {
        #[cfg(test)]
        kill_point();
        self.set_len(0);
    }

    /// Undoes a change whose author died. May itself be interrupted and begun anew.
    pub(super) fn recover(self) -> Recovered {
        let mut len = self.len();
        if len == 0 {
            return Recovered::Nothing;
        }
        while len != 0 {
            let Some(trailer) = (len as usize).checked_sub(TRAILER).filter(|at| at + TRAILER <= self.records.len())
            else {
                return Recovered::Damaged;
            };
            // SAFETY: `at` gives a readable address; every bit pattern is a pair of numbers; the lock is held.
            let [offset, count] = unsafe { self.records.at::<[u64; 2]>(trailer).read() };
            let Some(start) = trailer.checked_sub((count as usize).next_multiple_of(8)) else {
                return Recovered::Damaged;
            };
            // SAFETY: the lock is held; both ranges are checked by `Memory`, and lie in different mappings.
            unsafe { self.zone.write(offset as usize, self.records.bytes(start, count as usize)) };
            len = start as u64;
            self.set_len(len);
        }
        Recovered::Undone
    }

    /// Whether a change is under way.
    pub(super) fn is_open(self) -> bool {
        self.len() != 0
    }

    fn len(self) -> u64 {
        // SAFETY: the promise made to `new`.
        unsafe { ptr::read_volatile(self.len) }
    }

    fn set_len(self, len: u64) {
        compiler_fence(Ordering::SeqCst);
        // SAFETY: the promise made to `new`.
        unsafe { ptr::write_volatile(self.len, len) };
        compiler_fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
thread_local! {
    /// How many more kill points this thread passes before it ends the process.
    pub(super) static KILL_AFTER: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

/// Ends the process here, as a signal might, when a test wants that.
#[cfg(test)]
fn kill_point() {
    match KILL_AFTER.get() {
        // SAFETY: ends the process without running anything of it.
        Some(0) => unsafe { libc::_exit(9) },
        Some(left) => KILL_AFTER.set(Some(left - 1)),
        None => {}
    }
}
