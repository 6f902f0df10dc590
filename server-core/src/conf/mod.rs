//! From the text of a configuration to directives with places, and the tables that say what a
//! directive is.
//!
//! [`parser`] reads files into [`tree`]; [`table`] holds what may be written where and finds the row of a
//! directive; [`value`] reads arguments. Each feature of the server owns the rows of its directives ([`Rule`])
//! beside its code; those of the top level and of `events` are in [`main_rules`].

mod glob;
mod lexer;
mod lua_block;
mod main_rules;
pub(crate) mod message;
pub mod parser;
pub mod table;
pub mod tree;
pub mod value;

pub use message::nginx_message;
pub(crate) use table::rule;
pub use table::{Arity, Contexts, Rule};
pub use tree::{Block, Directive, Word};
