//! Assertions: what a block claims, held against what happened.
//!
//! Names and numbers of assertions are the original's, so that its plans balance and a harness that reads TAP sees
//! the same lines.

mod access;
mod assertion;
mod error_log;
mod pattern;
mod response;

pub use access::check_access_log;
pub use assertion::{Assertion, Detail, Recorder, Verdict};
pub use error_log::{ErrorLog, LogCheck, Pace, check_error_log, check_shutdown_log, shutdown_patterns};
pub use pattern::{Pattern, patterns};
pub use response::{ResponseCheck, check_response};

/// A mistake in the spec that ends its block: the original stops the whole run there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BailOut(pub String);
