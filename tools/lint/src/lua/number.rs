//! Which spellings of numbers LuaJIT accepts.

/// Whether `text` is a number: decimal, hexadecimal or binary, with exponent, or with one of the suffixes
/// `LL`, `ULL` (64-bit integers) and `i` (imaginary).
pub(super) fn is_number(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    let (digits, base) = match lower.as_slice() {
        [b'0', b'x', rest @ ..] => (rest, 16),
        [b'0', b'b', rest @ ..] => (rest, 2),
        all => (all, 10),
    };
    let is_digit = |byte: &u8| char::from(*byte).is_digit(base);
    let whole = digits.iter().take_while(|byte| is_digit(byte)).count();
    let mut rest = digits.get(whole..).unwrap_or_default();
    let mut seen = whole;
    let mut integer = true;
    if let [b'.', fraction @ ..] = rest {
        if base == 2 {
            return false;
        }
        let count = fraction.iter().take_while(|byte| is_digit(byte)).count();
        seen += count;
        integer = false;
        rest = fraction.get(count..).unwrap_or_default();
    }
    if seen == 0 {
        return false;
    }
    let mark = if base == 16 { b'p' } else { b'e' };
    if let [first, exponent @ ..] = rest
        && *first == mark
        && base != 2
    {
        let exponent = match exponent {
            [b'+' | b'-', digits @ ..] => digits,
            digits => digits,
        };
        let count = exponent.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return false;
        }
        integer = false;
        rest = exponent.get(count..).unwrap_or_default();
    }
    match rest {
        b"" | b"i" => true,
        b"ll" | b"ull" | b"llu" => integer,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_number;

    #[test]
    fn the_spellings_that_luajit_takes() {
        for good in [
            "0", "1.5", ".5", "5.", "1e3", "1E+3", "0xff", "0x.8", "0x1p4", "0xA.8P-1", "1LL", "2ull", "0xffULL", "2i",
            "1.5i", "0b101", "12LLU",
        ] {
            assert!(is_number(good.as_bytes()), "{good}");
        }
        for bad in ["", ".", "1..2", "1e", "0x", "0xp1", "1L", "1u", "1.5LL", "3x", "0b2", "1e+", "1LLi"] {
            assert!(!is_number(bad.as_bytes()), "{bad}");
        }
    }
}
