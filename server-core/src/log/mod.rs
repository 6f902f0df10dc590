//! The error log: levels, targets, nginx's exact line format.
//!
//! A level of the configuration that has `error_log` lines owns an [`ErrorLog`]; everything below it shares
//! it. Asking whether a level is written ([`ErrorLog::enabled`]) is one comparison, so that callers format
//! nothing for a line that nobody wants: the macros [`log_at!`](crate::log_at) and
//! [`log_debug!`](crate::log_debug) do that.

mod clock;
mod conf;
mod error_log;
mod file;
mod level;
mod syslog;

pub use clock::{ErrorLogTime, error_log_time};
pub use conf::ErrorLogConf;
pub(crate) use error_log::with_process_log;
pub use error_log::{
    Capture, Entry, ErrorLog, LogContext, errno_text, is_written_anywhere, set_capture, set_console, set_process_log,
};
pub use file::{LogFile, OpenFiles};
pub use level::Level;
pub use syslog::Syslog;
pub(crate) use syslog::failure_level;
