//! The time, read once per turn of the event loop.

use std::cell::Cell;
use std::time::{Instant, SystemTime};

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For durations.
    pub monotonic: Instant,
    /// For dates.
    pub wall: SystemTime,
}

thread_local! {
    static NOW: Cell<Option<Moment>> = const { Cell::new(None) };
}

/// The cached time.
pub fn now() -> Moment {
    NOW.get().unwrap_or_else(update)
}

/// Reads the clocks (`ngx.update_time`, and every turn of the event loop).
pub fn update() -> Moment {
    let moment = Moment { monotonic: Instant::now(), wall: SystemTime::now() };
    NOW.set(Some(moment));
    moment
}
