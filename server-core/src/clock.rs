//! The cached clock: one reading of the system's time per turn of the event loop.
//!
//! What asks for the time between two turns gets the same answer, as in nginx. [`update`] refreshes it: the event
//! loop calls it when it wakes up, and Lua through `ngx.update_time`. The cache belongs to its thread.

use std::cell::Cell;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// A point in time as nginx keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Seconds since the epoch.
    pub sec: i64,
    /// Milliseconds within that second.
    pub msec: i64,
    /// Milliseconds of a clock that is never set back.
    pub monotonic_msec: i64,
}

impl Now {
    /// Milliseconds since the epoch.
    pub const fn epoch_msec(self) -> i64 {
        self.sec * 1000 + self.msec
    }
}

thread_local! {
    static NOW: Cell<Now> = const { Cell::new(Now { sec: 0, msec: 0, monotonic_msec: 0 }) };
    /// The moment of the last update, once somebody asked for it.
    static MOMENT: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Steps since the last update.
    static STEPS: Cell<u32> = const { Cell::new(0) };
}

/// So many steps of a busy turn are one moment.
const STEPS_MAX: u32 = 32;

/// The cached time; reads the system's clocks when this thread has never done so.
#[inline]
pub fn now() -> Now {
    let now = NOW.get();
    if now.sec == 0 { update() } else { now }
}

/// The moment that the cached time stands for, to count timeouts from.
#[inline]
pub fn moment() -> Instant {
    MOMENT.get().unwrap_or_else(|| {
        let moment = Instant::now();
        MOMENT.set(Some(moment));
        moment
    })
}

/// Reads the system's clocks and remembers the answer. The one that is never set back may lag by a tick of the system,
/// which costs less to ask for.
pub fn update() -> Now {
    read(ClockId::CLOCK_MONOTONIC_COARSE)
}

/// The same without the lag, for a script that asks for the time of this moment.
pub fn update_exactly() -> Now {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(running: ClockId) -> Now {
    let since_epoch = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from);
    // The system counts from its start, and so do programs that compare the two.
    let running = clock_gettime(running).map_or(Duration::ZERO, Duration::from);
    let now = Now {
        sec: since_epoch.as_secs() as i64,
        msec: i64::from(since_epoch.subsec_millis()),
        monotonic_msec: running.as_millis() as i64,
    };
    NOW.set(now);
    MOMENT.set(None);
    STEPS.set(0);
    now
}

/// Begins a step of a turn, a request for instance. An event loop that is never idle would stay in one turn for ever.
#[inline]
pub fn step() {
    let steps = STEPS.get() + 1;
    STEPS.set(steps);
    if steps > STEPS_MAX {
        update();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_turns_do_not_stop_the_time() {
        let first = update();
        std::thread::sleep(Duration::from_millis(3));
        step();
        assert_eq!(now(), first);
        (0..STEPS_MAX).for_each(|_| step());
        assert!(now().epoch_msec() > first.epoch_msec());
    }

    #[test]
    fn time_stands_still_between_updates() {
        let (first, then) = (now(), moment());
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!((now(), moment()), (first, then));
        assert!(update().epoch_msec() > first.epoch_msec());
        assert!(moment() >= then + Duration::from_millis(3));
    }
}
