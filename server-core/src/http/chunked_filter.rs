//! Frames a body of unknown length in chunks.

use std::rc::Rc;

use super::code::Code;
use super::output::{BodyNext, Chain};
use super::request::Request;

/// The body filter.
pub(crate) fn filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    next.run(r, chain)
}
