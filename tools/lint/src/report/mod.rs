//! What was found, written in the formats that people and programs read.

mod exchange;
mod json;
mod text;

pub use exchange::{checkstyle, github, junit, sarif};
pub use json::json;
pub use text::{concise, full, summary};
