//! `ngx_http_log_module`: access logs and their formats.

mod directives;
mod escape;
mod format;
mod target;

pub use directives::{LocConf, MainConf, SrvConf};
pub(crate) use directives::{LogHandler, RULES, default_log};
pub(crate) use target::flush_all;
