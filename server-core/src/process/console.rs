//! What the person at the terminal may ask of the master. The terminal itself is the caller's.

use std::os::fd::BorrowedFd;

use rsty_diag::Diagnostic;

use crate::cycle::Cycle;

/// What the person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The server ends.
    Quit,
    /// The configuration is read again.
    Reload,
}

/// The person's terminal. Used by the master only, never by a worker.
pub trait Console {
    /// The descriptor that becomes readable when a key was pressed; `None` when there is no keyboard.
    fn input(&self) -> Option<BorrowedFd<'_>>;

    /// What was asked for since the last call. Does not wait.
    fn wishes(&mut self) -> Vec<Wish>;

    /// The server runs.
    fn started(&mut self, cycle: &Cycle);

    /// A new configuration is in use.
    fn reloaded(&mut self, cycle: &Cycle);

    /// The new configuration can't be used; the old one stays. Without a diagnostic the error log has the reason.
    fn refused(&mut self, diagnostic: Option<&Diagnostic>);
}
