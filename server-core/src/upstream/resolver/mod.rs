//! The resolver: names to addresses without blocking the worker (`resolver`, `resolver_timeout`).
//!
//! [`message`] is the wire format, pure on bytes; [`hosts`] the hosts file of `local=on`; [`query`] asks one
//! server over UDP, and over TCP when the answer was cut; [`lookup`] has the cache and lets concurrent
//! requests for one name share a query.

mod conf;
mod hosts;
mod lookup;
mod message;
mod query;

pub use conf::{ConfError, ResolverConf};
pub use lookup::{ResolveError, Resolver};
