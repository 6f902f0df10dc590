//! `upstream { }` and what stands in it.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::servers::{self, finish_zone};
use crate::conf::value::{self, duplicate, invalid_value};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::cache::zone::CacheZone;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::upstream::address::Target;
use crate::upstream::group::{Group, Keepalive, Method, Server};
use crate::upstream::timing::{LeastTime, Measure};

/// A group that exists when the configuration is complete.
pub type GroupRef = Rc<OnceCell<Rc<Group>>>;

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    /// The groups of the configuration, and those made for single hosts.
    pub groups: Vec<Named>,
    /// The caches, by the directives that define them.
    pub(crate) caches: Vec<Arc<CacheZone>>,
    /// Names of caches that are used, to be checked.
    pub(crate) cache_uses: Vec<(Box<[u8]>, Directive)>,
    pub(super) building: Option<Building>,
    pending: Vec<Pending>,
}

/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

/// A group with what it is found by.
pub struct Named {
    /// The name, in lower case.
    pub name: Box<[u8]>,
    /// The port, where the name has one; groups made for hosts always have.
    pub port: Option<u16>,
    /// Whether it is an `upstream` block.
    pub is_block: bool,
    /// The group.
    pub group: Rc<Group>,
}

/// The `upstream` block that is being read.
#[derive(Default)]
pub(super) struct Building {
    pub(super) group: Group,
    /// Bytes of its memory.
    pub(super) zone: Option<usize>,
    chosen: bool,
    keepalive: Option<usize>,
    local: bool,
    requests: Option<u32>,
    time: Option<Duration>,
    timeout: Option<Duration>,
}

/// A use of a group that may be defined later in the file.
struct Pending {
    target: Target,
    slot: GroupRef,
    directive: Directive,
}

impl MainConf {
    /// A reference to the group of this name, or to a group for this host.
    pub fn refer(&mut self, target: &Target, directive: &Directive) -> GroupRef {
        let slot = GroupRef::default();
        self.pending.push(Pending { target: target.clone(), slot: Rc::clone(&slot), directive: directive.clone() });
        slot
    }

    /// The name of a group as scripts see it.
    pub(crate) fn name_of(&self, group: &Rc<Group>) -> Bytes {
        let named = self.groups.iter().find(|named| Rc::ptr_eq(&named.group, group));
        named.map_or_else(|| group.name.clone(), Named::text)
    }

    /// The group that requests for this host use.
    pub fn find(&self, host: &[u8], port: Option<u16>) -> Option<&Rc<Group>> {
        let fits = |named: &&Named| {
            named.name.eq_ignore_ascii_case(host) && (named.port.is_none() || port.is_none() || named.port == port)
        };
        self.groups.iter().find(fits).map(|named| &named.group)
    }

    /// Settles all references, when the whole configuration has been read.
    pub(crate) fn finish(&mut self) -> Result<(), Diagnostic> {
        for (name, directive) in &self.cache_uses {
            if !self.caches.iter().any(|cache| cache.name == *name) {
                let (used, name) = (directive.name(), String::from_utf8_lossy(name));
                return Err(directive.error("unknown_zone", format!("\"{used}\" zone \"{name}\" is unknown")));
            }
        }
        for Pending { target, slot, directive } in std::mem::take(&mut self.pending) {
            let known = self.groups.iter().find(|named| named.fits(&target));
            let group = match known {
                Some(named) if named.port.is_none() && named.is_block && target.has_port => {
                    let name = String::from_utf8_lossy(&target.host);
                    let message = format!("upstream \"{name}\" may not have port {}", target.port);
                    return Err(directive.error("upstream_port", message));
                }
                Some(named) => Rc::clone(&named.group),
                None => self.make(&target, &directive)?,
            };
            // A fresh cell: nobody has set it.
            let _ = slot.set(group);
        }
        Ok(())
    }

    fn make(&mut self, target: &Target, directive: &Directive) -> Result<Rc<Group>, Diagnostic> {
        let addresses = target.resolve();
        if addresses.is_empty() {
            return Err(not_found(directive, &written(target)));
        }
        let mut group = Group::of(target.host.clone(), addresses.iter().cloned());
        // As the configuration would have it, without a name of its own.
        group.servers.push(Server::implied(target.clone(), addresses));
        let group = Rc::new(group);
        let name = target.host.to_ascii_lowercase().into();
        self.groups.push(Named { name, port: Some(target.port), is_block: false, group: Rc::clone(&group) });
        Ok(group)
    }
}

impl Named {
    /// The name as scripts see it.
    pub(crate) fn text(&self) -> Bytes {
        match self.port {
            Some(port) => [&self.group.name[..], b":", port.to_string().as_bytes()].concat().into(),
            None => self.group.name.clone(),
        }
    }

    fn fits(&self, target: &Target) -> bool {
        self.name.eq_ignore_ascii_case(&target.host) && self.port.is_none_or(|port| port == target.port)
    }
}

fn written(target: &Target) -> String {
    let host = String::from_utf8_lossy(&target.host);
    if target.has_port { format!("{host}:{}", target.port) } else { host.into_owned() }
}

pub(super) fn not_found(directive: &Directive, name: &str) -> Diagnostic {
    directive.error("host_not_found", format!("host not found in upstream \"{name}\""))
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "upstream", contexts: Contexts::HTTP, args: Arity::Block(1, 1), apply: upstream },
    inner("server", Arity::Words(1, Arity::MANY), servers::server),
    inner("zone", Arity::Words(1, 2), servers::zone),
    inner("resolver", Arity::Words(1, Arity::MANY), servers::resolver),
    inner("resolver_timeout", Arity::Words(1, 1), |scope, directive| {
        with(scope, |building| value::set_msec(&mut building.group.resolver_timeout, directive)).unwrap_or(Ok(()))
    }),
    inner("least_conn", Arity::Words(0, 0), |scope, directive| method(scope, directive, Method::LeastConnections)),
    inner("least_time", Arity::Words(1, 2), least_time),
    inner("ip_hash", Arity::Words(0, 0), |scope, directive| method(scope, directive, Method::IpHash)),
    inner("hash", Arity::Words(1, 2), hash),
    inner("random", Arity::Words(0, 2), random),
    inner("keepalive", Arity::Words(1, 2), keepalive),
    inner("keepalive_requests", Arity::Words(1, 1), |scope, directive| {
        with(scope, |building| value::set_number(&mut building.requests, directive)).unwrap_or(Ok(()))
    }),
    inner("keepalive_time", Arity::Words(1, 1), |scope, directive| {
        with(scope, |building| value::set_msec(&mut building.time, directive)).unwrap_or(Ok(()))
    }),
    inner("keepalive_timeout", Arity::Words(1, 1), |scope, directive| {
        with(scope, |building| value::set_msec(&mut building.timeout, directive)).unwrap_or(Ok(()))
    }),
    Rule {
        name: "balancer_by_lua_block",
        contexts: Contexts::UPSTREAM,
        args: Arity::LuaBlock(0, 0),
        apply: balancer_by_lua,
    },
    inner("balancer_keepalive", Arity::Words(1, 1), |scope, directive| {
        with(scope, |building| value::set_number(&mut building.group.balancer_keepalive, directive)).unwrap_or(Ok(()))
    }),
    inner("balancer_by_lua_file", Arity::Words(1, 1), balancer_by_lua),
];

const fn inner(
    name: &'static str,
    args: Arity,
    apply: fn(&mut Scope<'_>, &Directive) -> Result<(), Diagnostic>,
) -> Rule {
    Rule { name, contexts: Contexts::UPSTREAM, args, apply }
}

/// Changes the group that is being read.
pub(super) fn with<T>(scope: &mut Scope<'_>, change: impl FnOnce(&mut Building) -> T) -> Option<T> {
    scope.main.upstream.building.as_mut().map(change)
}

/// Idle connections that a group keeps unless it says otherwise.
const KEEPALIVE_DEFAULT: usize = 32;

fn upstream(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(name) = directive.arg(0) else { return Ok(()) };
    let text = Bytes::copy_from_slice(&name.text);
    // A name may have a port, which is a part of it.
    let (host, port) = match Target::parse(&text, 0) {
        Ok(target) if target.has_port && !target.is_unix => (target.host, Some(target.port)),
        _ => (text, None),
    };
    let known = |named: &Named| named.is_block && named.port == port && named.name.eq_ignore_ascii_case(&host);
    if scope.main.upstream.groups.iter().any(known) {
        let message = format!("duplicate upstream \"{}\"", name.lossy());
        return Err(directive.error_at(name, "duplicate_upstream", message));
    }
    let group = Group::named(host);
    scope.main.upstream.building = Some(Building { group, ..Building::default() });
    let inside = if scope.context == Contexts::STREAM { Contexts::STREAM_UPSTREAM } else { Contexts::UPSTREAM };
    scope.nested(inside, directive)?;
    let Some(building) = scope.main.upstream.building.take() else { return Ok(()) };
    let mut group = building.group;
    let by_lua = group.balancer.is_some();
    if !by_lua && group.servers.is_empty() {
        return Err(directive.error("no_servers", "no servers are inside upstream"));
    }
    if !by_lua && group.servers.iter().all(|server| server.backup) {
        return Err(directive.error("no_servers", format!("no servers in upstream \"{}\"", name.lossy())));
    }
    if let Some(server) = group.resolved_servers().next()
        && building.zone.is_none()
    {
        let name = String::from_utf8_lossy(&server.name);
        let message = format!("resolving names at run time requires upstream \"{name}\" to be in shared memory");
        return Err(directive.error("zone_needed", message));
    }
    let (mut primary, mut backup) = servers::peers_of(&group);
    if let Some(size) = building.zone {
        group.roster = Some(finish_zone(directive, size, &mut primary, &mut backup)?);
    }
    group.set_peers(primary.into_iter().map(Rc::new).collect(), backup.into_iter().map(Rc::new).collect());
    // Lua code decides by itself which connections are kept, unless the configuration says so.
    let max = building.keepalive.unwrap_or(if by_lua { 0 } else { KEEPALIVE_DEFAULT });
    group.keepalive = (max > 0).then(|| Keepalive {
        max,
        requests: building.requests.unwrap_or(1000),
        time: building.time.unwrap_or(Duration::from_hours(1)),
        timeout: building.timeout.unwrap_or(Duration::from_mins(1)),
        local: building.keepalive.is_none() || building.local,
    });
    let name = group.name.to_ascii_lowercase().into();
    scope.main.upstream.groups.push(Named { name, port, is_block: true, group: Rc::new(group) });
    Ok(())
}

fn keepalive(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let local = match directive.arg(1) {
        None => false,
        Some(word) if word.is("local") => true,
        Some(word) => {
            let message = format!("invalid parameter \"{}\"", word.lossy());
            return Err(directive.error_at(word, "invalid_parameter", message));
        }
    };
    with(scope, |building| {
        if building.keepalive.is_some() {
            return Err(duplicate(directive));
        }
        let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
        let count = value::number(&word.text).and_then(|count| usize::try_from(count).ok());
        let count = count.ok_or_else(|| {
            let message = format!("invalid value \"{}\" in \"keepalive\" directive", word.lossy());
            directive.error_at(word, "invalid_value", message)
        })?;
        building.keepalive = Some(count);
        building.local = local;
        Ok(())
    })
    .unwrap_or(Ok(()))
}

/// Sets the way of choosing; says so when it was set before.
fn method(scope: &mut Scope<'_>, directive: &Directive, method: Method) -> Result<(), Diagnostic> {
    let again = with(scope, |building| {
        let by_lua = building.group.balancer.is_some();
        building.group.method = method;
        std::mem::replace(&mut building.chosen, true) || by_lua
    });
    warn_if(scope, directive, again);
    Ok(())
}

/// Says that the way of choosing was set before.
fn warn_if(scope: &mut Scope<'_>, directive: &Directive, again: Option<bool>) {
    if again == Some(true) {
        let message = "load balancing method redefined";
        let warning = Diagnostic::warning("balancer_redefined", message).at(&directive.source, directive.name.span);
        scope.cycle.notice(crate::log::Level::Warn, warning);
    }
}

/// `hash KEY [consistent]`
fn hash(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    let key = ComplexValue::of_word(scope, directive, word)?;
    let chosen = match directive.arg(1) {
        None => Method::Hash(key),
        Some(word) if word.is("consistent") => Method::ConsistentHash(key),
        Some(word) => {
            let message = format!("invalid parameter \"{}\"", word.lossy());
            return Err(directive.error_at(word, "invalid_parameter", message));
        }
    };
    method(scope, directive, chosen)
}

/// `random [two [least_conn]]`
fn random(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let wrong = match (directive.arg(0), directive.arg(1)) {
        (Some(word), _) if !word.is("two") => Some(word),
        (_, Some(word)) if !word.is("least_conn") => Some(word),
        _ => None,
    };
    if let Some(word) = wrong {
        let message = format!("invalid parameter \"{}\"", word.lossy());
        return Err(directive.error_at(word, "invalid_parameter", message));
    }
    method(scope, directive, Method::Random { two: directive.arg(0).is_some() })
}

/// `least_time header | last_byte [inflight]`; in `stream { }`, `connect | first_byte | last_byte [inflight]`
fn least_time(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let in_stream = scope.context == Contexts::STREAM_UPSTREAM;
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    let measure = match &*word.text {
        b"header" if !in_stream => Measure::Head,
        b"connect" if in_stream => Measure::Connect,
        b"first_byte" if in_stream => Measure::Head,
        b"last_byte" => Measure::Whole,
        _ => return Err(directive.error_at(word, "invalid_value", format!("invalid value \"{}\"", word.lossy()))),
    };
    let in_flight = match directive.arg(1) {
        None => false,
        Some(word) if word.is("inflight") => true,
        Some(word) => {
            let message = format!("invalid parameter \"{}\"", word.lossy());
            return Err(directive.error_at(word, "invalid_parameter", message));
        }
    };
    method(scope, directive, Method::LeastTime(LeastTime { measure, in_flight }))
}

fn balancer_by_lua(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    // What stands before the script is replaced by it.
    let before = with(scope, |building| building.keepalive.take().is_some() || building.chosen);
    warn_if(scope, directive, before);
    let script = crate::http::modules::lua::directives::script_of(scope, directive, "balancer_by_lua")?;
    with(
        scope,
        |building| {
            if building.group.balancer.replace(script).is_some() { Err(duplicate(directive)) } else { Ok(()) }
        },
    )
    .unwrap_or(Ok(()))
}
