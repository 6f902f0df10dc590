//! What the scheduler must know of the thing on whose behalf Lua runs: a request, a timer's stand-in for one,
//! a session of `stream { }`.

use std::ffi::c_void;
use std::fmt;

use super::socket::SocketConf;
use crate::cycle::Subsystem;

/// `emerg` to `debug`, as nginx numbers them.
pub mod level {
    /// The server cannot go on.
    pub const EMERG: u8 = 1;
    /// Something must be done at once.
    pub const ALERT: u8 = 2;
    /// A system call failed badly.
    pub const CRIT: u8 = 3;
    /// A request failed.
    pub const ERR: u8 = 4;
    /// Something looks wrong.
    pub const WARN: u8 = 5;
    /// What `print` writes.
    pub const NOTICE: u8 = 6;
    /// What clients do.
    pub const INFO: u8 = 7;
    /// What the server does.
    pub const DEBUG: u8 = 8;
}

/// Writes debug messages of a session from within an operation.
pub type Notice = Box<dyn Fn(fmt::Arguments<'_>)>;

/// The owner of a Lua context while Lua runs.
pub trait Session {
    /// The pointer that Lua code holds as its request; valid while the session lives.
    fn pointer(&self) -> *mut c_void;
    /// Whether messages of this level are written at all.
    fn logs(&self, level: u8) -> bool;
    /// Writes a message to the error log, in the session's terms (connection number, client, request line).
    fn log(&self, level: u8, message: fmt::Arguments<'_>);
    /// Writes a message that is bytes.
    fn log_bytes(&self, level: u8, message: &[u8]);
    /// A handle that logs after the session's borrow has ended, for operations; `None` when debug messages are off.
    fn notice(&self) -> Option<Notice>;
    /// The settings of cosockets that apply at the moment.
    fn socket_conf(&self) -> SocketConf;
    /// `URI?ARGS` of the request, for debug messages.
    fn uri(&self) -> String;
    /// What it is a session of.
    fn subsystem(&self) -> Subsystem {
        Subsystem::Http
    }
}

/// A session that says nothing.
pub(super) struct Silent;

impl Session for Silent {
    fn pointer(&self) -> *mut c_void {
        std::ptr::null_mut()
    }

    fn logs(&self, _level: u8) -> bool {
        false
    }

    fn log(&self, _level: u8, _message: fmt::Arguments<'_>) {}

    fn log_bytes(&self, _level: u8, _message: &[u8]) {}

    fn notice(&self) -> Option<Notice> {
        None
    }

    fn socket_conf(&self) -> SocketConf {
        SocketConf::default()
    }

    fn uri(&self) -> String {
        String::new()
    }
}

/// Writes to the session's error log when the level is on; formats nothing otherwise.
macro_rules! session_log {
    ($session:expr, $level:expr, $($format:tt)+) => {{
        let session: &dyn $crate::lua::session::Session = $session;
        if $crate::log::is_written_anywhere($level) && session.logs($level) {
            ::std::hint::cold_path();
            session.log($level, format_args!($($format)+));
        }
    }};
}
pub(crate) use session_log;

/// [`session_log!`] at debug level.
macro_rules! session_debug {
    ($session:expr, $($format:tt)+) => {
        $crate::lua::session::session_log!($session, $crate::lua::session::level::DEBUG, $($format)+)
    };
}
pub(crate) use session_debug;
