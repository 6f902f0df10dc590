//! The work still to be done, from which lanes take.
//!
//! Lanes that stay in a network of their own and lanes in the machine's share the places: what stands first in the
//! queue goes first, whichever kind of lane it needs. Only a lane that has work is woken, since there are many.
//!
//! A block that missed a service in its lane's own network comes back once its file's other blocks are done: all that
//! the file missed is one more unit then, for the machine's network.
//!
//! A block that failed while the processors had no time for it comes back when all others are done, with little beside
//! it: the original runs blocks one by one, and what a block says about times must not depend on how many run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::run::outcome::{Attempt, BlockId};
use crate::run::processors::Jobs;
use crate::run::schedule::{Reach, Unit, VISITED, excluder};
use crate::run::select::PlannedFile;

/// One block of so many is put off at most, but always these.
const PUT_OFF_SHARE: usize = 20;
const PUT_OFF_LEAST: usize = 8;

/// The units that no lane has taken yet.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// Wakes lanes in networks of their own.
    own: Condvar,
    /// Wakes lanes in the machine's network.
    shared: Condvar,
    has_own_networks: bool,
    jobs: Jobs,
    /// Whether blocks are put off that failed in a crowd.
    puts_off: bool,
    /// Blocks of the run.
    blocks: usize,
}

#[derive(Debug)]
struct State {
    pending: VecDeque<Unit>,
    /// What failed for want of a service that the machine's network may have.
    missed: Vec<Unit>,
    /// What failed in a crowd, and how.
    crowded_out: Vec<Unit>,
    earlier: BTreeMap<BlockId, Vec<Attempt>>,
    /// When the processors had no time last.
    crowd: Option<Instant>,
    /// All else is done.
    is_calm: bool,
    busy: BTreeMap<String, usize>,
    /// How many units may be taken at the same time, and the files of those that are.
    places: usize,
    taken: Vec<Arc<PlannedFile>>,
    /// Lanes that wait, in networks of their own and in the machine's.
    waiting: [usize; 2],
    stopped: bool,
}

impl State {
    fn waiting(&mut self, reach: Reach) -> &mut usize {
        let [own, shared] = &mut self.waiting;
        match reach {
            Reach::Own => own,
            Reach::Shared => shared,
        }
    }
}

impl Queue {
    /// A queue of units of which the least of these jobs run at first. With `has_own_networks`, most lanes have a network
    /// of their own, and ports are no resource.
    pub fn new(units: Vec<Unit>, jobs: Jobs, has_own_networks: bool) -> Self {
        let blocks = units.iter().map(|unit| unit.blocks.len()).sum();
        let state = State {
            pending: units.into(),
            missed: Vec::new(),
            crowded_out: Vec::new(),
            earlier: BTreeMap::new(),
            crowd: None,
            is_calm: false,
            busy: BTreeMap::new(),
            places: jobs.least,
            taken: Vec::new(),
            waiting: [0, 0],
            stopped: false,
        };
        Self {
            state: Mutex::new(state),
            own: Condvar::new(),
            shared: Condvar::new(),
            has_own_networks,
            jobs,
            puts_off: jobs.most > 1,
            blocks,
        }
    }

    /// The next unit for a lane; waits while all that is left for it must wait. `None` when nothing is left.
    pub fn next(&self, reach: Reach) -> Option<Unit> {
        let mut state = self.lock();
        loop {
            let may_come = (reach == Reach::Shared && self.has_own_networks && self.may_miss(&state))
                || self.may_be_crowded_out(&state);
            if state.stopped || !(may_come || state.pending.iter().any(|unit| self.reach(unit) == reach)) {
                return None;
            }
            match self.first(&mut state, Some(reach)) {
                Some((index, needed)) if needed == reach => return self.take(&mut state, index),
                Some((_, other)) => self.changed(other).notify_one(),
                None => {}
            }
            *state.waiting(reach) += 1;
            state = self.changed(reach).wait(state).unwrap_or_else(PoisonError::into_inner);
            *state.waiting(reach) -= 1;
        }
    }

    /// Gives back what a unit held.
    pub fn done(&self, unit: &Unit) {
        let mut state = self.lock();
        if let Some(index) = state.taken.iter().position(|file| Arc::ptr_eq(file, &unit.file)) {
            state.taken.swap_remove(index);
        }
        for resource in self.held(unit) {
            if let Some(holders) = state.busy.get_mut(resource) {
                *holders -= 1;
                if *holders == 0 {
                    state.busy.remove(resource);
                }
            }
        }
        Self::bring_back_missed(&mut state, &unit.file);
        if state.taken.is_empty() && state.pending.is_empty() {
            if !state.crowded_out.is_empty() {
                state.is_calm = true;
                state.places = self.jobs.calm();
                let units = std::mem::take(&mut state.crowded_out);
                state.pending.extend(units);
            }
            self.own.notify_all();
            self.shared.notify_all();
        }
        self.wake(&mut state);
    }

    /// Changes how many units may run at a time. Those that run go on.
    pub fn set_places(&self, places: usize) {
        let mut state = self.lock();
        if !state.is_calm {
            state.places = places;
        }
        self.wake(&mut state);
    }

    /// The processors had no time just now.
    pub fn note_crowd(&self) {
        self.lock().crowd = Some(Instant::now());
    }

    /// Keeps a failed block of a unit for the end, when it began before the last crowd was over (which is known after
    /// `delay`). Gives the attempts back if it is not to run again: nobody else ran, it has had its second time, or so
    /// many fail that there must be another reason.
    pub fn put_off(
        &self,
        unit: &Unit,
        block: &BlockId,
        began: Instant,
        delay: Duration,
        attempts: Vec<Attempt>,
    ) -> Option<Vec<Attempt>> {
        let mut state = self.lock();
        let crowded = state.crowd.is_some_and(|crowd| crowd + delay >= began);
        if !crowded || unit.again || !self.can_put_off(&state) {
            return Some(attempts);
        }
        state.crowded_out.push(unit.again_with(block.clone()));
        state.earlier.insert(block.clone(), attempts);
        None
    }

    /// What became of a block in a crowd.
    pub fn earlier(&self, block: &BlockId) -> Vec<Attempt> {
        self.lock().earlier.remove(block).unwrap_or_default()
    }

    fn can_put_off(&self, state: &State) -> bool {
        self.puts_off && !state.stopped && state.crowded_out.len() < (self.blocks / PUT_OFF_SHARE).max(PUT_OFF_LEAST)
    }

    /// Whether a block may still be put off.
    fn may_be_crowded_out(&self, state: &State) -> bool {
        self.puts_off && !state.is_calm && !(state.taken.is_empty() && state.crowded_out.is_empty())
    }

    /// Whether units wait only because all places are taken.
    pub fn is_full(&self) -> bool {
        let state = self.lock();
        state.taken.len() >= state.places && state.pending.iter().any(|unit| self.is_free(&state, unit))
    }

    /// Keeps a block of a unit for a lane in the machine's network.
    pub fn miss(&self, unit: &Unit, block: &BlockId) {
        let mut state = self.lock();
        match state.missed.iter_mut().find(|missed| Arc::ptr_eq(&missed.file, &unit.file)) {
            Some(missed) => missed.blocks.push(block.clone()),
            None => {
                state.missed.push(unit.outside_with(block.clone()));
            }
        }
    }

    /// Hands out nothing more.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.own.notify_all();
        self.shared.notify_all();
    }

    /// Whether a block may still miss a service.
    fn may_miss(&self, state: &State) -> bool {
        !state.taken.is_empty()
            || !state.missed.is_empty()
            || state.pending.iter().any(|unit| self.reach(unit) == Reach::Own)
    }

    /// Puts what a file missed back to the front, if nothing else of it is left.
    fn bring_back_missed(state: &mut State, file: &Arc<PlannedFile>) {
        let is_left = state.taken.iter().any(|taken| Arc::ptr_eq(taken, file))
            || state.pending.iter().any(|unit| Arc::ptr_eq(&unit.file, file));
        let found = state.missed.iter().position(|unit| Arc::ptr_eq(&unit.file, file));
        if let (false, Some(index)) = (is_left, found) {
            let mut unit = state.missed.swap_remove(index);
            unit.blocks.sort_by_key(|block| block.number);
            state.pending.push_front(unit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    const fn changed(&self, reach: Reach) -> &Condvar {
        match reach {
            Reach::Own => &self.own,
            Reach::Shared => &self.shared,
        }
    }

    /// Which lanes can run a unit.
    const fn reach(&self, unit: &Unit) -> Reach {
        if unit.outside || !self.has_own_networks { Reach::Shared } else { Reach::Own }
    }

    /// The first unit that can run now in a lane that waits, or in one of the kind that asks.
    fn first(&self, state: &mut State, asks: Option<Reach>) -> Option<(usize, Reach)> {
        if state.taken.len() >= state.places {
            return None;
        }
        let has_lane = [Reach::Own, Reach::Shared].map(|reach| asks == Some(reach) || *state.waiting(reach) > 0);
        let [own, shared] = has_lane;
        let mut pending = state.pending.iter().enumerate().map(|(index, unit)| (index, unit, self.reach(unit)));
        let found = pending.find(|(_, unit, reach)| {
            let has_lane = if *reach == Reach::Own { own } else { shared };
            has_lane && self.is_free(state, unit)
        });
        found.map(|(index, _, reach)| (index, reach))
    }

    fn take(&self, state: &mut State, index: usize) -> Option<Unit> {
        let unit = state.pending.remove(index)?;
        state.taken.push(Arc::clone(&unit.file));
        for resource in self.held(&unit) {
            *state.busy.entry(resource.clone()).or_default() += 1;
        }
        let reach = self.reach(&unit);
        if !state.pending.iter().any(|unit| self.reach(unit) == reach) {
            // Its other lanes may have nothing to wait for.
            self.changed(reach).notify_all();
        }
        self.wake(state);
        Some(unit)
    }

    /// Wakes a lane that has work. It wakes the next one, if there is more.
    fn wake(&self, state: &mut State) {
        if let Some((_, reach)) = self.first(state, None) {
            self.changed(reach).notify_one();
        }
    }

    fn is_free(&self, state: &State, unit: &Unit) -> bool {
        self.held(unit).all(|resource| match state.busy.get(resource) {
            Some(_) => resource.ends_with(VISITED),
            None => !excluder(resource).is_some_and(|other| state.busy.contains_key(&other)),
        })
    }

    fn held<'a>(&self, unit: &'a Unit) -> impl Iterator<Item = &'a String> {
        let ports_matter = self.reach(unit) == Reach::Shared;
        unit.resources.iter().filter(move |resource| ports_matter || !resource.starts_with("port "))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::run::schedule::units;
    use crate::run::select::{Selector, select};

    /// A queue that puts nothing off.
    fn holding(units: Vec<Unit>, places: usize, has_own_networks: bool) -> Queue {
        Queue { puts_off: false, ..Queue::new(units, Jobs::fixed(places), has_own_networks) }
    }

    /// One unit for each block of this text.
    fn work(text: &str) -> Vec<Unit> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.t");
        std::fs::write(&path, text).unwrap();
        let files = select(&[Selector::parse(path.to_str().unwrap())], None).unwrap();
        let files: Vec<_> = files.into_iter().map(Arc::new).collect();
        units(&files, 1000, |_| None)
    }

    const FOUR: &str = "=== 1\n--- config\nlisten 81;\n=== 2\n--- config\nlisten 82;\n\
                        === 3\n--- config\nlisten 81;\n=== 4\n--- config\nlisten 83;\n";

    #[test]
    fn no_more_units_run_than_there_are_places() {
        let queue = holding(work(FOUR), 1, true);
        let first = queue.next(Reach::Own).unwrap();
        assert!(queue.is_full());
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            let lane = scope.spawn(|| {
                while let Some(unit) = queue.next(Reach::Own) {
                    sender.send(unit).unwrap();
                }
            });
            assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
            queue.set_places(2);
            let second = receiver.recv().unwrap();
            assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
            queue.done(&first);
            receiver.recv().unwrap();
            queue.done(&second);
            receiver.recv().unwrap();
            lane.join().unwrap();
        });
        assert!(!queue.is_full());
    }

    #[test]
    fn ports_keep_units_apart_only_in_a_shared_network() {
        let queue = holding(work(FOUR), 4, false);
        let taken: Vec<Unit> = (0..3).filter_map(|_| queue.next(Reach::Shared)).collect();
        let numbers: Vec<usize> = taken.iter().map(|unit| unit.blocks[0].number).collect();
        assert_eq!(numbers, [1, 2, 4], "the third has the first one's port");
        assert!(!queue.is_full(), "a place is left");
        queue.done(&taken[0]);
        assert_eq!(queue.next(Reach::Shared).unwrap().blocks[0].number, 3);
        assert!(queue.next(Reach::Shared).is_none());
        let queue = holding(work(FOUR), 4, true);
        assert_eq!((0..4).filter_map(|_| queue.next(Reach::Own)).count(), 4);
    }

    #[test]
    fn what_stands_first_goes_first_whichever_lane_it_needs() {
        let text = "=== 1\n--- config\n$TEST_NGINX_REDIS_PORT\n=== 2\n--- config\n=== 3\n--- config\n";
        let queue = holding(work(text), 1, true);
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            for reach in [Reach::Shared, Reach::Own] {
                let (sender, queue) = (sender.clone(), &queue);
                scope.spawn(move || {
                    while let Some(unit) = queue.next(reach) {
                        sender.send(unit.blocks[0].number).unwrap();
                        queue.done(&unit);
                    }
                });
                // The first kind of lane waits before the second one asks.
                while reach == Reach::Shared && queue.lock().pending.len() == 3 {
                    std::thread::yield_now();
                }
            }
        });
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn what_missed_a_service_comes_back_when_its_file_is_done() {
        let queue = holding(work(FOUR), 4, true);
        let taken: Vec<Unit> = (0..4).filter_map(|_| queue.next(Reach::Own)).collect();
        for unit in [&taken[2], &taken[0]] {
            queue.miss(unit, &unit.blocks[0]);
        }
        std::thread::scope(|scope| {
            let lane = scope.spawn(|| {
                let unit = queue.next(Reach::Shared)?;
                queue.done(&unit);
                assert!(queue.next(Reach::Shared).is_none());
                Some(unit)
            });
            for unit in &taken {
                queue.done(unit);
            }
            let unit = lane.join().unwrap().unwrap();
            assert_eq!(unit.blocks.iter().map(|block| block.number).collect::<Vec<_>>(), [1, 3]);
        });
    }

    #[test]
    fn a_stop_sends_lanes_away() {
        let queue = holding(work(FOUR), 1, true);
        let _held = queue.next(Reach::Own).unwrap();
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..3).map(|_| scope.spawn(|| queue.next(Reach::Own).is_none())).collect();
            queue.stop();
            assert!(lanes.into_iter().all(|lane| lane.join().unwrap()));
        });
    }

    fn numbers(unit: &Unit) -> Vec<usize> {
        unit.blocks.iter().map(|block| block.number).collect()
    }

    #[test]
    fn what_failed_in_a_crowd_runs_again_when_all_else_is_done() {
        let queue = Queue::new(work(FOUR), Jobs { least: 8, most: 16 }, true);
        let began = Instant::now();
        let taken: Vec<Unit> = (0..4).map(|_| queue.next(Reach::Own).unwrap()).collect();
        queue.note_crowd();
        for (index, unit) in taken.iter().enumerate() {
            if index == 1 {
                let attempts = vec![Attempt::impossible("too late")];
                assert!(queue.put_off(unit, &unit.blocks[0], began, Duration::ZERO, attempts).is_none());
            }
            queue.done(unit);
        }
        let again = queue.next(Reach::Own).unwrap();
        assert_eq!((again.again, numbers(&again)), (true, numbers(&taken[1])));
        assert_eq!(queue.earlier(&again.blocks[0]).len(), 1);
        let attempts = vec![Attempt::impossible("too late"); 2];
        assert!(queue.put_off(&again, &again.blocks[0], began, Duration::ZERO, attempts).is_some(), "once only");
        queue.done(&again);
        assert!(queue.next(Reach::Own).is_none());
    }

    #[test]
    fn what_failed_in_quiet_has_failed() {
        let queue = Queue::new(work(FOUR), Jobs { least: 8, most: 16 }, true);
        let unit = queue.next(Reach::Own).unwrap();
        let put_off = |began| queue.put_off(&unit, &unit.blocks[0], began, Duration::ZERO, Vec::new());
        assert!(put_off(Instant::now()).is_some(), "no crowd was seen");
        queue.note_crowd();
        assert!(put_off(Instant::now() + Duration::from_secs(1)).is_some(), "the crowd was over");
        let alone = Queue::new(work(FOUR), Jobs::fixed(1), true);
        alone.note_crowd();
        assert!(alone.put_off(&unit, &unit.blocks[0], Instant::now(), Duration::from_secs(1), Vec::new()).is_some());
    }

    #[test]
    fn few_are_put_off() {
        let queue = Queue::new(work(FOUR), Jobs { least: 8, most: 16 }, true);
        let unit = queue.next(Reach::Own).unwrap();
        let began = Instant::now();
        queue.note_crowd();
        let put_off = || queue.put_off(&unit, &unit.blocks[0], began, Duration::ZERO, Vec::new()).is_none();
        assert_eq!((0..20).filter(|_| put_off()).count(), PUT_OFF_LEAST);
    }
}
