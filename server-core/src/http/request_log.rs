//! Log lines about a request.

use std::fmt::Arguments;

use super::header::HeaderId;
use super::request::Request;
use crate::log::{Entry, ErrorLog, Level, LogContext, is_written_anywhere};
use crate::stream::proxy::Counts;

impl Request {
    /// The log of the request's location.
    pub fn log_target(&self) -> &'static ErrorLog {
        self.main_ref().loc().core.log.as_ref().unwrap_or(&self.conn().cycle().log)
    }

    /// Whether lines of this level go anywhere.
    #[inline]
    pub fn logs(&self, level: Level) -> bool {
        is_written_anywhere(level as u8) && self.log_target().enabled(level)
    }

    /// Writes a line.
    #[cold]
    pub fn log(&self, level: Level, message: Arguments<'_>) {
        self.log_target().write_for(Some(self), level, None, message);
    }

    /// Writes a line about a failed system call.
    #[cold]
    pub fn log_errno(&self, level: Level, errno: i32, message: Arguments<'_>) {
        self.log_target().write_for(Some(self), level, Some(errno), message);
    }

    /// Writes a line made of pieces that need not be UTF-8.
    #[cold]
    pub fn log_bytes(&self, level: Level, pieces: &[&[u8]]) {
        let log = self.log_target();
        if log.enabled(level) {
            let message = pieces.concat();
            log.write_entry(&Entry { level, message: &message, errno: None, context: Some(self) });
        }
    }

    /// Writes a line at level alert.
    #[cold]
    pub fn log_alert(&self, message: &str) {
        self.log(Level::Alert, format_args!("{message}"));
    }
}

/// Writes a debug line about a request; formats nothing when the level is off.
macro_rules! debug {
    ($r:expr, $($text:tt)+) => {{
        let r: &$crate::http::request::Request = &$r;
        if r.logs($crate::log::Level::Debug) {
            ::std::hint::cold_path();
            r.log($crate::log::Level::Debug, format_args!($($text)+));
        }
    }};
}
pub(crate) use debug;

impl LogContext for Request {
    fn connection(&self) -> u64 {
        self.conn().number
    }

    fn describe(&self, out: &mut Vec<u8>) {
        let main = self.main_ref();
        let conn = self.conn();
        if let Some(action) = conn.action.get() {
            out.extend_from_slice(b" while ");
            out.extend_from_slice(action.as_bytes());
        }
        if conn.is_fake() {
            out.extend_from_slice(conn.fake.as_ref().map_or(&[][..], |fake| &fake.context));
            return;
        }
        if conn.is_stream() {
            out.extend_from_slice(&conn.place());
            if !self.log_upstream.is_empty() {
                out.extend_from_slice(b", upstream: \"");
                out.extend_from_slice(&self.log_upstream.borrow());
                out.push(b'"');
                let (received, sent) = self.ctx::<Counts>().map_or((0, 0), |counts| (counts.received, counts.sent));
                let client = (self.request_length.get(), self.bytes_sent());
                let counts = format_args!(
                    ", bytes from/to client:{}/{}, bytes from/to upstream:{received}/{sent}",
                    client.0, client.1
                )
                .to_string();
                out.extend_from_slice(counts.as_bytes());
            }
            return;
        }
        let mut field = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value);
        };
        field(", client: ", &conn.peer_text.borrow());
        field(", server: ", &main.srv().core.server_name);
        let mut quoted = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
            out.extend_from_slice(value);
            out.push(b'"');
        };
        if !main.request_line.is_empty() {
            quoted(", request: ", &main.request_line.borrow());
        }
        if !self.is_main() {
            quoted(", subrequest: ", &self.uri.borrow());
        }
        if !self.log_upstream.is_empty() {
            quoted(", upstream: ", &self.log_upstream.borrow());
        }
        if let Some(host) = main.headers_in.value(HeaderId::Host) {
            quoted(", host: ", &host);
        }
        if let Some(referer) = main.headers_in.value(HeaderId::Referer) {
            quoted(", referrer: ", &referer);
        }
    }
}
