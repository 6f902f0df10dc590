//! HTTP/2 (RFC 9113) to servers behind us: one request at a time on a connection, as in nginx.
//!
//! - [`request`] makes the block of header fields of a request.
//! - [`flow`] is what both directions of a request share: its stream, the windows, and control frames that wait.
//! - [`framer`] cuts the request into frames, as many as the windows allow.
//! - [`reader`] takes the server's frames apart, whatever their splits; [`control`] does what frames ask for that are not
//!   about the response, [`fields`] decodes blocks of header fields. [`trial`] has the reader try any bytes.
//!
//! All of it works on bytes; `http/upstream` sends, receives and waits. The texts of errors are nginx's.

mod control;
mod fields;
mod flow;
mod framer;
mod reader;
mod request;
#[cfg(test)]
mod tests;
mod trial;

pub(crate) use flow::{Flow, Speaker};
pub(crate) use framer::Framer;
pub(crate) use reader::{Piece, Reader};
pub(crate) use request::RequestBlock;
pub use trial::Trial;

/// It does not go on like this; the log knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;
