//! `ngx_http_proxy_module`: requests answered by other servers over HTTP/1 or HTTP/2.
//!
//! [`conf`] holds the settings, [`directives`] fills them, [`target`] decides where a request goes, [`request`]
//! writes what is sent, [`cookies`] changes cookies on their way;
//! [`http`] brings all that to [`crate::http::upstream`], which does the rest.

mod conf;
mod cookies;
mod directives;
mod http;
mod request;
mod target;
mod variables;

pub use conf::{LocConf, MainConf, SrvConf};
pub(crate) use directives::{CACHE_RULES, RULES, TLS_RULES};
pub(crate) use variables::VARIABLES;
