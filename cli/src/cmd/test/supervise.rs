//! A parent for the run that outlives it.
//!
//! Servers turn themselves into daemons, so a run that is killed can't take them along. The command therefore runs
//! in a child of itself: what that child leaves behind is adopted by this process, which ends it and removes the
//! temporary folder. When this process is killed instead, the child is told and winds up.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rsty_testspec::run::process;

use crate::exit::Exit;
use crate::ui;

/// Names the temporary folder to the child; its presence tells the child what it is.
const SCRATCH: &str = "RSTY_SCRATCH";

/// In the child: the temporary folder.
pub(super) fn scratch() -> Option<PathBuf> {
    let scratch = std::env::var_os(SCRATCH)?;
    // Without the signal the run is only less tidy when the parent is killed.
    let _ = process::end_with_parent();
    Some(scratch.into())
}

/// Whether the environment variable belongs to this module, and is not for servers and specs to see.
pub(super) fn is_own_variable(name: &str) -> bool {
    name == SCRATCH
}

/// In the parent: runs the command in a child, and cleans up after it.
pub(super) fn supervise() -> ExitCode {
    match supervised() {
        Ok(code) => code,
        Err(error) => {
            ui::error(&format!("failed to start the run: {error}"));
            Exit::ToolFailure.into()
        }
    }
}

fn supervised() -> std::io::Result<ExitCode> {
    let scratch = tempfile::Builder::new().prefix("rsty-").tempdir()?;
    process::adopt_orphans()?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // An interrupt from the terminal reaches the child too; it decides when the run is over.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut child = Command::new(std::env::current_exe()?).args(arguments).env(SCRATCH, scratch.path()).spawn()?;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?);
        let mut wait = tokio::task::spawn_blocking(move || child.wait());
        loop {
            tokio::select! {
                status = &mut wait => return status.map_err(std::io::Error::other)?,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
                }
            }
        }
    })?;
    process::end_descendants();
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    if let Some(signal) = status.signal() {
        ui::error(&format!("the run was ended by signal {signal}"));
    }
    Ok(code.map_or_else(|| Exit::ToolFailure.into(), ExitCode::from))
}
