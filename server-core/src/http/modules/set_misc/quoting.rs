//! Quoting and escaping of text for SQL, JSON and URIs: pure functions on bytes.

use crate::codec::{self, Dollars, Escape, hex_value};

/// Two lower-case hexadecimal digits a byte.
pub(crate) fn encode_hex(input: &[u8]) -> Vec<u8> {
    codec::to_hex(input)
}

/// The inverse of [`encode_hex`], in either case; `None` for odd lengths and other characters.
pub(crate) fn decode_hex(input: &[u8]) -> Option<Vec<u8>> {
    if !input.len().is_multiple_of(2) {
        return None;
    }
    input.as_chunks::<2>().0.iter().map(|&[high, low]| Some(hex_value(high)? << 4 | hex_value(low)?)).collect()
}

/// A string literal as MySQL reads it; an empty input is `''`.
pub(crate) fn quote_sql(input: &[u8]) -> Vec<u8> {
    codec::quote_sql(input, Dollars::Escaped)
}

/// An `E'…'` literal for PostgreSQL. Bytes that are no UTF-8 are written in octal; an empty input is `''`.
pub(crate) fn quote_pgsql(input: &[u8]) -> Vec<u8> {
    if input.is_empty() {
        return b"''".to_vec();
    }
    let mut quoted = vec![b'E'];
    quoted.extend(quote_sql(input));
    if std::str::from_utf8(&quoted).is_ok() {
        return quoted;
    }
    let mut out = Vec::with_capacity(quoted.len() * 2);
    for byte in quoted {
        if byte < 0x80 {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'\\', b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
        }
    }
    out
}

/// A JSON string; an empty input is `null`.
pub(crate) fn quote_json(input: &[u8]) -> Vec<u8> {
    if input.is_empty() {
        return b"null".to_vec();
    }
    let mut out = Vec::with_capacity(input.len() + 2);
    out.push(b'"');
    for &byte in input {
        match byte {
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            0..32 => {
                out.extend_from_slice(b"\\u00");
                out.extend(codec::to_hex(&[byte]));
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}

/// Percent-encodes everything but letters, digits and the unreserved marks `!'()*-._~`.
pub(crate) fn escape_uri(input: &[u8]) -> Vec<u8> {
    codec::escaped(input, Escape::Component).into_owned()
}

/// Decodes `%XX` and `+`. A `%` that no hexadecimal digit follows disappears, as in nginx.
pub(crate) fn unescape_uri(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len());
    let mut bytes = input.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let Some(first) = bytes.next() else { break };
                let Some(high) = hex_value(first) else {
                    out.push(first);
                    continue;
                };
                let Some(second) = bytes.next() else { break };
                if let Some(low) = hex_value(second) {
                    out.push(high << 4 | low);
                }
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_survives_a_round_trip_and_rejects_odd_input() {
        assert_eq!(encode_hex(b"\x00\xffA"), b"00ff41");
        assert_eq!(decode_hex(b"00FF41").as_deref(), Some(&b"\x00\xffA"[..]));
        assert_eq!(decode_hex(b"0"), None);
        assert_eq!(decode_hex(b"0g"), None);
    }

    #[test]
    fn sql_quoting_escapes_what_ends_a_literal() {
        assert_eq!(quote_sql(b""), b"''");
        assert_eq!(quote_sql(b"a'b\"c\\d$e\x1a\n"), b"'a\\'b\\\"c\\\\d\\$e\\Z\\n'");
        assert_eq!(quote_pgsql(b"it's"), b"E'it\\'s'");
        assert_eq!(quote_pgsql(b"\xff"), b"E'\\\\377'");
        assert_eq!(quote_pgsql("é".as_bytes()), "E'é'".as_bytes());
    }

    #[test]
    fn json_quoting_escapes_control_characters() {
        assert_eq!(quote_json(b""), b"null");
        assert_eq!(quote_json(b"a\"\\\x01\t"), b"\"a\\\"\\\\\\u0001\\t\"");
    }

    #[test]
    fn uri_escaping_keeps_unreserved_characters() {
        assert_eq!(escape_uri(b"a b/c~'"), b"a%20b%2Fc~'");
        assert_eq!(unescape_uri(b"a+b%2Fc%20"), b"a b/c ");
        assert_eq!(unescape_uri(b"%zz%"), b"zz");
    }
}
