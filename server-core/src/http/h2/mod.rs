//! HTTP/2 (RFC 9113): in front of the server, one connection whose streams are requests; [`client`] is for servers behind us.
//!
//! A stream is a [`Connection`](super::connection::Connection) to its request, as a socket is; phases, filters and
//! handlers don't know the difference. What is different are the two ends of a request's way: [`head`] makes a request
//! from a block of header fields, [`response`] makes such a block of a response's head, and [`body`] and [`stream`] carry
//! the bytes of bodies, both ways under flow control.
//!
//! - [`huffman`], [`hpack`] and [`frame`] are pure: bytes in, values out.
//! - [`session`] is what the streams of a connection share: windows, limits, the queue of frames to send.
//! - [`reader`] takes received bytes apart, whatever their splits; [`serve`] is the task that reads, writes and waits.
//!
//! Framing is ours for the same reason as in HTTP/1: frames, their order, codes of errors and error pages are compared
//! with nginx, see `docs/design/http2.md`.

pub(crate) mod body;
pub mod client;
pub(crate) mod frame;
mod head;
mod hpack;
mod huffman;
mod reader;
pub(crate) mod response;
pub(crate) mod serve;
mod session;
mod stream;

pub(crate) use stream::Stream;
