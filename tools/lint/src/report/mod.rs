//! What was found, written in the formats that people and programs read.

mod json;
mod text;

pub use json::json;
pub use text::{concise, full, summary};
