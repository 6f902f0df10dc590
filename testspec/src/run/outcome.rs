//! What came out of a block.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::run::check::{Assertion, Verdict};
use crate::run::progress::Step;

/// Which block.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    /// The spec file, as given.
    pub file: Arc<PathBuf>,
    /// The place of the block in its file, from 1.
    pub number: usize,
    /// The line of its header.
    pub line: usize,
    /// Its name, without blanks behind it.
    pub name: String,
}

/// The verdict about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockVerdict {
    /// An assertion failed, or the block could not be run.
    Failed,
    /// It failed first and passed when tried again.
    Flaky,
    /// At least one assertion was made, and none failed.
    Passed,
    /// No assertion was made.
    Skipped,
}

/// One try at a block.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// Its assertions, in order.
    pub assertions: Vec<Assertion>,
    /// Remarks that change no verdict.
    pub warnings: Vec<String>,
    /// What there is to tell beside the verdict: measurements, a command.
    pub notes: Vec<String>,
    /// Why the block could not be run to its end.
    pub bail_out: Option<String>,
    /// What was sent.
    pub sent: Vec<u8>,
    /// What came back.
    pub received: Vec<u8>,
    /// The error log.
    pub error_log: Vec<u8>,
    /// Whether a failure lies beyond every plan.
    pub extra: bool,
    /// How long it took.
    pub duration: Duration,
    /// When it began, counted from the start of the run.
    pub began: Duration,
    /// The lane in which it ran.
    pub lane: usize,
    /// How long its steps took.
    pub steps: Vec<(Step, Duration)>,
}

/// All tries at a block.
#[derive(Clone, Debug)]
pub struct BlockReport {
    /// Which block.
    pub id: BlockId,
    /// The tries; the last one counts.
    pub attempts: Vec<Attempt>,
}

impl Attempt {
    /// An attempt that never began.
    pub fn impossible(reason: impl Into<String>) -> Self {
        Self { bail_out: Some(reason.into()), ..Self::default() }
    }

    /// An attempt of which only the reason why it was not made is known.
    pub fn skipped(name: String) -> Self {
        let assertion = Assertion { verdict: Verdict::Skipped, name, section: None, line: None, detail: None };
        Self { assertions: vec![assertion], ..Self::default() }
    }

    /// Whether the attempt failed.
    pub fn has_failed(&self) -> bool {
        self.bail_out.is_some() || self.failures().next().is_some()
    }

    /// Whether it failed and something in it was refused a connection, or had no way to where it wanted.
    pub fn found_nobody(&self) -> bool {
        let refused = |text: &Vec<u8>| {
            ["onnection refused", "etwork is unreachable"]
                .iter()
                .any(|words| memchr::memmem::find(text, words.as_bytes()).is_some())
        };
        self.has_failed() && [&self.error_log, &self.received].into_iter().any(refused)
    }

    /// The failed assertions.
    pub fn failures(&self) -> impl Iterator<Item = &Assertion> {
        self.assertions.iter().filter(|assertion| assertion.verdict == Verdict::Failed)
    }

    fn verdict(&self) -> BlockVerdict {
        if self.has_failed() {
            BlockVerdict::Failed
        } else if self.assertions.iter().any(|assertion| assertion.verdict == Verdict::Passed) {
            BlockVerdict::Passed
        } else {
            BlockVerdict::Skipped
        }
    }
}

impl BlockReport {
    /// The verdict about the block.
    pub fn verdict(&self) -> BlockVerdict {
        let last = self.attempts.last().map_or(BlockVerdict::Failed, Attempt::verdict);
        let was_red = self.attempts.iter().any(Attempt::has_failed);
        if last == BlockVerdict::Passed && was_red { BlockVerdict::Flaky } else { last }
    }

    /// The attempt that counts.
    pub fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The time of all attempts.
    pub fn duration(&self) -> Duration {
        self.attempts.iter().map(|attempt| attempt.duration).sum()
    }
}

impl BlockVerdict {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Flaky => "flaky",
            Self::Passed => "passed",
            Self::Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failed_attempts_that_reached_nobody_missed_the_machine() {
        let refused = b"connect() failed (111: Connection refused) while connecting to upstream";
        let mut attempt = Attempt { error_log: refused.to_vec(), ..Attempt::default() };
        assert!(!attempt.found_nobody(), "it did not fail");
        attempt.bail_out = Some("no answer".to_owned());
        assert!(attempt.found_nobody());
        attempt.error_log = b"connect() failed (101: Network is unreachable)".to_vec();
        assert!(attempt.found_nobody());
        attempt.error_log = b"something else".to_vec();
        assert!(!attempt.found_nobody());
        attempt.received = b"failed to connect: network is unreachable".to_vec();
        assert!(attempt.found_nobody());
    }
}
