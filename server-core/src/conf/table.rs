//! What may be written where: the rows of the directive tables.

use rsty_diag::Diagnostic;

use super::tree::Directive;
use crate::http::conf::Scope;

/// The blocks in which a directive may stand, a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts(pub u32);

impl Contexts {
    /// The top level of the file.
    pub const MAIN: Self = Self(1);
    /// `events { }`.
    pub const EVENTS: Self = Self(1 << 1);
    /// `http { }`.
    pub const HTTP: Self = Self(1 << 2);
    /// `server { }` inside `http`.
    pub const SERVER: Self = Self(1 << 3);
    /// `location { }`.
    pub const LOCATION: Self = Self(1 << 4);
    /// `if { }` inside `server`.
    pub const IF_IN_SERVER: Self = Self(1 << 5);
    /// `if { }` inside `location`.
    pub const IF_IN_LOCATION: Self = Self(1 << 6);
    /// `limit_except { }`.
    pub const LIMIT_EXCEPT: Self = Self(1 << 7);
    /// `upstream { }` inside `http`.
    pub const UPSTREAM: Self = Self(1 << 8);
    /// `stream { }`.
    pub const STREAM: Self = Self(1 << 9);
    /// `server { }` inside `stream`.
    pub const STREAM_SERVER: Self = Self(1 << 10);
    /// `upstream { }` inside `stream`.
    pub const STREAM_UPSTREAM: Self = Self(1 << 11);
    /// `http`, `server` and `location`: the usual three.
    pub const HTTP_SERVER_LOCATION: Self = Self(Self::HTTP.0 | Self::SERVER.0 | Self::LOCATION.0);
    /// The usual three and `if` in a location.
    pub const HTTP_SERVER_LOCATION_IF: Self = Self(Self::HTTP_SERVER_LOCATION.0 | Self::IF_IN_LOCATION.0);

    /// The union of two sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the two sets share a block.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// How many words a directive takes, and whether a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Between `.0` and `.1` arguments, then `;`.
    Words(usize, usize),
    /// Exactly one argument, `on` or `off`.
    Flag,
    /// Between `.0` and `.1` arguments, then a block of directives.
    Block(usize, usize),
    /// Between `.0` and `.1` arguments, then a block of Lua.
    LuaBlock(usize, usize),
}

impl Arity {
    /// No upper limit.
    pub const MANY: usize = usize::MAX;
}

/// One row of a directive table: a directive, its places, its shape, and what it does to the scope.
///
/// The table's user checks place and arity before it calls `apply`. A name may have several rows with
/// disjoint contexts (`server` in `http` and in `upstream`).
#[derive(Clone, Copy)]
pub struct Rule {
    /// The directive's name, as nginx spells it.
    pub name: &'static str,
    /// Where it may stand.
    pub contexts: Contexts,
    /// Its shape.
    pub args: Arity,
    /// Records the directive in the scope being built.
    pub apply: fn(&mut Scope<'_>, &Directive) -> Result<(), Diagnostic>,
}
