//! `ngx_http_rewrite_module`: `set`, `rewrite`, `if`, `return`, `break`.
//!
//! The directives of a location make one program that runs in file order in the rewrite phase
//! ([`program`]). Other modules join it through [`directives::push_call`].

pub(crate) mod condition;
pub(crate) mod directives;
pub(crate) mod program;

pub use directives::{LocConf, MainConf, SrvConf};
pub(crate) use directives::{RULES, RewriteHandler, push_call, target};
pub(crate) use program::Argument;
