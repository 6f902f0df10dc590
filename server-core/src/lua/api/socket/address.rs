//! What a script gives as a host: an address, or a name to look up.

use std::net::{IpAddr, SocketAddr};

use crate::lua::socket::SocketConf;
use crate::lua::socket::transport::Address;
use crate::upstream::resolver::ResolveError;

/// What a host is.
pub(super) enum Parsed {
    /// An address, or the path of a unix socket.
    Address(Address),
    /// A name.
    Name,
    /// Neither.
    Invalid(&'static str),
}

/// The longest path that the system takes for a unix socket.
const PATH_MAX: usize = 107;

/// Reads a host.
pub(super) fn parse(host: &[u8], port: u16) -> Parsed {
    if let Some(path) = host.get(5..).filter(|_| host[..5].eq_ignore_ascii_case(b"unix:")) {
        return if path.is_empty() {
            Parsed::Invalid("no path in the unix domain socket")
        } else if path.len() > PATH_MAX {
            Parsed::Invalid("too long path in the unix domain socket")
        } else {
            Parsed::Address(Address::Unix(path.to_vec()))
        };
    }
    if host.iter().any(|byte| matches!(byte, b'/' | b'?')) {
        return Parsed::Invalid("invalid host");
    }
    if host.is_empty() {
        return Parsed::Invalid("no host");
    }
    let text = std::str::from_utf8(host).unwrap_or_default();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv4() || bare != text => Parsed::Address(Address::Ip(SocketAddr::new(ip, port))),
        _ if host.contains(&b'/') || host.contains(&b'?') => Parsed::Invalid("invalid host"),
        _ if host.contains(&b':') => Parsed::Invalid("invalid port"),
        _ => Parsed::Name,
    }
}

/// Looks a name up; one of its addresses is the answer.
pub(super) async fn look_up(host: &[u8], port: u16, conf: &SocketConf) -> Result<Address, ResolveError> {
    let Some(resolver) = conf.resolver.as_ref() else { return Err(ResolveError::TimedOut) };
    let addresses = resolver.resolve(&String::from_utf8_lossy(host), conf.resolver_timeout).await?;
    match addresses.first() {
        Some(ip) => Ok(Address::Ip(SocketAddr::new(*ip, port))),
        None => Err(ResolveError::NOT_FOUND),
    }
}

/// The peer as the error log names it, `HOST:PORT(ADDRESS)`.
pub(super) fn describe(host: &[u8], address: &Address) -> String {
    let host = String::from_utf8_lossy(host);
    match address {
        Address::Ip(address) if address.port() == 0 => format!("{host}({})", address.ip()),
        Address::Ip(address) => format!("{host}:{}({})", address.port(), address.ip()),
        Address::Unix(path) => {
            let path = String::from_utf8_lossy(path);
            format!("unix:{path}(unix:{path})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart() {
        let is = |host: &[u8]| match parse(host, 80) {
            Parsed::Address(Address::Ip(address)) => address.to_string(),
            Parsed::Address(Address::Unix(path)) => String::from_utf8_lossy(&path).into_owned(),
            Parsed::Name => "name".to_owned(),
            Parsed::Invalid(reason) => reason.to_owned(),
        };
        assert_eq!(is(b"127.0.0.1"), "127.0.0.1:80");
        assert_eq!(is(b"[::1]"), "[::1]:80");
        assert_eq!(is(b"unix:/tmp/x"), "/tmp/x");
        assert_eq!(is(b"unix:"), "no path in the unix domain socket");
        assert_eq!(is(b"localhost"), "name");
        assert_eq!(is(b"a:b"), "invalid port");
        assert_eq!(is(b"/tmp/x"), "invalid host");
        assert_eq!(is(b""), "no host");
    }

    #[test]
    fn a_peer_is_named_with_its_address() {
        let address = Address::Ip("127.0.0.1:80".parse().unwrap());
        assert_eq!(describe(b"localhost", &address), "localhost:80(127.0.0.1)");
        assert_eq!(describe(b"unix:/x", &Address::Unix(b"/x".to_vec())), "unix:/x(unix:/x)");
    }
}
