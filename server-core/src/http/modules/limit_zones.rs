//! What `limit_req` and `limit_conn` share: their zones of shared memory, and what they decided about a request.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::{Directive, Word, value};
use crate::cycle::Cycle;
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Merge;
use crate::http::request::Request;
use crate::log::Level;
use crate::shared_dict::{Numbers, Zone};

/// What a limit decided about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitStatus {
    /// Nothing was asked.
    #[default]
    None,
    /// Within the limit.
    Passed,
    /// Served later.
    Delayed,
    /// Refused.
    Rejected,
    /// Would have been served later.
    DelayedDryRun,
    /// Would have been refused.
    RejectedDryRun,
}

impl LimitStatus {
    /// The value of `$limit_req_status` and `$limit_conn_status`.
    pub(super) fn text(self) -> Option<Bytes> {
        let text = match self {
            Self::None => return None,
            Self::Passed => "PASSED",
            Self::Delayed => "DELAYED",
            Self::Rejected => "REJECTED",
            Self::DelayedDryRun => "DELAYED_DRY_RUN",
            Self::RejectedDryRun => "REJECTED_DRY_RUN",
        };
        Some(Bytes::from_static(text.as_bytes()))
    }
}

/// Which of a request's two decisions: what `limit_req` and `limit_conn` say stands apart.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Of `limit_req`.
    Requests,
    /// Of `limit_conn`.
    Connections,
}

impl Kind {
    /// What was decided about the request, or its parent.
    pub(super) fn decision(self, r: &Request) -> LimitStatus {
        r.main_ref().limit_status.get()[self as usize]
    }

    /// Notes a decision.
    pub(super) fn decide(self, r: &Request, decision: LimitStatus) {
        let decisions = &r.main_ref().limit_status;
        let mut both = decisions.get();
        both[self as usize] = decision;
        decisions.set(both);
    }
}

/// A limit of a location.
pub trait Limit: Clone {
    /// Whose decisions it makes.
    const KIND: Kind;

    /// The number of its zone.
    fn zone(&self) -> usize;
}

/// Settings of a location: the limits of one kind, and what becomes of a request beyond them.
pub struct Limits<L> {
    pub(super) all: Rc<Vec<L>>,
    pub(super) log_level: Option<Level>,
    pub(super) status: Option<u16>,
    pub(super) dry_run: Option<bool>,
}

impl<L> Default for Limits<L> {
    fn default() -> Self {
        Self { all: Rc::default(), log_level: None, status: None, dry_run: None }
    }
}

impl<L> Merge for Limits<L> {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.all.is_empty() {
            self.all = Rc::clone(&outer.all);
        }
        self.log_level = self.log_level.or(outer.log_level);
        self.status = self.status.or(outer.status);
        self.dry_run = self.dry_run.or(outer.dry_run);
        Ok(())
    }
}

impl<L: Limit> Limits<L> {
    /// Adds a limit; a zone limits a location once.
    pub(super) fn add(&mut self, directive: &Directive, limit: L) -> Result<(), Diagnostic> {
        let all = Rc::make_mut(&mut self.all);
        if all.iter().any(|known| known.zone() == limit.zone()) {
            return Err(value::duplicate(directive));
        }
        all.push(limit);
        Ok(())
    }

    /// Whether requests are only looked at.
    pub(super) fn dry_run(&self) -> bool {
        self.dry_run.unwrap_or(false)
    }

    /// How loudly a refusal is logged.
    pub(super) fn log_level(&self) -> Level {
        self.log_level.unwrap_or(Level::Error)
    }

    /// Refuses the request, or would have.
    pub(super) fn refuse(&self, r: &Request) -> Code {
        if self.dry_run() {
            L::KIND.decide(r, LimitStatus::RejectedDryRun);
            return Code::DECLINED;
        }
        L::KIND.decide(r, LimitStatus::Rejected);
        Code(i32::from(self.status.unwrap_or(503)))
    }
}

/// A zone of the configuration: for which key it counts, and the memory.
pub struct LimitZone {
    pub(super) name: Box<[u8]>,
    pub(super) key: ComplexValue,
    /// What the configuration says of [`LimitZone::number`].
    rate: u64,
    /// What all workers go by.
    live: OnceLock<Numbers>,
    /// 0 until the zone is declared.
    size: usize,
    memory: OnceLock<Arc<Zone>>,
}

impl LimitZone {
    /// The memory; there from the start of the server on.
    pub(super) fn memory(&self) -> Option<&Arc<Zone>> {
        self.memory.get()
    }

    /// Of zones of requests: thousandths of a request a second. Of zones of connections: how many are allowed whatever
    /// a location says, 0 for what it says.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        let live = self.live.get().and_then(|numbers| numbers.first());
        live.map_or(self.rate, |number| number.load(Ordering::Relaxed).cast_unsigned())
    }

    /// Sets it for all workers, until the configuration is read again.
    pub(crate) fn set_number(&self, value: u64) {
        if let Some(number) = self.live.get().and_then(|numbers| numbers.first()) {
            number.store(value.cast_signed(), Ordering::Relaxed);
        }
    }
}

/// The zones of one kind. Limits refer to them by number.
#[derive(Default)]
pub struct LimitZones(Vec<LimitZone>);

/// A zone must have room for eight pages.
const SMALLEST: usize = 8 * 4096;

impl LimitZones {
    /// The number of a zone, which may be declared further down.
    pub(super) fn refer(&mut self, name: &[u8]) -> usize {
        if let Some(known) = self.0.iter().position(|zone| &*zone.name == name) {
            return known;
        }
        let (name, key) = (name.into(), ComplexValue::default());
        self.0.push(LimitZone { name, key, rate: 0, live: OnceLock::new(), size: 0, memory: OnceLock::new() });
        self.0.len() - 1
    }

    /// Declares a zone.
    pub(super) fn declare(
        &mut self,
        directive: &Directive,
        spec: &ZoneSpec<'_>,
        key: ComplexValue,
        rate: u64,
    ) -> Result<(), Diagnostic> {
        let number = self.refer(spec.name);
        let Some(zone) = self.0.get_mut(number) else { return Ok(()) };
        if zone.size != 0 {
            let (directive_name, name) = (directive.name(), spec.word.lossy());
            let bound = zone.key.source().escape_ascii();
            let message = format!("{directive_name} \"{name}\" is already bound to key \"{bound}\"");
            return Err(directive.error_at(spec.word, "duplicate_zone", message));
        }
        (zone.key, zone.rate, zone.size) = (key, rate, spec.size);
        Ok(())
    }

    /// Every zone that a limit names must have been declared.
    pub(crate) fn check(&self, directive: &Directive) -> Result<(), Diagnostic> {
        match self.0.iter().find(|zone| zone.size == 0) {
            None => Ok(()),
            Some(zone) => {
                let message = format!("zero size shared memory zone \"{}\"", zone.name.escape_ascii());
                Err(directive.error("unknown_zone", message))
            }
        }
    }

    /// A zone by its name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&LimitZone> {
        self.0.iter().find(|zone| *zone.name == *name)
    }

    /// A zone by its number.
    pub(super) fn zone(&self, number: usize) -> Option<&LimitZone> {
        self.0.get(number)
    }

    /// Maps the zones; those of the cycle before with the same name, size and key are kept.
    fn open(&self, before: Option<&Self>) -> io::Result<()> {
        for zone in &self.0 {
            let kept = before.and_then(|zones| zones.0.iter().find(|old| old.name == zone.name));
            let kept = kept.filter(|old| old.size == zone.size && old.key.source() == zone.key.source());
            let memory = match kept.and_then(LimitZone::memory) {
                Some(memory) => Arc::clone(memory),
                None => Arc::new(Zone::create(&zone.name, zone.size)?),
            };
            // A cycle is opened once.
            let _ = zone.memory.set(memory);
            let live = Numbers::new(1)?;
            if let Some(number) = live.first() {
                number.store(zone.rate.cast_signed(), Ordering::Relaxed);
            }
            let _ = zone.live.set(live);
        }
        Ok(())
    }
}

/// Maps the zones of all limits and caches, before workers are forked.
pub(crate) fn open_all(cycle: &'static Cycle) -> io::Result<()> {
    for main in cycle.mains() {
        let before = cycle.conf.previous.get().and_then(|cycle| cycle.main(main.core.subsystem));
        main.limit_req.zones.open(before.map(|main| &main.limit_req.zones))?;
        main.limit_conn.zones.open(before.map(|main| &main.limit_conn.zones))?;
        for cache in &main.upstream.caches {
            let known = before.and_then(|main| main.upstream.caches.iter().find(|known| known.name == cache.name));
            cache.open(known.map(|known| &**known))?;
        }
    }
    Ok(())
}

/// `zone=NAME:SIZE`
pub(super) struct ZoneSpec<'a> {
    word: &'a Word,
    pub(super) name: &'a [u8],
    size: usize,
}

impl<'a> ZoneSpec<'a> {
    /// Reads the part of a word behind `zone=`.
    pub(super) fn parse(directive: &Directive, word: &'a Word, text: &'a [u8]) -> Result<Self, Diagnostic> {
        let invalid = |message: String| directive.error_at(word, "invalid_zone", message);
        let split = memchr::memchr(b':', text).map(|at| (&text[..at], &text[at + 1..]));
        let size = split.and_then(|(name, size)| Some((name, value::size(size)?)));
        let Some((name, size)) = size else {
            return Err(invalid(format!("invalid zone size \"{}\"", word.lossy())));
        };
        if size < SMALLEST {
            return Err(invalid(format!("zone \"{}\" is too small", word.lossy())));
        }
        Ok(Self { word, name, size })
    }
}

/// The error of a directive whose zone is missing.
pub(super) fn lacks_zone(directive: &Directive) -> Diagnostic {
    directive.error("missing_zone", format!("\"{}\" must have \"zone\" parameter", directive.name()))
}

/// The error of a word that means nothing.
pub(super) fn invalid_parameter(directive: &Directive, word: &Word) -> Diagnostic {
    directive.error_at(word, "invalid_parameter", format!("invalid parameter \"{}\"", word.lossy()))
}

/// The rules of `limit_KIND_log_level`, `limit_KIND_status` and `limit_KIND_dry_run`, behind those that differ.
macro_rules! limit_rules {
    ($kind:literal, $field:ident; $($rule:expr,)*) => {
        &[
            $($rule,)*
            rule(concat!("limit_", $kind, "_log_level"), USUAL, Arity::Words(1, 1), |scope, directive| {
                set_enum(&mut scope.loc.$field.log_level, directive, &LOG_LEVELS)
            }),
            rule(concat!("limit_", $kind, "_status"), USUAL, Arity::Words(1, 1), |scope, directive| {
                set_status(&mut scope.loc.$field.status, directive)
            }),
            rule(concat!("limit_", $kind, "_dry_run"), USUAL, Arity::Flag, |scope, directive| {
                set_flag(&mut scope.loc.$field.dry_run, directive)
            }),
        ]
    };
}
pub(super) use limit_rules;

/// The words of `limit_req_log_level` and `limit_conn_log_level`.
pub(super) const LOG_LEVELS: [(&str, Level); 4] =
    [("info", Level::Info), ("notice", Level::Notice), ("warn", Level::Warn), ("error", Level::Error)];

/// `limit_req_status` and `limit_conn_status`.
pub(super) fn set_status(slot: &mut Option<u16>, directive: &Directive) -> Result<(), Diagnostic> {
    value::set_number(slot, directive)?;
    match slot {
        Some(400..=599) => Ok(()),
        _ => Err(directive.error("invalid_value", "value must be between 400 and 599")),
    }
}
