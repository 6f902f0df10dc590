//! Numbers: decimal, hexadecimal, octal, binary, and version literals.

use crate::model::Value;
use crate::perl::ast::Expr;
use crate::perl::cursor::is_word_start;

use super::{Parsed, Parser};

impl Parser<'_> {
    /// A number at the cursor.
    pub(super) fn number(&mut self) -> Parsed<Expr> {
        self.mark();
        let rest = self.cursor.rest();
        let radix = match rest {
            [b'0', b'x' | b'X', ..] => Some((16, 2)),
            [b'0', b'b' | b'B', ..] => Some((2, 2)),
            [b'0', b'o' | b'O', ..] => Some((8, 2)),
            [b'0', b'0'..=b'9' | b'_', ..] => Some((8, 1)),
            _ => None,
        };
        if let Some((radix, prefix)) = radix {
            let is_part = |byte: &&u8| **byte == b'_' || char::from(**byte).is_digit(radix);
            let digits: Vec<u8> = rest.iter().skip(prefix).take_while(is_part).copied().collect();
            self.cursor.advance(prefix + digits.len());
            let text: String = digits.iter().filter(|byte| **byte != b'_').map(|byte| char::from(*byte)).collect();
            let number = i64::from_str_radix(&text, radix).unwrap_or(0);
            return Ok(Expr::Constant(Value::Int(number)));
        }
        if let Some((text, len)) = version_string(rest) {
            self.cursor.advance(len);
            return Ok(Expr::Constant(Value::str(text)));
        }
        let mut len = 0;
        let mut text = String::new();
        let mut seen = (false, false);
        while let Some(&byte) = rest.get(len) {
            let next = rest.get(len + 1).copied();
            match byte {
                b'0'..=b'9' => text.push(char::from(byte)),
                b'_' => {}
                // `1..3` is a range, `1.x` concatenates.
                b'.' if seen == (false, false) && next != Some(b'.') && !next.is_some_and(is_word_start) => {
                    seen.0 = true;
                    text.push('.');
                }
                b'e' | b'E' if !seen.1 => {
                    let signed = matches!(next, Some(b'+' | b'-'));
                    let digit = rest.get(len + 1 + usize::from(signed));
                    if !digit.is_some_and(u8::is_ascii_digit) {
                        break;
                    }
                    seen.1 = true;
                    text.push('e');
                    if signed {
                        len += 1;
                        text.push(char::from(rest.get(len).copied().unwrap_or(b'+')));
                    }
                }
                _ => break,
            }
            len += 1;
        }
        self.cursor.advance(len);
        Ok(Expr::Constant(crate::model::parse_number(text.as_bytes())))
    }
}

/// `1.25.5`: a literal with two dots or more is the string of the characters with these codes.
fn version_string(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let parts: Vec<&[u8]> = rest.get(..len)?.split(|byte| *byte == b'.').collect();
    if parts.len() < 3 || parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let mut text = Vec::new();
    for part in parts {
        let code = std::str::from_utf8(part).ok()?.parse::<u32>().ok()?;
        match u8::try_from(code) {
            Ok(byte) => text.push(byte),
            Err(_) => text.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some((text, len))
}
