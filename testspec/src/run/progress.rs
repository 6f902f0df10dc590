//! What a lane is doing right now, and how long each step of a block took.
//!
//! The lane marks the steps as it goes; another thread looks from time to time and tells of a block that runs long,
//! and of the step in which it hangs. The times also become the waterfall of the HTML report.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::run::outcome::BlockId;

/// One step of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Root, files and configuration are laid out.
    Prepare,
    /// The server starts or reloads.
    Start,
    /// Requests go out and responses come in.
    Exchange,
    /// Responses and logs are looked at.
    Check,
    /// The server ends.
    Stop,
}

/// A block that runs longer than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowBlock {
    /// Which block.
    pub block: BlockId,
    /// The step it is in.
    pub step: Step,
    /// How long the block has been running.
    pub elapsed: Duration,
}

/// The lane's mark.
#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    block: BlockId,
    begin: Instant,
    step: Step,
    since: Instant,
    times: Vec<(Step, Duration)>,
    /// How often it was told that the block is slow.
    told: u32,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 5] = [Self::Prepare, Self::Start, Self::Exchange, Self::Check, Self::Stop];

    /// The word for it in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Start => "start",
            Self::Exchange => "exchange",
            Self::Check => "check",
            Self::Stop => "stop",
        }
    }

    /// The step of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.word() == word)
    }

    /// What a block in this step waits for.
    pub const fn waits_for(self) -> &'static str {
        match self {
            Self::Prepare => "its configuration to be laid out",
            Self::Start => "the server to start",
            Self::Exchange => "the response",
            Self::Check => "lines in the logs",
            Self::Stop => "the server to end",
        }
    }
}

impl Progress {
    /// A block begins.
    pub fn begin(&self, block: &BlockId) {
        let now = Instant::now();
        *self.lock() = Some(State {
            block: block.clone(),
            begin: now,
            step: Step::Prepare,
            since: now,
            times: Vec::new(),
            told: 0,
        });
    }

    /// The block has come to another step.
    pub fn enter(&self, step: Step) {
        if let Some(state) = self.lock().as_mut()
            && state.step != step
        {
            state.close();
            state.step = step;
        }
    }

    /// The step of the running block.
    pub fn step(&self) -> Option<Step> {
        self.lock().as_ref().map(|state| state.step)
    }

    /// The block is over. How long each of its steps took, in the order in which they were first entered.
    pub fn end(&self) -> Vec<(Step, Duration)> {
        match self.lock().take() {
            Some(mut state) => {
                state.close();
                state.times
            }
            None => Vec::new(),
        }
    }

    /// The block, if it runs longer than `limit`. It is told once then, and again whenever the time has doubled.
    pub fn slow(&self, limit: Duration) -> Option<SlowBlock> {
        let mut state = self.lock();
        let state = state.as_mut()?;
        let elapsed = state.begin.elapsed();
        let next = limit.checked_mul(1_u32.checked_shl(state.told)?)?;
        if elapsed < next {
            return None;
        }
        state.told += 1;
        Some(SlowBlock { block: state.block.clone(), step: state.step, elapsed })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds the time of the step that is being left.
    fn close(&mut self) {
        let now = Instant::now();
        let time = now - self.since;
        self.since = now;
        match self.times.iter_mut().find(|(step, _)| *step == self.step) {
            Some((_, known)) => *known += time,
            None => self.times.push((self.step, time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_slow_block_is_told_with_its_step_once_and_again_when_the_time_has_doubled() {
        let progress = Progress::default();
        assert!(progress.slow(Duration::ZERO).is_none());
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 1, name: "a".to_owned() };
        progress.begin(&id);
        progress.enter(Step::Start);
        progress.enter(Step::Exchange);
        progress.enter(Step::Start);
        assert!(progress.slow(Duration::from_mins(1)).is_none());
        std::thread::sleep(Duration::from_millis(3));
        let slow = progress.slow(Duration::from_millis(2)).unwrap();
        assert_eq!((slow.block, slow.step), (id, Step::Start));
        assert!(progress.slow(Duration::from_secs(1)).is_none(), "the time has not doubled");
        let words: Vec<&str> = progress.end().iter().map(|(step, _)| step.word()).collect();
        assert_eq!(words, ["prepare", "start", "exchange"]);
        assert!(progress.end().is_empty());
        assert_eq!(Step::from_word("check"), Some(Step::Check));
    }
}
