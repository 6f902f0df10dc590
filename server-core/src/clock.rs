//! The cached time in the numbers that Lua and the shared dictionaries use.
//!
//! The event loop reads the clocks once a turn (`http::clock`); what asks for the time between two turns gets the same
//! answer, as in nginx.

use std::sync::OnceLock;
use std::time::{Instant, UNIX_EPOCH};

use crate::http::clock;

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

/// Where the monotonic milliseconds start.
static START: OnceLock<Instant> = OnceLock::new();

/// The cached time.
#[inline]
pub fn now() -> Now {
    let moment = clock::now();
    let since_epoch = moment.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let running = moment.monotonic.saturating_duration_since(*START.get_or_init(|| moment.monotonic));
    Now {
        sec: since_epoch.as_secs() as i64,
        msec: i64::from(since_epoch.subsec_millis()),
        // A day ahead, so that no difference to an earlier time is negative.
        monotonic_msec: running.as_millis() as i64 + 86_400_000,
    }
}

/// Reads the clocks anew.
pub fn update() -> Now {
    clock::update();
    now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_between_updates() {
        let first = update();
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert_eq!(now(), first);
        assert!(update().epoch_msec() > first.epoch_msec());
    }
}
