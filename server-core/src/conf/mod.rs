//! From the text of a configuration to directives with places, and the tables that say what a
//! directive is.
//!
//! [`tree`] holds what was written; [`table`] what may be written where. Each feature of the server owns
//! the rows of its directives ([`Rule`]) beside its code.

pub mod table;
pub mod tree;
pub mod value;

pub use table::{Arity, Contexts, Rule};
pub use tree::{Block, Directive, Word};
