//! The figures of a run.

use std::time::Duration;

use crate::run::outcome::{BlockReport, BlockVerdict};

/// How many blocks came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Blocks that failed.
    pub failed: usize,
    /// Blocks that passed when tried again.
    pub flaky: usize,
    /// Blocks that passed at once.
    pub passed: usize,
    /// Blocks that made no assertion.
    pub skipped: usize,
    /// Assertions made, in all blocks.
    pub assertions: usize,
    /// Wall time of the run.
    pub elapsed: Duration,
}

impl Summary {
    /// Counts one block.
    pub fn add(&mut self, report: &BlockReport) {
        match report.verdict() {
            BlockVerdict::Failed => self.failed += 1,
            BlockVerdict::Flaky => self.flaky += 1,
            BlockVerdict::Passed => self.passed += 1,
            BlockVerdict::Skipped => self.skipped += 1,
        }
        self.assertions += report.last().map_or(0, |attempt| attempt.assertions.len());
    }

    /// All blocks.
    pub fn total(&self) -> usize {
        self.failed + self.flaky + self.passed + self.skipped
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        for (count, word) in
            [(self.failed, "failed"), (self.flaky, "flaky"), (self.passed, "passed"), (self.skipped, "skipped")]
        {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        if parts.is_empty() {
            parts.push("nothing ran".to_owned());
        }
        format!("{} in {}", parts.join(", "), duration(self.elapsed))
    }
}

/// A time for people: `340 ms`, `12.4 s`, `3 min 05 s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{} ms", time.as_millis())
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_only_what_happened() {
        let summary = Summary { passed: 3, failed: 1, elapsed: Duration::from_millis(1240), ..Summary::default() };
        assert_eq!(summary.line(), "1 failed, 3 passed in 1.2 s");
        assert_eq!(Summary::default().line(), "nothing ran in 0 ms");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }
}
