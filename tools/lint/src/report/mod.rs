//! What was found, written in the formats that people and programs read.

mod json;

pub use json::json;
