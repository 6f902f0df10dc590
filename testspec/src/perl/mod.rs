//! The Perl of spec files: a lexer, a parser and an evaluator for the subset that specs use.
//!
//! The subset is what prologues and `eval` sections are written in: scalars, arrays, hashes,
//! references, closures, strings and here-documents with interpolation, regular expressions,
//! subroutines, modules that export names, files, and the built-in functions that go with them. What
//! it lacks on purpose: formats, ties, threads, sockets, `local` of code. A construct outside the subset is a
//! diagnostic with its place, never a wrong value.
//!
//! The way of a text: `Cursor` (what stands here?) → `Parser` (what does it mean?) → tree →
//! `Interpreter` (what is it worth?). Parser and interpreter work hand in hand, because `use`,
//! `BEGIN` and `sub` take effect while the rest is still to be read.

mod ast;
mod builtin;
mod cursor;
mod format;
mod interpreter;
mod limits;
mod pack;
mod parser;
#[cfg(test)]
mod tests;
mod time;

use std::path::{Path, PathBuf};

pub(crate) use ast::Jump;
pub use interpreter::{File, Sub};
pub(crate) use interpreter::{Interpreter, Native, NativeModule, Outcome, Output, Stop, SubKind, Want, shell_quoted};
pub use limits::Limits;
pub(crate) use time::Calendar;

/// Why Perl code stopped: the text that `$@` would hold, ending in a newline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", String::from_utf8_lossy(.message).trim_end())]
pub struct PerlError {
    /// The bytes of `$@`.
    pub message: Vec<u8>,
}

/// What evaluated code can reach outside of itself.
pub(crate) trait Host {
    /// A module that is provided natively.
    fn module(&self, name: &str) -> Option<&'static NativeModule>;

    /// Where local modules are looked for, in order.
    fn library_paths(&self) -> &[PathBuf];

    /// `use lib`: looks here first from now on.
    fn add_library_path(&mut self, path: PathBuf);

    /// What relative paths start from.
    fn working_directory(&self) -> &Path;

    /// `chdir`: relative paths start from there from now on.
    fn change_directory(&mut self, path: &Path) -> std::io::Result<()>;

    /// Whether a folder may be removed with all that is in it.
    fn may_remove_tree(&self, path: &Path) -> bool;

    /// Whether a file may be written, made or removed; a message why not.
    fn may_write(&self, path: &Path) -> Result<(), String>;

    /// The text of the server's `-V`.
    fn server_version(&self) -> Vec<u8>;

    /// Runs a shell command with this environment; yields its standard output and wait status, or a
    /// message why it must not run.
    fn shell(&mut self, command: &[u8], environment: &[(Vec<u8>, Vec<u8>)]) -> Result<(Vec<u8>, i32), String>;
}
