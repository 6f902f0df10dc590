//! `ngx_http_sub_filter_module`: replaces texts in bodies.

mod filter;
mod replacer;

pub use filter::{LocConf, MainConf, SrvConf};
pub(crate) use filter::{RULES, body_filter, header_filter};
