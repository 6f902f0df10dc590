//! `sprintf`.

use crate::model::{Value, format_number};

/// One conversion: `%[flags][width][.precision]letter`.
#[derive(Debug, Default)]
struct Conversion {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// Widths and precisions beyond this are cut.
const WIDTH_MAX: usize = 1 << 16;

/// Formats values after a template.
pub(crate) fn sprintf(template: &[u8], values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    let all = values;
    let mut values = values.iter();
    let mut bytes = template.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut conversion = Conversion::default();
        while let Some(flag) = bytes.next_if(|byte| b"-+ 0#".contains(byte)) {
            match flag {
                b'-' => conversion.left = true,
                b'+' => conversion.plus = true,
                b' ' => conversion.space = true,
                b'0' => conversion.zero = true,
                _ => conversion.alternate = true,
            }
        }
        let mut number = |bytes: &mut std::iter::Peekable<std::iter::Copied<std::slice::Iter<'_, u8>>>| {
            if bytes.next_if_eq(&b'*').is_some() {
                return values.next().map_or(0, Value::to_int);
            }
            let mut number = 0_i64;
            while let Some(digit) = bytes.next_if(u8::is_ascii_digit) {
                number = number.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
            }
            number
        };
        let mut width = number(&mut bytes);
        // `%2$s` names its value.
        let mut named = None;
        if bytes.next_if_eq(&b'$').is_some() {
            named = usize::try_from(width).ok().and_then(|position| all.get(position.wrapping_sub(1)));
            width = number(&mut bytes);
        }
        conversion.left |= width < 0;
        conversion.width = usize::try_from(width.unsigned_abs()).unwrap_or(0).min(WIDTH_MAX);
        if bytes.next_if_eq(&b'.').is_some() {
            conversion.precision = Some(usize::try_from(number(&mut bytes)).unwrap_or(0).min(WIDTH_MAX));
        }
        while bytes.next_if(|byte| b"hlqLV".contains(byte)).is_some() {}
        match bytes.next() {
            Some(b'%') => out.push(b'%'),
            Some(letter) => {
                let value = named.or_else(|| values.next()).cloned().unwrap_or_default();
                let letter = if letter == b'v' && bytes.next_if_eq(&b'd').is_some() { b'v' } else { letter };
                conversion.write(letter, &value, &mut out);
            }
            None => out.push(b'%'),
        }
    }
    out
}

impl Conversion {
    fn write(&self, letter: u8, value: &Value, out: &mut Vec<u8>) {
        match letter {
            b's' => {
                let text = value.to_bytes();
                let end = self.precision.unwrap_or(text.len()).min(text.len());
                self.pad(text.get(..end).unwrap_or_default(), 0, out);
            }
            b'c' => {
                let c =
                    u32::try_from(value.to_int()).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                match u8::try_from(c) {
                    Ok(byte) => self.pad(&[byte], 0, out),
                    Err(_) => self.pad(c.encode_utf8(&mut [0; 4]).as_bytes(), 0, out),
                }
            }
            b'd' | b'i' => {
                let number = value.to_int();
                let sign = self.sign(number < 0);
                self.integer(sign, &number.unsigned_abs().to_string(), out);
            }
            b'u' => self.integer("", &(value.to_int() as u64).to_string(), out),
            b'x' | b'X' | b'o' | b'b' | b'B' => {
                let number = value.to_int() as u64;
                let (digits, prefix) = match letter {
                    b'x' => (format!("{number:x}"), "0x"),
                    b'X' => (format!("{number:X}"), "0X"),
                    b'o' => (format!("{number:o}"), "0"),
                    _ => (format!("{number:b}"), "0b"),
                };
                let prefix = if self.alternate && number != 0 { prefix } else { "" };
                self.integer(prefix, &digits, out);
            }
            b'e' | b'E' | b'f' | b'F' | b'g' | b'G' => {
                let number = value.to_number();
                let mut text = float(letter.to_ascii_lowercase(), number.abs(), self.precision.unwrap_or(6));
                if letter.is_ascii_uppercase() {
                    text.make_ascii_uppercase();
                }
                let sign = self.sign(number < 0.0);
                let text = format!("{sign}{text}");
                self.pad(text.as_bytes(), sign.len(), out);
            }
            b'v' => {
                self.pad(value.to_bytes().iter().map(u8::to_string).collect::<Vec<_>>().join(".").as_bytes(), 0, out);
            }
            other => {
                out.push(b'%');
                out.push(other);
            }
        }
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        }
    }

    fn integer(&self, prefix: &str, digits: &str, out: &mut Vec<u8>) {
        let zeros = self.precision.map_or(0, |precision| precision.saturating_sub(digits.len()));
        let text = format!("{prefix}{}{digits}", "0".repeat(zeros));
        self.pad(text.as_bytes(), prefix.len(), out);
    }

    /// Pads to the width; zeros go behind a prefix of this length.
    fn pad(&self, text: &[u8], prefix: usize, out: &mut Vec<u8>) {
        let fill = self.width.saturating_sub(text.len());
        if self.left {
            out.extend_from_slice(text);
            out.extend(std::iter::repeat_n(b' ', fill));
        } else if self.zero {
            let (prefix, rest) = text.split_at(prefix.min(text.len()));
            out.extend_from_slice(prefix);
            out.extend(std::iter::repeat_n(b'0', fill));
            out.extend_from_slice(rest);
        } else {
            out.extend(std::iter::repeat_n(b' ', fill));
            out.extend_from_slice(text);
        }
    }
}

fn float(letter: u8, number: f64, precision: usize) -> String {
    if !number.is_finite() {
        return format_number(number);
    }
    let scientific = |precision: usize| {
        let text = format!("{number:.precision$e}");
        let (mantissa, exponent) = text.split_once('e').map_or((text.clone(), 0), |(mantissa, exponent)| {
            (mantissa.to_owned(), exponent.parse::<i32>().unwrap_or(0))
        });
        (mantissa, exponent)
    };
    let join = |mantissa: &str, exponent: i32| {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    };
    match letter {
        b'f' => format!("{number:.precision$}"),
        b'e' => {
            let (mantissa, exponent) = scientific(precision);
            join(&mantissa, exponent)
        }
        _ => {
            let precision = precision.max(1);
            let (mantissa, exponent) = scientific(precision - 1);
            let trim = |text: String| {
                if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
            };
            if exponent < -4 || exponent >= precision as i32 {
                join(&trim(mantissa), exponent)
            } else {
                let places = usize::try_from(precision as i32 - 1 - exponent).unwrap_or(0);
                trim(format!("{number:.places$}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &str, values: &[Value]) -> String {
        String::from_utf8(sprintf(template.as_bytes(), values)).unwrap()
    }

    #[test]
    fn conversions_follow_c() {
        assert_eq!(
            text("%05d|%-5s|%5s|%x|%03o", &[42.into(), "ab".into(), "cd".into(), 255.into(), 8.into()]),
            "00042|ab   |   cd|ff|010"
        );
        assert_eq!(
            text("%.2f %e %g %g", &[Value::Num(1.005), Value::Num(12345.678), Value::Num(0.0001), Value::Num(1e20)]),
            "1.00 1.234568e+04 0.0001 1e+20"
        );
        assert_eq!(text("%s%%%c", &["x".into(), 65.into()]), "x%A");
        assert_eq!(text("%+d % d %*d", &[1.into(), 2.into(), 4.into(), 3.into()]), "+1  2    3");
        assert_eq!(text("%.3d %d", &[5.into(), "-7x".into()]), "005 -7");
    }

    #[test]
    fn a_huge_width_is_cut() {
        assert_eq!(text("%9999999999d", &[1.into()]).len(), WIDTH_MAX);
    }
}
