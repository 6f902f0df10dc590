//! The Huffman code of HPACK (RFC 7541, appendix B), from which header texts are made shorter.
//!
//! The code is canonical: the lengths of the codes say all, and the tables are derived from them when this is compiled.

/// The length of each symbol's code in bits; the last symbol ends a text and may not be sent.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

const SYMBOLS: usize = 257;
const LONGEST: usize = 30;
/// Codes up to this length are found at once.
const SHORT: usize = 9;

struct Tables {
    codes: [u32; SYMBOLS],
    /// Symbols by length of code, then by value.
    sorted: [u16; SYMBOLS],
    /// For each length: its first code, and that code's place in `sorted`.
    first: [u32; LONGEST + 1],
    place: [u16; LONGEST + 1],
    /// For each length: the number behind its last code, as if it had 32 bits.
    limit: [u64; LONGEST + 1],
    /// For the next bits: symbol and length, 0 where the code is longer.
    short: [(u8, u8); 1 << SHORT],
}

static TABLES: Tables = build();

const fn build() -> Tables {
    let mut tables = Tables {
        codes: [0; SYMBOLS],
        sorted: [0; SYMBOLS],
        first: [0; LONGEST + 1],
        place: [0; LONGEST + 1],
        limit: [0; LONGEST + 1],
        short: [(0, 0); 1 << SHORT],
    };
    let (mut code, mut count, mut length) = (0u32, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        tables.first[length] = code;
        tables.place[length] = count as u16;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                tables.codes[symbol] = code;
                tables.sorted[count] = symbol as u16;
                if length <= SHORT {
                    let start = (code as usize) << (SHORT - length);
                    let mut at = start;
                    while at < start + (1 << (SHORT - length)) {
                        tables.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                code += 1;
                count += 1;
            }
            symbol += 1;
        }
        tables.limit[length] = (code as u64) << (32 - length);
        length += 1;
    }
    tables
}

/// A text that is not what an encoder makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid Huffman code")]
pub(crate) struct InvalidCode;

/// Appends what `coded` stands for to `out`: at most 8/5 of its length.
pub(crate) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidCode> {
    let mut input = coded.iter();
    // The next bits, from the highest one down.
    let (mut bits, mut count) = (0u64, 0u32);
    loop {
        while count <= 56
            && let Some(&byte) = input.next()
        {
            bits |= u64::from(byte) << (56 - count);
            count += 8;
        }
        if count == 0 {
            return Ok(());
        }
        let (symbol, length) = match TABLES.short[(bits >> (64 - SHORT)) as usize] {
            (_, 0) => long_code((bits >> 32) as u32)?,
            (symbol, length) => (symbol, u32::from(length)),
        };
        if length > count {
            // What fills the last byte is a part of the longest code, all ones. As nginx, we take more than a byte of them.
            let is_padding = count < LONGEST as u32 && bits >> (64 - count) == (1 << count) - 1;
            return if is_padding { Ok(()) } else { Err(InvalidCode) };
        }
        out.push(symbol);
        bits <<= length;
        count -= length;
    }
}

/// The symbol whose code begins with these bits.
fn long_code(bits: u32) -> Result<(u8, u32), InvalidCode> {
    for length in SHORT + 1..=LONGEST {
        if u64::from(bits) < TABLES.limit[length] {
            let code = bits >> (32 - length);
            let place = usize::from(TABLES.place[length]) + (code - TABLES.first[length]) as usize;
            let symbol = TABLES.sorted.get(place).and_then(|&symbol| u8::try_from(symbol).ok());
            // The end of the text has the longest code; thirty ones at the end of a text that is shorter are padding.
            return Ok((symbol.unwrap_or_default(), if symbol.is_some() { length as u32 } else { END }));
        }
    }
    Ok((0, END))
}

/// Longer than any number of bits at hand: what begins so is padding or nothing.
const END: u32 = u32::MAX;

/// The number of bytes that `text` takes when it is encoded.
pub(crate) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text` to `out`.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0u32);
    for &byte in text {
        let symbol = usize::from(byte);
        let length = u32::from(LENGTHS[symbol]);
        bits = bits << length | u64::from(TABLES.codes[symbol]);
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | (0xff >> count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, InvalidCode> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_rfc_decode() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&coded).unwrap(), b"www.example.com");
        assert_eq!(decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for text in all.windows(7).chain([&all[..], b""]) {
            let mut coded = Vec::new();
            encode(text, &mut coded);
            assert_eq!(coded.len(), encoded_len(text));
            assert_eq!(decoded(&coded).unwrap(), text);
        }
    }

    #[test]
    fn padding_is_a_part_of_the_longest_code() {
        // "a" is 00011.
        assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a");
        assert_eq!(decoded(&[0b0001_1110]), Err(InvalidCode));
        assert_eq!(decoded(&[0b0001_1111, 0xff]).unwrap(), b"a");
        assert_eq!(decoded(&[0xff, 0xff, 0xff]).unwrap(), b"");
        assert_eq!(decoded(&[0b0001_1111, 0xfe]), Err(InvalidCode));
    }

    #[test]
    fn the_end_symbol_is_refused() {
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(InvalidCode));
        assert_eq!(decoded(&[0xff; 16]), Err(InvalidCode));
    }
}
