//! Log lines about a request.

use super::request::Request;

impl Request {
    /// Logs at level alert.
    pub fn log_alert(&self, message: &str) {
        let _ = message;
    }
}
