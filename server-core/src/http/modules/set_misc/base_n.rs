//! Base32 with a chosen alphabet, and base64 with nginx's tolerance: pure functions on bytes.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Unpadded input is accepted and so are stray trailing bits, as nginx's decoder does.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT.with_encode_padding(false));

/// The 32 characters of a base32 encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base32Alphabet([u8; 32]);

impl Base32Alphabet {
    /// Takes exactly 32 bytes.
    pub fn new(characters: &[u8]) -> Option<Self> {
        characters.try_into().ok().map(Self)
    }

    /// Encodes; with `padding`, the output is filled with `=` to a multiple of eight.
    pub(crate) fn encode(&self, input: &[u8], padding: Padding) -> Vec<u8> {
        let mut out = Vec::with_capacity(input.len().div_ceil(5) * 8);
        for group in input.chunks(5) {
            let mut bits = [0u8; 8];
            bits[3..3 + group.len()].copy_from_slice(group);
            let value = u64::from_be_bytes(bits);
            let digits = (group.len() * 8).div_ceil(5);
            out.extend((0..digits).map(|digit| self.0[(value >> (35 - 5 * digit)) as usize & 31]));
            if padding == Padding::Filled {
                out.extend(std::iter::repeat_n(b'=', 8 - digits));
            }
        }
        out
    }

    /// Decodes up to the first `=`; `None` when a character or the length cannot be.
    pub(crate) fn decode(&self, input: &[u8]) -> Option<Vec<u8>> {
        let input = memchr::memchr(b'=', input).map_or(input, |end| &input[..end]);
        if matches!(input.len() % 8, 1 | 3 | 6) {
            return None;
        }
        let mut out = Vec::with_capacity(input.len() * 5 / 8);
        for group in input.chunks(8) {
            let mut value = 0u64;
            for &character in group {
                value = value << 5 | self.0.iter().rposition(|&known| known == character)? as u64;
            }
            value <<= 5 * (8 - group.len());
            out.extend_from_slice(&value.to_be_bytes()[3..3 + group.len() * 5 / 8]);
        }
        Some(out)
    }
}

impl Default for Base32Alphabet {
    fn default() -> Self {
        Self(*b"0123456789abcdefghijklmnopqrstuv")
    }
}

/// Whether encoded output is filled to full groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    Filled,
    Omitted,
}

pub(crate) fn encode_base64(input: &[u8]) -> Vec<u8> {
    BASE64.encode(input).into_bytes()
}

pub(crate) fn encode_base64url(input: &[u8]) -> Vec<u8> {
    BASE64_URL.encode(input).into_bytes()
}

pub(crate) fn decode_base64(input: &[u8]) -> Option<Vec<u8>> {
    decode(&BASE64, input)
}

pub(crate) fn decode_base64url(input: &[u8]) -> Option<Vec<u8>> {
    decode(&BASE64_URL, input)
}

fn decode(engine: &GeneralPurpose, input: &[u8]) -> Option<Vec<u8>> {
    let input = memchr::memchr(b'=', input).map_or(input, |end| &input[..end]);
    engine.decode(input).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_survives_a_round_trip_at_every_length() {
        let alphabet = Base32Alphabet::default();
        for length in 0..20u8 {
            let input: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37)).collect();
            for padding in [Padding::Filled, Padding::Omitted] {
                assert_eq!(alphabet.decode(&alphabet.encode(&input, padding)).as_ref(), Some(&input));
            }
        }
    }

    #[test]
    fn base32_knows_its_extended_hex_alphabet() {
        let alphabet = Base32Alphabet::default();
        assert_eq!(alphabet.encode(b"abcde", Padding::Filled), b"c5h66p35");
        assert_eq!(alphabet.encode(b"hello!", Padding::Filled), b"d1imor3f44======");
        assert_eq!(alphabet.decode(b"c5h66p3"), Some(b"abcd".to_vec()));
        assert_eq!(alphabet.decode(b"c5h"), None);
        assert_eq!(alphabet.decode(b"!!"), None);
    }

    #[test]
    fn base64_is_lenient_about_padding_only() {
        assert_eq!(decode_base64(b"YWI="), Some(b"ab".to_vec()));
        assert_eq!(decode_base64(b"YWI"), Some(b"ab".to_vec()));
        assert_eq!(decode_base64(b"YWIh*"), None);
        assert_eq!(encode_base64url(b"\xfb\xff"), b"-_8");
        assert_eq!(decode_base64url(b"-_8"), Some(b"\xfb\xff".to_vec()));
    }
}
