//! Addresses of clients and listeners, and how they are written.

use std::net::SocketAddr;

use bytes::Bytes;

/// The address of a client or of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4 or IPv6.
    Ip(SocketAddr),
    /// A unix socket; clients have no path.
    Unix(Bytes),
}

impl Address {
    /// Without port: `127.0.0.1`, `::1`, `unix:`.
    pub fn host_text(&self) -> Bytes {
        match self {
            Self::Ip(address) => Bytes::from(address.ip().to_string()),
            Self::Unix(_) => Bytes::from_static(b"unix:"),
        }
    }

    /// The port; 0 of a unix socket.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Unix(_) => 0,
        }
    }
}

impl std::fmt::Display for Address {
    /// With port: `127.0.0.1:80`, `[::1]:80`, `unix:/path`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.escape_ascii()),
        }
    }
}
