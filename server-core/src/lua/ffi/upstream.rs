//! Groups of servers as `ngx.upstream` shows and changes them. These functions are our own, for our Lua layer.

use std::cell::Cell;
use std::ffi::{c_char, c_int};

use super::request::hold;
use super::{DECLINED, ERROR, OK, bytes, export, store};
use crate::http::modules::upstream::MainConf;
use crate::http::modules::upstream::blocks::Named;
use crate::http::request::Request;
use crate::upstream::peer::{Peer, Setting};
use crate::upstream::roster::{Entry, Refusal};

/// A `server` of the configuration.
#[repr(C)]
pub struct Server {
    name: *const u8,
    name_len: usize,
    weight: f64,
    fail_timeout: f64,
    max_fails: c_int,
    addresses: c_int,
    backup: c_int,
    down: c_int,
}

/// A server with one address, and how it is doing.
#[repr(C)]
pub struct PeerState {
    name: *const u8,
    name_len: usize,
    weight: f64,
    current_weight: f64,
    effective_weight: f64,
    conns: f64,
    fails: f64,
    max_fails: f64,
    fail_timeout: f64,
    accessed: f64,
    checked: f64,
    max_conns: f64,
    server: *const u8,
    server_len: usize,
    down: c_int,
}

/// A server to be added, by what may be said of it.
#[repr(C)]
pub struct NewPeer {
    weight: f64,
    max_conns: f64,
    max_fails: f64,
    fail_timeout: f64,
    backup: c_int,
    down: c_int,
}

/// The group has no zone: other workers would not see a change.
const NO_ZONE: c_int = -2;
/// The address is none.
const INVALID: c_int = -3;
/// The server is there already.
const KNOWN: c_int = -4;
/// The zone is full.
const NO_ROOM: c_int = -5;
/// The group's method does not know backups.
const NO_BACKUPS: c_int = -6;

thread_local! {
    static GROUPS: Cell<Option<&'static MainConf>> = const { Cell::new(None) };
}

/// Sets the groups that Lua code of this process sees.
pub(crate) fn set_groups(conf: &'static MainConf) {
    GROUPS.set(Some(conf));
}

fn named(at: c_int) -> Option<&'static Named> {
    GROUPS.get()?.groups.get(usize::try_from(at).ok()?)
}

fn with_peer<T>(group: c_int, backup: c_int, at: c_int, act: impl FnOnce(&Peer) -> T) -> Option<T> {
    let peers = named(group)?.group.peers();
    let list = if backup == 0 { &peers.primary } else { &peers.backup };
    list.get(usize::try_from(at).ok()?).map(|peer| act(peer))
}

fn count(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

export! {
    /// How many groups there are.
    rsty_upstream_count() -> c_int {
        GROUPS.get().map_or(0, |conf| count(conf.groups.len()))
    }

    /// The name of a group, with its port if it has one.
    rsty_upstream_name(group: c_int, name: *mut *const u8, len: *mut usize) -> c_int {
        let Some(named) = named(group) else { return ERROR };
        let text = named.text();
        // SAFETY: the contract of the parent module; the text is kept.
        unsafe {
            store(name, text.as_ptr());
            store(len, text.len());
        }
        hold([text]);
        OK
    }

    /// The number of the group of a name, -1 without.
    rsty_upstream_find(name: *const u8, len: usize) -> c_int {
        // SAFETY: the contract of the parent module.
        let name = unsafe { bytes(name, len) };
        let groups = GROUPS.get().map(|conf| &conf.groups[..]).unwrap_or_default();
        let by_host = groups.iter().position(|named| named.group.name == name);
        by_host.or_else(|| groups.iter().position(|named| named.text() == name)).map_or(ERROR, count)
    }

    /// How many servers the configuration lists for a group.
    rsty_upstream_servers(group: c_int) -> c_int {
        named(group).map_or(0, |named| count(named.group.servers.len()))
    }

    /// One of them.
    rsty_upstream_server(group: c_int, at: c_int, out: *mut Server) -> c_int {
        let server = named(group).and_then(|named| named.group.servers.get(usize::try_from(at).ok()?));
        let Some(server) = server else { return ERROR };
        let shown = Server {
            name: server.name.as_ptr(),
            name_len: server.name.len(),
            weight: server.weight as f64,
            fail_timeout: server.fail_timeout as f64,
            max_fails: c_int::try_from(server.max_fails).unwrap_or(c_int::MAX),
            addresses: count(server.addresses.len()),
            backup: c_int::from(server.backup),
            down: c_int::from(server.down),
        };
        // SAFETY: the contract of the parent module. The configuration lives as long as the process.
        unsafe { store(out, shown) };
        OK
    }

    /// One of its addresses.
    rsty_upstream_address(group: c_int, server: c_int, at: c_int, text: *mut *const u8, len: *mut usize) -> c_int {
        let address = named(group).and_then(|named| {
            let server = named.group.servers.get(usize::try_from(server).ok()?)?;
            server.addresses.get(usize::try_from(at).ok()?)
        });
        let Some(address) = address else { return ERROR };
        let shown = bytes::Bytes::from(address.to_string());
        // SAFETY: the contract of the parent module; the text is kept.
        unsafe {
            store(text, shown.as_ptr());
            store(len, shown.len());
        }
        hold([shown]);
        OK
    }

    /// How many servers, or backups, a group has at this moment.
    rsty_upstream_peers(group: c_int, backup: c_int) -> c_int {
        named(group).map_or(0, |named| {
            let peers = named.group.peers();
            count(if backup == 0 { peers.primary.len() } else { peers.backup.len() })
        })
    }

    /// One of them.
    rsty_upstream_peer(group: c_int, backup: c_int, at: c_int, out: *mut PeerState) -> c_int {
        let shown = with_peer(group, backup, at, |peer| {
            let shown = PeerState {
                name: peer.name.as_ptr(),
                name_len: peer.name.len(),
                weight: peer.weight() as f64,
                current_weight: peer.current_weight() as f64,
                effective_weight: peer.effective_weight() as f64,
                conns: peer.conns() as f64,
                fails: peer.fails() as f64,
                max_fails: peer.max_fails() as f64,
                fail_timeout: peer.fail_timeout() as f64,
                accessed: peer.accessed() as f64,
                checked: peer.checked() as f64,
                max_conns: peer.max_conns() as f64,
                server: peer.server.as_ptr(),
                server_len: peer.server.len(),
                down: c_int::from(peer.is_down()),
            };
            hold([peer.name.clone(), peer.server.clone()]);
            shown
        });
        let Some(shown) = shown else { return ERROR };
        // SAFETY: the contract of the parent module; the name is kept.
        unsafe { store(out, shown) };
        OK
    }

    /// Takes one of them out, or puts it back.
    rsty_upstream_set_down(group: c_int, backup: c_int, at: c_int, down: c_int) -> c_int {
        with_peer(group, backup, at, |peer| peer.set_down(down != 0)).map_or(ERROR, |()| OK)
    }

    /// The name of the group that a request goes to; -5 when it goes nowhere.
    rsty_upstream_current(r: *const Request, name: *mut *const c_char, len: *mut usize) -> c_int {
        // SAFETY: the caller's promise: requests outlive the Lua code that serves them.
        let Some(r) = (unsafe { r.as_ref() }) else { return ERROR };
        let Some(attempts) = r.upstream.borrow().clone() else { return DECLINED };
        let Some(group) = attempts.group.borrow().clone() else { return DECLINED };
        let text = r.main_conf().upstream.name_of(&group);
        // SAFETY: the contract of the parent module; the text is kept.
        unsafe {
            store(name, text.as_ptr().cast());
            store(len, text.len());
        }
        hold([text]);
        OK
    }

    /// Adds a server to a group, in all workers.
    rsty_upstream_add(group: c_int, text: *const u8, len: usize, entry: *const NewPeer) -> c_int {
        // SAFETY: the contract of the parent module.
        let (text, entry) = unsafe { (bytes(text, len), entry.as_ref()) };
        let (Some(named), Some(entry)) = (named(group), entry) else { return ERROR };
        let Some(roster) = &named.group.roster else { return NO_ZONE };
        if entry.backup != 0 && !named.group.method.takes_backups() {
            return NO_BACKUPS;
        }
        let entry = Entry {
            weight: entry.weight as i64,
            max_conns: entry.max_conns as i64,
            max_fails: entry.max_fails as i64,
            fail_timeout: entry.fail_timeout as i64,
            backup: entry.backup != 0,
            down: entry.down != 0,
        };
        match roster.add(text, &entry) {
            Ok(()) => OK,
            Err(Refusal::Invalid) => INVALID,
            Err(Refusal::Known) => KNOWN,
            Err(Refusal::NoRoom) => NO_ROOM,
        }
    }

    /// Removes a server from a group by its address, in all workers; how many there were.
    rsty_upstream_remove(group: c_int, text: *const u8, len: usize) -> c_int {
        // SAFETY: the contract of the parent module.
        let text = unsafe { bytes(text, len) };
        match named(group).map(|named| named.group.roster.as_ref()) {
            Some(Some(roster)) => count(roster.remove(text)),
            Some(None) => NO_ZONE,
            None => ERROR,
        }
    }

    /// Sets something of the servers with an address, or with a name in the configuration, in all workers: weight (0),
    /// max_conns (1), max_fails (2), fail_timeout (3), down (4). How many there are.
    rsty_upstream_change(group: c_int, text: *const u8, len: usize, what: c_int, value: f64) -> c_int {
        // SAFETY: the contract of the parent module.
        let text = unsafe { bytes(text, len) };
        let Some(named) = named(group) else { return ERROR };
        let Some(roster) = &named.group.roster else { return NO_ZONE };
        let peers = named.group.peers();
        let mut changed = 0;
        for peer in peers.primary.iter().chain(&peers.backup) {
            if peer.name != *text && peer.server != *text {
                continue;
            }
            changed += 1;
            let value = value as i64;
            match what {
                0 => peer.change(Setting::Weight, value),
                1 => peer.change(Setting::MaxConns, value),
                2 => peer.change(Setting::MaxFails, value),
                3 => peer.change(Setting::FailTimeout, value),
                _ => peer.set_down(value != 0),
            }
        }
        if what == 0 && changed > 0 {
            roster.announce();
        }
        changed
    }

    /// Whether all workers see the changes of a group.
    rsty_upstream_has_zone(group: c_int) -> c_int {
        named(group).map_or(0, |named| c_int::from(named.group.roster.is_some()))
    }
}
