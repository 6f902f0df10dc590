//! Places in a user's file and the messages about them.
//!
//! Everything that can be wrong at a place (a configuration, a spec, a Lua file) becomes a
//! [`Diagnostic`]: a stable id, a severity, one phrase, a primary place and what to do next. One
//! diagnostic has several renderings ([`render`]); none of them prints by itself.
//!
//! Sources are bytes, not text: spec files and Lua may hold anything. Lines end at `\n`; columns
//! count bytes from 1, as nginx, LuaJIT and most editors' jump syntax do.

#![forbid(unsafe_code)]

mod diagnostic;
pub mod render;
mod source;
mod suggest;

pub use diagnostic::{Applicability, Diagnostic, Fix, Label, Severity};
pub use source::{Location, Source, Span};
pub use suggest::closest;
