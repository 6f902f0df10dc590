//! Puts the output of subrequests where it belongs: each waits for those before it.

use std::rc::Rc;

use super::code::Code;
use super::output::{BodyNext, Chain};
use super::request::Request;

/// Something that waits for its turn.
pub enum Postponed {
    /// Output of the request itself.
    Output(Chain),
    /// A subrequest's.
    Request(Rc<Request>),
}

/// The body filter.
pub(crate) fn filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    next.run(r, chain)
}
