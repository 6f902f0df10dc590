//! A group of servers and the choice among them: smooth weighted round robin, with failures and backups.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::address::PeerAddress;
use super::idle::IdlePool;
use crate::http::modules::lua::script::Script;

/// One server of a group.
#[derive(Debug)]
pub struct Peer {
    /// Its address.
    pub address: PeerAddress,
    /// The address as log lines and `$upstream_addr` show it.
    pub name: Bytes,
    /// Its share of the requests.
    pub weight: i64,
    /// Requests at the same time; 0 is no limit.
    pub max_conns: u32,
    /// Failures after which it is left alone; 0 never.
    pub max_fails: u32,
    /// Seconds in which failures count, and for which it is left alone.
    pub fail_timeout: i64,
    /// Taken out by the configuration.
    pub down: Cell<bool>,
    current_weight: Cell<i64>,
    effective_weight: Cell<i64>,
    fails: Cell<u32>,
    checked: Cell<i64>,
    accessed: Cell<i64>,
    conns: Cell<u32>,
}

impl Peer {
    /// A server with the usual parameters.
    pub fn new(address: PeerAddress) -> Self {
        Self {
            name: Bytes::from(address.to_string()),
            address,
            weight: 1,
            max_conns: 0,
            max_fails: 1,
            fail_timeout: 10,
            down: Cell::new(false),
            current_weight: Cell::new(0),
            effective_weight: Cell::new(1),
            fails: Cell::new(0),
            checked: Cell::new(0),
            accessed: Cell::new(0),
            conns: Cell::new(0),
        }
    }

    /// The same with another weight.
    #[must_use]
    pub fn weighing(mut self, weight: i64) -> Self {
        self.weight = weight;
        self.effective_weight.set(weight);
        self
    }

    /// Requests at this moment.
    pub fn conns(&self) -> u32 {
        self.conns.get()
    }

    fn may_serve(&self, now: i64) -> bool {
        let failed =
            self.max_fails > 0 && self.fails.get() >= self.max_fails && now - self.checked.get() <= self.fail_timeout;
        !self.down.get() && !failed && !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.max_conns > 0 && self.conns.get() >= self.max_conns
    }
}

/// How a group keeps connections for later requests.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Idle connections a worker keeps.
    pub max: usize,
    /// Requests over one connection.
    pub requests: u32,
    /// How old a connection may become.
    pub time: Duration,
    /// How long it may be idle.
    pub timeout: Duration,
    /// Whether only requests of the same location share connections.
    pub local: bool,
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The one with the fewest requests for its weight.
    LeastConnections,
    /// By turns.
    #[default]
    RoundRobin,
}

/// Servers among which requests are shared out.
#[derive(Debug, Default)]
pub struct Group {
    /// The name of its block, or the host it was made for.
    pub name: Bytes,
    /// How a server is chosen.
    pub method: Method,
    /// The servers.
    pub primary: Vec<Rc<Peer>>,
    /// Servers for when no other is left.
    pub backup: Vec<Rc<Peer>>,
    /// Whether connections are kept, and how.
    pub keepalive: Option<Keepalive>,
    /// The connections that are kept.
    pub(crate) idle: Rc<IdlePool>,
    /// Idle connections that Lua code may keep; `None` is the default.
    pub balancer_keepalive: Option<usize>,
    /// The Lua code that chooses.
    pub balancer: Option<Rc<Script>>,
}

impl Group {
    /// A group of equal servers.
    pub fn of(name: Bytes, addresses: impl IntoIterator<Item = PeerAddress>) -> Self {
        let primary = addresses.into_iter().map(|address| Rc::new(Peer::new(address))).collect();
        Self { name, primary, ..Self::default() }
    }

    fn is_single(&self) -> bool {
        self.primary.len() == 1 && self.backup.is_empty()
    }
}

/// How an attempt with a server went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did not answer, or badly.
    Failed,
    /// It answered, but the next one is asked as well.
    Next,
    /// It answered.
    Served,
}

/// The attempts of one request with a group.
#[derive(Debug)]
pub struct Selection {
    group: Rc<Group>,
    tried: SmallVec<[bool; 8]>,
    in_backup: bool,
    current: Option<Rc<Peer>>,
    /// Attempts that are left.
    pub tries: u32,
}

impl Selection {
    /// A request that has asked nobody yet.
    pub fn new(group: Rc<Group>) -> Self {
        let tries = group.primary.iter().chain(&group.backup).filter(|peer| !peer.down.get()).count();
        Self { group, tried: SmallVec::new(), in_backup: false, current: None, tries: tries as u32 }
    }

    /// The group.
    pub fn group(&self) -> &Rc<Group> {
        &self.group
    }

    /// The next server, if one is left. `now` is in seconds.
    pub fn next(&mut self, now: i64) -> Option<Rc<Peer>> {
        let chosen = if self.group.is_single() {
            self.group.primary.first().filter(|peer| !peer.down.get() && !peer.is_full()).cloned()
        } else {
            self.choose(now).or_else(|| {
                if self.in_backup || self.group.backup.is_empty() {
                    return None;
                }
                self.in_backup = true;
                self.tried.clear();
                self.choose(now)
            })
        }?;
        chosen.conns.set(chosen.conns.get() + 1);
        self.current = Some(Rc::clone(&chosen));
        Some(chosen)
    }

    fn choose(&mut self, now: i64) -> Option<Rc<Peer>> {
        let peers = if self.in_backup { &self.group.backup } else { &self.group.primary };
        self.tried.resize(peers.len(), false);
        let able = |at: usize, peer: &Peer| !self.tried[at] && peer.may_serve(now);
        let least = |peer: &Peer| i64::from(peer.conns.get()) * LOAD_SCALE / peer.weight.max(1);
        let bound = match self.group.method {
            Method::RoundRobin => i64::MAX,
            Method::LeastConnections => {
                let usable = peers.iter().enumerate().filter(|(at, peer)| able(*at, peer));
                usable.map(|(_, peer)| least(peer)).min()?
            }
        };
        let mut best: Option<(usize, &Rc<Peer>)> = None;
        let mut total = 0;
        for (at, peer) in peers.iter().enumerate() {
            if !able(at, peer) || (bound != i64::MAX && least(peer) > bound) {
                continue;
            }
            let effective = peer.effective_weight.get();
            peer.current_weight.set(peer.current_weight.get() + effective);
            total += effective;
            if effective < peer.weight {
                peer.effective_weight.set(effective + 1);
            }
            if best.is_none_or(|(_, known)| peer.current_weight.get() > known.current_weight.get()) {
                best = Some((at, peer));
            }
        }
        let (at, peer) = best?;
        peer.current_weight.set(peer.current_weight.get() - total);
        if now - peer.checked.get() > peer.fail_timeout {
            peer.checked.set(now);
        }
        let peer = Rc::clone(peer);
        self.tried[at] = true;
        Some(peer)
    }

    /// The attempt with the current server is over. Whether the server is left alone from now on.
    pub fn release(&mut self, verdict: Verdict, now: i64) -> bool {
        let Some(peer) = self.current.take() else { return false };
        peer.conns.set(peer.conns.get().saturating_sub(1));
        if self.group.is_single() {
            self.tries = 0;
            return false;
        }
        let mut disabled = false;
        if verdict == Verdict::Failed {
            peer.fails.set(peer.fails.get() + 1);
            peer.accessed.set(now);
            peer.checked.set(now);
            if peer.max_fails > 0 {
                let lighter = peer.effective_weight.get() - peer.weight / i64::from(peer.max_fails);
                peer.effective_weight.set(lighter.max(0));
                disabled = peer.fails.get() >= peer.max_fails;
            }
        } else if peer.accessed.get() < peer.checked.get() {
            peer.fails.set(0);
        }
        self.tries = self.tries.saturating_sub(1);
        disabled
    }
}

impl Drop for Selection {
    fn drop(&mut self) {
        // A request that was cut off holds its server no longer, and says nothing about it.
        if let Some(peer) = self.current.take() {
            peer.conns.set(peer.conns.get().saturating_sub(1));
        }
    }
}

/// Loads are compared as parts of a weight.
const LOAD_SCALE: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16, weight: i64) -> Rc<Peer> {
        Rc::new(Peer::new(PeerAddress::Ip(([127, 0, 0, 1], port).into())).weighing(weight))
    }

    fn port(peer: &Peer) -> u16 {
        match &peer.address {
            PeerAddress::Ip(address) => address.port(),
            PeerAddress::Unix(_) => 0,
        }
    }

    fn served(group: &Rc<Group>) -> u16 {
        let mut selection = Selection::new(Rc::clone(group));
        let chosen = selection.next(100).expect("a server is left");
        selection.release(Verdict::Served, 100);
        port(&chosen)
    }

    #[test]
    fn turns_follow_the_weights_smoothly() {
        let group = Rc::new(Group { primary: vec![peer(1, 3), peer(2, 1)], ..Group::default() });
        let turns: Vec<_> = (0..8).map(|_| served(&group)).collect();
        assert_eq!(turns, [1, 1, 2, 1, 1, 1, 2, 1]);
    }

    #[test]
    fn a_failed_server_is_left_alone_for_a_while_and_backups_come_last() {
        let group =
            Rc::new(Group { primary: vec![peer(1, 1), peer(2, 1)], backup: vec![peer(9, 1)], ..Group::default() });
        let mut selection = Selection::new(Rc::clone(&group));
        assert_eq!(selection.tries, 3);
        let mut asked = Vec::new();
        while let Some(peer) = selection.next(100) {
            asked.push(port(&peer));
            selection.release(Verdict::Failed, 100);
        }
        assert_eq!((asked, selection.tries), (vec![1, 2, 9], 0));
        assert!(Selection::new(Rc::clone(&group)).next(105).is_none());
        assert!(Selection::new(group).next(111).is_some());
    }

    #[test]
    fn a_single_server_is_asked_once_and_never_left_alone() {
        let group = Rc::new(Group { primary: vec![peer(1, 1)], ..Group::default() });
        for _ in 0..3 {
            let mut selection = Selection::new(Rc::clone(&group));
            assert!(selection.next(100).is_some());
            selection.release(Verdict::Failed, 100);
            assert_eq!(selection.tries, 0);
        }
    }

    #[test]
    fn the_least_busy_server_is_next() {
        let group =
            Group { primary: vec![peer(1, 1), peer(2, 1)], method: Method::LeastConnections, ..Group::default() };
        let group = Rc::new(group);
        let (mut one, mut two) = (Selection::new(Rc::clone(&group)), Selection::new(Rc::clone(&group)));
        assert_eq!((one.next(1).map(|p| port(&p)), two.next(1).map(|p| port(&p))), (Some(1), Some(2)));
        drop(two);
        assert_eq!(Selection::new(group).next(1).map(|p| port(&p)), Some(2));
    }
}
