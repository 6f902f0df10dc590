//! What stands behind a scheme: `host:port/uri`, `[v6]:port`, `unix:/path:/uri`.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use bytes::Bytes;

/// The address of a server behind us.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// IPv4 or IPv6.
    Ip(SocketAddr),
    /// The path of a unix socket.
    Unix(Bytes),
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", String::from_utf8_lossy(path)),
        }
    }
}

/// A server and a URI on it, without scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host as written, or the path of a unix socket.
    pub host: Bytes,
    /// The port: the written one or the default.
    pub port: u16,
    /// Whether a port was written.
    pub has_port: bool,
    /// Whether the host is the path of a unix socket.
    pub is_unix: bool,
    /// The URI, from its `/` or `?` on; may be empty.
    pub uri: Bytes,
}

/// Why an address can't be read, in nginx's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Brackets without an IPv6 address in them.
    #[error("invalid host")]
    InvalidHost,
    /// A port that isn't a number from 1 to 65535.
    #[error("invalid port")]
    InvalidPort,
    /// Nothing before the port.
    #[error("no host")]
    NoHost,
    /// `unix:` and nothing more.
    #[error("no path in the unix domain socket")]
    NoPath,
}

impl Target {
    /// Takes an address apart.
    pub fn parse(text: &Bytes, default_port: u16) -> Result<Self, AddressError> {
        if text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"unix:")) {
            return Self::parse_unix(&text.slice(5..));
        }
        let end = memchr::memchr2(b'/', b'?', text).unwrap_or(text.len());
        let (authority, uri) = (text.slice(..end), text.slice(end..));
        let (host, port) = if authority.first() == Some(&b'[') {
            let close = memchr::memchr(b']', &authority).ok_or(AddressError::InvalidHost)?;
            let rest = authority.slice(close + 1..);
            match rest.split_first() {
                None => (authority.slice(..=close), None),
                Some((b':', _)) => (authority.slice(..=close), Some(rest.slice(1..))),
                Some(_) => return Err(AddressError::InvalidHost),
            }
        } else {
            match memchr::memchr(b':', &authority) {
                Some(colon) => (authority.slice(..colon), Some(authority.slice(colon + 1..))),
                None => (authority, None),
            }
        };
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        let has_port = port.is_some();
        let port = match port {
            None => default_port,
            Some(digits) => {
                let digits = std::str::from_utf8(&digits).map_err(|_| AddressError::InvalidPort)?;
                digits.parse().ok().filter(|port| *port > 0).ok_or(AddressError::InvalidPort)?
            }
        };
        Ok(Self { host, port, has_port, is_unix: false, uri })
    }

    fn parse_unix(text: &Bytes) -> Result<Self, AddressError> {
        let (host, uri) = match memchr::memchr(b':', text) {
            Some(colon) => (text.slice(..colon), text.slice(colon + 1..)),
            None => (text.clone(), Bytes::new()),
        };
        if host.is_empty() {
            return Err(AddressError::NoPath);
        }
        Ok(Self { host, port: 0, has_port: false, is_unix: true, uri })
    }

    /// The address, when the host is one.
    pub fn literal(&self) -> Option<PeerAddress> {
        if self.is_unix {
            return Some(PeerAddress::Unix(self.host.clone()));
        }
        let text = std::str::from_utf8(&self.host).ok()?;
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let address: IpAddr = bare.parse().ok()?;
        Some(PeerAddress::Ip(SocketAddr::new(address, self.port)))
    }

    /// The addresses, asking the system for those of a name: only while the configuration is read.
    pub fn resolve(&self) -> Vec<PeerAddress> {
        if let Some(address) = self.literal() {
            return vec![address];
        }
        let Ok(name) = std::str::from_utf8(&self.host) else { return Vec::new() };
        let found = (name, self.port).to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
        let mut addresses: Vec<PeerAddress> = Vec::new();
        let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
        for address in v4.into_iter().chain(v6).map(PeerAddress::Ip) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// What a `Host` header says: the host, with a port that isn't the default.
    pub fn host_header(&self, default_port: u16) -> Bytes {
        if self.is_unix {
            Bytes::from_static(b"localhost")
        } else if self.port == default_port || !self.has_port {
            self.host.clone()
        } else {
            let mut text = self.host.to_vec();
            text.push(b':');
            text.extend_from_slice(itoa::Buffer::new().format(self.port).as_bytes());
            text.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<(String, u16, String), AddressError> {
        let target = Target::parse(&Bytes::from_static(text.as_bytes()), 80)?;
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((lossy(&target.host), target.port, lossy(&target.uri)))
    }

    #[test]
    fn hosts_ports_and_uris_are_told_apart() {
        let found = |host: &str, port, uri: &str| Ok((host.to_owned(), port, uri.to_owned()));
        assert_eq!(parse("a.example:81/x?y"), found("a.example", 81, "/x?y"));
        assert_eq!(parse("a?b"), found("a", 80, "?b"));
        assert_eq!(parse("[::1]:8/"), found("[::1]", 8, "/"));
        assert_eq!(parse("unix:/run/s:/p"), found("/run/s", 0, "/p"));
    }

    #[test]
    fn slips_have_their_texts() {
        for (text, error) in [
            (":80", "no host"),
            ("a:0", "invalid port"),
            ("a:x", "invalid port"),
            ("a:70000", "invalid port"),
            ("[::1", "invalid host"),
            ("unix:", "no path in the unix domain socket"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn only_an_unusual_port_is_in_the_host_header() {
        let header =
            |text: &'static str| Target::parse(&Bytes::from_static(text.as_bytes()), 80).unwrap().host_header(80);
        assert_eq!(
            (&*header("a:80"), &*header("a:81"), &*header("unix:/s")),
            (&b"a"[..], &b"a:81"[..], &b"localhost"[..])
        );
    }
}
