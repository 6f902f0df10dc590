//! What a loaded spec file is made of: values, blocks, settings and the plan.
//!
//! Everything here is cheap to clone and belongs to one thread: a spec file is loaded once for each
//! lane that runs it, and its values share their content by reference counts.

mod block;
mod regex;
mod settings;
mod value;

pub use block::{Block, Section};
pub use regex::{Groups, Regex, RegexError};
pub use settings::{Flavour, Plan, Settings};
pub use value::{Array, Code, Hash, HashMap, Object, Reference, Value, format_number, parse_number};
