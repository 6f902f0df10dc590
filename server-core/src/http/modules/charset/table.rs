//! Tables between charsets: single bytes to single bytes, and to and from UTF-8.

use std::collections::{BTreeMap, HashMap};

use bytes::BytesMut;

/// How bytes of one charset become bytes of another.
#[derive(Debug, Clone)]
pub(super) enum Table {
    /// Byte by byte.
    Bytes(Box<[u8; 256]>),
    /// From UTF-8. What the charset does not have becomes an HTML entity.
    FromUtf8(HashMap<char, u8>),
    /// To UTF-8.
    ToUtf8(Box<[char; 256]>),
}

/// A `charset_map` block while it is read.
pub(super) struct Builder {
    utf8: bool,
    to: Box<[char; 256]>,
    back: BTreeMap<char, u8>,
}

impl Builder {
    /// A map whose second column is UTF-8 or not. ASCII stays what it is.
    pub(super) fn new(utf8: bool) -> Self {
        let mut to = Box::new(['?'; 256]);
        let mut back = BTreeMap::new();
        for byte in 0..128_u8 {
            to[usize::from(byte)] = char::from(byte);
            back.insert(char::from(byte), byte);
        }
        Self { utf8, to, back }
    }

    /// A row: two columns of hexadecimal digits. The number of the column that is wrong is the error.
    pub(super) fn row(&mut self, from: &[u8], to: &[u8]) -> Result<(), usize> {
        let from = byte(from).ok_or(0_usize)?;
        let to = if self.utf8 { utf8(to) } else { byte(to).map(char::from) };
        let to = to.ok_or(1_usize)?;
        self.to[usize::from(from)] = to;
        self.back.insert(to, from);
        Ok(())
    }

    /// The tables there and back.
    pub(super) fn finish(self) -> (Table, Table) {
        if self.utf8 {
            return (Table::ToUtf8(self.to), Table::FromUtf8(self.back.into_iter().collect()));
        }
        let byte_of = |to: char| u8::try_from(to).unwrap_or(b'?');
        let there = Box::new(self.to.map(byte_of));
        let mut back = Box::new([b'?'; 256]);
        for (to, from) in self.back {
            back[usize::from(byte_of(to))] = from;
        }
        (Table::Bytes(there), Table::Bytes(back))
    }
}

fn byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A character of the basic plane from the hexadecimal digits of its UTF-8 form.
fn utf8(digits: &[u8]) -> Option<char> {
    let bytes = digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>()?;
    let mut chars = std::str::from_utf8(&bytes).ok()?.chars();
    let character = chars.next().filter(|&character| u32::from(character) <= 0xffff)?;
    chars.next().is_none().then_some(character)
}

/// The state of a conversion: the bytes of a character that is not complete yet.
#[derive(Default)]
pub(super) struct Converter {
    saved: Vec<u8>,
}

impl Table {
    /// Whether the length of a text may change.
    pub(super) fn changes_length(&self) -> bool {
        !matches!(self, Self::Bytes(_))
    }

    /// Converts a piece of a body.
    pub(super) fn convert(&self, state: &mut Converter, piece: &[u8], out: &mut BytesMut) {
        match self {
            Self::Bytes(table) => out.extend(piece.iter().map(|&byte| table[usize::from(byte)])),
            Self::ToUtf8(table) => {
                let mut room = [0; 4];
                for &byte in piece {
                    out.extend_from_slice(table[usize::from(byte)].encode_utf8(&mut room).as_bytes());
                }
            }
            Self::FromUtf8(table) => {
                let joined;
                let text = if state.saved.is_empty() {
                    piece
                } else {
                    joined = [&std::mem::take(&mut state.saved), piece].concat();
                    &joined
                };
                state.saved = from_utf8(table, text, out);
            }
        }
    }
}

/// Converts text and returns the beginning of a character at its end.
fn from_utf8(table: &HashMap<char, u8>, text: &[u8], out: &mut BytesMut) -> Vec<u8> {
    let mut rest = text;
    loop {
        let (valid, error) = match std::str::from_utf8(rest) {
            Ok(valid) => (valid, None),
            Err(error) => {
                let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
                (std::str::from_utf8(valid).unwrap_or_default(), Some(error))
            }
        };
        for character in valid.chars() {
            match table.get(&character) {
                Some(&byte) => out.extend_from_slice(&[byte]),
                None => out.extend_from_slice(format!("&#{};", u32::from(character)).as_bytes()),
            }
        }
        let Some(error) = error else { return Vec::new() };
        let behind = rest.get(valid.len()..).unwrap_or_default();
        let Some(length) = error.error_len() else { return behind.to_vec() };
        out.extend_from_slice(b"?");
        rest = behind.get(length..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(table: &Table, pieces: &[&[u8]]) -> Vec<u8> {
        let (mut state, mut out) = (Converter::default(), BytesMut::new());
        for piece in pieces {
            table.convert(&mut state, piece, &mut out);
        }
        out.to_vec()
    }

    #[test]
    fn single_bytes_there_and_back() {
        let mut builder = Builder::new(false);
        assert_eq!(builder.row(b"E0", b"c1"), Ok(()));
        assert_eq!((builder.row(b"xx", b"00"), builder.row(b"00", b"100")), (Err(0), Err(1)));
        let (there, back) = builder.finish();
        assert_eq!(convert(&there, &[b"a\xe0\xe1"]), b"a\xc1?");
        assert_eq!(convert(&back, &[b"a\xc1"]), b"a\xe0");
        assert!(!there.changes_length());
    }

    #[test]
    fn utf8_there_and_back_across_pieces() {
        let mut builder = Builder::new(true);
        assert_eq!(builder.row(b"80", b"E282AC"), Ok(()));
        assert_eq!((builder.row(b"81", b"C3"), builder.row(b"81", b"F09F9880")), (Err(1), Err(1)));
        let (there, back) = builder.finish();
        assert_eq!(convert(&there, &[b"5 \x80", b"\x81"]), "5 €?".as_bytes());
        assert_eq!(convert(&back, &[b"\xe2", b"\x82\xac", "ä".as_bytes(), b"\xff!"]), b"\x80&#228;?!");
    }
}
