//! `ngx_http_limit_req_module`: so many requests a second for a key, by the leaky bucket.
//!
//! A bucket holds thousandths of requests and leaks at its zone's rate. A request that would make it hold more than
//! `burst` is refused; one that finds more than `delay` in it waits until that much has leaked.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::limit_zones::{
    self, Kind, LOG_LEVELS, LimitStatus, LimitZone, LimitZones, Limits, ZoneSpec, invalid_parameter, lacks_zone,
    limit_rules, set_status,
};
use crate::conf::value::{number, set_enum, set_flag};
use crate::conf::{Arity, Contexts, Directive, Rule, rule};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{self, Scope};
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::variables::VariableDef;
use crate::log::Level;
use crate::shared_dict::{Change, Op, Record};

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    pub(crate) zones: LimitZones,
}

/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
pub type LocConf = Limits<Limit>;

/// One `limit_req`; `burst` and `delay` are thousandths of requests.
#[derive(Clone, Copy)]
pub struct Limit {
    zone: usize,
    burst: u64,
    delay: u64,
}

impl limit_zones::Limit for Limit {
    const KIND: Kind = Kind::Requests;

    fn zone(&self) -> usize {
        self.zone
    }
}

const USUAL: Contexts = Contexts::HTTP_SERVER_LOCATION;

/// The directive table.
pub(crate) const RULES: &[Rule] = limit_rules!("req", limit_req;
    rule("limit_req_zone", Contexts::HTTP, Arity::Words(3, 3), limit_req_zone),
    rule("limit_req", USUAL, Arity::Words(1, 3), limit_req),
);

fn limit_req_zone(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some((first, rest)) = directive.args.split_first() else { return Ok(()) };
    let key = ComplexValue::of_word(scope, directive, first)?;
    let (mut zone, mut rate) = (None, 1000);
    for word in rest {
        if let Some(text) = word.text.strip_prefix(b"zone=") {
            zone = Some(ZoneSpec::parse(directive, word, text)?);
        } else if let Some(text) = word.text.strip_prefix(b"rate=") {
            rate = thousandths_a_second(text).ok_or_else(|| {
                directive.error_at(word, "invalid_rate", format!("invalid rate \"{}\"", word.lossy()))
            })?;
        } else {
            return Err(invalid_parameter(directive, word));
        }
    }
    let Some(zone) = zone else { return Err(lacks_zone(directive)) };
    scope.declare_zone(directive, "limit_req_zone", zone.name)?;
    scope.main.limit_req.zones.declare(directive, &zone, key, rate)
}

/// `5r/s`, `30r/m`, or a bare number a second.
fn thousandths_a_second(text: &[u8]) -> Option<u64> {
    let (digits, seconds) = match text.strip_suffix(b"r/m") {
        Some(digits) => (digits, 60),
        None => (text.strip_suffix(b"r/s").unwrap_or(text), 1),
    };
    let requests = u64::try_from(number(digits)?).ok().filter(|&requests| requests > 0)?;
    Some(requests.checked_mul(1000)? / seconds)
}

fn limit_req(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let (mut zone, mut burst, mut delay) = (None, 0, 0);
    let thousandths = |word: &crate::conf::Word, text, what| {
        let value =
            number(text).filter(|&value| value > 0).and_then(|value| u64::try_from(value).ok()?.checked_mul(1000));
        value.ok_or_else(|| {
            directive.error_at(word, "invalid_value", format!("invalid {what} value \"{}\"", word.lossy()))
        })
    };
    for word in &directive.args {
        if let Some(name) = word.text.strip_prefix(b"zone=") {
            zone = Some(scope.main.limit_req.zones.refer(name));
        } else if let Some(text) = word.text.strip_prefix(b"burst=") {
            burst = thousandths(word, text, "burst")?;
        } else if let Some(text) = word.text.strip_prefix(b"delay=") {
            delay = thousandths(word, text, "delay")?;
        } else if word.is("nodelay") {
            delay = u64::MAX;
        } else {
            return Err(invalid_parameter(directive, word));
        }
    }
    let Some(zone) = zone else { return Err(lacks_zone(directive)) };
    scope.loc.limit_req.add(directive, Limit { zone, burst, delay })
}

/// Counts in the preaccess phase.
pub(crate) struct LimitReqHandler;

impl Handler for LimitReqHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        !loc.limit_req.all.is_empty()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        limit(r)
    }
}

/// What a bucket says to a request.
enum Verdict {
    /// There is room; the request has been counted, unless other limits are still to be asked.
    Room(u64),
    /// Too full with it, by this content.
    Full(u64),
}

fn limit(r: &Rc<Request>) -> Outcome {
    if Kind::Requests.decision(r) != LimitStatus::None {
        return Code::DECLINED.into();
    }
    let conf = &r.loc().limit_req;
    let zones = &r.main_conf().limit_req.zones;
    let dry_run = conf.dry_run();
    let log_level = conf.log_level();
    let what = if dry_run { ", dry run" } else { "" };
    // The limits that were asked and have room, with the keys under which they count.
    let mut asked: Vec<(&Limit, &LimitZone, Bytes)> = Vec::new();
    for (number, limit) in conf.all.iter().enumerate() {
        let Some(zone) = zones.zone(limit.zone) else { continue };
        let key = zone.key.eval(r);
        if key.is_empty() {
            continue;
        }
        if key.len() > 65_535 {
            let text = b"\" key is more than 65535 bytes: \"";
            r.log_bytes(Level::Error, &[b"the value of the \"", zone.key.source(), text, &key, b"\""]);
            continue;
        }
        let is_last = number + 1 == conf.all.len();
        let verdict = ask(zone, limit, &key, if is_last { Count::Yes } else { Count::NotYet });
        let (code, excess) = match &verdict {
            Some(Verdict::Room(excess)) => (if is_last { Code::OK } else { Code::AGAIN }, *excess),
            Some(Verdict::Full(excess)) => (Code::BUSY, *excess),
            None => (Code::ERROR, 0),
        };
        debug!(r, "limit_req[{number}]: {} {}.{:03}", code.0, excess / 1000, excess % 1000);
        if matches!(verdict, Some(Verdict::Room(_))) {
            asked.push((limit, zone, key));
            continue;
        }
        if let Some(Verdict::Full(excess)) = verdict {
            let (whole, rest, name) = (excess / 1000, excess % 1000, zone.name.escape_ascii());
            r.log(log_level, format_args!("limiting requests{what}, excess: {whole}.{rest:03} by zone \"{name}\""));
        }
        return conf.refuse(r).into();
    }
    if asked.is_empty() {
        return Code::DECLINED.into();
    }
    let Some((delay, excess, zone)) = account(&asked, conf.all.last()) else {
        Kind::Requests.decide(r, LimitStatus::Passed);
        return Code::DECLINED.into();
    };
    let (whole, rest, name) = (excess / 1000, excess % 1000, zone.name.escape_ascii());
    // One step less severe than a refusal.
    let level = Level::from_number(log_level as u8 + 1).map_or(Level::Info, |level| level.min(Level::Info));
    r.log(level, format_args!("delaying request{what}, excess: {whole}.{rest:03}, by zone \"{name}\""));
    if dry_run {
        Kind::Requests.decide(r, LimitStatus::DelayedDryRun);
        return Code::DECLINED.into();
    }
    Kind::Requests.decide(r, LimitStatus::Delayed);
    let r = Rc::clone(r);
    Outcome::wait(async move {
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_millis(delay)) => {
                debug!(r, "limit_req delay");
                Code::DECLINED
            }
            () = r.conn().client_gone() => {
                r.log(Level::Info, format_args!("client prematurely closed connection"));
                Code::CLIENT_CLOSED_REQUEST
            }
        }
    })
}

/// Whether asking a bucket counts the request in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    NotYet,
    Yes,
}

/// Asks a bucket. None: there is no memory for it.
fn ask(zone: &LimitZone, limit: &Limit, key: &[u8], count: Count) -> Option<Verdict> {
    let now = now();
    let asked = zone.memory()?.update(Op::SET, key, now, |known| {
        let excess = known.map_or(0, |bucket| content(bucket, zone.number(), now));
        if excess > limit.burst {
            return (Change::Keep, Verdict::Full(excess));
        }
        let change = match (known, count) {
            (Some(_), Count::NotYet) => Change::Keep,
            // One that will be counted later is not there for the time being: the first request is free.
            (None, Count::NotYet) => put(0, 0, zone.number()),
            (Some(bucket), Count::Yes) => put(excess, latest(bucket, now), zone.number()),
            (None, Count::Yes) => put(0, now, zone.number()),
        };
        (change, Verdict::Room(excess))
    });
    asked.ok()
}

/// Counts the request in the buckets that were asked without counting. The longest delay, with its bucket's content
/// and zone, if the request has to wait.
fn account<'a>(asked: &[(&Limit, &'a LimitZone, Bytes)], last: Option<&Limit>) -> Option<(u64, u64, &'a LimitZone)> {
    let mut longest: Option<(u64, u64, &LimitZone)> = None;
    for (limit, zone, key) in asked.iter().rev() {
        let now = now();
        let counted = last.is_some_and(|last| last.zone == limit.zone);
        let updated = zone.memory()?.update(Op::SET, key, now, |known| match known {
            None => (Change::Keep, 0),
            Some(bucket) if counted => (Change::Keep, bucket.0),
            Some(bucket) => {
                let excess = content(bucket, zone.number(), now);
                (put(excess, latest(bucket, now), zone.number()), excess)
            }
        });
        let Ok(excess) = updated else { continue };
        let delay = if excess <= limit.delay { 0 } else { (excess - limit.delay) * 1000 / zone.number().max(1) };
        if delay > longest.map_or(0, |(delay, ..)| delay) {
            longest = Some((delay, excess, zone));
        }
    }
    longest
}

/// What a bucket holds with one more request. A clock that went back far counts as one millisecond.
fn content(bucket: Record, rate: u64, now: u64) -> u64 {
    let Record(excess, last) = bucket;
    let leaked = rate.saturating_mul(passed(last, now)) / 1000;
    (excess + 1000).saturating_sub(leaked)
}

fn passed(last: u64, now: u64) -> u64 {
    if last > now.saturating_add(60_000) { 1 } else { now.saturating_sub(last) }
}

/// The time of a bucket's last change; a change within the same millisecond is none.
fn latest(bucket: Record, now: u64) -> u64 {
    if passed(bucket.1, now) == 0 { bucket.1 } else { now }
}

/// A bucket lives until it has been empty for a minute.
fn put(excess: u64, last: u64, rate: u64) -> Change {
    let life = 60_000 + excess.saturating_mul(1000) / rate.max(1);
    Change::Put(Record(excess, last), i64::try_from(life).unwrap_or(0))
}

fn now() -> u64 {
    u64::try_from(crate::clock::now().epoch_msec()).unwrap_or(0)
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] =
    &[VariableDef::volatile("limit_req_status", |r, _| Kind::Requests.decision(r).text())];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_counted_in_thousandths() {
        assert_eq!(thousandths_a_second(b"2r/s"), Some(2000));
        assert_eq!(thousandths_a_second(b"30r/m"), Some(500));
        assert_eq!(thousandths_a_second(b"7"), Some(7000));
        for bad in [&b"0r/s"[..], b"r/s", b"1.5r/s", b"-1", b"99999999999999999999r/s"] {
            assert_eq!(thousandths_a_second(bad), None);
        }
    }

    #[test]
    fn a_bucket_leaks_and_never_below_zero() {
        assert_eq!(content(Record(0, 1000), 2000, 1000), 1000);
        assert_eq!(content(Record(1000, 1000), 2000, 1250), 1500);
        assert_eq!(content(Record(1000, 1000), 2000, 90_000), 0);
        // The clock went back: a little is no time at all, a lot is one millisecond.
        assert_eq!(content(Record(0, 2000), 2000, 1000), 1000);
        assert_eq!(content(Record(0, 100_000), 2000, 1000), 998);
    }
}
