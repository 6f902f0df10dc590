//! Processes: waiting for them, ending them, finding those that are left.
//!
//! The runner is a child subreaper, so a server that turns itself into a daemon stays its child: it can be waited
//! for by its id, and no process id is ever signalled that could meanwhile belong to a stranger.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Makes orphaned descendants children of this process.
pub fn adopt_orphans() -> Result<(), Errno> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// Asks the system to end this process when its parent ends.
pub fn end_with_parent() -> Result<(), Errno> {
    nix::sys::prctl::set_pdeathsig(Some(Signal::SIGTERM))
}

/// Waits until the child has ended, at most for `limit`. Whether it has; it is reaped then.
pub fn wait_for_end(pid: Pid, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if has_ended(pid) {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        await_exit(pid, left);
    }
}

/// Sleeps until the process exits, at most for `limit`; it may end early. The process is not reaped.
pub fn await_exit(pid: Pid, limit: Duration) {
    let descriptor = rustix::process::Pid::from_raw(pid.as_raw())
        .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
    match descriptor {
        Some(descriptor) => {
            let timeout = PollTimeout::try_from(limit.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
            // An interrupted wait is an early end.
            let _ = poll(&mut [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)], timeout);
        }
        // Too old a system, or a process that is gone.
        None => std::thread::sleep(limit.min(Duration::from_millis(1))),
    }
}

/// Whether the child has ended; it is reaped if so.
pub fn has_ended(pid: Pid) -> bool {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => false,
        Ok(_) => true,
        // Not our child: it counts as running while it can be signalled.
        Err(_) => kill(pid, None).is_err(),
    }
}

/// Ends a server: `gentle` first, then after `limit` KILL, for its descendants too. Whether it went by itself.
pub fn end(pid: Pid, gentle: Signal, limit: Duration) -> bool {
    if kill(pid, gentle).is_ok() && wait_for_end(pid, limit) {
        return true;
    }
    let workers = descendants(pid);
    let _ = kill(pid, Signal::SIGKILL);
    for worker in &workers {
        let _ = kill(*worker, Signal::SIGKILL);
    }
    for gone in std::iter::once(pid).chain(workers) {
        wait_for_end(gone, Duration::from_secs(2));
    }
    false
}

/// Ends whatever this process still has below it.
pub fn end_descendants() {
    // A process whose parent leaves while the table is read seems to be nobody's; the next look finds it with us.
    let mut empty_looks = 0;
    for _ in 0..20 {
        let left = descendants(Pid::this());
        if left.is_empty() {
            empty_looks += 1;
            if empty_looks == EMPTY_LOOKS {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        empty_looks = 0;
        for pid in &left {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        for pid in left {
            wait_for_end(pid, Duration::from_millis(500));
        }
    }
}

/// How often in a row nothing must be found before nothing is there.
const EMPTY_LOOKS: u32 = 3;

/// All processes below `ancestor`, nearest first.
pub fn descendants(ancestor: Pid) -> Vec<Pid> {
    let table = parents();
    let mut found = vec![ancestor];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(table.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

/// Every process with its parent.
fn parents() -> Vec<(Pid, Pid)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses, which may itself hold any byte.
        let behind = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = String::from_utf8_lossy(stat.get(behind + 1..)?).into_owned();
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (state != "Z").then(|| (Pid::from_raw(pid), Pid::from_raw(parent)))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[expect(clippy::zombie_processes, reason = "the function under test reaps it")]
    fn a_child_that_ignores_the_gentle_signal_is_killed() {
        let child = Command::new("sh").args(["-c", "trap '' TERM; while :; do sleep 0.05; done"]).spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!end(pid, Signal::SIGTERM, Duration::from_millis(100)));
        assert!(has_ended(pid));
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "the function under test reaps it")]
    fn a_child_that_obeys_is_awaited() {
        let child = Command::new("sleep").arg("30").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        assert!(descendants(Pid::this()).contains(&pid));
        assert!(end(pid, Signal::SIGTERM, Duration::from_secs(5)));
    }
}
