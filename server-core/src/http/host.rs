//! Names of hosts, from `Host` headers and request lines.

use bytes::Bytes;

/// The characters of names and of addresses.
const LITERAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// The host without its port, in lower case and without a dot at its end; `None` when it isn't one.
pub fn validate(text: &[u8]) -> Option<Bytes> {
    let is_literal = |byte: u8| LITERAL[usize::from(byte)];
    let (host, port) = if text.first() == Some(&b'[') {
        let end = text.iter().position(|byte| *byte == b']')? + 1;
        if !text[1..end - 1].iter().all(|byte| is_literal(*byte) || *byte == b':') {
            return None;
        }
        (&text[..end], &text[end..])
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        if !text[..end].iter().all(|byte| is_literal(*byte) || *byte == b'%') {
            return None;
        }
        (&text[..end], &text[end..])
    };
    match port {
        [] => {}
        [b':', digits @ ..] => {
            let number = digits.iter().try_fold(0u32, |value, byte| {
                let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
                Some(value * 10 + digit).filter(|value| *value <= 65_535)
            });
            number?;
        }
        _ => return None,
    }
    if host.windows(2).any(|pair| pair == b"..") {
        return None;
    }
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    Some(Bytes::from(host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_port_case_and_final_dot() {
        for (text, host) in [("A.b:80", "a.b"), ("x.", "x"), ("[::1]:8", "[::1]"), ("a_b", "a_b"), ("h:", "h")] {
            assert_eq!(validate(text.as_bytes()).as_deref(), Some(host.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_rejected() {
        for text in ["", "a/b", "a..b", ".", "a:b", "a:99999", "a b", "[::1", "[::1]x", "a\\b", "\0"] {
            assert_eq!(validate(text.as_bytes()), None, "{text}");
        }
    }
}
