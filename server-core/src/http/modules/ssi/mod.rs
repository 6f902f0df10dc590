//! `ngx_http_ssi_module`: commands in the text of a response.
//!
//! | file | knows |
//! |---|---|
//! | `parse.rs` | where commands are in a text, and what they say |
//! | `state.rs` | what pages set: variables, blocks, captures; texts with variables |
//! | `commands.rs` | what each command does |
//! | `filter.rs` | directives; the way of a response through the filter, and waiting for subrequests |

mod commands;
mod filter;
mod parse;
mod state;

pub(crate) use commands::VARIABLES;
pub use filter::{LocConf, MainConf, SrvConf};
pub(crate) use filter::{RULES, body_filter, header_filter};
