//! The live line under a run: how far it is, how it stands, what is running.
//!
//! It exists only on a terminal. Whatever else is printed goes above it.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The line, or nothing where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    failed: Cell<usize>,
}

impl Progress {
    /// A line for `total` blocks; hidden if `quiet`.
    pub(crate) fn new(total: usize, quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        let target = if visible { ProgressDrawTarget::stderr_with_hz(15) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}{prefix}  {elapsed}  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        if visible {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, failed: Cell::new(0) }
    }

    /// Prints above the line.
    pub(crate) fn above(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Names the block that has just begun.
    pub(crate) fn begin(&self, what: String) {
        self.bar.set_message(what);
    }

    /// One block more is done.
    pub(crate) fn advance(&self, failed: bool) {
        self.bar.inc(1);
        if failed {
            self.failed.set(self.failed.get() + 1);
            self.bar.set_prefix(format!("  {} failed", self.failed.get()));
        }
    }

    /// Removes the line.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
