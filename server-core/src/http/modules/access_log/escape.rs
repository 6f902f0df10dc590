//! How values are escaped in an access log. Pure.

/// The `escape=` parameter of `log_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Escape {
    /// `"`, `\` and everything outside printable ASCII becomes `\xXX`; a missing value is `-`.
    #[default]
    Default,
    /// As in a JSON string; a missing value is empty.
    Json,
    /// Nothing; a missing value is empty.
    None,
}

impl Escape {
    /// Appends a value.
    pub(crate) fn append(self, out: &mut Vec<u8>, value: Option<&[u8]>) {
        match (self, value) {
            (Self::Default, None) => out.push(b'-'),
            (_, None) => {}
            (Self::None, Some(value)) => out.extend_from_slice(value),
            (Self::Default, Some(value)) => append_hex(out, value),
            (Self::Json, Some(value)) => append_json(out, value),
        }
    }
}

fn append_hex(out: &mut Vec<u8>, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    const SAFE: [bool; 256] = {
        let mut safe = [false; 256];
        let mut byte = 32;
        while byte < 127 {
            safe[byte] = byte != b'"' as usize && byte != b'\\' as usize;
            byte += 1;
        }
        safe
    };
    let safe = |byte: u8| SAFE[usize::from(byte)];
    if value.iter().all(|&byte| safe(byte)) {
        out.extend_from_slice(value);
        return;
    }
    for &byte in value {
        if safe(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

fn append_json(out: &mut Vec<u8>, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..32 => {
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Escape;

    #[test]
    fn each_mode_escapes_what_it_must() {
        let run = |escape: Escape, value: Option<&[u8]>| {
            let mut out = Vec::new();
            escape.append(&mut out, value);
            String::from_utf8(out).expect("ascii")
        };
        assert_eq!(run(Escape::Default, Some(b"a\"b\\\n\xff")), "a\\x22b\\x5C\\x0A\\xFF");
        assert_eq!(run(Escape::Default, None), "-");
        assert_eq!(run(Escape::Json, Some(b"a\"\n\x01\x1f")), "a\\\"\\n\\u0001\\u001F");
        assert_eq!(run(Escape::Json, None), "");
        assert_eq!(run(Escape::None, Some(b"a\"\n")), "a\"\n");
    }
}
