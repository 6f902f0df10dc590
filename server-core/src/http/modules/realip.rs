//! `ngx_http_realip_module`: the client's address as a trusted proxy tells it.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::cidr::Cidr;
use crate::conf::value::{duplicate, set_flag};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::conf::{Merge, Scope};
use crate::http::connection::Address;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::variables::VariableDef;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    trusted: Rc<Vec<Cidr>>,
    trusts_unix: bool,
    header: Option<Bytes>,
    recursive: Option<bool>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.trusted.is_empty() && !self.trusts_unix {
            self.trusted = Rc::clone(&outer.trusted);
            self.trusts_unix = outer.trusts_unix;
        }
        if self.header.is_none() {
            self.header.clone_from(&outer.header);
        }
        self.recursive = self.recursive.or(outer.recursive);
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "set_real_ip_from",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 1),
        apply: set_real_ip_from,
    },
    Rule {
        name: "real_ip_header",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 1),
        apply: |scope, directive| {
            let slot = &mut scope.loc.realip.header;
            if slot.is_some() {
                return Err(duplicate(directive));
            }
            *slot = directive.arg(0).map(|word| Bytes::copy_from_slice(&word.text));
            Ok(())
        },
    },
    Rule {
        name: "real_ip_recursive",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.realip.recursive, directive),
    },
];

fn set_real_ip_from(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    if word.is("unix:") {
        scope.loc.realip.trusts_unix = true;
        return Ok(());
    }
    let blocks: Vec<Cidr> = match Cidr::parse(&word.text) {
        Some((block, _)) => vec![block],
        None if word.text.contains(&b'/') => {
            let message = format!("invalid parameter \"{}\"", word.lossy());
            return Err(directive.error_at(word, "invalid_parameter", message));
        }
        None => {
            let found = (&*word.lossy(), 0).to_socket_addrs();
            found.map(|found| found.map(|address| Cidr::single(address.ip())).collect()).unwrap_or_default()
        }
    };
    if blocks.is_empty() {
        let message = format!("host not found in set_real_ip_from \"{}\"", word.lossy());
        return Err(directive.error_at(word, "host_not_found", message));
    }
    Rc::make_mut(&mut scope.loc.realip.trusted).extend(blocks);
    Ok(())
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    VariableDef::new("realip_remote_addr", |r, _| {
        let connected = r.conn().connected_peer.borrow().as_ref().map(|connected| connected.0.clone());
        Some(connected.unwrap_or_else(|| r.conn().peer_text.borrow().clone()))
    }),
    VariableDef::new("realip_remote_port", |r, _| {
        let port = match (&*r.conn().connected_peer.borrow(), &*r.conn().peer.borrow()) {
            (Some(connected), _) => connected.1,
            (None, Address::Ip(address)) => address.port(),
            (None, Address::Unix(_)) => 0,
        };
        (port > 0).then(|| port.to_string().into())
    }),
];

/// Replaces the address, in the post-read phase and again in the preaccess phase.
pub(crate) struct RealipHandler;

impl Handler for RealipHandler {
    fn applies(&self, loc: &crate::http::conf::LocConf) -> bool {
        !loc.realip.trusted.is_empty() || loc.realip.trusts_unix
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if r.is_main() && r.conn().connected_peer.borrow().is_none() {
            replace(r);
        }
        Code::DECLINED.into()
    }
}

/// Replaces the address of a session by what a trusted proxy told in its PROXY header.
pub(crate) fn replace_by_proxy_protocol(r: &Rc<Request>) {
    let conf = &r.loc().realip;
    let conn = r.conn();
    let Some(header) = conn.proxy_protocol.get() else { return };
    let peer = conn.peer.borrow().clone();
    let (is_trusted, port) = match &peer {
        Address::Ip(address) => (conf.trusted.iter().any(|block| block.contains(address.ip())), address.port()),
        Address::Unix(_) => (conf.trusts_unix, 0),
    };
    if is_trusted {
        conn.peer.replace(Address::Ip(header.source));
        let before = conn.peer_text.replace(header.source.ip().to_string().into());
        conn.connected_peer.replace(Some(Box::new((before, port))));
    }
}

fn replace(r: &Rc<Request>) -> Option<()> {
    let conf = &r.loc().realip;
    let peer = r.conn().peer.borrow().clone();
    let name = conf.header.clone().unwrap_or(Bytes::from_static(b"X-Real-IP"));
    let by_proxy_protocol = name.eq_ignore_ascii_case(b"proxy_protocol");
    let value = if by_proxy_protocol {
        Bytes::from(r.conn().proxy_protocol.get()?.source.ip().to_string())
    } else {
        let list = r.headers_in.list.borrow();
        let mut values = list.named(&name).map(|header| &header.value[..]);
        if name.eq_ignore_ascii_case(b"X-Forwarded-For") {
            values.collect::<Vec<_>>().join(&b", "[..]).into()
        } else {
            Bytes::copy_from_slice(values.next()?)
        }
    };
    // Who speaks through a unix socket is nobody's client.
    let (address, port, trusts) = match &peer {
        Address::Ip(address) => (address.ip(), address.port(), false),
        Address::Unix(_) => (IpAddr::from([127, 0, 0, 1]), 0, true),
    };
    if trusts && !conf.trusts_unix {
        return None;
    }
    let mut found = forwarded(address, trusts, &value, &conf.trusted, conf.recursive.unwrap_or(false))?;
    if by_proxy_protocol {
        found.set_port(r.conn().proxy_protocol.get()?.source.port());
    }
    let conn = Rc::clone(r.conn());
    let before = conn.peer_text.replace(found.ip().to_string().into());
    conn.connected_peer.replace(Some(Box::new((before.clone(), port))));
    conn.peer.replace(Address::Ip(found));
    r.at_end(move || {
        // The next request of the connection starts from the true address.
        conn.peer.replace(peer);
        conn.peer_text.replace(before);
        conn.connected_peer.replace(None);
    });
    Some(())
}

/// Walks a list of addresses from its end as long as proxies are trusted (`ngx_http_get_forwarded_addr`).
pub(super) fn forwarded_for(peer: IpAddr, list: &[u8], trusted: &[Cidr], recursive: bool) -> IpAddr {
    forwarded(peer, false, list, trusted, recursive).map_or(peer, |found| found.ip())
}

/// As [`forwarded_for`]; `None` when it stays with the peer, who is `trusted_anyway` perhaps.
fn forwarded(
    peer: IpAddr,
    mut trusted_anyway: bool,
    list: &[u8],
    trusted: &[Cidr],
    recursive: bool,
) -> Option<SocketAddr> {
    let mut found: Option<SocketAddr> = None;
    for part in list.rsplit(|&byte| byte == b',' || byte == b' ').filter(|part| !part.is_empty()) {
        let address = found.map_or(peer, |found| found.ip());
        if !std::mem::take(&mut trusted_anyway) && !trusted.iter().any(|block| block.contains(address)) {
            break;
        }
        let Some((next, port)) = parse_address(part) else { break };
        found = Some(SocketAddr::new(next, port));
        if !recursive {
            break;
        }
    }
    found
}

/// `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]:80`.
fn parse_address(text: &[u8]) -> Option<(IpAddr, u16)> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), address.port()));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().map(|address| (address, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_walked_while_proxies_are_trusted() {
        let trusted: Vec<Cidr> = ["10.0.0.0/8", "127.0.0.1"]
            .iter()
            .map(|text| Cidr::parse(text.as_bytes()).expect("a valid block").0)
            .collect();
        let walk = |peer: &str, list: &str, recursive| {
            forwarded_for(peer.parse().expect("an address"), list.as_bytes(), &trusted, recursive).to_string()
        };
        assert_eq!(walk("127.0.0.1", "1.1.1.1, 2.2.2.2", false), "2.2.2.2");
        assert_eq!(walk("127.0.0.1", "1.1.1.1, 2.2.2.2, 10.1.1.1", true), "2.2.2.2");
        assert_eq!(walk("127.0.0.1", "1.1.1.1,10.1.1.1", true), "1.1.1.1");
        assert_eq!(walk("9.9.9.9", "1.1.1.1", true), "9.9.9.9");
        assert_eq!(walk("127.0.0.1", "junk", true), "127.0.0.1");
    }

    #[test]
    fn addresses_may_have_ports() {
        assert_eq!(parse_address(b"[::1]:80"), Some(("::1".parse().unwrap(), 80)));
        assert_eq!(parse_address(b"1.2.3.4:8"), Some(("1.2.3.4".parse().unwrap(), 8)));
        assert_eq!(parse_address(b"x"), None);
    }
}
