//! The last header filter: encodes the response's head.

use std::rc::Rc;

use super::code::Code;
use super::output::HeaderNext;
use super::request::Request;

/// The header filter.
pub(crate) fn filter(r: &Rc<Request>, _next: HeaderNext) -> Code {
    if r.header_sent.replace(true) {
        return Code::OK;
    }
    Code::OK
}
