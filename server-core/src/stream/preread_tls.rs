//! `ssl_preread`: what a client's TLS hello says, read without answering it (RFC 8446 section 4.1.2).

use std::rc::Rc;

use bytes::Bytes;

use super::peek::{self, Peeked};
use crate::http::variables::VariableDef;
use crate::http::{Code, Request};
use crate::log::Level;

/// What the hello said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hello {
    server_name: Vec<u8>,
    alpn: Vec<u8>,
    version: u16,
}

/// The variables.
pub(super) const VARIABLES: &[VariableDef] = &[
    VariableDef::new("ssl_preread_server_name", |r, _| {
        r.ctx::<Hello>().map(|hello| Bytes::copy_from_slice(&hello.server_name))
    }),
    VariableDef::new("ssl_preread_alpn_protocols", |r, _| {
        r.ctx::<Hello>().map(|hello| Bytes::copy_from_slice(&hello.alpn))
    }),
    VariableDef::new("ssl_preread_protocol", |r, _| {
        r.ctx::<Hello>().map(|hello| Bytes::from_static(version_name(hello.version)))
    }),
];

fn version_name(version: u16) -> &'static [u8] {
    match version {
        0x0300 => b"SSLv3",
        0x0301 => b"TLSv1",
        0x0302 => b"TLSv1.1",
        0x0303 => b"TLSv1.2",
        0x0304 => b"TLSv1.3",
        _ => b"",
    }
}

/// Waits for the hello and keeps what it says. OK or DECLINED go on; a client that sends too little ends the session.
pub(super) async fn look(r: &Rc<Request>) -> Code {
    let mut wanted = RECORD_HEAD;
    loop {
        match peek::wait_for(r, wanted).await {
            Peeked::Enough => {}
            Peeked::Ended => return Code::HTTP_OK,
            Peeked::Full => {
                r.log(Level::Error, format_args!("preread buffer full"));
                return Code(400);
            }
        }
        match parse(&r.conn().input.borrow()) {
            Parsed::More(size) => wanted = size,
            Parsed::Nothing => return Code::DECLINED,
            Parsed::Hello(hello) => {
                r.set_ctx(Rc::new(hello));
                return Code::OK;
            }
        }
    }
}

const RECORD_HEAD: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

enum Parsed {
    /// So many bytes are needed.
    More(usize),
    /// This is no hello.
    Nothing,
    Hello(Hello),
}

/// Takes the handshake message out of its records.
fn parse(input: &[u8]) -> Parsed {
    let mut message = Vec::new();
    let mut at = 0;
    loop {
        let Some(head) = input.get(at..at + RECORD_HEAD) else { return Parsed::More(at + RECORD_HEAD) };
        if head[0] != HANDSHAKE || head[1] != 3 {
            return Parsed::Nothing;
        }
        let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let end = at + RECORD_HEAD + len;
        let Some(body) = input.get(at + RECORD_HEAD..end) else { return Parsed::More(end) };
        message.extend_from_slice(body);
        at = end;
        let Some(head) = message.get(..4) else { continue };
        if head[0] != CLIENT_HELLO {
            return Parsed::Nothing;
        }
        let len = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
        if let Some(body) = message.get(4..4 + len) {
            return hello(body).map_or(Parsed::Nothing, Parsed::Hello);
        }
    }
}

/// Reads from the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// What is preceded by its length in one byte.
    fn short_vector(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(*self.take(1)?.first()?);
        self.take(len)
    }

    /// What is preceded by its length in two bytes.
    fn vector(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.short()?);
        self.take(len)
    }
}

fn hello(body: &[u8]) -> Option<Hello> {
    let mut body = Reader(body);
    let mut found = Hello { version: body.short()?, ..Hello::default() };
    body.take(32)?;
    body.short_vector()?;
    body.vector()?;
    body.short_vector()?;
    let Some(extensions) = body.vector() else { return Some(found) };
    let mut extensions = Reader(extensions);
    while let Some(kind) = extensions.short() {
        let mut content = Reader(extensions.vector()?);
        match kind {
            0 => {
                let mut names = Reader(content.vector()?);
                while let Some(kind) = names.take(1) {
                    let name = names.vector()?;
                    if kind == [0] {
                        found.server_name = name.to_ascii_lowercase();
                        break;
                    }
                }
            }
            16 => {
                let mut protocols = Reader(content.vector()?);
                while let Some(protocol) = protocols.short_vector() {
                    if !found.alpn.is_empty() {
                        found.alpn.push(b',');
                    }
                    found.alpn.extend_from_slice(protocol);
                }
            }
            43 => {
                let mut versions = Reader(content.short_vector()?);
                while let Some(version) = versions.short() {
                    // Values that only test the server's tolerance look like 0x?a?a.
                    if version & 0x0f0f != 0x0a0a {
                        found.version = found.version.max(version);
                    }
                }
            }
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
    }

    fn client_hello() -> Vec<u8> {
        let name = vector(&[&[0][..], &vector(b"A.Example")].concat());
        let alpn = vector(b"\x02h2\x08http/1.1");
        let versions = [4, 0x1a, 0x1a, 3, 4];
        let extensions = [
            &0_u16.to_be_bytes()[..],
            &vector(&name),
            &16_u16.to_be_bytes(),
            &vector(&alpn),
            &43_u16.to_be_bytes(),
            &vector(&versions),
        ]
        .concat();
        let body = [&[3, 3][..], &[7; 32], &[0], &vector(&[0x13, 1]), &[1, 0], &vector(&extensions)].concat();
        let message = [&[CLIENT_HELLO, 0][..], &vector(&body)].concat();
        [&[HANDSHAKE, 3, 1][..], &vector(&message)].concat()
    }

    #[test]
    fn a_hello_tells_name_protocols_and_version() {
        let Parsed::Hello(hello) = parse(&client_hello()) else { panic!("a whole hello") };
        assert_eq!(hello.server_name, b"a.example");
        assert_eq!(hello.alpn, b"h2,http/1.1");
        assert_eq!(version_name(hello.version), b"TLSv1.3");
    }

    #[test]
    fn every_part_of_a_hello_asks_for_more() {
        let whole = client_hello();
        for end in 0..whole.len() {
            assert!(matches!(parse(&whole[..end]), Parsed::More(size) if size > end && size <= whole.len()), "{end}");
        }
    }

    #[test]
    fn what_is_no_hello_is_nothing() {
        assert!(matches!(parse(b"GET / HTTP/1.1\r\n"), Parsed::Nothing));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            parse(&tail);
            parse(&[&[HANDSHAKE, 3, 1, 0, 60, CLIENT_HELLO, 0, 0, 56], &tail[..]].concat());
        }
    }
}
