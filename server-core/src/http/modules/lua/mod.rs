//! `ngx_http_lua_module`: Lua in the phases of a request.
//!
//! [`conf`] holds the settings, `directives` the rows that fill them, [`handlers`] the phases that may wait,
//! [`filters`] those that may not, `apps` the apps that share the server, [`response`] the way from `ngx.say` to the output filters, and [`startup`]
//! the VM with the phases that have no request.

pub(crate) mod apps;
pub(crate) mod balancer;
pub mod conf;
pub(crate) mod directives;
pub mod filters;
pub mod handlers;
pub(crate) mod output_bufs;
pub(crate) mod response;
pub mod script;
pub(crate) mod session;
pub mod startup;
pub mod timers;
pub(crate) mod tls;

pub use conf::{LocConf, MainConf, SrvConf};
pub(crate) use directives::RULES;
