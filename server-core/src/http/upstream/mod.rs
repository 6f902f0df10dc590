//! Requests answered by servers behind us, whatever protocol those speak.
//!
//! A [`Dialing`] says where a request goes, a [`Protocol`] reads the answer, too; the rest is here. [`handler`] begins,
//! [`proxied`] runs the attempts, [`choose`] and [`connect`] find and reach a server ([`dial`] does no more than that) ([`handshake`] through TLS),
//! [`exchange`] sends ([`outgoing`]) and reads at the same time, [`head`] waits for the answer's head, [`headers`]
//! passes that on, [`relay`] the body ([`body`]), [`cached`] what comes out of a cache or goes into one, [`tunnel`] everything after a switch of protocols. [`conf`] holds
//! the settings that `proxy_pass` and its kin share, [`rules`] their directives.

pub(crate) mod body;
mod cached;
mod choose;
pub(crate) mod conf;
mod connect;
pub(crate) mod destination;
mod dial;
mod exchange;
mod handler;
mod handshake;
mod head;
mod headers;
pub(crate) mod http_head;
pub(crate) mod outgoing;
mod protocol;
mod proxied;
mod relay;
pub(crate) mod rules;
pub(crate) mod spool;
pub(crate) mod tls_conf;
mod tunnel;

pub(crate) use conf::{Conf, Failure, local_address};
pub(crate) use dial::dial;
pub(crate) use handler::answer;
pub(crate) use headers::charset_of;
pub(crate) use outgoing::Outgoing;
pub(crate) use protocol::{Dialing, Head, Protocol, Reader, Route};
