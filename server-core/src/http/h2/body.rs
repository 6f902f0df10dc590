//! The body of a request that came over HTTP/2, as `http::body` reads it.

use bytes::Bytes;

use super::stream::Stream;
use crate::http::code::Code;
use crate::http::request::Request;
use crate::log::Level;

/// Takes a part of the body: `Some(empty)` at its end, `None` when nothing is there now. What was declared must come, and
/// no more.
pub(crate) fn take(r: &Request, stream: &Stream, max: usize) -> Result<Option<Bytes>, Code> {
    let data = stream.take(max);
    let declared = stream.declared_length();
    if !data.is_empty() {
        r.request_length.set(r.request_length.get() + data.len() as u64);
        if declared.is_some_and(|declared| stream.taken() > declared) {
            r.log(Level::Info, format_args!("client intended to send body data larger than declared"));
            stream.skip_body();
            return Err(Code::BAD_REQUEST);
        }
        return Ok(Some(data));
    }
    if stream.is_broken() || !stream.is_in_closed() {
        return Ok(None);
    }
    if let Some(declared) = declared.filter(|&declared| declared != stream.taken()) {
        r.log(
            Level::Info,
            format_args!(
                "client prematurely closed stream: only {} out of {declared} bytes of request body received",
                stream.taken()
            ),
        );
        stream.skip_body();
        return Err(Code::BAD_REQUEST);
    }
    Ok(Some(data))
}

/// The client has left before the body was complete: how the request ends.
pub(crate) fn broken(r: &Request) -> Code {
    r.log(Level::Info, format_args!("client prematurely closed stream"));
    r.conn().error.set(true);
    Code::CLIENT_CLOSED_REQUEST
}
