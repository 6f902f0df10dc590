//! A parent for the run that outlives it.
//!
//! Servers turn themselves into daemons, so a run that is killed can't take them along. The command therefore runs
//! in a child of itself: what that child leaves behind is adopted by this process, which ends it and removes the
//! temporary folder. When this process is killed instead, the child is told and winds up.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use rsty_testspec::run::{namespace, process};

use crate::exit::Exit;
use crate::ui;

/// In the child: who started it.
static PARENT: OnceLock<Pid> = OnceLock::new();

/// Names the temporary folder to the child; its presence tells the child what it is.
const SCRATCH: &str = "RSTY_SCRATCH";

/// In the child: the temporary folder.
pub(super) fn scratch() -> Option<PathBuf> {
    let scratch = std::env::var_os(SCRATCH)?;
    let _ = PARENT.set(nix::unistd::getppid());
    // Only this thread exists yet, so that it can enter a namespace.
    namespace::allow_networks();
    // Without the signal the run is only less tidy when the parent is killed.
    let _ = process::end_with_parent();
    Some(scratch.into())
}

/// Whether this is the child.
pub(super) fn is_child() -> bool {
    std::env::var_os(SCRATCH).is_some()
}

/// In the child: whether the parent has died.
pub(super) fn is_orphan() -> bool {
    PARENT.get().is_some_and(|parent| nix::unistd::getppid() != *parent)
}

/// In the child: ends everything at once. For when nobody is left who would clean up.
pub(super) fn leave(scratch: &Path) -> ! {
    process::end_descendants();
    // A server that was killed may still have been writing.
    for _ in 0..5 {
        if std::fs::remove_dir_all(scratch).is_ok() || !scratch.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    #[expect(clippy::exit, reason = "lanes may hang in blocks whose servers are gone")]
    std::process::exit(Exit::ToolFailure as i32)
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
    let stdin = std::io::stdin();
    let terminal = if stdin.is_terminal() { tcgetattr(stdin.as_fd()).ok() } else { None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).env(SCRATCH, scratch.path());
        // At a terminal an interrupt reaches the child as well, which reads keys. Elsewhere the child is a group of
        // its own: a signal to this one, KILL too, leaves a child that can clean up.
        if terminal.is_none() {
            command.process_group(0);
        }
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?);
        let mut wait = tokio::task::spawn_blocking(move || child.wait());
        loop {
            tokio::select! {
                status = &mut wait => return status.map_err(std::io::Error::other)?,
                _ = interrupt.recv() => if terminal.is_none() {
                    let _ = kill(pid, Signal::SIGINT);
                },
                _ = terminate.recv() => {
                    let _ = kill(pid, Signal::SIGTERM);
                }
                _ = hang_up.recv() => {
                    let _ = kill(pid, Signal::SIGTERM);
                }
            }
        }
    })?;
    if let Some(before) = terminal {
        let _ = tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &before);
    }
    process::end_descendants();
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    if let Some(signal) = status.signal() {
        ui::error(&format!("the run was ended by signal {signal}"));
    }
    Ok(code.map_or_else(|| Exit::ToolFailure.into(), ExitCode::from))
}
