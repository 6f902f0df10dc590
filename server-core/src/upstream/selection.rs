//! The choice of a server for each attempt of a request.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::group::{Group, Method, Peers};
use super::peer::Peer;
use super::timing::{Measure, Times};

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

/// Choices by key or by chance that come to nothing before servers take turns.
const KEYED_TRIES: u32 = 20;

/// The attempts of one request with a group.
#[derive(Debug)]
pub struct Selection {
    group: Rc<Group>,
    peers: Rc<Peers>,
    tried: SmallVec<[bool; 8]>,
    in_backup: bool,
    current: Option<Rc<Peer>>,
    /// Whether the request counts among those that are under way to the current server.
    is_flying: bool,
    times: Times,
    /// Attempts that are left.
    pub tries: u32,
    /// What the choice goes by, if the method is of that kind.
    key: Bytes,
    /// Choices by it so far.
    keyed_tries: u32,
    /// Where the last choice by it led.
    place: usize,
    hash: u32,
}

impl Selection {
    /// A request that has asked nobody yet. `key` is what hashing methods go by.
    pub fn new(group: Rc<Group>, key: Bytes) -> Self {
        let peers = group.peers();
        let tries = peers.primary.iter().chain(&peers.backup).filter(|peer| !peer.is_down()).count();
        let (place, hash) = match &group.method {
            Method::ConsistentHash(_) => (peers.ring.find(&key), 0),
            Method::IpHash => (0, 89),
            _ => (0, 0),
        };
        Self {
            group,
            peers,
            tried: SmallVec::new(),
            in_backup: false,
            current: None,
            is_flying: false,
            times: Times::default(),
            tries: tries as u32,
            key,
            keyed_tries: 0,
            place,
            hash,
        }
    }

    /// The group.
    pub fn group(&self) -> &Rc<Group> {
        &self.group
    }

    /// Whether the group has servers at all.
    pub fn has_servers(&self) -> bool {
        !self.peers.primary.is_empty()
    }

    /// The next server, if one is left. `now` is in seconds.
    pub fn next(&mut self, now: i64) -> Option<Rc<Peer>> {
        let chosen = if self.peers.is_single() {
            self.peers.primary.first().filter(|peer| !peer.is_down() && !peer.is_full()).cloned()
        } else {
            self.choose(now).or_else(|| {
                if self.in_backup || self.peers.backup.is_empty() {
                    return None;
                }
                self.in_backup = true;
                self.tried.clear();
                self.choose(now)
            })
        }?;
        chosen.begin();
        self.current = Some(Rc::clone(&chosen));
        Some(chosen)
    }

    fn choose(&mut self, now: i64) -> Option<Rc<Peer>> {
        let peers = Rc::clone(&self.peers);
        let list = if self.in_backup { &peers.backup } else { &peers.primary };
        self.tried.resize(list.len(), false);
        let at = self.by_method(list, now).or_else(|| self.by_turns(list, now, |_, _| true))?;
        let peer = Rc::clone(&list[at]);
        peer.check(now);
        if matches!(&self.group.method, Method::LeastTime(how) if how.in_flight) {
            peer.take_off(moment());
            self.is_flying = true;
        }
        self.tried[at] = true;
        Some(peer)
    }

    /// The choice of the group's method, if that comes to something.
    fn by_method(&mut self, list: &[Rc<Peer>], now: i64) -> Option<usize> {
        let group = Rc::clone(&self.group);
        match &group.method {
            method if self.in_backup && !method.takes_backups() => None,
            Method::RoundRobin => None,
            Method::LeastConnections => {
                let usable = list.iter().enumerate().filter(|(at, peer)| self.is_able(*at, peer, now));
                let least = usable.map(|(_, peer)| load(peer)).min()?;
                self.by_turns(list, now, |_, peer| load(peer) == least)
            }
            Method::LeastTime(how) => {
                if how.in_flight {
                    let able = list.iter().enumerate().filter(|(at, peer)| self.is_able(*at, peer, now));
                    able.for_each(|(_, peer)| peer.watch_flying(moment()));
                }
                let cost = |peer: &Peer| peer.expected_time(now) * LOAD_SCALE / peer.weight().max(1);
                let usable = list.iter().enumerate().filter(|(at, peer)| self.is_able(*at, peer, now));
                let least = usable.map(|(_, peer)| cost(peer)).min()?;
                self.by_turns(list, now, |_, peer| cost(peer) == least)
            }
            Method::Hash(_) | Method::ConsistentHash(_) if self.key.is_empty() => None,
            Method::Hash(_) => self.by_remainder(list, now, |selection| {
                let mut hasher = crc32fast::Hasher::new();
                if selection.keyed_tries > 0 {
                    hasher.update(selection.keyed_tries.to_string().as_bytes());
                }
                hasher.update(&selection.key);
                selection.hash = selection.hash.wrapping_add((hasher.finalize() >> 16) & 0x7fff);
            }),
            Method::IpHash => self.by_remainder(list, now, |selection| {
                for byte in &selection.key {
                    selection.hash = (selection.hash * 113 + u32::from(*byte)) % 6271;
                }
            }),
            Method::ConsistentHash(_) => self.by_ring(list, now),
            Method::Random { two } => self.by_chance(list, now, *two),
        }
    }

    fn is_able(&self, at: usize, peer: &Peer, now: i64) -> bool {
        !self.tried[at] && peer.may_serve(now)
    }

    /// By turns among those that fit: who has saved up most comes next.
    fn by_turns(&self, list: &[Rc<Peer>], now: i64, fits: impl Fn(usize, &Peer) -> bool) -> Option<usize> {
        let mut best: Option<(usize, i64)> = None;
        let mut total = 0;
        for (at, peer) in list.iter().enumerate() {
            if !self.is_able(at, peer, now) || !fits(at, peer) {
                continue;
            }
            let effective = peer.effective_weight();
            let saved = peer.save_up(effective);
            total += effective;
            peer.recover();
            if best.is_none_or(|(_, known)| saved > known) {
                best = Some((at, saved));
            }
        }
        let (at, _) = best?;
        list[at].save_up(-total);
        Some(at)
    }

    /// By the remainder of a hash, with another hash for each try.
    fn by_remainder(&mut self, list: &[Rc<Peer>], now: i64, rehash: impl Fn(&mut Self)) -> Option<usize> {
        let total: i64 = list.iter().map(|peer| peer.weight()).sum();
        while self.keyed_tries <= KEYED_TRIES && total > 0 {
            rehash(self);
            self.keyed_tries += 1;
            let at = by_weight(list, i64::from(self.hash) % total)?;
            if self.is_able(at, &list[at], now) {
                return Some(at);
            }
        }
        None
    }

    fn by_ring(&mut self, list: &[Rc<Peer>], now: i64) -> Option<usize> {
        let peers = Rc::clone(&self.peers);
        while self.keyed_tries <= KEYED_TRIES {
            let server = peers.ring.server(self.place)?;
            if let Some(at) = self.by_turns(list, now, |_, peer| peer.server == *server) {
                return Some(at);
            }
            self.place += 1;
            self.keyed_tries += 1;
        }
        None
    }

    fn by_chance(&mut self, list: &[Rc<Peer>], now: i64, two: bool) -> Option<usize> {
        let total: i64 = list.iter().map(|peer| peer.weight()).sum();
        let mut first: Option<usize> = None;
        while self.keyed_tries <= KEYED_TRIES && total > 0 {
            self.keyed_tries += 1;
            let at = by_weight(list, (random() % total as u64) as i64)?;
            if !self.is_able(at, &list[at], now) {
                continue;
            }
            match first {
                _ if !two => return Some(at),
                None => first = Some(at),
                Some(first) if first == at => {}
                Some(first) => return Some(if load(&list[at]) < load(&list[first]) { at } else { first }),
            }
        }
        first
    }

    /// What is known of the times of the attempt; to be said when the head has come and before it is over.
    pub fn note(&mut self, times: Times) {
        self.times = times;
        if let Method::LeastTime(how) = &self.group.method
            && how.measure == Measure::Head
            && self.is_flying
            && let (Some(peer), Some(time)) = (&self.current, times.of(Measure::Head))
        {
            peer.took(time);
            peer.land(moment(), time);
            self.is_flying = false;
        }
    }

    /// What the times of the attempt tell about its server, now that it is over.
    fn account(&mut self, peer: &Peer, has_served: bool) {
        let Method::LeastTime(how) = &self.group.method else { return };
        let times = std::mem::take(&mut self.times);
        if std::mem::take(&mut self.is_flying) {
            peer.land(moment(), times.of(Measure::Whole).unwrap_or(0));
        } else if how.in_flight {
            // Told when the head came.
            return;
        }
        if let Some(time) = times.of(how.measure).filter(|_| has_served) {
            peer.took(time);
        }
    }

    /// The attempt with the current server is over. Whether the server is left alone from now on.
    pub fn release(&mut self, verdict: Verdict, now: i64) -> bool {
        let Some(peer) = self.current.take() else { return false };
        peer.end();
        self.account(&peer, verdict == Verdict::Served);
        if self.peers.is_single() {
            self.tries = 0;
            return false;
        }
        let disabled = if verdict == Verdict::Failed {
            peer.fail(now)
        } else {
            peer.succeed();
            false
        };
        self.tries = self.tries.saturating_sub(1);
        disabled
    }
}

impl Drop for Selection {
    fn drop(&mut self) {
        // A request that was cut off holds its server no longer, and says nothing about it.
        if let Some(peer) = self.current.take() {
            peer.end();
            self.account(&peer, false);
        }
    }
}

/// This moment in milliseconds.
fn moment() -> i64 {
    crate::clock::now().monotonic_msec
}

/// The requests of a server in relation to its weight.
fn load(peer: &Peer) -> i64 {
    peer.conns() * LOAD_SCALE / peer.weight().max(1)
}

/// Loads are compared as parts of a weight.
const LOAD_SCALE: i64 = 1_000_000;

/// The server to which a number below the sum of all weights belongs.
fn by_weight(list: &[Rc<Peer>], mut number: i64) -> Option<usize> {
    list.iter().position(|peer| {
        number -= peer.weight();
        number < 0
    })
}

fn random() -> u64 {
    // Each state is seeded differently; that is chance enough.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::super::address::PeerAddress;
    use super::super::peer::Setting;
    use super::*;
    use crate::http::ComplexValue;

    fn peer(port: u16, weight: i64) -> Rc<Peer> {
        Rc::new(Peer::new(PeerAddress::Ip(([127, 0, 0, 1], port).into())).weighing(weight))
    }

    fn group(method: Method, primary: Vec<Rc<Peer>>, backup: Vec<Rc<Peer>>) -> Rc<Group> {
        let mut group = Group::named(Bytes::new());
        group.method = method;
        group.set_peers(primary, backup);
        Rc::new(group)
    }

    fn port(peer: &Peer) -> u16 {
        match &peer.address {
            PeerAddress::Ip(address) => address.port(),
            PeerAddress::Unix(_) => 0,
        }
    }

    fn selection(group: &Rc<Group>) -> Selection {
        Selection::new(Rc::clone(group), Bytes::new())
    }

    fn served_for(group: &Rc<Group>, key: &str) -> u16 {
        let mut selection = Selection::new(Rc::clone(group), Bytes::copy_from_slice(key.as_bytes()));
        let chosen = selection.next(100).expect("a server is left");
        selection.release(Verdict::Served, 100);
        port(&chosen)
    }

    fn key() -> ComplexValue {
        ComplexValue::literal("")
    }

    #[test]
    fn turns_follow_the_weights_smoothly() {
        let group = group(Method::RoundRobin, vec![peer(1, 3), peer(2, 1)], Vec::new());
        let turns: Vec<_> = (0..8).map(|_| served_for(&group, "")).collect();
        assert_eq!(turns, [1, 1, 2, 1, 1, 1, 2, 1]);
    }

    #[test]
    fn a_failed_server_is_left_alone_for_a_while_and_backups_come_last() {
        let group = group(Method::RoundRobin, vec![peer(1, 1), peer(2, 1)], vec![peer(9, 1)]);
        let mut first = selection(&group);
        assert_eq!(first.tries, 3);
        let mut asked = Vec::new();
        while let Some(peer) = first.next(100) {
            asked.push(port(&peer));
            first.release(Verdict::Failed, 100);
        }
        assert_eq!((asked, first.tries), (vec![1, 2, 9], 0));
        assert!(selection(&group).next(105).is_none());
        assert!(selection(&group).next(111).is_some());
    }

    #[test]
    fn a_single_server_is_asked_once_and_never_left_alone() {
        let group = group(Method::RoundRobin, vec![peer(1, 1)], Vec::new());
        for _ in 0..3 {
            let mut selection = selection(&group);
            assert!(selection.next(100).is_some());
            selection.release(Verdict::Failed, 100);
            assert_eq!(selection.tries, 0);
        }
    }

    #[test]
    fn the_least_busy_server_is_next() {
        let group = group(Method::LeastConnections, vec![peer(1, 1), peer(2, 1)], Vec::new());
        let (mut one, mut two) = (selection(&group), selection(&group));
        assert_eq!((one.next(1).map(|p| port(&p)), two.next(1).map(|p| port(&p))), (Some(1), Some(2)));
        drop(two);
        assert_eq!(selection(&group).next(1).map(|p| port(&p)), Some(2));
    }

    #[test]
    fn a_key_stays_with_its_server_and_goes_elsewhere_when_that_is_down() {
        for method in [Method::Hash(key()), Method::ConsistentHash(key()), Method::IpHash] {
            let peers = vec![peer(1, 1), peer(2, 2), peer(3, 1)];
            let group = group(method, peers.clone(), Vec::new());
            let chosen = served_for(&group, "some key");
            assert!((0..5).all(|_| served_for(&group, "some key") == chosen));
            peers[usize::from(chosen) - 1].set_down(true);
            assert_ne!(served_for(&group, "some key"), chosen);
            let keys: std::collections::BTreeSet<u16> =
                (0..50).map(|number: u32| served_for(&group, &format!("key {number}"))).collect();
            assert_eq!(keys.len(), 2, "{:?}", group.method);
        }
    }

    #[test]
    fn chance_leaves_out_who_is_down_or_full_and_prefers_the_idle_of_two() {
        for two in [false, true] {
            let (full, down) = (Peer::new(PeerAddress::Ip(([127, 0, 0, 1], 3).into())), peer(2, 1));
            full.change(Setting::MaxConns, 1);
            full.begin();
            down.set_down(true);
            let group = group(Method::Random { two }, vec![peer(1, 1), down, Rc::new(full)], Vec::new());
            assert!((0..10).all(|_| served_for(&group, "") == 1));
        }
        let busy = peer(1, 1);
        busy.begin();
        let group = group(Method::Random { two: true }, vec![busy, peer(2, 1)], Vec::new());
        assert!((0..10).all(|_| served_for(&group, "") == 2));
    }
}
