//! `upstream { }` and what stands in it.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::value::{self, duplicate, invalid_value};
use crate::conf::{Arity, Contexts, Directive, Rule, Word};
use crate::http::conf::Scope;
use crate::upstream::address::Target;
use crate::upstream::group::{Group, Keepalive, Method, Peer};

/// A group that exists when the configuration is complete.
pub type GroupRef = Rc<OnceCell<Rc<Group>>>;

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    /// The groups of the configuration, and those made for single hosts.
    pub groups: Vec<Named>,
    building: Option<Building>,
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
    /// The port of a group that was made for a host; `None` for an `upstream` block.
    pub port: Option<u16>,
    /// The group.
    pub group: Rc<Group>,
}

#[derive(Default)]
struct Building {
    group: Group,
    keepalive: Option<usize>,
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

    /// The group that requests for this host use.
    pub fn find(&self, host: &[u8], port: Option<u16>) -> Option<&Rc<Group>> {
        let fits = |named: &&Named| {
            named.name.eq_ignore_ascii_case(host) && (named.port.is_none() || port.is_none() || named.port == port)
        };
        self.groups.iter().find(fits).map(|named| &named.group)
    }

    /// Settles all references, when the whole configuration has been read.
    pub(crate) fn finish(&mut self) -> Result<(), Diagnostic> {
        for Pending { target, slot, directive } in std::mem::take(&mut self.pending) {
            let known = self.groups.iter().find(|named| named.fits(&target));
            let group = match known {
                Some(named) if named.port.is_none() && target.has_port => {
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
        let group = Rc::new(Group::of(target.host.clone(), addresses));
        let name = target.host.to_ascii_lowercase().into();
        self.groups.push(Named { name, port: Some(target.port), group: Rc::clone(&group) });
        Ok(group)
    }
}

impl Named {
    fn fits(&self, target: &Target) -> bool {
        self.name.eq_ignore_ascii_case(&target.host) && self.port.is_none_or(|port| port == target.port)
    }
}

fn written(target: &Target) -> String {
    let host = String::from_utf8_lossy(&target.host);
    if target.has_port { format!("{host}:{}", target.port) } else { host.into_owned() }
}

fn not_found(directive: &Directive, name: &str) -> Diagnostic {
    directive.error("host_not_found", format!("host not found in upstream \"{name}\""))
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "upstream", contexts: Contexts::HTTP, args: Arity::Block(1, 1), apply: upstream },
    inner("server", Arity::Words(1, Arity::MANY), server),
    inner("least_conn", Arity::Words(0, 0), |scope, directive| {
        let again = with(scope, |building| {
            building.group.balancer.is_some()
                || std::mem::replace(&mut building.group.method, Method::LeastConnections) != Method::RoundRobin
        });
        warn_if(scope, directive, again);
        Ok(())
    }),
    // Workers share no counters; each shares out its own requests.
    inner("zone", Arity::Words(1, 2), |_, _| Ok(())),
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
fn with<T>(scope: &mut Scope<'_>, change: impl FnOnce(&mut Building) -> T) -> Option<T> {
    scope.main.upstream.building.as_mut().map(change)
}

/// Idle connections that a group keeps unless it says otherwise.
const KEEPALIVE_DEFAULT: usize = 32;

fn upstream(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(name) = directive.arg(0) else { return Ok(()) };
    let known = |named: &Named| named.port.is_none() && named.name.eq_ignore_ascii_case(&name.text);
    if scope.main.upstream.groups.iter().any(known) {
        let message = format!("duplicate upstream \"{}\"", name.lossy());
        return Err(directive.error_at(name, "duplicate_upstream", message));
    }
    let group = Group { name: Bytes::copy_from_slice(&name.text), ..Group::default() };
    scope.main.upstream.building = Some(Building { group, ..Building::default() });
    let inside = if scope.context == Contexts::STREAM { Contexts::STREAM_UPSTREAM } else { Contexts::UPSTREAM };
    scope.nested(inside, directive)?;
    let Some(building) = scope.main.upstream.building.take() else { return Ok(()) };
    let mut group = building.group;
    let by_lua = group.balancer.is_some();
    if !by_lua && group.primary.is_empty() && group.backup.is_empty() {
        return Err(directive.error("no_servers", "no servers are inside upstream"));
    }
    if !by_lua && group.primary.is_empty() {
        return Err(directive.error("no_servers", format!("no servers in upstream \"{}\"", name.lossy())));
    }
    // Lua code decides by itself which connections are kept, unless the configuration says so.
    let max = building.keepalive.unwrap_or(if by_lua { 0 } else { KEEPALIVE_DEFAULT });
    group.keepalive = (max > 0).then(|| Keepalive {
        max,
        requests: building.requests.unwrap_or(1000),
        time: building.time.unwrap_or(Duration::from_hours(1)),
        timeout: building.timeout.unwrap_or(Duration::from_mins(1)),
        local: building.keepalive.is_none(),
    });
    let name = name.text.to_ascii_lowercase().into();
    scope.main.upstream.groups.push(Named { name, port: None, group: Rc::new(group) });
    Ok(())
}

fn keepalive(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
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
        Ok(())
    })
    .unwrap_or(Ok(()))
}

/// Says that the way of choosing was set before.
fn warn_if(scope: &mut Scope<'_>, directive: &Directive, again: Option<bool>) {
    if again == Some(true) {
        let message = "load balancing method redefined";
        let warning = Diagnostic::warning("balancer_redefined", message).at(&directive.source, directive.name.span);
        scope.cycle.notice(crate::log::Level::Warn, warning);
    }
}

fn balancer_by_lua(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let script = crate::http::modules::lua::directives::script_of(scope, directive, "balancer_by_lua")?;
    with(
        scope,
        |building| {
            if building.group.balancer.replace(script).is_some() { Err(duplicate(directive)) } else { Ok(()) }
        },
    )
    .unwrap_or(Ok(()))
}

fn server(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some((address, parameters)) = directive.args.split_first() else { return Ok(()) };
    let text = Bytes::copy_from_slice(&address.text);
    let target = Target::parse(&text, 80).map_err(|error| {
        let message = format!("{error} in upstream \"{}\"", address.lossy());
        directive.error_at(address, "invalid_address", message)
    })?;
    let addresses = target.resolve();
    if addresses.is_empty() {
        return Err(not_found(directive, &address.lossy()));
    }
    let parameters = Parameters::read(directive, parameters)?;
    let peers = addresses.into_iter().map(|address| {
        let mut peer = Peer::new(address).weighing(parameters.weight);
        peer.max_conns = parameters.max_conns;
        peer.max_fails = parameters.max_fails;
        peer.fail_timeout = parameters.fail_timeout;
        peer.down.set(parameters.down);
        Rc::new(peer)
    });
    with(scope, |building| {
        let list = if parameters.backup { &mut building.group.backup } else { &mut building.group.primary };
        list.extend(peers);
    });
    Ok(())
}

struct Parameters {
    weight: i64,
    max_conns: u32,
    max_fails: u32,
    fail_timeout: i64,
    backup: bool,
    down: bool,
}

impl Parameters {
    fn read(directive: &Directive, words: &[Word]) -> Result<Self, Diagnostic> {
        let mut all = Self { weight: 1, max_conns: 0, max_fails: 1, fail_timeout: 10, backup: false, down: false };
        for word in words {
            let text = &*word.text;
            let number = |prefix: &[u8]| text.strip_prefix(prefix).and_then(value::number);
            let count = |prefix: &[u8]| number(prefix).and_then(|number| u32::try_from(number).ok());
            if let Some(weight) = number(b"weight=").filter(|weight| *weight > 0) {
                all.weight = weight;
            } else if let Some(most) = count(b"max_conns=") {
                all.max_conns = most;
            } else if let Some(most) = count(b"max_fails=") {
                all.max_fails = most;
            } else if let Some(time) =
                text.strip_prefix(b"fail_timeout=").and_then(|time| value::time(time, value::Resolution::Seconds))
            {
                all.fail_timeout = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            } else if text == b"backup" {
                all.backup = true;
            } else if text == b"down" {
                all.down = true;
            } else {
                let message = format!("invalid parameter \"{}\"", word.lossy());
                return Err(directive.error_at(word, "invalid_parameter", message));
            }
        }
        Ok(all)
    }
}
