//! `access_log` and `no_access_log`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::model::Block;
use crate::run::check::error_log::{check_unwanted, check_wanted};
use crate::run::check::{Pace, Recorder, patterns};

/// Checks the whole access log.
pub fn check_access_log(block: &Block, path: &Path, repeat: usize, pace: Pace, recorder: &mut Recorder) {
    let wanted = block.value("access_log").map(|value| patterns(&value)).unwrap_or_default();
    let unwanted = block.value("no_access_log").map(|value| patterns(&value)).unwrap_or_default();
    if wanted.is_empty() && unwanted.is_empty() {
        return;
    }
    let start = Instant::now();
    let settle = if unwanted.is_empty() { Duration::ZERO } else { pace.settle };
    let text = loop {
        let text = std::fs::read(path).unwrap_or_default();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let complete = wanted.iter().all(|pattern| lines.iter().any(|line| pattern.matches(line)));
        let elapsed = start.elapsed();
        if recorder.dry_run().is_some() || elapsed >= pace.patience || (complete && elapsed >= settle) {
            break text;
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let request = format!(" (req {repeat})");
    recorder.section("access_log");
    check_wanted(&wanted, &lines, "access.log", &request, recorder);
    recorder.section("no_access_log");
    check_unwanted(&unwanted, &lines, "access.log", &request, recorder);
}
