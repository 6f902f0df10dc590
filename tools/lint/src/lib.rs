//! The Lua linter behind `rsty lint`. Its design is told in `docs/design/lint.md`.
//!
//! [`lua`] reads Lua, [`embed`] finds it in configuration and spec files, [`rules`] judge it, [`driver`] does so for
//! many files at once, and [`report`] writes what was found. Nothing here prints, and nothing of what is
//! read is ever executed.

#![forbid(unsafe_code)]

pub mod allow;
pub mod api;
pub mod baseline;
mod calls;
mod check;
pub mod chunk;
mod codes;
pub mod config;
pub mod driver;
pub mod embed;
mod finding;
pub mod fixes;
mod flow;
mod inline;
pub mod lua;
pub mod modules;
mod objects;
pub mod releng;
pub mod report;
pub mod rules;
pub mod settings;
pub mod standard;
#[cfg(test)]
mod testing;

pub use check::{Input, InputKind, check};
pub use finding::{Finding, GlobalKind};
