//! One server of a group, and how it is doing.

use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use super::address::PeerAddress;
use crate::shared_dict::Numbers;

/// Where the state of a server is kept.
#[derive(Debug)]
enum Cells {
    /// For this process.
    Own(Box<[AtomicI64]>),
    /// For all workers (`zone`).
    /// From this number on.
    Shared(Rc<Numbers>, usize),
}

/// Numbers that each server has.
pub(crate) const CELLS: usize = 16;

const CURRENT_WEIGHT: usize = 0;
const EFFECTIVE_WEIGHT: usize = 1;
const FAILS: usize = 2;
const CHECKED: usize = 3;
const ACCESSED: usize = 4;
const CONNS: usize = 5;
const DOWN: usize = 6;
const WEIGHT: usize = 7;
const MAX_CONNS: usize = 8;
const MAX_FAILS: usize = 9;
const FAIL_TIMEOUT: usize = 10;
/// How long answers take (see [`super::timing`]).
pub(super) const TIME: usize = 11;
/// Requests under way, where they count.
pub(super) const FLYING: usize = 12;
/// How long they have been under way, together, until `FLYING_SINCE`.
pub(super) const FLYING_SUM: usize = 13;
/// When their number changed.
pub(super) const FLYING_SINCE: usize = 14;
/// How long they are under way.
pub(super) const FLYING_TIME: usize = 15;

/// One server of a group.
///
/// Its state may be shared with other processes, which change it at any time. A number that is off by one for a moment
/// makes no difference to anybody, so there is no lock.
#[derive(Debug)]
pub struct Peer {
    /// Its address.
    pub address: PeerAddress,
    /// The address as log lines and `$upstream_addr` show it.
    pub name: Bytes,
    /// The server as the configuration names it.
    pub server: Bytes,
    cells: Cells,
}

/// What may be set of a server while others ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Its share of the requests.
    Weight,
    /// Requests at the same time; 0 is no limit.
    MaxConns,
    /// Failures after which it is left alone; 0 never.
    MaxFails,
    /// Seconds in which failures count, and for which it is left alone.
    FailTimeout,
}

impl Setting {
    const fn cell(self) -> usize {
        match self {
            Self::Weight => WEIGHT,
            Self::MaxConns => MAX_CONNS,
            Self::MaxFails => MAX_FAILS,
            Self::FailTimeout => FAIL_TIMEOUT,
        }
    }
}

impl Peer {
    /// A server with the usual parameters.
    pub fn new(address: PeerAddress) -> Self {
        let name = Bytes::from(address.to_string());
        let cells: Box<[AtomicI64]> = (0..CELLS).map(|_| AtomicI64::new(0)).collect();
        let peer = Self { server: name.clone(), name, address, cells: Cells::Own(cells) };
        for (cell, value) in [(EFFECTIVE_WEIGHT, 1), (WEIGHT, 1), (MAX_FAILS, 1), (FAIL_TIMEOUT, 10)] {
            peer.set(cell, value);
        }
        peer
    }

    /// The same with another weight.
    #[must_use]
    pub fn weighing(self, weight: i64) -> Self {
        self.change(Setting::Weight, weight);
        self
    }

    /// A server whose state is kept, and maybe changed, by all workers: in [`CELLS`] numbers from `first` on.
    pub(crate) fn known(address: PeerAddress, numbers: &Rc<Numbers>, first: usize) -> Self {
        let mut peer = Self::new(address);
        if first + CELLS <= numbers.len() {
            peer.cells = Cells::Shared(Rc::clone(numbers), first);
        }
        peer
    }

    /// Where its state is kept, if all workers share that.
    pub(crate) fn place(&self) -> Option<usize> {
        match &self.cells {
            Cells::Own(_) => None,
            Cells::Shared(_, first) => Some(*first),
        }
    }

    /// Keeps its state where all workers see it: in [`CELLS`] numbers from `first` on.
    pub(crate) fn share(&mut self, numbers: &Rc<Numbers>, first: usize) {
        let Some(cells) = numbers.get(first..first + CELLS) else { return };
        for (at, cell) in cells.iter().enumerate() {
            cell.store(self.get(at), Ordering::Relaxed);
        }
        self.cells = Cells::Shared(Rc::clone(numbers), first);
    }

    fn cell(&self, at: usize) -> &AtomicI64 {
        match &self.cells {
            Cells::Own(cells) => &cells[at],
            Cells::Shared(numbers, first) => &numbers[first + at],
        }
    }

    pub(super) fn get(&self, at: usize) -> i64 {
        self.cell(at).load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, at: usize, value: i64) {
        self.cell(at).store(value, Ordering::Relaxed);
    }

    pub(super) fn add(&self, at: usize, value: i64) -> i64 {
        self.cell(at).fetch_add(value, Ordering::Relaxed) + value
    }

    /// Its share of the requests.
    pub fn weight(&self) -> i64 {
        self.get(WEIGHT)
    }

    /// Requests at the same time; 0 is no limit.
    pub fn max_conns(&self) -> i64 {
        self.get(MAX_CONNS)
    }

    /// Failures after which it is left alone; 0 never.
    pub fn max_fails(&self) -> i64 {
        self.get(MAX_FAILS)
    }

    /// Seconds in which failures count, and for which it is left alone.
    pub fn fail_timeout(&self) -> i64 {
        self.get(FAIL_TIMEOUT)
    }

    /// Sets one of these; a new weight acts at once.
    pub fn change(&self, setting: Setting, value: i64) {
        self.set(setting.cell(), value);
        if setting == Setting::Weight {
            self.set(EFFECTIVE_WEIGHT, value);
            self.set(CURRENT_WEIGHT, 0);
        }
    }

    /// Forgets how it did, as if it had never been asked.
    pub(crate) fn forget(&self) {
        for cell in [CURRENT_WEIGHT, FAILS, CHECKED, ACCESSED, CONNS, DOWN] {
            self.set(cell, 0);
        }
        (TIME..CELLS).for_each(|cell| self.set(cell, 0));
        self.set(EFFECTIVE_WEIGHT, self.weight());
    }

    /// Requests at this moment.
    pub fn conns(&self) -> i64 {
        self.get(CONNS)
    }

    /// Failures in a row.
    pub fn fails(&self) -> i64 {
        self.get(FAILS)
    }

    /// When it failed last, in seconds; 0 never.
    pub fn accessed(&self) -> i64 {
        self.get(ACCESSED)
    }

    /// When its failures began to count, in seconds; 0 never.
    pub fn checked(&self) -> i64 {
        self.get(CHECKED)
    }

    /// What it has saved up for its turn.
    pub fn current_weight(&self) -> i64 {
        self.get(CURRENT_WEIGHT)
    }

    /// Its weight, less what failures took away.
    pub fn effective_weight(&self) -> i64 {
        self.get(EFFECTIVE_WEIGHT)
    }

    /// Whether it was taken out.
    pub fn is_down(&self) -> bool {
        self.get(DOWN) != 0
    }

    /// Takes it out, or puts it back as good as new.
    pub fn set_down(&self, down: bool) {
        self.set(DOWN, i64::from(down));
        if !down {
            self.set(FAILS, 0);
        }
    }

    /// Whether it may be asked now.
    pub(super) fn may_serve(&self, now: i64) -> bool {
        let most = self.max_fails();
        let failed = most > 0 && self.fails() >= most && now - self.checked() <= self.fail_timeout();
        !self.is_down() && !failed && !self.is_full()
    }

    pub(super) fn is_full(&self) -> bool {
        let most = self.max_conns();
        most > 0 && self.conns() >= most
    }

    /// Adds to what it has saved up; the sum.
    pub(super) fn save_up(&self, weight: i64) -> i64 {
        self.add(CURRENT_WEIGHT, weight)
    }

    /// Recovers a little of its weight.
    pub(super) fn recover(&self) {
        if self.effective_weight() < self.weight() {
            self.add(EFFECTIVE_WEIGHT, 1);
        }
    }

    /// It is asked.
    pub(super) fn begin(&self) {
        self.add(CONNS, 1);
    }

    /// It is asked no longer.
    pub(super) fn end(&self) {
        if self.add(CONNS, -1) < 0 {
            self.set(CONNS, 0);
        }
    }

    /// Its failures begin to count anew when the last ones are long ago.
    pub(super) fn check(&self, now: i64) {
        if now - self.checked() > self.fail_timeout() {
            self.set(CHECKED, now);
        }
    }

    /// It failed. Whether it is left alone from now on.
    pub(super) fn fail(&self, now: i64) -> bool {
        let fails = self.add(FAILS, 1);
        self.set(ACCESSED, now);
        self.set(CHECKED, now);
        let most = self.max_fails();
        if most == 0 {
            return false;
        }
        let lighter = self.effective_weight() - self.weight() / most;
        self.set(EFFECTIVE_WEIGHT, lighter.max(0));
        fails >= most
    }

    /// It served.
    pub(super) fn succeed(&self) {
        if self.accessed() < self.checked() {
            self.set(FAILS, 0);
        }
    }
}
