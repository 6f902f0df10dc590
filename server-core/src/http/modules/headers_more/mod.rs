//! `headers_more`: sets and clears request and response headers, also those that the server writes itself.

mod directives;
mod input;
mod matching;
mod output;

pub(crate) use directives::RULES;
pub use directives::{LocConf, MainConf, SrvConf};
pub(crate) use input::InputHandler;
pub(crate) use output::header_filter;
