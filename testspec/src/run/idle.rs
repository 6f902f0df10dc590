//! Whether a server has nothing left to do.
//!
//! A server writes to its logs after it has answered, and nobody tells when it is done. The original sleeps 45 ms
//! before it looks. But the system knows in which call each thread waits, and with which timeout: a server whose
//! event loop waits for events, with no timer due before those 45 ms are over, will write nothing until then unless
//! somebody wakes it. Where the system doesn't tell, or a peer outside the server may wake it, the pause stays.

use std::time::{Duration, Instant};

use nix::libc;
use nix::unistd::Pid;

/// How long a server sleeps unless somebody wakes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// This long from the moment at which it fell asleep.
    For(Duration),
    /// Until it is woken.
    Forever,
}

impl Sleep {
    /// Whether one that was still awake at `awake` sleeps until `end`.
    pub fn lasts(self, awake: Option<Instant>, end: Instant) -> bool {
        match self {
            Self::For(time) => awake.is_some_and(|awake| awake + time >= end),
            Self::Forever => true,
        }
    }
}

/// The sleep of a server; `None` where it is awake, or nothing can be said.
///
/// A server of several workers counts as asleep only where each waits without a timer: which of them answered last
/// is not known.
pub fn sleep_of(server: Pid) -> Option<Sleep> {
    let workers = children(server)?;
    let sleep = match workers.as_slice() {
        [] => process(server)?,
        [worker] => {
            master(server)?;
            leaf(*worker)?
        }
        several => {
            master(server)?;
            let all_wait = several.iter().all(|worker| leaf(*worker) == Some(Sleep::Forever));
            all_wait.then_some(Sleep::Forever)?
        }
    };
    Some(sleep)
}

/// A process without children.
fn leaf(pid: Pid) -> Option<Sleep> {
    if children(pid)?.is_empty() { process(pid) } else { None }
}

/// A master only waits for signals.
fn master(pid: Pid) -> Option<()> {
    match state(pid, pid)? {
        State::Suspended | State::Polls(Sleep::Forever) => Some(()),
        _ => None,
    }
}

/// The sleep of the main thread, if all others wait for work from it.
fn process(pid: Pid) -> Option<Sleep> {
    let main = || match state(pid, pid) {
        Some(State::Polls(sleep)) => Some(sleep),
        _ => None,
    };
    main()?;
    for entry in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let thread = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
        if thread == pid {
            continue;
        }
        match state(pid, thread)? {
            State::Parked | State::Polls(Sleep::Forever) => {}
            _ => return None,
        }
    }
    // A thread that was still busy at the first look may have woken the main one since.
    main()
}

/// The children of a process.
fn children(pid: Pid) -> Option<Vec<Pid>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    Some(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect())
}

/// In which call a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Something else, or none.
    Busy,
    /// For work from another thread.
    Parked,
    /// For events.
    Polls(Sleep),
    /// For a signal.
    Suspended,
}

fn state(pid: Pid, thread: Pid) -> Option<State> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).ok()?;
    Some(State::parse(&text))
}

impl State {
    /// Reads `NUMBER ARGUMENT…`, or `running`.
    fn parse(text: &str) -> Self {
        let mut words = text.split_ascii_whitespace();
        let Some(Ok(number)) = words.next().map(str::parse::<libc::c_long>) else { return Self::Busy };
        let arguments: Vec<u64> =
            words.filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()).collect();
        let argument = |index: usize| arguments.get(index).copied();
        if is_epoll_wait(number) {
            // The timeout is an int; the register above it may hold anything.
            match argument(3).map(|timeout| timeout as u32 as i32) {
                Some(timeout) if timeout < 0 => Self::Polls(Sleep::Forever),
                Some(timeout) => Self::Polls(Sleep::For(Duration::from_millis(timeout as u64))),
                None => Self::Busy,
            }
        } else if number == libc::SYS_futex && argument(3) == Some(0) {
            Self::Parked
        } else if number == libc::SYS_rt_sigsuspend || (number == libc::SYS_rt_sigtimedwait && argument(2) == Some(0)) {
            Self::Suspended
        } else {
            Self::Busy
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn is_epoll_wait(number: libc::c_long) -> bool {
    number == libc::SYS_epoll_wait || number == libc::SYS_epoll_pwait
}

#[cfg(not(target_arch = "x86_64"))]
fn is_epoll_wait(number: libc::c_long) -> bool {
    number == libc::SYS_epoll_pwait
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: libc::c_long, fourth: &str) -> String {
        format!("{number} 0x8 0x7f60c4 0x200 {fourth} 0x0 0x8 0x7fff 0x7f60\n")
    }

    #[test]
    fn a_poll_tells_its_timeout() {
        for (fourth, expected) in [
            ("0xffffffff", State::Polls(Sleep::Forever)),
            ("0xffffffffffffffff", State::Polls(Sleep::Forever)),
            ("0x2d", State::Polls(Sleep::For(Duration::from_millis(45)))),
            ("0x0", State::Polls(Sleep::For(Duration::ZERO))),
        ] {
            assert_eq!(State::parse(&line(libc::SYS_epoll_pwait, fourth)), expected, "{fourth}");
        }
    }

    #[test]
    fn a_thread_that_waits_for_a_time_is_not_parked() {
        assert_eq!(State::parse(&line(libc::SYS_futex, "0x0")), State::Parked);
        assert_eq!(State::parse(&line(libc::SYS_futex, "0x7f1234")), State::Busy);
        assert_eq!(State::parse("running\n"), State::Busy);
        assert_eq!(State::parse(""), State::Busy);
    }

    #[test]
    fn a_timer_counts_from_when_the_server_was_last_awake() {
        let awake = Instant::now();
        let sleep = Sleep::For(Duration::from_millis(50));
        assert!(sleep.lasts(Some(awake), awake + Duration::from_millis(50)));
        assert!(!sleep.lasts(Some(awake), awake + Duration::from_millis(51)));
        assert!(!sleep.lasts(None, awake));
        assert!(Sleep::Forever.lasts(None, awake + Duration::from_secs(1)));
    }

    #[test]
    fn a_process_that_waits_for_a_time_is_awake() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let sleep = sleep_of(Pid::from_raw(child.id() as i32));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(sleep, None);
    }
}
