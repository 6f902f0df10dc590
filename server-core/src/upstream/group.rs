//! A group of servers, and what all requests to it share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::address::{PeerAddress, Target};
use super::idle::IdlePool;
use super::peer::{Peer, Setting};
use super::resolver::ResolverConf;
use super::ring::Ring;
use super::roster::Roster;
use super::timing::LeastTime;
use crate::http::ComplexValue;
use crate::http::modules::lua::script::Script;
use crate::tls::upstream::Sessions;

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
#[derive(Debug, Default)]
pub enum Method {
    /// By a key: by the remainder of its hash.
    Hash(ComplexValue),
    /// By a key: on a ring.
    ConsistentHash(ComplexValue),
    /// By the client's address.
    IpHash,
    /// The one with the fewest requests for its weight.
    LeastConnections,
    /// The one that is done with everything soonest, for its weight.
    LeastTime(LeastTime),
    /// By chance; of two the one with fewer requests for its weight, if asked for.
    Random {
        /// Whether two are compared.
        two: bool,
    },
    /// By turns.
    #[default]
    RoundRobin,
}

impl Method {
    /// Whether there may be servers for when no other is left.
    pub fn takes_backups(&self) -> bool {
        matches!(self, Self::RoundRobin | Self::LeastConnections | Self::LeastTime(_))
    }
}

/// A `server` of the configuration.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address as written.
    pub name: Bytes,
    /// Host and port.
    pub target: Target,
    /// Its share of the requests.
    pub weight: i64,
    /// Requests at the same time; 0 is no limit.
    pub max_conns: u32,
    /// Failures after which it is left alone; 0 never.
    pub max_fails: u32,
    /// Seconds in which failures count, and for which it is left alone.
    pub fail_timeout: i64,
    /// For when no other is left.
    pub backup: bool,
    /// Taken out.
    pub down: bool,
    /// Whether the name is looked up again and again.
    pub resolve: bool,
    /// What it had when the configuration was read.
    pub addresses: Vec<PeerAddress>,
}

impl Server {
    /// What a URL names without an `upstream` block.
    pub fn implied(target: Target, addresses: Vec<PeerAddress>) -> Self {
        Self {
            name: Bytes::new(),
            target,
            weight: 0,
            max_conns: 0,
            max_fails: 0,
            fail_timeout: 0,
            backup: false,
            down: false,
            resolve: false,
            addresses,
        }
    }

    /// A peer of this server.
    pub fn peer(&self, address: PeerAddress) -> Peer {
        let mut peer = Peer::new(address).weighing(self.weight);
        peer.server = self.name.clone();
        peer.change(Setting::MaxConns, i64::from(self.max_conns));
        peer.change(Setting::MaxFails, i64::from(self.max_fails));
        peer.change(Setting::FailTimeout, self.fail_timeout);
        peer.set_down(self.down);
        peer
    }
}

/// The servers at one moment.
#[derive(Debug, Default)]
pub struct Peers {
    /// Servers.
    pub primary: Vec<Rc<Peer>>,
    /// Servers for when no other is left.
    pub backup: Vec<Rc<Peer>>,
    /// The ring of consistent hashing.
    pub ring: Ring,
}

impl Peers {
    /// Servers, with a ring if the method needs one.
    pub fn new(primary: Vec<Rc<Peer>>, backup: Vec<Rc<Peer>>, method: &Method) -> Self {
        let ring = match method {
            Method::ConsistentHash(_) => Ring::of(primary.iter().map(|peer| (&peer.server, peer.weight()))),
            _ => Ring::default(),
        };
        Self { primary, backup, ring }
    }

    /// Whether there is no choice.
    pub fn is_single(&self) -> bool {
        self.primary.len() == 1 && self.backup.is_empty()
    }
}

/// Servers among which requests are shared out.
#[derive(Debug, Default)]
pub struct Group {
    /// The name of its block, or the host it was made for.
    pub name: Bytes,
    /// How a server is chosen.
    pub method: Method,
    /// The servers of the configuration.
    pub servers: Vec<Server>,
    peers: RefCell<Rc<Peers>>,
    /// The servers as all workers know them (`zone`).
    pub(crate) roster: Option<Roster>,
    /// The edition of the roster that `peers` was made from.
    edition: Cell<i64>,
    /// Whether connections are kept, and how.
    pub keepalive: Option<Keepalive>,
    /// The connections that are kept.
    pub(crate) idle: Rc<IdlePool>,
    /// The TLS sessions of its servers.
    pub(crate) sessions: Rc<Sessions>,
    /// Idle connections that Lua code may keep; `None` is the default.
    pub balancer_keepalive: Option<usize>,
    /// Who looks names up, and for how long, where the group does not leave that to the location.
    pub resolver: Option<Rc<ResolverConf>>,
    /// See `resolver`.
    pub resolver_timeout: Option<Duration>,
    /// The Lua code that chooses.
    pub balancer: Option<Rc<Script>>,
}

impl Group {
    /// A group without servers.
    pub fn named(name: Bytes) -> Self {
        Self { name, ..Self::default() }
    }

    /// A group of equal servers.
    pub fn of(name: Bytes, addresses: impl IntoIterator<Item = PeerAddress>) -> Self {
        let primary = addresses.into_iter().map(|address| Rc::new(Peer::new(address))).collect();
        let group = Self::named(name);
        group.set_peers(primary, Vec::new());
        group
    }

    /// The servers at this moment.
    pub fn peers(&self) -> Rc<Peers> {
        if let Some(roster) = &self.roster
            && roster.edition() != self.edition.get()
        {
            self.follow(roster);
        }
        Rc::clone(&self.peers.borrow())
    }

    /// Takes over what a worker did to the roster. Servers that stay keep their state, those whose names are looked up
    /// again are not in it.
    fn follow(&self, roster: &Roster) {
        self.edition.set(roster.edition());
        let known = Rc::clone(&self.peers.borrow());
        let listed = roster.read(known.primary.iter().chain(&known.backup));
        let with_resolved = |listed: Vec<Rc<Peer>>, before: &[Rc<Peer>]| {
            listed.into_iter().chain(before.iter().filter(|peer| peer.place().is_none()).cloned()).collect()
        };
        let primary = with_resolved(listed.primary, &known.primary);
        self.set_peers(primary, with_resolved(listed.backup, &known.backup));
    }

    /// Replaces the servers. Requests under way keep those they know.
    pub fn set_peers(&self, primary: Vec<Rc<Peer>>, backup: Vec<Rc<Peer>>) {
        *self.peers.borrow_mut() = Rc::new(Peers::new(primary, backup, &self.method));
    }

    /// The names that are to be looked up again.
    pub fn resolved_servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.resolve)
    }

    /// Takes over the addresses that a name has now. Servers that stay keep their state.
    pub fn update(&self, server: &Server, addresses: &[PeerAddress]) {
        let known = self.peers();
        let list = if server.backup { &known.backup } else { &known.primary };
        let is_its_own = |peer: &&Rc<Peer>| peer.server == server.name;
        let before: Vec<&PeerAddress> = list.iter().filter(is_its_own).map(|peer| &peer.address).collect();
        if before.len() == addresses.len() && addresses.iter().all(|address| before.contains(&address)) {
            return;
        }
        let mut updated: Vec<Rc<Peer>> = list.iter().filter(|peer| !is_its_own(peer)).cloned().collect();
        for address in addresses {
            let kept = list.iter().find(|peer| is_its_own(peer) && peer.address == *address).cloned();
            updated.push(kept.unwrap_or_else(|| Rc::new(server.peer(address.clone()))));
        }
        if server.backup {
            self.set_peers(known.primary.clone(), updated);
        } else {
            self.set_peers(updated, known.backup.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_new_addresses_keeps_the_state_of_those_that_stay() {
        let ip = |last| PeerAddress::Ip(([127, 0, 0, last], 80).into());
        let server = Server {
            name: Bytes::from_static(b"a.example"),
            target: Target::parse(&Bytes::from_static(b"a.example"), 80).expect("a name"),
            weight: 1,
            max_conns: 0,
            max_fails: 1,
            fail_timeout: 10,
            backup: false,
            down: false,
            resolve: true,
            addresses: Vec::new(),
        };
        let group = Group { servers: vec![server.clone()], ..Group::default() };
        group.update(&server, &[ip(1), ip(2)]);
        group.peers().primary[1].set_down(true);
        group.update(&server, &[ip(2), ip(3)]);
        let peers = group.peers();
        let found: Vec<_> = peers.primary.iter().map(|peer| (peer.address.clone(), peer.is_down())).collect();
        assert_eq!(found, [(ip(2), true), (ip(3), false)]);
    }
}
