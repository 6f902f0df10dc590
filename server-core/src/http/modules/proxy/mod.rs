//! `ngx_http_proxy_module`: requests answered by other servers over HTTP/1.
//!
//! [`conf`] holds the settings, [`directives`] fills them, [`target`] decides where a request goes, [`request`]
//! writes what is sent, [`response`] reads the head that comes back and [`headers`] passes it on. [`handler`] runs
//! the attempts, [`exchange`] one of them, and [`relay`] passes the body on.

mod body;
mod conf;
mod directives;
mod exchange;
mod handler;
mod headers;
mod relay;
mod request;
mod response;
mod target;
mod variables;

pub(crate) use conf::local_address;
pub use conf::{LocConf, MainConf, SrvConf};
pub(crate) use directives::RULES;
pub(crate) use variables::VARIABLES;
