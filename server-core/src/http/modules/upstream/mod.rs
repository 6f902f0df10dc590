//! `ngx_http_upstream_module`: groups of servers behind us, and what is known of a request's attempts with them.
//!
//! [`blocks`] reads `upstream { }` and [`servers`] what it lists, [`attempts`] keeps what the `$upstream_*` variables of [`variables`] show.

pub mod attempts;
pub mod blocks;
mod servers;
mod variables;

pub use attempts::{Attempt, Attempts};
pub(crate) use blocks::RULES;
pub use blocks::{GroupRef, LocConf, MainConf, SrvConf};
pub(crate) use variables::VARIABLES;
