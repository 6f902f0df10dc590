//! The last body filter: appends to the connection's output and sends when it is worth it.

use std::rc::Rc;

use super::code::Code;
use super::output::{BodyNext, Chain};
use super::request::Request;

/// The body filter.
pub(crate) fn filter(r: &Rc<Request>, chain: Chain, _next: BodyNext) -> Code {
    r.conn().write(chain, r.loc().core.postpone_output)
}
