//! Where a request goes: the servers, found by name if need be.

use std::rc::Rc;

use bytes::Bytes;

use super::protocol::Route;
use crate::http::code::Code;
use crate::http::request::Request;
use crate::log::Level;
use crate::upstream::address::{PeerAddress, Target};
use crate::upstream::group::{Group, Server};
use crate::upstream::resolver::Resolver;

/// Where one request goes.
pub(crate) struct Destination {
    /// The servers.
    pub(crate) group: Rc<Group>,
    /// The host, with a port that isn't the default: the value of a `Host` header.
    pub(crate) host: Bytes,
    /// The port as text; empty for unix sockets.
    pub(crate) port: Bytes,
    /// What is asked for.
    pub(crate) uri: Bytes,
    /// What stands before server and URI in messages.
    pub(crate) scheme: &'static str,
    /// Whether through TLS.
    pub(crate) tls: bool,
    /// Whether the servers are named by a unix socket's path (for log lines).
    pub(crate) is_unix: bool,
}

/// Host and port, for `$proxy_host` and `$proxy_port`.
pub(crate) struct ProxyVars {
    /// `$proxy_host`
    pub(crate) host: Bytes,
    /// `$proxy_port`
    pub(crate) port: Bytes,
}

impl Destination {
    /// The key in a cache without one in the configuration: all of the URL.
    pub(super) fn cache_key(&self) -> Bytes {
        [self.scheme.as_bytes(), &self.host, &self.uri].concat().into()
    }

    /// Settles a route; names are looked up.
    pub(super) async fn of(r: &Rc<Request>, route: Route) -> Result<Self, Code> {
        let Route { target, group, uri, scheme, tls, default_port } = route;
        let group = match group {
            Some(group) => group,
            None => group_of(r, &target).await?,
        };
        for server in group.resolved_servers() {
            look_up(r, &group, server).await;
        }
        let port = if target.is_unix { Bytes::new() } else { Bytes::from(target.port.to_string()) };
        Ok(Self { group, host: target.host_header(default_port), port, uri, scheme, tls, is_unix: target.is_unix })
    }
}

/// Sees to it that a server has the addresses that its name has now. One that can't be found keeps what it had.
async fn look_up(r: &Rc<Request>, group: &Group, server: &Server) {
    let name = String::from_utf8_lossy(&server.target.host).into_owned();
    let own = group.resolver.as_ref().map(Resolver::of);
    let Some(resolver) = own.or_else(|| resolver_of(r)) else {
        r.log(Level::Error, format_args!("no resolver defined to resolve {name}"));
        return;
    };
    let timeout = group.resolver_timeout.unwrap_or(*r.loc().core.resolver_timeout);
    match resolver.resolve(&name, timeout).await {
        Ok(addresses) => {
            let port = server.target.port;
            let addresses: Vec<_> = addresses.into_iter().map(|ip| PeerAddress::Ip((ip, port).into())).collect();
            group.update(server, &addresses);
        }
        Err(error) => r.log(Level::Error, format_args!("{name} could not be resolved ({error})")),
    }
}

/// The servers of a host that variables named.
async fn group_of(r: &Rc<Request>, target: &Target) -> Result<Rc<Group>, Code> {
    let port = target.has_port.then_some(target.port);
    if let Some(group) = r.main_conf().upstream.find(&target.host, port).filter(|_| !target.is_unix) {
        return Ok(Rc::clone(group));
    }
    if let Some(address) = target.literal() {
        return Ok(Rc::new(Group::of(target.host.clone(), [address])));
    }
    let host = target.host.clone();
    let name = String::from_utf8_lossy(&host).into_owned();
    let Some(resolver) = resolver_of(r) else {
        r.log(Level::Error, format_args!("no resolver defined to resolve {name}"));
        return Err(Code::BAD_GATEWAY);
    };
    match resolver.resolve(&name, *r.loc().core.resolver_timeout).await {
        Ok(addresses) => {
            let addresses = addresses.into_iter().map(|ip| PeerAddress::Ip((ip, target.port).into()));
            Ok(Rc::new(Group::of(host, addresses)))
        }
        Err(error) => {
            r.log(Level::Error, format_args!("{name} could not be resolved ({error})"));
            Err(Code::BAD_GATEWAY)
        }
    }
}

/// The resolver of the request's location.
fn resolver_of(r: &Request) -> Option<Rc<Resolver>> {
    r.loc().core.resolver.as_ref().map(Resolver::of)
}
