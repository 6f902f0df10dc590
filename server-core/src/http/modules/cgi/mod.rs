//! What FastCGI, SCGI and uwsgi have in common: parameters made of a request, and responses with a CGI head.

mod conf;
mod head;
mod params;

pub(crate) use conf::{CgiConf, Schemes, add_param, pass};
pub(crate) use head::{CgiReader, parse_cgi};
pub(crate) use params::pairs;

/// Headers that are passed on only when the configuration says so.
pub(crate) const HIDDEN: &[&str] =
    &["Status", "X-Accel-Expires", "X-Accel-Redirect", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset"];
