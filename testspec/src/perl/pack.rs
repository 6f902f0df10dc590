//! `pack` and `unpack`.

use crate::model::Value;

/// One letter of a template with its count.
struct Field {
    letter: u8,
    count: Count,
    little: bool,
    /// What is inside `(…)`.
    group: Vec<Field>,
    /// `n/a*`: how the length in front of the text is written.
    length: Option<Box<Field>>,
}

/// The most bytes that are packed at once.
const PACKED_MAX: usize = 1 << 28;

/// How deep groups may be.
const GROUPS_MAX: usize = 20;

/// The most bytes that one field stands for.
const FIELD_MAX: usize = 1 << 26;

enum Count {
    All,
    Number(usize),
    One,
}

/// Packs values into bytes. The error is a message without a place.
pub(crate) fn pack(template: &[u8], values: &[Value]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    pack_fields(&fields(template)?, &mut values.iter(), &mut out)?;
    Ok(out)
}

fn pack_fields(fields: &[Field], values: &mut std::slice::Iter<'_, Value>, out: &mut Vec<u8>) -> Result<(), String> {
    for field in fields {
        match field.letter {
            b'(' => {
                let mut left = field.count.or(1, usize::MAX);
                while left > 0 && (!matches!(field.count, Count::All) || values.len() > 0) {
                    pack_fields(&field.group, values, out)?;
                    left -= 1;
                    if out.len() > PACKED_MAX {
                        break;
                    }
                }
            }
            b'B' | b'b' => {
                let text = values.next().map(Value::to_bytes).unwrap_or_default();
                let bits = field.count.or(1, text.len());
                let bit = |at: usize| text.get(at).map_or(0, |digit| digit & 1);
                for byte in 0..bits.div_ceil(8) {
                    let bits = (0..8).filter(|place| byte * 8 + place < bits);
                    out.push(bits.fold(0, |sum, place| {
                        sum | bit(byte * 8 + place) << if field.letter == b'B' { 7 - place } else { place }
                    }));
                }
            }
            b'a' | b'A' | b'Z' => {
                let text = values.next().map(Value::to_bytes).unwrap_or_default();
                let len = match field.count {
                    Count::All => text.len() + usize::from(field.letter == b'Z'),
                    Count::Number(len) => len,
                    Count::One => 1,
                };
                let fill = if field.letter == b'A' { b' ' } else { 0 };
                if let Some(length) = &field.length {
                    pack_number(length, &Value::Int(len as i64), out)?;
                }
                out.extend((0..len).map(|at| text.get(at).copied().unwrap_or(fill)));
            }
            b'H' | b'h' => {
                let text = values.next().map(Value::to_bytes).unwrap_or_default();
                let digits = match field.count {
                    Count::All => text.len(),
                    Count::Number(len) => len,
                    Count::One => 1,
                };
                let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16)).unwrap_or(0) as u8;
                for pair in 0..digits.div_ceil(2) {
                    let (first, second) = (digit(pair * 2), digit(pair * 2 + 1));
                    out.push(if field.letter == b'H' { first << 4 | second } else { second << 4 | first });
                }
            }
            b'x' => out.extend(std::iter::repeat_n(0, field.count.or(1, 0))),
            _ => {
                let count = field.count.or(1, values.len());
                for _ in 0..count {
                    let value = values.next().cloned().unwrap_or_default();
                    pack_number(field, &value, out)?;
                }
            }
        }
        if out.len() > PACKED_MAX {
            return Err("Out of memory in pack".to_owned());
        }
    }
    Ok(())
}

fn pack_number(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let number = value.to_int();
    let mut integer = |size: usize, big: bool| {
        let bytes = number.to_be_bytes();
        let part = bytes.get(8 - size..).unwrap_or_default();
        if big { out.extend_from_slice(part) } else { out.extend(part.iter().rev()) }
    };
    match field.letter {
        b'C' | b'c' => integer(1, true),
        b'n' => integer(2, true),
        b'N' => integer(4, true),
        b'v' => integer(2, false),
        b'V' => integer(4, false),
        b's' | b'S' => integer(2, !field.little),
        b'l' | b'L' | b'i' | b'I' => integer(4, !field.little),
        b'q' | b'Q' | b'j' | b'J' => integer(8, !field.little),
        b'f' => out.extend((value.to_number() as f32).to_le_bytes()),
        b'd' | b'F' => out.extend(value.to_number().to_le_bytes()),
        b'U' | b'W' => {
            let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            match u8::try_from(c) {
                Ok(byte) => out.push(byte),
                Err(_) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        b'w' => {
            let mut groups = vec![(number & 127) as u8];
            let mut rest = number >> 7;
            while rest > 0 {
                groups.push((rest & 127) as u8 | 128);
                rest >>= 7;
            }
            out.extend(groups.iter().rev());
        }
        other => return Err(format!("Invalid type '{}' in pack", char::from(other))),
    }
    Ok(())
}

/// Unpacks bytes into values.
pub(crate) fn unpack(template: &[u8], data: &[u8]) -> Result<Vec<Value>, String> {
    let mut out = Vec::new();
    unpack_fields(&fields(template)?, data, &mut 0, &mut out)?;
    Ok(out)
}

fn unpack_fields(fields: &[Field], data: &[u8], place: &mut usize, out: &mut Vec<Value>) -> Result<(), String> {
    let mut at = *place;
    for field in fields {
        let rest = data.get(at..).unwrap_or_default();
        match field.letter {
            b'(' => {
                let mut left = field.count.or(1, usize::MAX);
                while left > 0 && (!matches!(field.count, Count::All) || at < data.len()) {
                    let before = at;
                    unpack_fields(&field.group, data, &mut at, out)?;
                    left -= 1;
                    // A group that takes nothing would never end.
                    if at == before && matches!(field.count, Count::All) {
                        break;
                    }
                    if out.len() > FIELD_MAX {
                        return Err("Out of memory in unpack".to_owned());
                    }
                }
            }
            b'B' | b'b' => {
                let bits = field.count.or(1, rest.len() * 8).min(rest.len() * 8);
                let text = (0..bits).map(|bit| {
                    let byte = rest.get(bit / 8).copied().unwrap_or(0);
                    let place = if field.letter == b'B' { 7 - bit % 8 } else { bit % 8 };
                    char::from(b'0' + (byte >> place & 1))
                });
                out.push(Value::str(text.collect::<String>()));
                at += bits.div_ceil(8);
            }
            b'a' | b'A' | b'Z' => {
                let mut rest = rest;
                let mut len = field.count.or(1, rest.len());
                if let Some(length) = &field.length {
                    let size = size(length.letter)?;
                    let number = rest.get(..size).map_or(0, |chunk| unpack_number(length, chunk).to_int());
                    len = usize::try_from(number).unwrap_or(0);
                    at += size;
                    rest = data.get(at..).unwrap_or_default();
                }
                let len = len.min(rest.len());
                let text = rest.get(..len).unwrap_or_default();
                at += len;
                out.push(Value::str(match field.letter {
                    b'A' => {
                        let end = text
                            .iter()
                            .rposition(|byte| *byte != 0 && !byte.is_ascii_whitespace())
                            .map_or(0, |end| end + 1);
                        text.get(..end).unwrap_or_default()
                    }
                    b'Z' => text.split(|byte| *byte == 0).next().unwrap_or_default(),
                    _ => text,
                }));
            }
            b'H' | b'h' => {
                let digits = field.count.or(1, rest.len() * 2).min(rest.len() * 2);
                let text = (0..digits).map(|digit| {
                    let byte = rest.get(digit / 2).copied().unwrap_or(0);
                    let high = (digit % 2 == 0) == (field.letter == b'H');
                    char::from_digit(u32::from(if high { byte >> 4 } else { byte & 15 }), 16).unwrap_or('0')
                });
                out.push(Value::str(text.collect::<String>()));
                at += digits.div_ceil(2);
            }
            b'x' => at = (at + field.count.or(1, 0)).min(data.len()),
            _ => {
                let size = size(field.letter)?;
                let count = field.count.or(1, rest.len() / size);
                for chunk in rest.chunks_exact(size).take(count) {
                    out.push(unpack_number(field, chunk));
                    at += size;
                }
            }
        }
    }
    *place = at;
    Ok(())
}

/// How many bytes a number takes.
fn size(letter: u8) -> Result<usize, String> {
    Ok(match letter {
        b'C' | b'c' | b'U' | b'W' => 1,
        b'n' | b'v' | b's' | b'S' => 2,
        b'N' | b'V' | b'l' | b'L' | b'i' | b'I' | b'f' => 4,
        b'q' | b'Q' | b'j' | b'J' | b'd' | b'F' => 8,
        other => return Err(format!("Invalid type '{}' in unpack", char::from(other))),
    })
}

fn unpack_number(field: &Field, chunk: &[u8]) -> Value {
    let big = matches!(field.letter, b'n' | b'N' | b'C' | b'c' | b'U' | b'W');
    let ordered: Vec<u8> = if big { chunk.to_vec() } else { chunk.iter().rev().copied().collect() };
    let unsigned = ordered.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    match field.letter {
        b'c' => Value::Int(i64::from(unsigned as u8 as i8)),
        b's' => Value::Int(i64::from(unsigned as u16 as i16)),
        b'l' | b'i' => Value::Int(i64::from(unsigned as u32 as i32)),
        b'f' => Value::Num(f64::from(f32::from_bits(unsigned as u32))),
        b'd' | b'F' => Value::Num(f64::from_bits(unsigned)),
        _ => Value::Int(unsigned as i64),
    }
}

impl Count {
    fn or(&self, one: usize, all: usize) -> usize {
        match self {
            Self::All => all,
            Self::Number(count) => *count,
            Self::One => one,
        }
    }
}

fn fields(template: &[u8]) -> Result<Vec<Field>, String> {
    fields_within(template, 0)
}

/// Where the group ends whose contents begin at `from`.
fn group_end(template: &[u8], from: usize) -> Option<usize> {
    let mut depth = 1;
    for (at, byte) in template.iter().enumerate().skip(from) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn fields_within(template: &[u8], depth: usize) -> Result<Vec<Field>, String> {
    if depth > GROUPS_MAX {
        return Err("Too deeply nested ()-groups in pack".to_owned());
    }
    let mut fields = Vec::new();
    let mut length = None;
    let mut at = 0;
    while let Some(&letter) = template.get(at) {
        at += 1;
        if letter.is_ascii_whitespace() {
            continue;
        }
        let mut group = Vec::new();
        if letter == b'(' {
            let end =
                group_end(template, at).ok_or_else(|| "No group ending character ')' found in template".to_owned())?;
            group = fields_within(template.get(at..end).unwrap_or_default(), depth + 1)?;
            at = end + 1;
        }
        let mut little = true;
        while let Some(modifier @ (b'<' | b'>' | b'!')) = template.get(at) {
            little &= *modifier != b'>';
            at += 1;
        }
        let count = match template.get(at) {
            Some(b'*') => {
                at += 1;
                Count::All
            }
            Some(byte) if byte.is_ascii_digit() => {
                let digits: String = template
                    .iter()
                    .skip(at)
                    .take_while(|byte| byte.is_ascii_digit())
                    .map(|byte| char::from(*byte))
                    .collect();
                at += digits.len();
                let count = digits.parse().ok().filter(|count| *count <= FIELD_MAX);
                Count::Number(count.ok_or_else(|| "pack/unpack repeat count overflow".to_owned())?)
            }
            _ => Count::One,
        };
        if matches!(letter, b')' | b'@' | b'/' | b'[') {
            return Err(format!("Invalid type '{}' in pack", char::from(letter)));
        }
        let field = Field { letter, count, little, group, length: length.take() };
        if template.get(at) == Some(&b'/') {
            at += 1;
            length = Some(Box::new(field));
            continue;
        }
        if field.length.is_some() && !matches!(letter, b'a' | b'A' | b'Z') {
            return Err("'/' must be followed by a string type in pack".to_owned());
        }
        fields.push(field);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_pack_in_their_byte_orders() {
        let values = [Value::Int(1), Value::Int(2), Value::Int(3), Value::Int(4), Value::Int(255)];
        assert_eq!(pack(b"nNvVC", &values).unwrap(), b"\0\x01\0\0\0\x02\x03\0\x04\0\0\0\xff");
        let back: Vec<i64> =
            unpack(b"nNvVC", b"\0\x01\0\0\0\x02\x03\0\x04\0\0\0\xff").unwrap().iter().map(Value::to_int).collect();
        assert_eq!(back, [1, 2, 3, 4, 255]);
    }

    #[test]
    fn strings_and_hexadecimals_take_counts() {
        assert_eq!(pack(b"a3A3a*", &["ab".into(), "c".into(), "xyz".into()]).unwrap(), b"ab\0c  xyz");
        assert_eq!(pack(b"H*", &["0aff".into()]).unwrap(), b"\x0a\xff");
        assert_eq!(unpack(b"H*", b"\x0a\xff").unwrap()[0].to_text(), "0aff");
        assert_eq!(pack(b"C*", &[Value::Int(1), Value::Int(2)]).unwrap(), [1, 2]);
    }

    #[test]
    fn a_text_may_bring_its_length() {
        assert_eq!(pack(b"n/a* C", &["hello".into(), Value::Int(7)]).unwrap(), b"\0\x05hello\x07");
        let back = unpack(b"n/a* C", b"\0\x05hello\x07").unwrap();
        assert_eq!((back[0].to_text(), back[1].to_int()), ("hello".to_owned(), 7));
        assert!(pack(b"n/N", &[]).is_err());
    }

    #[test]
    fn an_absurd_count_is_an_error() {
        assert!(pack(b"x99999999999999999999999", &[]).is_err());
        assert!(pack(b"a999999999", &[]).is_err());
        assert!(pack(b"(a", &[]).is_err());
        assert!(pack("(".repeat(100).as_bytes(), &[]).is_err());
        assert!(unpack(b"(a0)*", b"abc").unwrap().len() < 5);
    }

    #[test]
    fn groups_repeat_and_bits_are_digits() {
        assert_eq!(pack(b"(Ca)2", &[Value::Int(1), "x".into(), Value::Int(2), "y".into()]).unwrap(), b"\x01x\x02y");
        let texts = |template: &[u8], data: &[u8]| -> Vec<String> {
            unpack(template, data).unwrap().iter().map(Value::to_text).collect()
        };
        assert_eq!(texts(b"(A2)*", b"aabbc"), ["aa", "bb", "c"]);
        assert_eq!(pack(b"B8b8", &["01000001".into(), "10000010".into()]).unwrap(), b"AA");
        assert_eq!(texts(b"B8", b"A"), ["01000001"]);
    }
}
