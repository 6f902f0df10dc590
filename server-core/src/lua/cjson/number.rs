//! The texts of numbers.

use std::io::Write;

/// Appends a finite number with so many significant digits, as C's `%.{precision}g` writes it.
pub(super) fn write(out: &mut Vec<u8>, number: f64, precision: usize) {
    /// 10 to the power of the index: integers below it have at most so many digits.
    const LIMITS: [f64; 17] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16];
    let limit = LIMITS.get(precision).copied().unwrap_or(1e16).min(9_007_199_254_740_992.0);
    let integer = number as i64;
    if number.abs() < limit && integer as f64 == number && (integer != 0 || number.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        return;
    }
    write_general(out, number, precision);
}

fn write_general(out: &mut Vec<u8>, number: f64, precision: usize) {
    // One digit before the point, `precision - 1` behind it, `e` and the exponent: 24 bytes at most.
    let mut space = [0_u8; 32];
    let mut rest = &mut space[..];
    let digits_behind = precision.max(1) - 1;
    if write!(rest, "{:.digits_behind$e}", number.abs()).is_err() {
        return;
    }
    let unused = rest.len();
    let text = &space[..space.len() - unused];
    let split = text.iter().position(|&byte| byte == b'e').unwrap_or(text.len());
    let exponent: i32 =
        std::str::from_utf8(text.get(split + 1..).unwrap_or_default()).unwrap_or_default().parse().unwrap_or(0);
    let mut digits = [b'0'; 32];
    let mut count = 0;
    for (place, &digit) in digits.iter_mut().zip(text[..split].iter().filter(|byte| byte.is_ascii_digit())) {
        *place = digit;
        count += 1;
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    let digits = &digits[..count];
    if number.is_sign_negative() {
        out.push(b'-');
    }
    if exponent < -4 || exponent >= precision as i32 {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(exponent.abs()).as_bytes());
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', -exponent as usize - 1));
        out.extend_from_slice(digits);
    } else {
        let whole = exponent as usize + 1;
        out.extend_from_slice(&digits[..whole.min(count)]);
        if count > whole {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        } else {
            out.extend(std::iter::repeat_n(b'0', whole - count));
        }
    }
}

/// A number that was read, and whether it was written without a fraction and an exponent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Read {
    pub(super) value: f64,
    pub(super) is_integer: bool,
    /// Bytes taken.
    pub(super) length: usize,
}

/// Reads the number at the start of a text that ends with NUL, as `strtoll` and `strtod` read it: with a sign of either
/// kind, leading zeros, without digits before or behind the point, as hexadecimal, and the words `inf` and `nan`.
/// Integers that don't fit 64 bits become the nearest one that does. `None` when there is no number.
pub(super) fn read(text: &[u8]) -> Option<Read> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let whole = count_digits(text, sign);
    let mut end = sign + whole;
    let next = text.get(end).copied().unwrap_or(0);
    if whole > 0 && !matches!(next, b'.' | b'e' | b'E' | b'x') {
        return Some(Read { value: integer(&text[..end], sign), is_integer: true, length: end });
    }
    if whole == 0 && next != b'.' {
        return read_unusual(text);
    }
    if let (b'x', Some(read)) = (next, read_unusual(text)) {
        return Some(read);
    }
    let mut digits = whole;
    if next == b'.' {
        let fraction = count_digits(text, end + 1);
        digits += fraction;
        end += 1 + fraction;
    }
    if digits == 0 {
        return None;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let start = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'-' | b'+')));
        let exponent = count_digits(text, start);
        if exponent > 0 {
            end = start + exponent;
        }
    }
    let value = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some(Read { value, is_integer: false, length: end })
}

fn count_digits(text: &[u8], start: usize) -> usize {
    text.get(start..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The value of a sign, if `sign` is 1, and digits.
fn integer(text: &[u8], sign: usize) -> f64 {
    let negative = text.first() == Some(&b'-');
    let mut value = 0_i64;
    // So many digits always fit.
    if let Some(digits) = text.get(sign..).filter(|digits| digits.len() <= 18) {
        for &digit in digits {
            value = value * 10 + i64::from(digit - b'0');
        }
        return if negative { -(value as f64) } else { value as f64 };
    }
    for &digit in text.get(sign..).unwrap_or_default() {
        let digit = i64::from(digit - b'0');
        let next = value
            .checked_mul(10)
            .and_then(|tens| if negative { tens.checked_sub(digit) } else { tens.checked_add(digit) });
        match next {
            Some(next) => value = next,
            None => return if negative { i64::MIN as f64 } else { i64::MAX as f64 },
        }
    }
    value as f64
}

/// Hexadecimal numbers and words.
fn read_unusual(text: &[u8]) -> Option<Read> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let rest = text.get(sign..).unwrap_or_default();
    let starts = |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let (magnitude, length) = if starts(b"infinity") {
        (f64::INFINITY, 8)
    } else if starts(b"inf") {
        (f64::INFINITY, 3)
    } else if starts(b"nan") {
        (f64::NAN, 3 + nan_payload(&rest[3..]))
    } else if starts(b"0x") {
        hexadecimal(rest)
    } else {
        return None;
    };
    Some(Read { value: if negative { -magnitude } else { magnitude }, is_integer: false, length: sign + length })
}

/// The length of `(CHARS)` after `nan`, or 0.
fn nan_payload(text: &[u8]) -> usize {
    if text.first() != Some(&b'(') {
        return 0;
    }
    let chars = text[1..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if text.get(1 + chars) == Some(&b')') { chars + 2 } else { 0 }
}

/// A C hexadecimal floating number after `0x`, and its length. Without any digit it is the `0`.
fn hexadecimal(text: &[u8]) -> (f64, usize) {
    let (mut mantissa, mut exponent, mut at, mut digits) = (0_u64, 0_i32, 2, 0);
    let mut point = false;
    loop {
        match text.get(at).copied().unwrap_or(0) {
            b'.' if !point => point = true,
            byte => {
                let Some(digit) = char::from(byte).to_digit(16) else { break };
                digits += 1;
                // 60 bits are more than a double has; what follows only moves the point.
                if mantissa >> 56 == 0 {
                    mantissa = mantissa << 4 | u64::from(digit);
                    exponent = exponent.saturating_sub(if point { 4 } else { 0 });
                } else {
                    exponent = exponent.saturating_add(if point { 0 } else { 4 });
                }
            }
        }
        at += 1;
    }
    if digits == 0 {
        return (0.0, 1);
    }
    if matches!(text.get(at), Some(b'p' | b'P')) {
        let start = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'-' | b'+')));
        let count = count_digits(text, start);
        if count > 0 {
            let written = integer(&text[at + 1..start + count], start - at - 1);
            exponent = exponent.saturating_add(written.clamp(-1e6, 1e6) as i32);
            at = start + count;
        }
    }
    // In two steps, so that neither power overflows where the product doesn't.
    let half = exponent.clamp(-4000, 4000) / 2;
    let rest = exponent.clamp(-4000, 4000) - half;
    (mantissa as f64 * 2_f64.powi(half) * 2_f64.powi(rest), at)
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    fn written(number: f64, precision: usize) -> String {
        let mut out = Vec::new();
        write(&mut out, number, precision);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fourteen_digits_are_written_and_zeros_at_the_end_are_not() {
        assert_eq!(written(0.1 + 0.2, 14), "0.3");
        assert_eq!(written(1.0 / 3.0, 14), "0.33333333333333");
        assert_eq!(written(2.0 / 3.0, 14), "0.66666666666667");
        assert_eq!(written(1234.5, 14), "1234.5");
        assert_eq!(written(-0.0, 14), "-0");
        assert_eq!(written(0.0, 14), "0");
        assert_eq!(written(99_999_999_999_999.0, 14), "99999999999999");
    }

    #[test]
    fn large_and_small_numbers_have_an_exponent() {
        assert_eq!(written(1e14, 14), "1e+14");
        assert_eq!(written(9_007_199_254_740_992.0, 14), "9.007199254741e+15");
        assert_eq!(written(9_007_199_254_740_992.0, 16), "9007199254740992");
        assert_eq!(written(1e100, 14), "1e+100");
        assert_eq!(written(1.5e-5, 14), "1.5e-05");
        assert_eq!(written(1.5e-4, 14), "0.00015");
        assert_eq!(written(5e-324, 14), "4.9406564584125e-324");
    }

    #[test]
    fn few_digits_round_to_even_or_up_to_the_next_power() {
        assert_eq!(written(123_456.0, 3), "1.23e+05");
        assert_eq!(written(9.999, 3), "10");
        assert_eq!(written(999.9, 3), "1e+03");
        assert_eq!(written(0.5, 1), "0.5");
        assert_eq!(written(2.5, 1), "2");
        assert_eq!(written(15.0, 1), "2e+01");
    }

    #[test]
    fn agrees_with_the_c_library() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let number = f64::from_bits(seed);
            if !number.is_finite() {
                continue;
            }
            for precision in [1_i32, 3, 14, 16] {
                let mut space = [0_u8; 64];
                // SAFETY: the format takes an int and a double; 64 bytes hold any such text.
                let length = unsafe {
                    libc::snprintf(space.as_mut_ptr().cast(), space.len(), c"%.*g".as_ptr(), precision, number)
                };
                let expected = std::str::from_utf8(&space[..length as usize]).unwrap();
                assert_eq!(written(number, precision as usize), expected);
            }
        }
    }

    fn value(text: &str) -> Option<(f64, bool, usize)> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        read(&bytes).map(|read| (read.value, read.is_integer, read.length))
    }

    #[test]
    fn integers_are_told_from_other_numbers() {
        assert_eq!(value("12"), Some((12.0, true, 2)));
        assert_eq!(value("-012]"), Some((-12.0, true, 4)));
        assert_eq!(value("+5"), Some((5.0, true, 2)));
        assert_eq!(value("1.0"), Some((1.0, false, 3)));
        assert_eq!(value("1e2,"), Some((100.0, false, 3)));
        assert_eq!(value("99999999999999999999"), Some((9_223_372_036_854_775_807_i64 as f64, true, 20)));
        assert_eq!(value("-99999999999999999999"), Some((i64::MIN as f64, true, 21)));
    }

    #[test]
    fn the_longest_start_that_is_a_number_is_taken() {
        assert_eq!(value("1.x"), Some((1.0, false, 2)));
        assert_eq!(value("1e+"), Some((1.0, false, 1)));
        assert_eq!(value("-.5"), Some((-0.5, false, 3)));
        assert_eq!(value("0X1"), Some((0.0, true, 1)));
        assert_eq!(value("0xg"), Some((0.0, false, 1)));
        assert_eq!(value("12x"), Some((12.0, false, 2)));
        assert_eq!(value("-"), None);
        assert_eq!(value("."), None);
        assert_eq!(value("-e5"), None);
    }

    #[test]
    fn hexadecimal_numbers_and_words_are_read() {
        assert_eq!(value("0x1F"), Some((31.0, false, 4)));
        assert_eq!(value("-0x.8p1"), Some((-1.0, false, 7)));
        assert_eq!(value("Infinity"), Some((f64::INFINITY, false, 8)));
        assert_eq!(value("-infinit"), Some((f64::NEG_INFINITY, false, 4)));
        assert!(value("NaN").unwrap().0.is_nan());
        assert_eq!(value("nan(12)").unwrap().2, 7);
    }
}
