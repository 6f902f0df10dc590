//! The spec file formatter behind `rsty reindex`.
//!
//! Two modes write different bytes. [`compat`] repeats the classic `reindex` script's rewriting byte for
//! byte, its quirks included. [`format`] reads the file's structure and changes only block headers,
//! the space between blocks and the end of the file. Both leave the disk to [`atomic`], which
//! replaces a file whole or not at all, and to [`files`], which finds the files that the user means.

#![forbid(unsafe_code)]

pub mod atomic;
mod canonical;
mod check;
mod clean;
pub mod compat;
pub mod difference;
pub mod files;
mod header;
mod lua;
mod style;

pub use canonical::{Options, Refusal, Rewrite, Style, format};
pub use check::check;
