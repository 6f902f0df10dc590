//! How long a response may be kept, by its head and by the configuration.

use super::conf::Valid;
use crate::conf::value::number;
use crate::http::header::{HeaderId, HeaderList};
use crate::http::modules::calendar::parse_http_date;
use crate::http::upstream::conf::Ignored;

/// How long a response may be kept. Times are in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// Until when it is fresh.
    pub(crate) valid: i64,
    /// Until when it may be used while a newer one is fetched.
    pub(crate) stale_updating: i64,
    /// Until when it may be used when no newer one can be had.
    pub(crate) stale_error: i64,
}

/// What the head and the configuration allow; `None`: it may not be kept. `ignored` lists headers that don't count.
pub(crate) fn of(status: u16, fields: &HeaderList, ignored: u32, rules: &[Valid], now: i64) -> Option<Freshness> {
    let counts = |bit: u32| ignored & bit == 0;
    if counts(Ignored::SET_COOKIE) && fields.contains(HeaderId::SetCookie) {
        return None;
    }
    if counts(Ignored::VARY) && fields.named(b"Vary").any(|field| field.value.trim_ascii() == b"*") {
        return None;
    }
    let mut fresh = said(fields, ignored, now)?;
    if fresh.valid == 0 {
        fresh.valid = now + configured(status, rules)?;
    }
    Some(fresh.counted_from_its_end())
}

/// What a head says by itself; `None` when it says nothing, or that the response may not be kept.
pub(crate) fn told(fields: &HeaderList, ignored: u32, now: i64) -> Option<Freshness> {
    said(fields, ignored, now).filter(|fresh| fresh.valid > 0).map(Freshness::counted_from_its_end)
}

/// Seconds for which the configuration lets a response of this status be kept.
pub(crate) fn configured(status: u16, rules: &[Valid]) -> Option<i64> {
    let rule = rules.iter().find(|rule| rule.status == 0 || rule.status == status)?;
    let seconds = i64::try_from(rule.time.as_secs()).unwrap_or(i64::MAX / 2);
    (!rule.time.is_zero()).then_some(seconds)
}

impl Freshness {
    /// The times of stale use, counted from the end of freshness.
    fn counted_from_its_end(mut self) -> Self {
        for stale in [&mut self.stale_updating, &mut self.stale_error] {
            if *stale > 0 {
                *stale += self.valid;
            }
        }
        self
    }
}

/// What headers say, with seconds in place of the times of stale use; `None` when they forbid.
fn said(fields: &HeaderList, ignored: u32, now: i64) -> Option<Freshness> {
    let counts = |bit: u32| ignored & bit == 0;
    let mut fresh = Freshness::default();
    let accel = fields.named(b"X-Accel-Expires").next().filter(|_| counts(Ignored::ACCEL_EXPIRES));
    let mut by_accel = false;
    if let Some(field) = accel {
        let value = match field.value.strip_prefix(b"@") {
            // A moment that is over already makes a response that is stale from the beginning.
            Some(moment) => number(moment),
            None => number(&field.value).map(|seconds| if seconds == 0 { 0 } else { now + seconds }),
        };
        if let Some(until) = value {
            if until <= 0 {
                return None;
            }
            fresh.valid = until;
            by_accel = true;
        }
    }
    let mut by_control = false;
    if counts(Ignored::CACHE_CONTROL) {
        for field in fields.named(b"Cache-Control") {
            by_control |= control(&field.value, &mut fresh, by_accel, now)?;
        }
    }
    if !by_accel
        && !by_control
        && counts(Ignored::EXPIRES)
        && let Some(field) = fields.named(b"Expires").next()
    {
        fresh.valid = parse_http_date(&field.value).filter(|until| *until > now)?;
    }
    Some(fresh)
}

/// Reads `Cache-Control`. Whether it says how long; `None` when it forbids.
fn control(value: &[u8], fresh: &mut Freshness, by_accel: bool, now: i64) -> Option<bool> {
    let mut said = false;
    let mut shared = false;
    for word in value.split(|byte| *byte == b',') {
        let word = word.trim_ascii().to_ascii_lowercase();
        let (name, seconds) = match memchr::memchr(b'=', &word) {
            Some(at) => (&word[..at], number(word[at + 1..].trim_ascii())),
            None => (&word[..], None),
        };
        match name {
            b"no-cache" | b"no-store" | b"private" if !by_accel => return None,
            b"s-maxage" | b"max-age" if !by_accel && (name == b"s-maxage" || !shared) => {
                shared |= name == b"s-maxage";
                said = true;
                let seconds = seconds.filter(|seconds| *seconds > 0)?;
                fresh.valid = now + seconds;
            }
            b"stale-while-revalidate" => fresh.stale_updating = seconds.unwrap_or(0),
            b"stale-if-error" => fresh.stale_error = seconds.unwrap_or(0),
            _ => {}
        }
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn valid(headers: &[(&'static str, &'static str)]) -> Option<i64> {
        let rules = [Valid { status: 200, time: Duration::from_mins(1) }];
        let mut fields = HeaderList::default();
        for (name, value) in headers {
            fields.add(*name, *value);
        }
        of(200, &fields, 0, &rules, NOW).map(|fresh| fresh.valid - NOW)
    }

    #[test]
    fn the_head_goes_before_the_configuration() {
        assert_eq!(valid(&[]), Some(60));
        assert_eq!(valid(&[("Cache-Control", "public, max-age=5")]), Some(5));
        assert_eq!(valid(&[("Cache-Control", "max-age=5, s-maxage=7")]), Some(7));
        assert_eq!(valid(&[("Cache-Control", "s-maxage=7, max-age=5")]), Some(7));
        assert_eq!(valid(&[("Cache-Control", "max-age=5"), ("X-Accel-Expires", "9")]), Some(9));
        assert_eq!(valid(&[("X-Accel-Expires", "@1000004")]), Some(4));
        assert_eq!(valid(&[("Expires", "Mon, 12 Jan 1970 13:46:50 GMT")]), Some(10));
    }

    #[test]
    fn some_responses_are_not_kept() {
        for header in [
            ("Cache-Control", "no-store"),
            ("Cache-Control", "private"),
            ("Cache-Control", "max-age=0"),
            ("Expires", "0"),
            ("Set-Cookie", "a=b"),
            ("Vary", "*"),
            ("X-Accel-Expires", "0"),
        ] {
            assert_eq!(valid(&[header]), None, "{header:?}");
        }
        let rules = [Valid { status: 200, time: Duration::from_mins(1) }];
        assert_eq!(of(404, &HeaderList::default(), 0, &rules, NOW), None);
    }

    #[test]
    fn stale_use_counts_from_the_end_of_freshness() {
        let mut fields = HeaderList::default();
        fields.add("Cache-Control", "max-age=5, stale-while-revalidate=10, stale-if-error=20");
        let fresh = of(200, &fields, 0, &[], NOW).expect("kept");
        assert_eq!((fresh.stale_updating - NOW, fresh.stale_error - NOW), (15, 25));
    }
}
