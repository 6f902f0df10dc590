//! LuaJIT's dialect of Lua: from bytes to a flat tree with resolved names.
//!
//! The parser makes one pass. It resolves each name where it stands, so there is no second walk, and it
//! keeps nodes in arrays, children before parents, so that a rule is a loop and nothing recurses on
//! the depth of the input. Nesting is bounded like LuaJIT's own.

pub mod lexer;
mod names;
mod number;
mod parse;
mod scope;
#[cfg(test)]
mod tests;
pub mod tree;

pub use names::{Names, Symbol};
pub use parse::{SyntaxError, parse};
