//! Exit codes. They are part of the interface: scripts and CI systems tell causes apart by them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything is fine.
    Fine = 0,
    /// There are findings, or a test failed.
    Findings = 1,
    /// The command line, a configuration or a spec file is wrong.
    Usage = 2,
    /// The tool itself could not do its work.
    ToolFailure = 3,
    /// Nothing was selected, so nothing was done.
    NothingSelected = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
