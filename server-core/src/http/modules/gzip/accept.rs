//! Whether a client takes gzip: the `Accept-Encoding` header. Pure text.

/// Whether the header's value allows `gzip` with a quality above zero.
pub(crate) fn accepts_gzip(value: &[u8]) -> bool {
    if value.starts_with(b"gzip,") {
        return true;
    }
    let Some(rest) = after_token(value) else { return false };
    let mut rest = trim(rest);
    match rest.first() {
        None | Some(b',') => return true,
        Some(b';') => rest = trim(&rest[1..]),
        Some(_) => return false,
    }
    let [b'q' | b'Q', b'=', quality @ ..] = rest else { return false };
    let end = quality.iter().position(|&byte| byte == b',' || byte == b' ').unwrap_or(quality.len());
    positive_quality(&quality[..end])
}

/// What follows the first `gzip` that stands as a word of its own.
fn after_token(value: &[u8]) -> Option<&[u8]> {
    let mut start = 0;
    loop {
        let rest = value.get(start..)?;
        let at = start + rest.windows(4).position(|window| window.eq_ignore_ascii_case(b"gzip"))?;
        if at == 0 || matches!(value.get(at - 1), Some(b',' | b' ')) {
            return value.get(at + 4..);
        }
        start = at + 4;
    }
}

/// `1`, `1.000`, `0.001` … `0.999`: a quality above zero with at most three digits.
fn positive_quality(text: &[u8]) -> bool {
    match text {
        [b'1'] => true,
        [b'1', b'.', digits @ ..] => digits.len() <= 3 && digits.iter().all(|&digit| digit == b'0'),
        [b'0', b'.', digits @ ..] => {
            digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|&digit| digit != b'0')
        }
        _ => false,
    }
}

fn trim(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|&&byte| byte == b' ').count();
    &text[spaces..]
}

#[cfg(test)]
mod tests {
    use super::accepts_gzip;

    #[test]
    fn gzip_must_be_named_with_a_positive_quality() {
        for yes in ["gzip", "gzip, deflate", "deflate,gzip", "deflate, gzip;q=0.5", "GZIP;q=1.0", "gzip ; q=0.001"] {
            assert!(accepts_gzip(yes.as_bytes()), "{yes}");
        }
        for no in ["", "deflate", "xgzip", "gzip;q=0", "gzip;q=0.000", "gzip;q=2", "gzip;level=9", "gzipx"] {
            assert!(!accepts_gzip(no.as_bytes()), "{no}");
        }
    }
}
