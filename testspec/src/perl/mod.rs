//! The Perl of spec files: a lexer, a parser and an evaluator for the subset that specs use.

mod limits;

pub use limits::Limits;

/// Why Perl code stopped: the text that `$@` would hold, ending in a newline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", String::from_utf8_lossy(.message).trim_end())]
pub struct PerlError {
    /// The bytes of `$@`.
    pub message: Vec<u8>,
}

/// A subroutine.
#[derive(Debug)]
pub struct Sub;

/// An open file.
#[derive(Clone, Debug)]
pub struct File;
