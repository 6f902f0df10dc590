//! The block language of spec files as a lossless tree of byte spans.
//!
//! ```text
//! use Test::Nginx::Socket::Lua;      prologue: Perl
//! run_tests();
//! __DATA__                           marker
//!                                    preamble: ignored
//! === TEST 1: a block                block header with its name
//! --- config eval                    section header with a filter
//! location /t { … }                  body, up to the next header or block
//! --- error_code: 200                section with an inline value
//! ```
//!
//! [`parse`] never fails: whatever the bytes are, the tree's spans put together give the file again,
//! and what the original would refuse is a [`Diagnostic`](rsty_diag::Diagnostic) in the block where it
//! stands. Time and memory are linear in the size of the file. The grammar (`grammar.pest`) works on
//! lines; this module adds the prologue, inline values and filter lists.
//!
//! # Files without Perl
//!
//! A file without a `__DATA__` line whose first line that is neither blank nor a `#` comment is a block
//! or section header has no prologue. Sections before its first block are the file's *defaults*: each
//! block that lacks the section inherits it, and settings of the run are written there in the same way
//! (`rsty_testspec::load::settings` has their names):
//!
//! ```text
//! --- repeat_each: 2
//! --- http_config
//! lua_package_path "lib/?.lua;;";
//! --- no_error_log
//! [error]
//!
//! === says hello
//! --- config
//! location = /t { content_by_lua_block { ngx.say("hello") } }
//! --- request
//! GET /t
//! --- response_body
//! hello
//! ```

mod document;
mod grammar;
mod parse;
#[cfg(test)]
mod tests;

pub use document::{BlockNode, Body, Document, SectionNode, Selection};
pub use parse::parse;
