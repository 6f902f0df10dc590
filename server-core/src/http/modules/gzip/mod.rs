//! `ngx_http_gzip_filter_module`: compresses responses.

mod accept;
mod filter;

pub use filter::{LocConf, MainConf, SrvConf};
pub(crate) use filter::{RULES, VARIABLES, announce_variants, body_filter, client_accepts, header_filter, varies};
