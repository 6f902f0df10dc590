//! Bytes made visible.

/// A line as it can be shown: control characters and bytes that are no UTF-8 are escaped, blanks at its end marked.
pub fn visible(line: &[u8]) -> String {
    let mut out = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                '\0' => out.push_str("\\0"),
                c if c.is_control() || is_format(c) => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    let kept = out.trim_end_matches(' ').len();
    let blanks = out.len() - kept;
    out.truncate(kept);
    out.push_str(&"·".repeat(blanks));
    out
}

/// Characters that change the direction of text or take no room.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_marked() {
        assert_eq!(visible(b"a\tb\r\x1b[1m \xff  "), "a\\tb\\r\\u{1b}[1m \\xff··");
        assert_eq!(visible("é\u{202e}".as_bytes()), "é\\u{202e}");
    }
}
