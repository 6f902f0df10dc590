//! `ngx_http_range_filter_module`: answers `Range` requests with one part or several.

mod filter;
mod spec;

pub(crate) use filter::{body_filter, header_filter};
