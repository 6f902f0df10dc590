//! `set_misc`: directives that compute variables: encodings, digests, quoting, random numbers, dates.

pub mod base_n;
mod directives;
mod quoting;

pub(crate) use directives::{FILTERS, Filter, RULES, one_input};
pub use directives::{LocConf, MainConf, SrvConf};
