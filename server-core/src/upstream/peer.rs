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
    Shared(Rc<Numbers>, usize),
}

/// Numbers that each server has.
pub(crate) const CELLS: usize = 7;

const CURRENT_WEIGHT: usize = 0;
const EFFECTIVE_WEIGHT: usize = 1;
const FAILS: usize = 2;
const CHECKED: usize = 3;
const ACCESSED: usize = 4;
const CONNS: usize = 5;
const DOWN: usize = 6;

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
    /// Its share of the requests.
    pub weight: i64,
    /// Requests at the same time; 0 is no limit.
    pub max_conns: u32,
    /// Failures after which it is left alone; 0 never.
    pub max_fails: u32,
    /// Seconds in which failures count, and for which it is left alone.
    pub fail_timeout: i64,
    cells: Cells,
}

impl Peer {
    /// A server with the usual parameters.
    pub fn new(address: PeerAddress) -> Self {
        let name = Bytes::from(address.to_string());
        let cells: Box<[AtomicI64]> = (0..CELLS).map(|_| AtomicI64::new(0)).collect();
        let peer = Self {
            server: name.clone(),
            name,
            address,
            weight: 1,
            max_conns: 0,
            max_fails: 1,
            fail_timeout: 10,
            cells: Cells::Own(cells),
        };
        peer.set(EFFECTIVE_WEIGHT, 1);
        peer
    }

    /// The same with another weight.
    #[must_use]
    pub fn weighing(mut self, weight: i64) -> Self {
        self.weight = weight;
        self.set(EFFECTIVE_WEIGHT, weight);
        self
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

    fn get(&self, at: usize) -> i64 {
        self.cell(at).load(Ordering::Relaxed)
    }

    fn set(&self, at: usize, value: i64) {
        self.cell(at).store(value, Ordering::Relaxed);
    }

    fn add(&self, at: usize, value: i64) -> i64 {
        self.cell(at).fetch_add(value, Ordering::Relaxed) + value
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
        let failed = self.max_fails > 0
            && self.fails() >= i64::from(self.max_fails)
            && now - self.checked() <= self.fail_timeout;
        !self.is_down() && !failed && !self.is_full()
    }

    pub(super) fn is_full(&self) -> bool {
        self.max_conns > 0 && self.conns() >= i64::from(self.max_conns)
    }

    /// Adds to what it has saved up; the sum.
    pub(super) fn save_up(&self, weight: i64) -> i64 {
        self.add(CURRENT_WEIGHT, weight)
    }

    /// Recovers a little of its weight.
    pub(super) fn recover(&self) {
        if self.effective_weight() < self.weight {
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
        if now - self.checked() > self.fail_timeout {
            self.set(CHECKED, now);
        }
    }

    /// It failed. Whether it is left alone from now on.
    pub(super) fn fail(&self, now: i64) -> bool {
        let fails = self.add(FAILS, 1);
        self.set(ACCESSED, now);
        self.set(CHECKED, now);
        if self.max_fails == 0 {
            return false;
        }
        let lighter = self.effective_weight() - self.weight / i64::from(self.max_fails);
        self.set(EFFECTIVE_WEIGHT, lighter.max(0));
        fails >= i64::from(self.max_fails)
    }

    /// It served.
    pub(super) fn succeed(&self) {
        if self.accessed() < self.checked() {
            self.set(FAILS, 0);
        }
    }
}
