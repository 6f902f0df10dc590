//! Interned identifiers: a name is a small number, equal names have equal numbers.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// An interned identifier of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(pub(crate) u32);

impl Symbol {
    /// Position in arrays that have one entry a name.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The identifiers of one file.
#[derive(Debug, Default)]
pub struct Names<'s> {
    symbols: HashMap<&'s [u8], Symbol, NameHashing>,
    texts: Vec<&'s [u8]>,
}

impl<'s> Names<'s> {
    /// The symbol of `text`, new or known.
    pub fn intern(&mut self, text: &'s [u8]) -> Symbol {
        *self.symbols.entry(text).or_insert_with(|| {
            self.texts.push(text);
            Symbol(self.texts.len() as u32 - 1)
        })
    }

    /// The symbol of `text` if the file has that name.
    pub fn find(&self, text: &[u8]) -> Option<Symbol> {
        self.symbols.get(text).copied()
    }

    /// The bytes of a symbol.
    pub fn text(&self, symbol: Symbol) -> &'s [u8] {
        self.texts.get(symbol.index()).copied().unwrap_or_default()
    }

    /// Number of different names.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether no name was seen.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Hashing with a secret of its own for each file, so that no file can hold names made to collide.
#[derive(Debug)]
struct NameHashing(u64);

impl Default for NameHashing {
    fn default() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for NameHashing {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        NameHasher(self.0)
    }
}

/// A multiplicative hash for short keys.
struct NameHasher(u64);

impl NameHasher {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(Self::FACTOR);
        self.0 ^= self.0 >> 29;
    }
}

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunks.remainder()) {
            *to = *from;
        }
        self.mix(u64::from_le_bytes(word) ^ ((bytes.len() as u64) << 56));
    }

    fn write_usize(&mut self, _: usize) {}
}
