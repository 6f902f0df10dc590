//! The pid file, and commands to the process that it names (`-s`).

use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::log::{ErrorLog, Level};

/// A command to a running master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Leave when the current requests are done.
    Quit,
    /// Start workers with the configuration as it is now.
    Reload,
    /// Reopen log files.
    Reopen,
    /// Leave at once.
    Stop,
}

impl Command {
    /// The command of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "quit" => Self::Quit,
            "reload" => Self::Reload,
            "reopen" => Self::Reopen,
            "stop" => Self::Stop,
            _ => return None,
        })
    }

    const fn signal(self) -> Signal {
        match self {
            Self::Quit => Signal::SIGQUIT,
            Self::Reload => Signal::SIGHUP,
            Self::Reopen => Signal::SIGUSR1,
            Self::Stop => Signal::SIGTERM,
        }
    }
}

/// Whether a step worked; when not, the log says why.
pub(super) struct Logged;

/// Writes this process's id.
pub(super) fn write(path: &Path, log: &ErrorLog) -> Result<(), Logged> {
    std::fs::write(path, format!("{}\n", std::process::id())).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(0);
        log.write_errno(Level::Emerg, errno, format_args!("open() \"{}\" failed", path.display()));
        Logged
    })
}

/// Removes the file.
pub(super) fn remove(path: &Path, log: &ErrorLog) {
    if let Err(error) = std::fs::remove_file(path) {
        let errno = error.raw_os_error().unwrap_or(0);
        log.write_errno(Level::Alert, errno, format_args!("unlink() \"{}\" failed", path.display()));
    }
}

/// Sends a command to the process that the file names.
pub(super) fn send(command: Command, path: &Path, log: &ErrorLog) -> Result<(), Logged> {
    log.write(Level::Notice, format_args!("signal process started"));
    let text = std::fs::read(path).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(0);
        log.write_errno(Level::Error, errno, format_args!("open() \"{}\" failed", path.display()));
        Logged
    })?;
    let digits = text.strip_suffix(b"\n").unwrap_or(&text).trim_ascii_end();
    let pid = crate::conf::value::number(digits).and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let Some(pid) = pid else {
        let shown = String::from_utf8_lossy(digits);
        log.write(Level::Error, format_args!("invalid PID number \"{shown}\" in \"{}\"", path.display()));
        return Err(Logged);
    };
    let signal = command.signal();
    nix::sys::signal::kill(Pid::from_raw(pid), signal).map_err(|errno| {
        log.write_errno(Level::Alert, errno as i32, format_args!("kill({pid}, {}) failed", signal as i32));
        Logged
    })
}
