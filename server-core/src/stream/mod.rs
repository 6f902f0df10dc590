//! `stream { }`: connections as such, before or in place of HTTP.
//!
//! A session is driven by the engine that drives requests: it *is* a [`crate::http::Request`], without a head, over
//! a connection of the subsystem `stream`. So everything that scripts suspend on, the cosockets, timers, TLS, variables
//! and logs are there once. What is different stands here: [`settings`] and [`blocks`] (the configuration), [`rules`]
//! (the directives it shares with `http { }`), [`session`] (the phases), [`lua`] (their scripts), [`peek`] (what
//! preread handlers look at), [`proxy`] (the way to other servers: [`relay`] of bytes, [`datagram_relay`] of datagrams, at
//! a [`rate`]), [`datagrams`] (clients without connection) and [`variables`].

mod blocks;
mod datagram_relay;
mod datagrams;
pub(crate) mod lua;
pub(crate) mod peek;
mod preread_tls;
pub(crate) mod proxy;
mod rate;
mod relay;
pub(crate) mod rules;
mod session;
pub mod settings;
mod variables;

pub(crate) use datagrams::{Client, Port};
pub(crate) use session::serve;
pub(crate) use settings::{LocConf, MainConf, RULES, SrvConf, TLS_RULES};
