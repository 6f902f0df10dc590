//! `ngx_http_charset_module`: the charset that the `Content-Type` header names, and bodies brought into it.

mod filter;
mod table;

pub use filter::{LocConf, MainConf, SrvConf};
pub(crate) use filter::{RULES, body_filter, header_filter};
