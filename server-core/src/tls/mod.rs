//! TLS on OpenSSL: contexts out of directives, a non-blocking stream over a socket, both sides of the handshake.
//!
//! [`context`] turns settings into an `SSL_CTX`; [`stream`] is one connection, whose socket stays with whoever owns
//! it; [`server`] is the accepting side, which may wait for Lua in the middle of a handshake; [`client`] the
//! connecting side below cosockets, [`upstream`] that to proxied servers; [`sys`] and [`sys_upstream`] hold what the
//! `openssl` crate has no safe name for, and all `unsafe`.

pub(crate) mod client;
pub mod context;
pub mod server;
pub mod stream;
pub(crate) mod sys;
pub(crate) mod sys_offers;
pub(crate) mod sys_upstream;
pub(crate) mod upstream;

pub use stream::Tls;
