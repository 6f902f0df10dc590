//! What the processes of a server count together: connections and requests, for `stub_status`.
//!
//! Each process that serves has a slot in shared memory to which only it writes, so that counting costs no more than
//! an addition. A process takes the slot of one that is gone and moves that one's sums to a common place; what was
//! open in a process that died is forgotten with it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sys::{self, SharedNumbers};

/// Slots; more processes than that count nothing.
const SLOTS: usize = 1024;
/// Numbers of a slot: a cache line.
const WIDTH: usize = 8;

const OWNER: usize = 0;
const ACCEPTED: usize = 1;
const REQUESTS: usize = 2;
const ACTIVE: usize = 3;
const READING: usize = 4;
const WRITING: usize = 5;

/// The first slot holds the sums of processes that are gone.
static NUMBERS: OnceLock<Option<SharedNumbers<AtomicU64>>> = OnceLock::new();

/// Maps the slots; called in the master before the first fork.
pub(super) fn share() {
    NUMBERS.get_or_init(|| SharedNumbers::new(SLOTS * WIDTH).ok());
}

fn slots() -> impl Iterator<Item = &'static [AtomicU64]> {
    let numbers = NUMBERS.get().and_then(Option::as_ref).map(SharedNumbers::slots).unwrap_or_default();
    numbers.chunks_exact(WIDTH)
}

/// The counts of all processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that were accepted since the server started.
    pub accepted: u64,
    /// Requests that were begun since the server started.
    pub requests: u64,
    /// Connections that are open.
    pub active: u64,
    /// Connections on which a request's head is being read.
    pub reading: u64,
    /// Connections on which a request is being served.
    pub writing: u64,
}

impl Totals {
    /// Connections on which nothing happens.
    pub fn waiting(&self) -> u64 {
        self.active.saturating_sub(self.reading + self.writing)
    }
}

/// Adds up what all processes count. The sums of numbers that change meanwhile are near the truth.
pub fn totals() -> Totals {
    let mut totals = Totals::default();
    for slot in slots() {
        let number = |index: usize| slot.get(index).map_or(0, |number| number.load(Ordering::Relaxed));
        totals.accepted += number(ACCEPTED);
        totals.requests += number(REQUESTS);
        totals.active += number(ACTIVE);
        totals.reading += number(READING);
        totals.writing += number(WRITING);
    }
    totals
}

/// The slot of a process; without one, nothing is counted.
pub struct Counters(Option<&'static [AtomicU64]>);

/// Takes a slot for this process.
pub fn of_this_process() -> Counters {
    let pid = u64::from(sys::pid());
    let mut all = slots();
    let Some(sums) = all.next() else { return Counters(None) };
    for slot in all {
        let Some(owner) = slot.get(OWNER) else { continue };
        let before = owner.load(Ordering::Acquire);
        if before != pid && before != 0 && is_alive(before) {
            continue;
        }
        if owner.compare_exchange(before, pid, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        for index in OWNER + 1..WIDTH {
            let left = slot.get(index).map_or(0, |number| number.swap(0, Ordering::Relaxed));
            if let (ACCEPTED | REQUESTS, Some(sum)) = (index, sums.get(index)) {
                sum.fetch_add(left, Ordering::Relaxed);
            }
        }
        return Counters(Some(slot));
    }
    Counters(None)
}

fn is_alive(pid: u64) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    !matches!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH))
}

impl Counters {
    /// A connection was accepted.
    pub fn connection_opened(&self) {
        self.add(ACCEPTED, 1);
        self.add(ACTIVE, 1);
    }

    /// A connection is gone.
    pub fn connection_closed(&self) {
        self.add(ACTIVE, -1);
    }

    /// A request has begun. It is counted among those in progress until the value is dropped.
    pub fn reading(&self) -> InProgress<'_> {
        self.add(REQUESTS, 1);
        self.add(READING, 1);
        InProgress { counters: self, step: std::cell::Cell::new(READING) }
    }

    /// Only this process writes to its slot, so that reading and writing need not be one step.
    #[inline]
    fn add(&self, index: usize, difference: i64) {
        if let Some(number) = self.0.and_then(|slot| slot.get(index)) {
            number.store(number.load(Ordering::Relaxed).wrapping_add_signed(difference), Ordering::Relaxed);
        }
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            for number in slot.iter().take(WRITING + 1).skip(ACTIVE) {
                number.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// A request on its way.
pub struct InProgress<'a> {
    counters: &'a Counters,
    step: std::cell::Cell<usize>,
}

impl InProgress<'_> {
    /// Its head was read; it is being served.
    pub fn writing(&self) {
        self.counters.add(self.step.replace(WRITING), -1);
        self.counters.add(WRITING, 1);
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.counters.add(self.step.get(), -1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_where_it_is() {
        share();
        let counters = of_this_process();
        counters.connection_opened();
        let request = counters.reading();
        let totals_now = totals();
        assert_eq!((totals_now.accepted, totals_now.requests, totals_now.reading), (1, 1, 1));
        request.writing();
        assert_eq!((totals().reading, totals().writing, totals().waiting()), (0, 1, 0));
        drop(request);
        assert_eq!((totals().writing, totals().waiting()), (0, 1));
        counters.connection_closed();
        drop(counters);
        // The next owner of the slot keeps the sums.
        let _next = of_this_process();
        assert_eq!((totals().accepted, totals().requests, totals().active), (1, 1, 0));
    }
}
