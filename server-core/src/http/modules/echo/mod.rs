//! `echo`: a content handler made of commands that run one after another, text around bodies, and variables
//! about the request. It is what most specs are built with.

mod directives;
mod filter;
mod handler;
mod subrequests;
mod variables;

pub(crate) use directives::RULES;
pub use directives::{LocConf, MainConf, SrvConf};
pub(crate) use filter::{body_filter, header_filter};
pub(crate) use variables::VARIABLES;
