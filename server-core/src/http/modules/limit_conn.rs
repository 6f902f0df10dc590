//! `ngx_http_limit_conn_module`: so many requests at once for a key.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::limit_zones::{
    self, Kind, LOG_LEVELS, LimitStatus, LimitZones, Limits, ZoneSpec, invalid_parameter, lacks_zone, limit_rules,
    set_status,
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
use crate::lua::ffi::hash::crc32;
use crate::shared_dict::{Change, Op, Record, Zone};

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    pub(crate) zones: LimitZones,
}

/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
pub type LocConf = Limits<Limit>;

/// One `limit_conn`.
#[derive(Clone, Copy)]
pub struct Limit {
    zone: usize,
    most: u64,
}

impl limit_zones::Limit for Limit {
    const KIND: Kind = Kind::Connections;

    fn zone(&self) -> usize {
        self.zone
    }
}

const USUAL: Contexts = Contexts::HTTP_SERVER_LOCATION;

/// The directive table.
pub(crate) const RULES: &[Rule] = limit_rules!("conn", limit_conn;
    rule("limit_conn_zone", Contexts::HTTP, Arity::Words(2, 2), limit_conn_zone),
    rule("limit_conn", USUAL, Arity::Words(2, 2), limit_conn),
);

fn limit_conn_zone(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [key, zone] = &directive.args[..] else { return Ok(()) };
    let key = ComplexValue::of_word(scope, directive, key)?;
    let Some(text) = zone.text.strip_prefix(b"zone=") else { return Err(invalid_parameter(directive, zone)) };
    if text.is_empty() {
        return Err(lacks_zone(directive));
    }
    let zone = ZoneSpec::parse(directive, zone, text)?;
    scope.declare_zone(directive, "limit_conn_zone", zone.name)?;
    scope.main.limit_conn.zones.declare(directive, &zone, key, 0)
}

fn limit_conn(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [name, most] = &directive.args[..] else { return Ok(()) };
    let zone = scope.main.limit_conn.zones.refer(&name.text);
    let Some(count) = number(&most.text).filter(|&count| count > 0).and_then(|count| u64::try_from(count).ok()) else {
        let message = format!("invalid number of connections \"{}\"", most.lossy());
        return Err(directive.error_at(most, "invalid_value", message));
    };
    if count > 65_535 {
        return Err(directive.error_at(most, "invalid_value", "connection limit must be less 65536"));
    }
    scope.loc.limit_conn.add(directive, Limit { zone, most: count })
}

/// Counts in the preaccess phase.
pub(crate) struct LimitConnHandler;

impl Handler for LimitConnHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        !loc.limit_conn.all.is_empty()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        limit(r).into()
    }
}

/// A request's place in a zone; given back when it is dropped.
struct Place {
    zone: Arc<Zone>,
    key: Bytes,
}

impl Place {
    /// Takes a place; none when as many as allowed are taken or there is no memory to count.
    fn take(zone: &Arc<Zone>, key: &Bytes, most: u64) -> Result<(Self, u64), Refusal> {
        let taken = zone.update(Op::SAFE, key, 0, |known| {
            let count = known.map_or(0, |record| record.0);
            if count >= most {
                return (Change::Keep, None);
            }
            (Change::Put(Record(count + 1, 0), 0), Some(count + 1))
        });
        let count = taken.map_err(|_| Refusal::NoMemory)?.ok_or(Refusal::Full)?;
        Ok((Self { zone: Arc::clone(zone), key: key.clone() }, count))
    }
}

enum Refusal {
    Full,
    NoMemory,
}

impl Drop for Place {
    fn drop(&mut self) {
        // A place that was taken has a record, unless the zone had to be reset; then there is nothing to give back.
        let _ = self.zone.update(Op::SAFE, &self.key, 0, |known| match known {
            None | Some(Record(..=1, _)) => (Change::Remove, ()),
            Some(Record(count, _)) => (Change::Put(Record(count - 1, 0), 0), ()),
        });
    }
}

fn limit(r: &Rc<Request>) -> Code {
    if Kind::Connections.decision(r) != LimitStatus::None {
        return Code::DECLINED;
    }
    let conf = &r.loc().limit_conn;
    let dry_run = conf.dry_run();
    let mut places = Vec::new();
    for limit in conf.all.iter() {
        let Some(zone) = r.main_conf().limit_conn.zones.zone(limit.zone) else { continue };
        let Some(memory) = zone.memory() else { continue };
        let key = zone.key.eval(r);
        if key.is_empty() {
            continue;
        }
        if key.len() > 255 {
            let text = b"\" key is more than 255 bytes: \"";
            r.log_bytes(Level::Error, &[b"the value of the \"", zone.key.source(), text, &key, b"\""]);
            continue;
        }
        Kind::Connections.decide(r, LimitStatus::Passed);
        let most = if zone.number() == 0 { limit.most } else { zone.number() };
        match Place::take(memory, &key, most) {
            Ok((place, count)) => {
                debug!(r, "limit conn: {:08X} {count}", crc32(&key));
                places.push(place);
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::Full) {
                    let level = conf.log_level();
                    let what = if dry_run { ", dry run," } else { "" };
                    let name = zone.name.escape_ascii();
                    r.log(level, format_args!("limiting connections{what} by zone \"{name}\""));
                }
                return conf.refuse(r);
            }
        }
    }
    if !places.is_empty() {
        r.at_end(move || drop(places));
    }
    Code::DECLINED
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] =
    &[VariableDef::volatile("limit_conn_status", |r, _| Kind::Connections.decision(r).text())];
