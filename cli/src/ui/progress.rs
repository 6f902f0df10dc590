//! The live line under a run: how far it is, how it stands, what is running.
//!
//! It exists only on a terminal. Whatever else is printed goes above it.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The line, or nothing where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    failed: Cell<usize>,
    /// What runs, the longest first.
    running: RefCell<Vec<String>>,
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
        Self { bar, failed: Cell::new(0), running: RefCell::default() }
    }

    /// Prints above the line.
    pub(crate) fn above(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// A block begins.
    pub(crate) fn begin(&self, what: String) {
        self.running.borrow_mut().push(what);
        self.show();
    }

    /// A block is done.
    pub(crate) fn done(&self, what: &str, failed: bool) {
        self.running.borrow_mut().retain(|running| running != what);
        self.bar.inc(1);
        if failed {
            self.failed.set(self.failed.get() + 1);
            self.bar.set_prefix(format!("  {} failed", self.failed.get()));
        }
        self.show();
    }

    /// Names the block that has been running longest.
    fn show(&self) {
        let running = self.running.borrow();
        let others = running.len().saturating_sub(1);
        let others = if others > 0 { format!(" and {others} more") } else { String::new() };
        self.bar.set_message(running.first().map(|first| format!("{first}{others}")).unwrap_or_default());
    }

    /// Removes the line.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
