//! `ngx_http_headers_filter_module`: `add_header`, `add_trailer`, `expires`.

mod expiry;
mod filter;

pub use filter::{LocConf, MainConf, SrvConf};
pub(crate) use filter::{RULES, header_filter, trailers_filter};
