//! Starting and stopping the server of a block.
//!
//! The generated configuration says `daemon on`, so the start command ends when the server has bound its sockets
//! and gone to the background; from then on a client can connect, and nothing needs to sleep. The process id comes
//! from the pid file.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::run::binary::ServerBinary;
use crate::run::process;
use crate::run::root::ServerRoot;

/// How a start ended.
#[derive(Debug)]
pub enum Start {
    /// The command went to the background; the server runs.
    Running(Server),
    /// The command ended with a failure.
    Died {
        /// How.
        status: ExitStatus,
        /// What it wrote to stderr.
        stderr: Vec<u8>,
    },
    /// The command did not end in time and was killed.
    Stuck,
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    root: ServerRoot,
    pid: Option<Pid>,
}

/// How a server went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// By itself, after the signal.
    Graceful,
    /// It had to be killed.
    Killed,
}

/// What a start needs.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The program.
    pub binary: &'a ServerBinary,
    /// Where it runs.
    pub root: &'a ServerRoot,
    /// Its environment.
    pub variables: &'a BTreeMap<String, Vec<u8>>,
    /// Its working directory.
    pub working_directory: &'a PathBuf,
    /// Where its stderr goes.
    pub stderr: &'a PathBuf,
    /// How long the start command may take.
    pub limit: Duration,
}

impl Launch<'_> {
    /// Runs the start command.
    pub fn start(&self) -> io::Result<Start> {
        let mut command = self.binary.command();
        let mut prefix = self.root.path().as_os_str().to_owned();
        prefix.push("/");
        command.arg("-e").arg(self.root.error_log()).arg("-p").arg(prefix).arg("-c").arg(self.root.conf_file());
        command.env_clear();
        for (name, value) in self.variables {
            command.env(name, OsStr::from_bytes(value));
        }
        if let Some(preload) = self.preload() {
            command.env("LD_PRELOAD", OsStr::from_bytes(&preload));
        }
        if self.binary.is_built_in() {
            self.slow_writes(&mut command);
        }
        command.current_dir(self.working_directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(self.stderr)?);
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id() as i32);
        let Some(status) = wait_for_status(child, self.limit) else {
            process::end(pid, Signal::SIGKILL, Duration::ZERO);
            return Ok(Start::Stuck);
        };
        if status.success() {
            Ok(Start::Running(Server { root: self.root.clone(), pid: None }))
        } else {
            Ok(Start::Died { status, stderr: std::fs::read(self.stderr).unwrap_or_default() })
        }
    }

    /// The built-in server can be slow by itself: it is told to do what the library mockeagain would do to its
    /// writes, and that stays away. Reads are not slowed.
    fn slow_writes(&self, command: &mut Command) {
        let preload = self.preload().or_else(|| self.variables.get("LD_PRELOAD").cloned()).unwrap_or_default();
        let rest = without_mockeagain(&preload);
        if rest == preload {
            return;
        }
        command.env("LD_PRELOAD", OsStr::from_bytes(&rest));
        let mode = self.variables.get("MOCKEAGAIN").map_or(&[][..], Vec::as_slice);
        if slows_writes(mode) {
            command.env("RSTY_SLOW_WRITES", "1");
            if let Some(text) = self.variables.get("MOCKEAGAIN_WRITE_TIMEOUT_PATTERN") {
                command.env("RSTY_STALL_AFTER", OsStr::from_bytes(text));
            }
        }
    }

    fn preload(&self) -> Option<Vec<u8>> {
        let extra = self.variables.get("TEST_NGINX_LD_PRELOAD")?;
        match self.variables.get("LD_PRELOAD") {
            Some(preload) => Some([extra.as_slice(), b" ", preload].concat()),
            None => Some(extra.clone()),
        }
    }
}

/// A list of libraries to preload without mockeagain.
pub(crate) fn without_mockeagain(preload: &[u8]) -> Vec<u8> {
    let libraries = preload.split(|byte| *byte == b' ').filter(|library| !library.ends_with(b"mockeagain.so"));
    libraries.collect::<Vec<_>>().join(b" ".as_slice())
}

/// Whether a value of `MOCKEAGAIN` slows writes: when it has a `w`, or neither that nor an `r`.
fn slows_writes(mode: &[u8]) -> bool {
    let has = |letter: u8| mode.iter().any(|byte| byte.eq_ignore_ascii_case(&letter));
    has(b'w') || (!mode.is_empty() && !has(b'r'))
}

impl Server {
    /// The process id, as soon as the server has written its pid file.
    pub fn pid(&mut self, limit: Duration) -> Option<Pid> {
        let deadline = Instant::now() + limit;
        while self.pid.is_none() {
            let text = std::fs::read_to_string(self.root.pid_file()).unwrap_or_default();
            self.pid = text.trim().parse().ok().filter(|pid| *pid > 1).map(Pid::from_raw);
            if self.pid.is_none() && Instant::now() >= deadline {
                break;
            }
            if self.pid.is_none() {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        self.pid
    }

    /// Whether the server has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.pid(Duration::ZERO).is_some_and(process::has_ended)
    }

    /// Ends the server with `signal`; after `limit` it is killed.
    pub fn stop(mut self, signal: Signal, limit: Duration) -> Stop {
        self.end(signal, limit)
    }

    fn end(&mut self, signal: Signal, limit: Duration) -> Stop {
        let Some(pid) = self.pid(Duration::from_secs(1)) else { return Stop::Killed };
        self.pid = None;
        let graceful = process::end(pid, signal, limit);
        let _ = std::fs::remove_file(self.root.pid_file());
        if graceful { Stop::Graceful } else { Stop::Killed }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.root.pid_file().exists() {
            self.end(Signal::SIGKILL, Duration::from_millis(200));
        }
    }
}

/// The exit code as the original sees it; a signal gives none.
pub fn exit_code(status: ExitStatus) -> Option<i32> {
    status.code()
}

/// Whether the process died with a core dump.
pub fn dumped_core(status: ExitStatus) -> bool {
    status.core_dumped()
}

fn wait_for_status(mut child: std::process::Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    let pid = Pid::from_raw(child.id() as i32);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                process::await_exit(pid, left);
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mockeagain_is_taken_out_of_the_libraries() {
        assert_eq!(without_mockeagain(b"mockeagain.so "), b"");
        assert_eq!(without_mockeagain(b"liba.so /lib/mockeagain.so libb.so"), b"liba.so libb.so");
        assert_eq!(without_mockeagain(b"liba.so"), b"liba.so");
    }

    #[test]
    fn writes_are_slow_unless_only_reads_shall_be() {
        for (mode, slow) in
            [("w", true), ("rw", true), ("W", true), ("1", true), ("r", false), ("R", false), ("", false)]
        {
            assert_eq!(slows_writes(mode.as_bytes()), slow, "{mode}");
        }
    }
}
