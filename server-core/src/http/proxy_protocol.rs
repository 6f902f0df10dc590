//! The PROXY protocol (versions 1 and 2), which tells who the client of a proxy is.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use tokio::time::Instant;

use super::connection::{Address, Connection, ProxyProtocol};
use crate::log::Level;
use crate::log_at;

/// What the front of a buffer holds.
#[derive(Debug, PartialEq, Eq)]
enum Header {
    /// Addresses (or none, for `UNKNOWN` and `LOCAL`), and the length of the header.
    Complete(Option<(SocketAddr, SocketAddr)>, usize),
    Invalid,
    Partial,
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header; whether the connection may go on.
pub(crate) async fn read(conn: &Rc<Connection>, deadline: Instant) -> bool {
    loop {
        let header = parse(&conn.input.borrow());
        match header {
            Header::Complete(addresses, length) => {
                bytes::Buf::advance(&mut *conn.input.borrow_mut(), length);
                if let Some((source, destination)) = addresses {
                    // A fresh cell: there is one header a connection.
                    let _ = conn.proxy_protocol.set(Box::new(ProxyProtocol { source, destination }));
                }
                return true;
            }
            Header::Invalid => {
                let log = &conn.cycle().log;
                log_at!(log, Level::Error, "broken header while reading PROXY protocol");
                return false;
            }
            Header::Partial => {}
        }
        if !matches!(conn.read(deadline).await, Ok(read) if read > 0) {
            return false;
        }
    }
}

fn parse(input: &[u8]) -> Header {
    let common = input.len().min(SIGNATURE.len());
    if input[..common] == SIGNATURE[..common] && (common == SIGNATURE.len() || input.first() != Some(&b'P')) {
        return if common < SIGNATURE.len() { Header::Partial } else { parse_binary(input) };
    }
    let Some(end) = memchr::memchr(b'\n', &input[..input.len().min(107)]) else {
        return if input.len() >= 107 || !b"PROXY ".starts_with(&input[..input.len().min(6)]) {
            Header::Invalid
        } else {
            Header::Partial
        };
    };
    let line = String::from_utf8_lossy(&input[..end]);
    let mut words = line.trim_end_matches('\r').split(' ');
    if words.next() != Some("PROXY") {
        return Header::Invalid;
    }
    match words.next() {
        Some("UNKNOWN") => return Header::Complete(None, end + 1),
        Some("TCP4" | "TCP6") => {}
        _ => return Header::Invalid,
    }
    let (source, destination) = (words.next(), words.next());
    let address = |host: Option<&str>, port: Option<&str>| {
        Some(SocketAddr::new(host?.parse::<IpAddr>().ok()?, port?.parse().ok()?))
    };
    let source = address(source, words.next());
    let destination = address(destination, words.next());
    match (source, destination, words.next()) {
        (Some(source), Some(destination), None) => Header::Complete(Some((source, destination)), end + 1),
        _ => Header::Invalid,
    }
}

fn parse_binary(input: &[u8]) -> Header {
    let Some(&[version, family, high, low]) = input.get(12..16).and_then(|rest| <&[u8; 4]>::try_from(rest).ok()) else {
        return Header::Partial;
    };
    if version >> 4 != 2 {
        return Header::Invalid;
    }
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    let Some(body) = input.get(16..length) else { return Header::Partial };
    if version.trailing_zeros() >= 4 {
        return Header::Complete(None, length);
    }
    let port = |at: usize| body.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let v4 = |at: usize| body.get(at..at + 4).and_then(|ip| <[u8; 4]>::try_from(ip).ok()).map(IpAddr::from);
    let v6 = |at: usize| body.get(at..at + 16).and_then(|ip| <[u8; 16]>::try_from(ip).ok()).map(IpAddr::from);
    let pair = match family >> 4 {
        1 => (v4(0).zip(port(8)), v4(4).zip(port(10))),
        2 => (v6(0).zip(port(32)), v6(16).zip(port(34))),
        _ => return Header::Complete(None, length),
    };
    match pair {
        (Some(source), Some(destination)) => Header::Complete(Some((source.into(), destination.into())), length),
        _ => Header::Invalid,
    }
}

/// The address that the PROXY protocol names as the client's.
pub fn source(conn: &Connection) -> Option<Address> {
    conn.proxy_protocol.get().map(|header| Address::Ip(header.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_headers_are_read() {
        let input = b"PROXY TCP4 1.2.3.4 5.6.7.8 10 20\r\nGET";
        let pair = ("1.2.3.4:10".parse().unwrap(), "5.6.7.8:20".parse().unwrap());
        assert_eq!(parse(input), Header::Complete(Some(pair), 34));
        assert_eq!(parse(b"PROXY UNKNOWN whatever\r\n"), Header::Complete(None, 24));
        assert_eq!(parse(b"PROX"), Header::Partial);
        assert_eq!(parse(b"GET / HTTP/1.0\r\n"), Header::Invalid);
    }

    #[test]
    fn binary_headers_are_read() {
        let mut input = SIGNATURE.to_vec();
        input.extend([0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 10, 0, 20]);
        let pair = ("1.2.3.4:10".parse().unwrap(), "5.6.7.8:20".parse().unwrap());
        assert_eq!(parse(&input), Header::Complete(Some(pair), 28));
        assert_eq!(parse(&input[..20]), Header::Partial);
    }
}
