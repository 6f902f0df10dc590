//! HPACK (RFC 7541): header fields as the frames carry them.
//!
//! The decoder keeps the dynamic table that the client fills. The encoder keeps nothing: it names what the static table
//! has and writes the rest out, so that blocks may be made in any order.

use std::collections::VecDeque;

use bytes::Bytes;

use super::huffman;

/// The size of the dynamic table that we offer; what entries count for is the RFC's formula.
pub(crate) const TABLE_SIZE: usize = 4096;
/// What an entry counts for besides its texts.
const ENTRY_OVERHEAD: usize = 32;
/// Bytes that a number may have behind its first one.
const NUMBER_MAX: usize = 3;

/// Names and values that both sides know, from 1 on.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Places of whole fields in the static table that requests use.
pub(crate) mod index {
    pub(crate) const METHOD_GET: usize = 2;
    pub(crate) const METHOD_POST: usize = 3;
    pub(crate) const PATH_ROOT: usize = 4;
    pub(crate) const SCHEME_HTTP: usize = 6;
    pub(crate) const SCHEME_HTTPS: usize = 7;
}

/// Places of names in the static table that requests and responses use.
pub(crate) mod name {
    pub(crate) const AUTHORITY: usize = 1;
    pub(crate) const STATUS: usize = 8;
    pub(crate) const CONTENT_LENGTH: usize = 28;
    pub(crate) const CONTENT_TYPE: usize = 31;
    pub(crate) const DATE: usize = 33;
    pub(crate) const LAST_MODIFIED: usize = 44;
    pub(crate) const LOCATION: usize = 46;
    pub(crate) const SERVER: usize = 54;
}

/// A decoded header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Bytes,
    pub(crate) value: Bytes,
}

/// A block that can't be decoded. The connection ends with it, as its table can't be followed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HpackError {
    #[error("client sent header block with too long number")]
    NumberTooLong(Place),
    #[error("client sent invalid encoded header field")]
    Huffman,
    #[error("client sent invalid hpack table index {0}")]
    Index(usize),
    #[error("client sent invalid table size update: {0}")]
    TableSize(usize),
    /// A name and its value together, or all fields.
    #[error("client sent too large header")]
    TooLarge,
    /// One text, and its length.
    #[error("client sent too large header")]
    TextTooLarge(Place, usize),
    #[error("client sent zero header name length")]
    EmptyName,
}

/// What in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Index,
    Name,
    Value,
}

impl HpackError {
    /// What the log says that a server behind us sent; the error's own text is about clients.
    pub(crate) fn of_server(self) -> String {
        let length_of = |place| if place == Place::Name { "name length" } else { "value length" };
        match self {
            Self::EmptyName => "zero http2 header name length".into(),
            Self::Huffman => "invalid encoded header".into(),
            Self::Index(index) => format!("invalid http2 table index: {index}"),
            Self::NumberTooLong(Place::Index) => "http2 table index with continuation flag".into(),
            Self::NumberTooLong(place) => format!("too large http2 header {}", length_of(place)),
            Self::TableSize(size) => format!("invalid http2 dynamic table size update: {size}"),
            Self::TextTooLarge(place, length) => format!("too large http2 header {}: {length}", length_of(place)),
            Self::TooLarge => "too large http2 header".into(),
        }
    }
}

/// What the front of a block holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field, and the bytes that it took.
    Field(Field, usize),
    /// So many bytes that change only the table.
    Resized(usize),
    /// Too little to say.
    More,
}

/// Decodes the blocks of one connection.
pub(crate) struct Decoder {
    /// The youngest entry first.
    table: VecDeque<Field>,
    size: usize,
    capacity: usize,
    /// What the peer may make of the capacity.
    capacity_max: usize,
    text_max: usize,
    /// Where texts are decoded.
    scratch: Vec<u8>,
}

impl Decoder {
    /// A decoder of texts that have at most `text_max` bytes as they are sent, with a table of `capacity`.
    pub(crate) fn new(text_max: usize, capacity: usize) -> Self {
        let (table, scratch) = (VecDeque::new(), Vec::new());
        Self { table, size: 0, capacity, capacity_max: capacity, text_max, scratch }
    }

    /// Decodes what the front of `block` holds. Name and value may have `limit` bytes together.
    pub(crate) fn step(&mut self, block: &[u8], limit: usize) -> Result<Step, HpackError> {
        let Some(&first) = block.first() else { return Ok(Step::More) };
        if first & 0x80 != 0 {
            let Some((index, used)) = number(block, 7, Place::Index)? else { return Ok(Step::More) };
            let field = self.entry(index)?;
            if field.name.len() + field.value.len() > limit {
                return Err(HpackError::TooLarge);
            }
            return Ok(Step::Field(field, used));
        }
        if first & 0xe0 == 0x20 {
            let Some((capacity, used)) = number(block, 5, Place::Index)? else { return Ok(Step::More) };
            if capacity > self.capacity_max {
                return Err(HpackError::TableSize(capacity));
            }
            self.capacity = capacity;
            self.evict(0);
            return Ok(Step::Resized(used));
        }
        let is_indexed = first & 0x40 != 0;
        let prefix = if is_indexed { 6 } else { 4 };
        let Some((index, mut used)) = number(block, prefix, Place::Index)? else { return Ok(Step::More) };
        let name = if index > 0 {
            self.entry(index)?.name
        } else {
            let Some((name, length)) = self.text(&block[used..], limit, Place::Name)? else { return Ok(Step::More) };
            if name.is_empty() {
                return Err(HpackError::EmptyName);
            }
            used += length;
            name
        };
        let left = limit.checked_sub(name.len()).ok_or(HpackError::TooLarge)?;
        let Some((value, length)) = self.text(&block[used..], left, Place::Value)? else { return Ok(Step::More) };
        let field = Field { name, value };
        if is_indexed {
            self.insert(field.clone());
        }
        Ok(Step::Field(field, used + length))
    }

    fn entry(&self, index: usize) -> Result<Field, HpackError> {
        let place = index.checked_sub(1).ok_or(HpackError::Index(index))?;
        if let Some(&(name, value)) = STATIC.get(place) {
            let text = |text: &'static str| Bytes::from_static(text.as_bytes());
            return Ok(Field { name: text(name), value: text(value) });
        }
        self.table.get(place - STATIC.len()).cloned().ok_or(HpackError::Index(index))
    }

    fn insert(&mut self, field: Field) {
        let size = field.name.len() + field.value.len() + ENTRY_OVERHEAD;
        self.evict(size);
        // An entry larger than the table leaves it empty.
        if size <= self.capacity {
            self.size += size;
            self.table.push_front(field);
        }
    }

    /// Removes the oldest entries until there is room for `more`.
    fn evict(&mut self, more: usize) {
        while self.size + more > self.capacity {
            let Some(Field { name, value }) = self.table.pop_back() else { return };
            self.size -= name.len() + value.len() + ENTRY_OVERHEAD;
        }
    }

    /// Reads a text of at most `limit` bytes.
    fn text(&mut self, block: &[u8], limit: usize, place: Place) -> Result<Option<(Bytes, usize)>, HpackError> {
        let Some((length, start)) = number(block, 7, place)? else { return Ok(None) };
        let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
        if length > self.text_max {
            return Err(HpackError::TextTooLarge(place, length));
        }
        let Some(text) = block.get(start..start + length) else { return Ok(None) };
        if !is_coded {
            if text.len() > limit {
                return Err(HpackError::TooLarge);
            }
            return Ok(Some((Bytes::copy_from_slice(text), start + length)));
        }
        self.scratch.clear();
        huffman::decode(text, &mut self.scratch).map_err(|_| HpackError::Huffman)?;
        if self.scratch.len() > limit {
            return Err(HpackError::TooLarge);
        }
        Ok(Some((Bytes::copy_from_slice(&self.scratch), start + length)))
    }
}

/// Reads a number whose first byte has `prefix` bits for it; says how many bytes it took.
fn number(block: &[u8], prefix: u32, place: Place) -> Result<Option<(usize, usize)>, HpackError> {
    let Some((&first, rest)) = block.split_first() else { return Ok(None) };
    let most = (1 << prefix) - 1;
    let mut value = usize::from(first) & most;
    if value < most {
        return Ok(Some((value, 1)));
    }
    for (at, &byte) in rest.iter().take(NUMBER_MAX).enumerate() {
        value += usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 2)));
        }
    }
    if rest.len() >= NUMBER_MAX { Err(HpackError::NumberTooLong(place)) } else { Ok(None) }
}

fn push_number(out: &mut Vec<u8>, value: usize, prefix: u32, pattern: u8) {
    let most = (1usize << prefix) - 1;
    if value < most {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    let coded = huffman::encoded_len(text);
    if coded < text.len() {
        push_number(out, coded, 7, 0x80);
        huffman::encode(text, out);
    } else {
        push_number(out, text.len(), 7, 0);
        out.extend_from_slice(text);
    }
}

/// Appends the order to empty the table that we don't use: the answer to a new limit.
pub(crate) fn push_empty_table(out: &mut Vec<u8>) {
    out.push(0x20);
}

/// Appends `:status`.
pub(crate) fn push_status(out: &mut Vec<u8>, status: u16) {
    let known = |(at, &(known, value)): (usize, &(&str, &str))| {
        (known == ":status" && value.parse() == Ok(status)).then_some(at + 1)
    };
    if let Some(index) = STATIC[name::STATUS - 1..].iter().take(7).enumerate().find_map(known) {
        push_number(out, index + name::STATUS - 1, 7, 0x80);
        return;
    }
    let digit = |number: u16| b'0' + (number % 10) as u8;
    push_number(out, name::STATUS, 4, 0);
    out.extend_from_slice(&[3, digit(status / 100), digit(status / 10), digit(status)]);
}

/// Appends a whole field of the static table.
pub(crate) fn push_indexed(out: &mut Vec<u8>, index: usize) {
    push_number(out, index, 7, 0x80);
}

/// Appends a field whose name is in the static table.
pub(crate) fn push_known(out: &mut Vec<u8>, index: usize, value: &[u8]) {
    push_number(out, index, 4, 0);
    push_text(out, value);
}

/// Appends a field; its name is lowered.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    if name.iter().any(u8::is_ascii_uppercase) {
        push_text(out, &name.to_ascii_lowercase());
    } else {
        push_text(out, name);
    }
    push_text(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(decoder: &mut Decoder, mut block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
        let mut fields = Vec::new();
        while !block.is_empty() {
            match decoder.step(block, 4096)? {
                Step::Field(field, used) => {
                    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
                    fields.push((text(&field.name), text(&field.value)));
                    block = &block[used..];
                }
                Step::Resized(used) => block = &block[used..],
                Step::More => panic!("a whole block was given"),
            }
        }
        Ok(fields)
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// RFC 7541, appendix C.4: three requests over one connection.
    #[test]
    fn the_requests_of_the_rfc_decode() {
        let mut decoder = Decoder::new(4096, TABLE_SIZE);
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let common = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        assert_eq!(decode(&mut decoder, first).unwrap(), pairs(&common));
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let expected = [&common[..], &[("cache-control", "no-cache")]].concat();
        assert_eq!(decode(&mut decoder, second).unwrap(), pairs(&expected));
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        let expected = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(decode(&mut decoder, third).unwrap(), pairs(&expected));
        assert_eq!(decoder.size, 164);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let mut block = Vec::new();
        push_status(&mut block, 200);
        push_status(&mut block, 500);
        push_status(&mut block, 42);
        push_known(&mut block, name::SERVER, b"nginx");
        push_field(&mut block, b"X-Long", &[b'~'; 200]);
        push_field(&mut block, b"x-empty", b"");
        let long = "~".repeat(200);
        let expected = [
            (":status", "200"),
            (":status", "500"),
            (":status", "042"),
            ("server", "nginx"),
            ("x-long", &long),
            ("x-empty", ""),
        ];
        assert_eq!(decode(&mut Decoder::new(4096, TABLE_SIZE), &block).unwrap(), pairs(&expected));
    }

    #[test]
    fn a_block_may_come_byte_by_byte() {
        let block = b"\x40\x0acustom-key\x0dcustom-header";
        for end in 0..block.len() {
            assert_eq!(Decoder::new(4096, TABLE_SIZE).step(&block[..end], 4096), Ok(Step::More), "{end} bytes");
        }
        assert!(matches!(Decoder::new(4096, TABLE_SIZE).step(block, 4096), Ok(Step::Field(_, 26))));
    }

    #[test]
    fn old_entries_make_room() {
        let mut decoder = Decoder::new(4096, TABLE_SIZE);
        for number in 0..100 {
            let mut block = vec![0x40];
            push_text(&mut block, format!("name-{number}").as_bytes());
            push_text(&mut block, &[b'v'; 100]);
            decode(&mut decoder, &block).unwrap();
            assert!(decoder.size <= TABLE_SIZE);
        }
        assert_eq!(decode(&mut decoder, b"\xbe").unwrap()[0].0, "name-99");
        // The client empties the table.
        assert_eq!(decode(&mut decoder, b"\x20").unwrap(), []);
        assert_eq!((decoder.size, decode(&mut decoder, b"\xbe")), (0, Err(HpackError::Index(62))));
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_there() {
        let mut block = b"\x40\x01a".to_vec();
        push_number(&mut block, 100, 7, 0);
        assert_eq!(Decoder::new(99, TABLE_SIZE).step(&block, 1000), Err(HpackError::TextTooLarge(Place::Value, 100)));
        assert_eq!(Decoder::new(100, TABLE_SIZE).step(&block, 1000), Ok(Step::More));
        block.extend_from_slice(&[b'v'; 100]);
        assert_eq!(Decoder::new(100, TABLE_SIZE).step(&block, 100), Err(HpackError::TooLarge));
        assert!(matches!(Decoder::new(100, TABLE_SIZE).step(&block, 101), Ok(Step::Field(..))));
    }

    #[test]
    fn nonsense_is_an_error() {
        for (block, error) in [
            (&b"\x80"[..], HpackError::Index(0)),
            (b"\xc0", HpackError::Index(64)),
            (b"\xff\xff\xff\xff", HpackError::NumberTooLong(Place::Index)),
            (b"\x3f\xe2\x1f", HpackError::TableSize(4097)),
            (b"\x40\x00\x00", HpackError::EmptyName),
            (b"\x40\x81\xfe\x00", HpackError::Huffman),
        ] {
            assert_eq!(Decoder::new(4096, TABLE_SIZE).step(block, 100), Err(error), "{block:02x?}");
        }
    }
}
