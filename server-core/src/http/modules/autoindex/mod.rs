//! `ngx_http_autoindex_module`: lists folders that have no index file.

mod handler;
pub(crate) mod page;

pub(crate) use handler::{AutoindexHandler, RULES};
pub use handler::{LocConf, MainConf, SrvConf};
