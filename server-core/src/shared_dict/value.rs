//! What goes into zones and comes out of them, and why it may not.

use std::ffi::CStr;

/// A value on its way in or out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing: storing it deletes.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Str(&'a [u8]),
}

/// What a successful [`Zone::read`](super::Zone::read) found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Read<'a> {
    /// The value; [`Value::Nil`] when there is none.
    pub value: Value<'a>,
    /// The user's flags.
    pub flags: u32,
    /// Whether its time is over.
    pub stale: bool,
}

/// Which entries a store may create or change; bits of the C interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op(pub i32);

impl Op {
    /// Create or overwrite.
    pub const SET: Self = Self(0);
    /// Only create.
    pub const ADD: Self = Self(1);
    /// Only overwrite.
    pub const REPLACE: Self = Self(2);
    /// Evict nothing that is still valid.
    pub const SAFE: Self = Self(4);

    pub(super) const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }
}

/// Two numbers under a key: what limits count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record(pub u64, pub u64);

impl Record {
    pub(super) const SIZE: usize = 16;

    pub(super) fn encode(self) -> [u8; Self::SIZE] {
        (u128::from(self.0) << 64 | u128::from(self.1)).to_ne_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let both = u128::from_ne_bytes(bytes.try_into().ok()?);
        Some(Self((both >> 64) as u64, both as u64))
    }
}

/// What [`Zone::update`](super::Zone::update) does with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Keep,
    /// Write it, to live for so many milliseconds; zero is for ever.
    Put(Record, i64),
    /// Remove it.
    Remove,
}

/// How a store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Done, or why not.
    pub result: Result<(), Failure>,
    /// Whether valid entries were evicted to make room.
    pub forcible: bool,
}

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is such an entry already.
    Exists,
    /// The value is a list.
    IsList,
    /// Keys have at most 65535 bytes.
    KeyTooLong,
    /// Only a set can delete.
    NilValue,
    /// No room, even after evictions.
    NoMemory,
    /// The value is not a number.
    NotANumber,
    /// The value is not a list.
    NotAList,
    /// There is no such entry.
    NotFound,
}

impl Failure {
    /// The text that Lua sees.
    pub const fn text(self) -> &'static CStr {
        match self {
            Self::Exists => c"exists",
            Self::IsList => c"value is a list",
            Self::KeyTooLong => c"key too long",
            Self::NilValue => c"attempt to add or replace nil values",
            Self::NoMemory => c"no memory",
            Self::NotANumber => c"not a number",
            Self::NotAList => c"value not a list",
            Self::NotFound => c"not found",
        }
    }
}
