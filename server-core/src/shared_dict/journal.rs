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
//!
//! The change that happens most often, by far, is that an entry becomes the most recently used one. It overwrites six
//! links, which follow from four: those four are one record ([`Journal::note_move`]).

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};

use super::memory::Memory;

/// Two numbers follow each record's bytes.
const TRAILER: usize = 16;
/// Bytes that any change without a value may overwrite.
const LEAST: usize = 64 << 10;
/// Stands for a change that overwrote more than there was room for.
const OVERFLOW: u64 = u64::MAX;
/// Stands for the offset in the record of a move.
const MOVE: u64 = u64::MAX;

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

/// The places of an entry that becomes the most recently used one; links as in the entries.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    /// The entry.
    pub(super) link: u32,
    /// Its neighbour on the new side; there is one.
    pub(super) newer: u32,
    /// Its neighbour on the old side.
    pub(super) older: u32,
    /// The entry that was the most recently used one.
    pub(super) newest: u32,
}

/// The journal of one zone, while the zone's lock is held.
#[derive(Clone, Copy)]
pub(super) struct Journal<'a> {
    zone: &'a Memory,
    records: &'a Memory,
    len: &'a Cell<u64>,
}

/// Room for the journal of a zone of that size: one value may be as large as the zone. Pages that were never used take
/// no memory.
pub(super) const fn capacity(zone_size: usize) -> usize {
    zone_size + zone_size / 8 + LEAST
}

impl<'a> Journal<'a> {
    /// # Safety
    /// `len` lies in the header of this zone, and the zone's lock is held while the value is used.
    pub(super) unsafe fn new(zone: &'a Memory, records: &'a Memory, len: &'a Cell<u64>) -> Self {
        Self { zone, records, len }
    }

    /// Keeps what lies at an offset of the zone. To be called before it is overwritten.
    #[inline]
    pub(super) fn save(self, offset: usize, count: usize) {
        // SAFETY: the lock is held, and the bytes are copied before anything is written.
        let old = unsafe { self.zone.bytes(offset, count) };
        if old.len() == count {
            self.push(old, offset as u64);
        }
    }

    /// Changes a cell of the zone, and keeps what it held.
    #[inline]
    pub(super) fn set<T: Copy + PartialEq>(self, cell: &Cell<T>, value: T) {
        if cell.get() != value {
            self.save(self.zone.offset(cell.as_ptr()), size_of::<T>());
            cell.set(value);
        }
    }

    /// Keeps the places that a move is about to change. Those writes need no other record.
    #[inline]
    pub(super) fn note_move(self, places: Move) {
        // SAFETY: a `Move` is plain data without padding.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const places).cast(), size_of::<Move>()) };
        self.push(bytes, MOVE);
    }

    #[inline]
    fn push(self, bytes: &[u8], offset: u64) {
        #[cfg(test)]
        kill_point();
        let at = self.len() as usize;
        let padded = bytes.len().next_multiple_of(8);
        if self.records.len().checked_sub(at).is_none_or(|room| room < padded + TRAILER) {
            self.set_len(OVERFLOW);
            return;
        }
        // SAFETY: the lock is held; the records' mapping has room for both, as just checked, and the bytes lie in
        // another one. A trailer need not be aligned when the zone is damaged.
        unsafe {
            let record = self.records.at::<u8>(at);
            ptr::copy_nonoverlapping(bytes.as_ptr(), record, bytes.len());
            record.add(padded).cast::<[u64; 2]>().write_unaligned([offset, bytes.len() as u64]);
        }
        self.set_len((at + padded + TRAILER) as u64);
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

    /// Undoes a change whose author died; `move_back` undoes a move. May itself be interrupted and begun anew.
    pub(super) fn recover(self, move_back: impl Fn(Move)) -> Recovered {
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
            // SAFETY: `at` gives a readable address; every bit pattern is a `Move`; the lock is held. Both ranges of the
            // copy are checked by `Memory`, and lie in different mappings.
            unsafe {
                match offset {
                    MOVE => move_back(self.records.at::<Move>(start).read()),
                    _ => self.zone.write(offset as usize, self.records.bytes(start, count as usize)),
                }
            }
            len = start as u64;
            self.set_len(len);
        }
        Recovered::Undone
    }

    /// Whether a change is under way.
    pub(super) fn is_open(self) -> bool {
        self.len() != 0
    }

    #[inline]
    fn len(self) -> u64 {
        self.len.get()
    }

    #[inline]
    fn set_len(self, len: u64) {
        compiler_fence(Ordering::SeqCst);
        // SAFETY: a cell may be written to; the lock is held.
        unsafe { ptr::write_volatile(self.len.as_ptr(), len) };
        compiler_fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
thread_local! {
    /// How many more kill points this thread passes before it ends the process.
    pub(super) static KILL_AFTER: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Ends the process here, as a signal might, when a test wants that.
#[cfg(test)]
pub(super) fn kill_point() {
    match KILL_AFTER.get() {
        // SAFETY: ends the process without running anything of it.
        Some(0) => unsafe { libc::_exit(9) },
        Some(left) => KILL_AFTER.set(Some(left - 1)),
        None => {}
    }
}
