//! `least_time`: how long servers take to answer, and what that says about the next request.
//!
//! Each server keeps a moving average. Servers whose averages are close count as equal and take turns; one that was not
//! asked for long counts as faster than it was, so that it gets another chance.

use super::peer::Peer;

/// What is measured of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Until the connection stood.
    Connect,
    /// Until the head was there, or the first byte.
    Head,
    /// Until everything was there.
    Whole,
}

/// `least_time`
#[derive(Clone, Copy, Debug)]
pub struct LeastTime {
    /// What is measured.
    pub measure: Measure,
    /// Whether requests count whose answers are not complete yet.
    pub in_flight: bool,
}

/// The times of an answer, in milliseconds; `None` when that point was not reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// See [`Measure::Connect`].
    pub connect: Option<u64>,
    /// See [`Measure::Head`].
    pub head: Option<u64>,
    /// See [`Measure::Whole`].
    pub whole: Option<u64>,
}

impl Times {
    pub(super) fn of(self, measure: Measure) -> Option<i64> {
        let time = match measure {
            Measure::Connect => self.connect,
            Measure::Head => self.head,
            Measure::Whole => self.whole,
        };
        time.and_then(|time| i64::try_from(time).ok())
    }
}

/// Times above this are equally bad, in milliseconds.
const SLOWEST: i64 = 5000;
/// Times within the same step are equally good.
const STEP: i64 = 20;

/// A value with one twentieth of another in it, rounded; the other alone when there was none before.
fn average(before: i64, value: i64) -> i64 {
    if before == 0 { value } else { (before * 19 + value + 10) / 20 }
}

impl Peer {
    /// An answer took so long.
    pub(super) fn took(&self, time: i64) {
        self.set(super::peer::TIME, average(self.get(super::peer::TIME), time));
    }

    /// How long it will be busy with what it has to do and one request more. `now` is in seconds.
    pub(super) fn expected_time(&self, now: i64) -> i64 {
        let mut time = self.get(super::peer::TIME);
        let alone = now - self.checked();
        if alone > self.fail_timeout() {
            time >>= (alone / (self.fail_timeout() + 1)).clamp(0, 62);
        }
        if self.get(super::peer::FLYING) > 0 {
            time = time.max(self.get(super::peer::FLYING_TIME));
        }
        let time = if time > SLOWEST { SLOWEST } else { time + STEP - time % STEP };
        time * (1 + self.conns())
    }

    /// Brings the average age of the requests that are under way up to date. `moment` is in milliseconds.
    pub(super) fn watch_flying(&self, moment: i64) {
        let flying = self.get(super::peer::FLYING);
        if flying > 0 {
            let age = self.get(super::peer::FLYING_SUM) / flying + (moment - self.get(super::peer::FLYING_SINCE));
            self.set(super::peer::FLYING_TIME, average(self.get(super::peer::FLYING_TIME), age));
        }
    }

    /// A request sets out.
    pub(super) fn take_off(&self, moment: i64) {
        let flying = self.get(super::peer::FLYING);
        if flying > 0 {
            self.add(super::peer::FLYING_SUM, (moment - self.get(super::peer::FLYING_SINCE)) * flying);
        }
        self.set(super::peer::FLYING_SINCE, moment);
        self.add(super::peer::FLYING, 1);
    }

    /// A request is over after this time.
    pub(super) fn land(&self, moment: i64, time: i64) {
        let flying = self.get(super::peer::FLYING);
        if flying <= 1 {
            self.set(super::peer::FLYING_SUM, 0);
            self.set(super::peer::FLYING, 0);
            return;
        }
        self.add(super::peer::FLYING_SUM, (moment - self.get(super::peer::FLYING_SINCE)) * flying - time);
        self.set(super::peer::FLYING_SINCE, moment);
        self.set(super::peer::FLYING, flying - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::PeerAddress;
    use super::*;

    fn peer() -> Peer {
        Peer::new(PeerAddress::Ip(([127, 0, 0, 1], 1).into()))
    }

    #[test]
    fn averages_move_slowly_and_close_ones_are_equal() {
        let one = peer();
        one.check(100);
        one.took(100);
        assert_eq!(one.expected_time(100), 120);
        one.took(200);
        assert_eq!(one.expected_time(100), 120, "105 is in the same step");
        one.begin();
        assert_eq!(one.expected_time(100), 240);
    }

    #[test]
    fn who_was_not_asked_for_long_gets_another_chance() {
        let one = peer();
        one.check(100);
        one.took(400);
        assert_eq!(one.expected_time(110), 420);
        assert_eq!(one.expected_time(112), 220);
        assert_eq!(one.expected_time(122), 120);
    }

    #[test]
    fn requests_under_way_make_a_server_slow() {
        let one = peer();
        one.check(100);
        one.took(10);
        one.take_off(1000);
        one.watch_flying(1900);
        assert_eq!(one.expected_time(100), 920);
        one.land(1900, 900);
        assert_eq!(one.expected_time(100), 20);
    }
}
