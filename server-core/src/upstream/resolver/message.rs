//! DNS messages (RFC 1035): a question out of a name, addresses out of an answer. Pure on bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of record asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

const CNAME: u16 = 5;
const CLASS_IN: u16 = 1;
const HEADER: usize = 12;
const LABEL_MAX: usize = 63;
const NAME_MAX: usize = 255;
/// Compression pointers that are followed in one name.
const POINTERS_MAX: usize = 32;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The response code; 0 is success.
    pub(super) code: u8,
    /// The message was cut; ask again over TCP.
    pub(super) truncated: bool,
    /// The addresses, in the order of the message.
    pub(super) addresses: Vec<IpAddr>,
    /// The name to look up instead, when there is an alias but no address.
    pub(super) alias: Option<String>,
    /// Seconds for which the answer holds: the least of its records.
    pub(super) ttl: u32,
}

/// The bytes of a question, or `None` for a name that can't be asked for.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER + name.len() + 6);
    bytes.extend(id.to_be_bytes());
    // Recursion desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > NAME_MAX - 2 {
        return None;
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > LABEL_MAX {
            return None;
        }
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.number().to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    Some(bytes)
}

/// Reads an answer to `question`. `None` when it is malformed or answers something else, and so is to be ignored.
pub(super) fn answer(message: &[u8], question: &[u8], kind: Kind) -> Option<Answer> {
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let flags = word(2)?;
    if message.get(..2)? != question.get(..2)? || flags & 0x8000 == 0 {
        return None;
    }
    let (code, truncated) = ((flags & 0xf) as u8, flags & 0x0200 != 0);
    let asked = question.get(HEADER..)?;
    let echoed = message.get(HEADER..HEADER + asked.len());
    if word(4)? != 1 || !echoed.is_some_and(|echoed| echoed.eq_ignore_ascii_case(asked)) {
        // Servers may leave the question out of an error.
        let bare_error = code != 0 && word(4)? == 0;
        return bare_error.then_some(Answer { code, truncated, addresses: Vec::new(), alias: None, ttl: 0 });
    }
    let mut found = Answer { code, truncated, addresses: Vec::new(), alias: None, ttl: u32::MAX };
    let mut at = HEADER + asked.len();
    for _ in 0..word(6)? {
        let Some((_, after)) = name(message, at) else { break };
        let (Some(record), Some(class), Some(length)) = (word(after), word(after + 2), word(after + 8)) else { break };
        let Some(ttl) = message.get(after + 4..after + 8).and_then(|ttl| ttl.try_into().ok()) else { break };
        let data = after + 10;
        let Some(bytes) = message.get(data..data + usize::from(length)) else { break };
        if class == CLASS_IN && (record == kind.number() || record == CNAME) {
            found.ttl = found.ttl.min(u32::from_be_bytes(ttl));
        }
        match (record, class) {
            (CNAME, CLASS_IN) => found.alias = name(message, data).map(|(alias, _)| alias).or(found.alias),
            (number, CLASS_IN) if number == kind.number() => found.addresses.extend(address(bytes)),
            _ => {}
        }
        at = data + usize::from(length);
    }
    if !found.addresses.is_empty() {
        found.alias = None;
    }
    if found.ttl == u32::MAX {
        found.ttl = 0;
    }
    Some(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// The name at an offset, and the offset behind it.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut end = None;
    for _ in 0..POINTERS_MAX + NAME_MAX {
        let length = *message.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some((text, end.unwrap_or(at + 1))),
            0 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                if text.len() + label.len() > NAME_MAX {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(std::str::from_utf8(label).ok()?);
                at += 1 + usize::from(length);
            }
            3 => {
                let pointer = usize::from(length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                end = end.or(Some(at + 2));
                at = pointer;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer with one record for each item: (kind number, data).
    pub(in super::super) fn reply(question: &[u8], code: u8, records: &[(u16, u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2] = 0x81;
        bytes[3] = 0x80 | code;
        bytes[7] = records.len() as u8;
        for (kind, ttl, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend(CLASS_IN.to_be_bytes());
            bytes.extend(ttl.to_be_bytes());
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }

    #[test]
    fn addresses_come_out_of_an_answer() {
        let question = question(7, "Example.org", Kind::A).unwrap();
        let message = reply(&question, 0, &[(1, 60, vec![127, 0, 0, 2]), (1, 30, vec![127, 0, 0, 3])]);
        let found = answer(&message, &question, Kind::A).unwrap();
        assert_eq!(found.addresses, ["127.0.0.2".parse::<IpAddr>().unwrap(), "127.0.0.3".parse().unwrap()]);
        assert_eq!((found.code, found.ttl, found.alias), (0, 30, None));
    }

    #[test]
    fn an_alias_without_address_is_reported() {
        let question = question(7, "a.example", Kind::A).unwrap();
        let message = reply(&question, 0, &[(CNAME, 5, vec![1, b'b', 0xc0, 14])]);
        let found = answer(&message, &question, Kind::A).unwrap();
        assert_eq!(found.alias.as_deref(), Some("b.example"));
    }

    #[test]
    fn strangers_answers_are_ignored() {
        let asked = question(7, "a.example", Kind::A).unwrap();
        let other_id = reply(&question(8, "a.example", Kind::A).unwrap(), 0, &[]);
        let other_name = reply(&question(7, "b.example", Kind::A).unwrap(), 0, &[]);
        assert_eq!(answer(&other_id, &asked, Kind::A), None);
        assert_eq!(answer(&other_name, &asked, Kind::A), None);
        assert_eq!(answer(&asked, &asked, Kind::A), None);
        assert_eq!(answer(b"", &asked, Kind::A), None);
    }

    #[test]
    fn a_loop_of_pointers_ends() {
        let question = question(7, "a.example", Kind::A).unwrap();
        let at = question.len() as u8;
        let mut message = reply(&question, 0, &[(1, 1, vec![1, 2, 3, 4])]);
        message[usize::from(at) + 1] = at;
        assert!(answer(&message, &question, Kind::A).unwrap().addresses.is_empty());
    }

    #[test]
    fn names_that_cannot_be_asked_for_are_refused() {
        assert_eq!(question(1, "", Kind::A), None);
        assert_eq!(question(1, "a..b", Kind::A), None);
        assert_eq!(question(1, &"x".repeat(64), Kind::A), None);
        assert_eq!(question(1, &"x.".repeat(200), Kind::A), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(message: Vec<u8>) {
            let question = question(7, "a.example", Kind::Aaaa).unwrap();
            answer(&message, &question, Kind::Aaaa);
        }
    }
}
