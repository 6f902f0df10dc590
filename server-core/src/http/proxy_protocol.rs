//! The PROXY protocol (versions 1 and 2), which tells who the client of a proxy is.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use super::connection::{Address, Connection, ProxyProtocol};
use crate::log::Level;
use crate::log_at;

/// What the front of a buffer holds.
#[derive(Debug, PartialEq, Eq)]
enum Header {
    /// Addresses (or none, for `UNKNOWN` and `LOCAL`), where what else it says begins, and the length of the header.
    Complete(Option<(SocketAddr, SocketAddr)>, usize, usize),
    Invalid,
    Partial,
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header; whether the connection may go on.
pub(crate) async fn read(conn: &Rc<Connection>, deadline: Instant) -> bool {
    loop {
        let header = parse(&conn.input.borrow());
        match header {
            Header::Complete(addresses, more, length) => {
                let header = conn.input.borrow_mut().split_to(length);
                if let Some((source, destination)) = addresses {
                    let tlvs = Bytes::copy_from_slice(header.get(more..).unwrap_or_default());
                    // A fresh cell: there is one header a connection.
                    let _ = conn.proxy_protocol.set(ProxyProtocol { source, destination, tlvs });
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
        Some("UNKNOWN") => return Header::Complete(None, end + 1, end + 1),
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
        (Some(source), Some(destination), None) => Header::Complete(Some((source, destination)), end + 1, end + 1),
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
        return Header::Complete(None, length, length);
    }
    let port = |at: usize| body.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let v4 = |at: usize| body.get(at..at + 4).and_then(|ip| <[u8; 4]>::try_from(ip).ok()).map(IpAddr::from);
    let v6 = |at: usize| body.get(at..at + 16).and_then(|ip| <[u8; 16]>::try_from(ip).ok()).map(IpAddr::from);
    let pair = match family >> 4 {
        1 => (v4(0).zip(port(8)), v4(4).zip(port(10)), 12),
        2 => (v6(0).zip(port(32)), v6(16).zip(port(34)), 36),
        _ => return Header::Complete(None, length, length),
    };
    match pair {
        (Some(source), Some(destination), more) => {
            Header::Complete(Some((source.into(), destination.into())), 16 + more, length)
        }
        _ => Header::Invalid,
    }
}

impl ProxyProtocol {
    /// What a header of version 2 says besides the addresses, by its name in `$proxy_protocol_tlv_NAME`: a known
    /// word or `0xNN`, behind `ssl_` for what is said about the client's TLS connection.
    pub fn tlv(&self, name: &[u8]) -> Option<Bytes> {
        const TYPES: &[(&str, u32)] =
            &[("alpn", 0x01), ("authority", 0x02), ("unique_id", 0x05), ("ssl", 0x20), ("netns", 0x30)];
        const TLS_TYPES: &[(&str, u32)] =
            &[("version", 0x21), ("cn", 0x22), ("cipher", 0x23), ("sig_alg", 0x24), ("key_alg", 0x25)];
        let Some(name) = name.strip_prefix(b"ssl_") else { return find_tlv(&self.tlvs, type_of(TYPES, name)?) };
        let tls = find_tlv(&self.tlvs, 0x20)?;
        // One byte says what the client did, four whether its certificate was good.
        let verify = u32::from_be_bytes(<[u8; 4]>::try_from(tls.get(1..5)?).ok()?);
        if name == b"verify" {
            return Some(verify.to_string().into());
        }
        find_tlv(&tls.slice(5..), type_of(TLS_TYPES, name)?)
    }
}

fn type_of(known: &[(&str, u32)], name: &[u8]) -> Option<u32> {
    match name.strip_prefix(b"0x") {
        Some(digits) => u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok(),
        None => known.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, number)| *number),
    }
}

fn find_tlv(mut list: &[u8], wanted: u32) -> Option<Bytes> {
    while let [kind, high, low, rest @ ..] = list {
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if u32::from(*kind) == wanted {
            return Some(Bytes::copy_from_slice(value));
        }
        list = rest;
    }
    None
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
        assert_eq!(parse(input), Header::Complete(Some(pair), 34, 34));
        assert_eq!(parse(b"PROXY UNKNOWN whatever\r\n"), Header::Complete(None, 24, 24));
        assert_eq!(parse(b"PROX"), Header::Partial);
        assert_eq!(parse(b"GET / HTTP/1.0\r\n"), Header::Invalid);
    }

    #[test]
    fn binary_headers_are_read() {
        let mut input = SIGNATURE.to_vec();
        input.extend([0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 10, 0, 20]);
        let pair = ("1.2.3.4:10".parse().unwrap(), "5.6.7.8:20".parse().unwrap());
        assert_eq!(parse(&input), Header::Complete(Some(pair), 28, 28));
        assert_eq!(parse(&input[..20]), Header::Partial);
    }

    #[test]
    fn what_else_a_binary_header_says_is_found_by_name() {
        let tls = [&[0x20, 0, 13, 1, 0, 0, 0, 7, 0x21, 0, 5][..], b"TLSv1"].concat();
        let tlvs = [&[0x02, 0, 1, b'a'][..], &tls, &[0xae, 0, 2, b'x']].concat();
        let address = "1.2.3.4:10".parse().unwrap();
        let header = ProxyProtocol { source: address, destination: address, tlvs: tlvs.into() };
        for (name, value) in [
            ("authority", Some("a")),
            ("0x02", Some("a")),
            ("ssl_verify", Some("7")),
            ("ssl_version", Some("TLSv1")),
            ("ssl_0x22", None),
            ("0xae", None),
            ("alpn", None),
            ("anything", None),
        ] {
            assert_eq!(header.tlv(name.as_bytes()).as_deref(), value.map(str::as_bytes), "{name}");
        }
    }
}
