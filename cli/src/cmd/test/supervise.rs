//! The processes above a run, which outlive it.
//!
//! Servers turn themselves into daemons, so a run that is killed can't take them along. The command therefore runs
//! in a grandchild of itself:
//!
//! ```text
//! front ──► reaper ──► run ──► servers, shells, mock services
//! ```
//!
//! Each of the upper two adopts what is orphaned below it, waits for the one below, then ends whatever is left and
//! removes the temporary folder. The lower two are told when the one above them dies, and wind up. So any two of the
//! three may be killed in the same moment, and nothing stays. The reaper has a name of its own, too: a KILL for all
//! that is called `rsty` leaves it to clean up.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use rsty_testspec::run::{namespace, process};

use crate::exit::Exit;
use crate::ui;

/// In the lower two: who started this process.
static PARENT: OnceLock<Pid> = OnceLock::new();

/// Names the temporary folder to the run; its presence tells the process that it is the run.
const SCRATCH: &str = "RSTY_SCRATCH";

/// Names the temporary folder to the reaper, as above.
const REAPER: &str = "RSTY_REAPER";

/// Names the process group of a terminal to the reaper, in which the run reads keys.
const GROUP: &str = "RSTY_GROUP";

/// What the system calls the reaper, in at most 15 bytes.
const REAPER_NAME: &std::ffi::CStr = c"spec-reaper";

/// How often the lower two look whether they are orphans.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// In the run: the temporary folder.
pub(super) fn scratch() -> Option<PathBuf> {
    let scratch = std::env::var_os(SCRATCH)?;
    // Only this thread exists yet, so that it can enter a namespace.
    namespace::allow_networks();
    follow_parent();
    Some(scratch.into())
}

/// Whether this is one of the lower two processes.
pub(super) fn is_child() -> bool {
    std::env::var_os(SCRATCH).is_some() || std::env::var_os(REAPER).is_some()
}

/// In the lower two: whether the process above has died.
pub(super) fn is_orphan() -> bool {
    PARENT.get().is_some_and(|parent| nix::unistd::getppid() != *parent)
}

/// In the lower two: ends everything at once. For when nobody may be left who would clean up.
pub(super) fn leave(scratch: &Path) -> ! {
    clean(scratch);
    #[expect(clippy::exit, reason = "lanes may hang in blocks whose servers are gone")]
    std::process::exit(Exit::ToolFailure as i32)
}

/// Whether the environment variable belongs to this module, and is not for servers and specs to see.
pub(super) fn is_own_variable(name: &str) -> bool {
    [SCRATCH, REAPER, GROUP].contains(&name)
}

/// In the upper two: has the command run below, and cleans up after it.
pub(super) fn supervise() -> ExitCode {
    let code = match std::env::var_os(REAPER) {
        Some(scratch) => reap(Path::new(&scratch)),
        None => front(),
    };
    code.unwrap_or_else(|error| {
        ui::error(&format!("failed to start the run: {error}"));
        Exit::ToolFailure.into()
    })
}

fn front() -> std::io::Result<ExitCode> {
    let scratch = tempfile::Builder::new().prefix("rsty-").tempdir()?;
    let stdin = std::io::stdin();
    let terminal = if stdin.is_terminal() { tcgetattr(stdin.as_fd()).ok() } else { None };
    let mut command = myself()?;
    command.env(REAPER, scratch.path());
    if terminal.is_some() {
        command.env(GROUP, nix::unistd::getpgrp().to_string());
    }
    // At a terminal an interrupt reaches the run as well, which reads keys.
    let interrupts = if terminal.is_some() { Interrupts::ReachTheRun } else { Interrupts::PassOn };
    let status = wait_for(command, interrupts, scratch.path());
    if let Some(before) = terminal {
        let _ = tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &before);
    }
    clean(scratch.path());
    Ok(exit_code(status?))
}

fn reap(scratch: &Path) -> std::io::Result<ExitCode> {
    follow_parent();
    // The name only helps against one way of being killed.
    let _ = nix::sys::prctl::set_name(REAPER_NAME);
    let group = std::env::var(GROUP).ok().and_then(|group| group.parse().ok());
    let mut command = myself()?;
    command.env(SCRATCH, scratch).env_remove(REAPER).env_remove(GROUP);
    // The run is in the terminal's group, or in one of its own: a signal to this one, KILL too, leaves a run that
    // can clean up.
    command.process_group(group.unwrap_or(0));
    let status = wait_for(command, Interrupts::PassOn, scratch);
    clean(scratch);
    Ok(exit_code(status?))
}

/// This command again.
fn myself() -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1).collect::<Vec<OsString>>()).process_group(0);
    Ok(command)
}

/// Notes who is above, and asks to be told of its end. Without that the run is only less tidy when it is killed.
fn follow_parent() {
    let _ = PARENT.set(nix::unistd::getppid());
    let _ = process::end_with_parent();
}

/// What is done about an interrupt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interrupts {
    PassOn,
    ReachTheRun,
}

/// Runs the command, which is adopted from, signals passed on.
fn wait_for(mut command: Command, interrupts: Interrupts, scratch: &Path) -> std::io::Result<ExitStatus> {
    process::adopt_orphans()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?);
        let mut wait = tokio::task::spawn_blocking(move || child.wait());
        let mut look = tokio::time::interval(LOOK);
        loop {
            let passed_on = tokio::select! {
                status = &mut wait => return status.map_err(std::io::Error::other)?,
                _ = interrupt.recv() => (interrupts == Interrupts::PassOn).then_some(Signal::SIGINT),
                _ = terminate.recv() => Some(Signal::SIGTERM),
                _ = hang_up.recv() => Some(Signal::SIGTERM),
                _ = look.tick() => None,
            };
            if is_orphan() {
                leave(scratch);
            }
            if let Some(signal) = passed_on {
                let _ = kill(pid, signal);
            }
        }
    })
}

/// Ends whatever is left below this process and removes the folder.
fn clean(scratch: &Path) {
    process::end_descendants();
    // A server that was killed may still have been writing.
    for _ in 0..5 {
        if std::fs::remove_dir_all(scratch).is_ok() || !scratch.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        ui::error(&format!("the run was ended by signal {signal}"));
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or_else(|| Exit::ToolFailure.into(), ExitCode::from)
}
