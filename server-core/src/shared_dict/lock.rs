//! A lock between processes, with the promise that the death of its owner does not lock out the others.
//!
//! The lock is one word: the number of the process that holds it, and whether somebody waits. Taking and releasing it
//! are one atomic exchange each, without a call into the system; a robust POSIX mutex costs three times as much. Who has
//! to wait sleeps in the kernel and looks from time to time whether the owner is still there.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How the lock was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Free, after its last owner released it.
    Released,
    /// Held by a process that died: the data may be half changed.
    Abandoned,
}

/// A lock that lies in shared memory. Zero bytes are a free one.
#[repr(transparent)]
pub(super) struct SharedLock(AtomicU32);

/// Beside the owner's number: somebody sleeps until the lock is free.
const AWAITED: u32 = 1 << 31;
/// Attempts before going to sleep. Whoever holds a lock needs well below a microsecond.
const SPINS: u32 = 200;
/// How long to sleep before asking after the owner.
const PATIENCE: Duration = Duration::from_millis(20);

impl SharedLock {
    /// Waits for the lock.
    #[inline]
    pub(super) fn lock(&self) -> Found {
        let me = crate::process::pid();
        match self.0.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Found::Released,
            Err(_) => self.wait(me),
        }
    }

    /// Releases the lock, which the caller holds.
    #[inline]
    pub(super) fn unlock(&self) {
        if self.0.swap(0, Ordering::Release) & AWAITED != 0 {
            wake_one(&self.0);
        }
    }

    #[cold]
    fn wait(&self, me: u32) -> Found {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.try_take(0, me) {
                return Found::Released;
            }
        }
        loop {
            let word = self.0.load(Ordering::Relaxed);
            if word == 0 {
                // Others may be asleep as well: they are woken one by one.
                if self.try_take(0, me | AWAITED) {
                    return Found::Released;
                }
                continue;
            }
            let awaited = word | AWAITED;
            if word != awaited && !self.try_take(word, awaited) {
                continue;
            }
            sleep(&self.0, awaited);
            if !is_alive(word & !AWAITED) && self.try_take(awaited, me | AWAITED) {
                return Found::Abandoned;
            }
        }
    }

    fn try_take(&self, from: u32, to: u32) -> bool {
        self.0.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

/// Sleeps while the word is `value`, but not for long.
fn sleep(word: &AtomicU32, value: u32) {
    let patience = libc::timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
    // SAFETY: the kernel reads the word and the time; both live during the call. Whatever it answers, the caller looks
    // at the word again.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &raw const patience) };
}

fn wake_one(word: &AtomicU32) {
    // SAFETY: the kernel uses the address as a key only.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Whether a process that may hold our locks is still there. It is of our own group: a stranger who was given the
/// number of a dead one is not.
fn is_alive(process: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
        let known = libc::pid_t::try_from(process).is_ok_and(|process| {
            let answer = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), None);
            process > 0 && answer != Err(nix::errno::Errno::ESRCH)
        });
        return known;
    };
    // Behind the name in parentheses: the state, the parent, the group.
    let mut fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let is_dead = matches!(fields.next(), None | Some("Z" | "X"));
    let group = fields.nth(1).and_then(|group| group.parse().ok());
    !is_dead && group == Some(nix::unistd::getpgrp().as_raw())
}

#[cfg(test)]
mod tests {
    use std::cell::UnsafeCell;
    use std::sync::Arc;

    use super::*;

    struct Counter(SharedLock, UnsafeCell<u64>);
    // SAFETY: the count is touched under the lock only.
    unsafe impl Sync for Counter {}
    // SAFETY: as above.
    unsafe impl Send for Counter {}

    #[test]
    fn contenders_exclude_each_other() {
        let counter = Arc::new(Counter(SharedLock(AtomicU32::new(0)), UnsafeCell::new(0)));
        let count = |counter: Arc<Counter>| {
            for _ in 0..20_000 {
                assert_eq!(counter.0.lock(), Found::Released);
                // SAFETY: the lock is held.
                unsafe { *counter.1.get() += 1 };
                counter.0.unlock();
            }
        };
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn({
                    let counter = Arc::clone(&counter);
                    move || count(counter)
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(counter.0.lock(), Found::Released);
        // SAFETY: the lock is held.
        assert_eq!(unsafe { *counter.1.get() }, 80_000);
    }

    #[test]
    fn a_dead_owner_is_noticed() {
        // No process has so great a number.
        let lock = SharedLock(AtomicU32::new(0x7fff_fff0));
        assert_eq!(lock.lock(), Found::Abandoned);
        lock.unlock();
        assert_eq!(lock.lock(), Found::Released);
    }

    #[test]
    fn a_stranger_owns_nothing() {
        // The first process of the system is alive, and not of our group.
        assert!(!is_alive(1));
        assert!(is_alive(crate::process::pid()));
    }
}
