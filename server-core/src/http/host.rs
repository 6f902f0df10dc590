//! Names of hosts, from `Host` headers and request lines.

use bytes::Bytes;

/// What a byte may be part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing.
    Invalid,
    /// Names and addresses.
    Literal,
    /// The same, to be lowered.
    Upper,
    /// Names only.
    Percent,
    /// Between labels, between a name and its port, and in addresses.
    Dot,
    Colon,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Invalid; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'A'..=b'Z' => Class::Upper,
            b'.' => Class::Dot,
            b':' => Class::Colon,
            b'%' => Class::Percent,
            b'a'..=b'z' | b'0'..=b'9' => Class::Literal,
            b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {
                Class::Literal
            }
            _ => Class::Invalid,
        };
        byte += 1;
    }
    table
};

/// A host that was found valid; the text itself is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The length of the name, without a dot at its end and without the port.
    len: usize,
    has_upper: bool,
    /// The port behind it; 0 when there is none.
    pub port: u16,
}

impl Host {
    /// Looks at a name or address with or without port; `None` when it isn't one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let is_address = text.first() == Some(&b'[');
        let mut has_upper = false;
        let mut previous = Class::Invalid;
        let mut end = text.len();
        for (at, &byte) in text.iter().enumerate() {
            let class = CLASSES[usize::from(byte)];
            match class {
                Class::Upper => has_upper = true,
                Class::Dot if previous == Class::Dot => return None,
                Class::Colon if !is_address => {
                    end = at;
                    break;
                }
                Class::Literal | Class::Dot | Class::Colon => {}
                Class::Percent if !is_address => {}
                Class::Invalid if is_address && at == 0 => {}
                Class::Invalid if is_address && byte == b']' => {
                    end = at + 1;
                    break;
                }
                Class::Percent | Class::Invalid => return None,
            }
            previous = class;
        }
        let (name, port) = text.split_at(end);
        let port = port_of(port).filter(|_| !is_address || name.ends_with(b"]"))?;
        let len = name.strip_suffix(b".").unwrap_or(name).len();
        (len > 0).then_some(Self { len, has_upper, port })
    }

    /// The name in lower case, from the text that it was found in.
    pub fn name(self, text: &Bytes) -> Bytes {
        let name = text.slice(..self.len.min(text.len()));
        if self.has_upper { name.to_ascii_lowercase().into() } else { name }
    }
}

/// Nothing, or a colon and a number which may be left out; 0 when it is.
fn port_of(text: &[u8]) -> Option<u16> {
    let Some((colon, digits)) = text.split_first() else { return Some(0) };
    let number = digits.iter().try_fold(0u16, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    });
    number.filter(|_| *colon == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(text: &str) -> Option<Bytes> {
        let text = Bytes::copy_from_slice(text.as_bytes());
        Host::parse(&text).map(|host| host.name(&text))
    }

    #[test]
    fn hosts_lose_port_case_and_final_dot() {
        for (text, host) in [
            ("A.b:80", "a.b"),
            ("x.", "x"),
            ("[::1]:8", "[::1]"),
            ("a_b", "a_b"),
            ("h:", "h"),
            ("[F::1]", "[f::1]"),
            ("a%b", "a%b"),
        ] {
            assert_eq!(validate(text).as_deref(), Some(host.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_rejected() {
        for text in
            ["", "a/b", "a..b", ".", "a:b", "a:99999", "a b", "[::1", "[::1]x", "a\\b", "\0", "[a%b]", "[::1]:x", "]"]
        {
            assert_eq!(validate(text), None, "{text}");
        }
    }
}
