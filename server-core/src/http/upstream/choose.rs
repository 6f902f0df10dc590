//! The choice of a server for an attempt.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;

use super::protocol::Dialing;
use super::proxied::Proxied;
use crate::http::code::Code;
use crate::http::connection::Address;
use crate::http::modules::lua::balancer;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::log::Level;
use crate::upstream::address::PeerAddress;
use crate::upstream::group::{Group, Keepalive, Method};
use crate::upstream::idle::Key;

/// What hashing methods of a group go by.
pub(super) fn key_of(r: &Rc<Request>, group: &Group) -> Bytes {
    match &group.method {
        Method::Hash(key) | Method::ConsistentHash(key) => key.eval(r),
        Method::IpHash => match &*r.conn().peer.borrow() {
            // Networks of clients stay together.
            Address::Ip(SocketAddr::V4(address)) => Bytes::copy_from_slice(&address.ip().octets()[..3]),
            Address::Ip(SocketAddr::V6(address)) => Bytes::copy_from_slice(&address.ip().octets()),
            Address::Unix(_) => Bytes::from_static(&[0; 3]),
        },
        Method::LeastConnections | Method::LeastTime(_) | Method::Random { .. } | Method::RoundRobin => Bytes::new(),
    }
}

impl<P: Dialing + ?Sized + 'static> Proxied<'_, P> {
    /// The server to ask now; `None` when none is left.
    pub(super) fn choose(&mut self) -> Result<Option<PeerAddress>, Code> {
        let group = Rc::clone(self.selection.group());
        self.keepalive = None;
        self.lua_keepalive = None;
        // Connections made with other settings are not shared, unless the configuration says so.
        let local_tag = std::ptr::from_ref(self.conf).addr().to_ne_bytes();
        let (address, name): (PeerAddress, Bytes) = if let Some(script) = &group.balancer {
            self.name_peer(&group.name);
            if group.keepalive.is_some() {
                debug!(self.r, "get keepalive peer");
            }
            let tries = &mut self.selection.tries;
            self.balance.tls.set(self.tls);
            let chosen = match balancer::choose(self.r, script, &self.balance, tries, group.balancer_keepalive) {
                Err(Code::BUSY) => return Ok(None),
                chosen => chosen?,
            };
            self.tls = self.balance.tls.get();
            self.chosen_by_lua = chosen.peer.is_some();
            self.timeouts.connect = chosen.connect_timeout.unwrap_or(*self.conf.connect_timeout);
            self.timeouts.send = chosen.send_timeout.unwrap_or(*self.conf.send_timeout);
            self.timeouts.read = chosen.read_timeout.unwrap_or(*self.conf.read_timeout);
            if chosen.recreate {
                self.outgoing = self.protocol.request(self.r, &self.destination)?;
            }
            match chosen.peer {
                Some(address) => {
                    let name = Bytes::from(address.to_string());
                    self.lua_host = chosen.host.into();
                    // A `keepalive` behind the script is asked first, and has the last word.
                    self.keepalive = self.group_keepalive(&address, &local_tag);
                    if let Some(keepalive) = chosen.keepalive {
                        self.begin_lua_keepalive(keepalive, &address, &name);
                    }
                    (address, name)
                }
                None if !self.selection.has_servers() => {
                    self.r.log(Level::Error, format_args!("lua balancer: no peer set"));
                    return Err(Code::INTERNAL_SERVER_ERROR);
                }
                None => match self.selection.next(crate::clock::now().sec) {
                    Some(peer) => (peer.address.clone(), peer.name.clone()),
                    None => return Ok(None),
                },
            }
        } else {
            if group.keepalive.is_some() {
                debug!(self.r, "get keepalive peer");
            }
            match self.selection.next(crate::clock::now().sec) {
                Some(peer) => {
                    self.keepalive = self.group_keepalive(&peer.address, &local_tag);
                    (peer.address.clone(), peer.name.clone())
                }
                None => {
                    self.name_peer(&group.name);
                    return Ok(None);
                }
            }
        };
        debug!(self.r, "http upstream peer: {}", String::from_utf8_lossy(&name));
        self.attempts.push(name.clone());
        self.name_for_log(&name, matches!(address, PeerAddress::Unix(_)));
        Ok(Some(address))
    }

    fn group_keepalive(&self, address: &PeerAddress, local_tag: &[u8]) -> Option<(Keepalive, Key)> {
        let keepalive = self.selection.group().keepalive?;
        let tag = if keepalive.local { local_tag } else { &[] };
        Some((keepalive, Key { address: address.clone(), tag: self.tagged(tag) }))
    }

    /// The script asked to keep its connection for a host.
    fn begin_lua_keepalive(&mut self, keepalive: Keepalive, address: &PeerAddress, name: &Bytes) {
        let mut host = self.lua_host.clone();
        if host.is_empty() && self.tls {
            host = self.tls_name();
        }
        if self.keepalive.is_none() {
            let tag = self.tagged(&[b"lua:", &host[..]].concat());
            self.keepalive = Some((keepalive, Key { address: address.clone(), tag }));
        }
        let (address, host) = (String::from_utf8_lossy(name), String::from_utf8_lossy(&host));
        self.lua_keepalive = Some(format!(", host: {address}, name: {host}"));
        if self.selection.group().keepalive.is_some() {
            debug!(self.r, "lua balancer: keepalive no free connection, host: {address}, name: {host}");
        }
    }

    /// Connections with TLS, those that speak HTTP/2, and those from certain addresses, are for themselves.
    fn tagged(&self, tag: &[u8]) -> Vec<u8> {
        let mut tag = tag.to_vec();
        if self.tls {
            tag.extend_from_slice(b"|tls|");
        }
        if self.outgoing.http2.is_some() {
            tag.extend_from_slice(b"|http2|");
        }
        if let Some(local) = self.balance.bind.get() {
            tag.extend_from_slice(local.to_string().as_bytes());
        }
        tag
    }

    /// No server is asked: the group stands for it.
    fn name_peer(&self, group: &Bytes) {
        if self.selection.group().balancer.is_none() {
            self.attempts.push(group.clone());
        }
        self.name_for_log(group, self.destination.is_unix);
    }

    fn name_for_log(&self, name: &[u8], is_unix: bool) {
        let separator: &[u8] = if is_unix { b":" } else { b"" };
        let scheme: &[u8] = match self.destination.scheme {
            "http://" | "https://" if self.tls => b"https://",
            "http://" | "https://" => b"http://",
            other => other.as_bytes(),
        };
        self.r.log_upstream.set([scheme, name, separator, &self.destination.uri].concat());
    }
}
