//! The Lua linter behind `rsty lint`.
//!
//! [`lua`] reads Lua, [`embed`] finds it in configuration and spec files, [`rules`] judge it, [`driver`] does so for
//! many files at once, and [`report`] writes what was found. Nothing here prints, and nothing of what is
//! read is ever executed.

#![forbid(unsafe_code)]

pub mod lua;
