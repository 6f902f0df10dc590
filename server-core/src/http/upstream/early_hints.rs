//! What a server says before its response (`103 Early Hints`), on its way to the client when `early_hints` wants that.

use super::conf::Conf;
use crate::http::cache::conf::any_says_yes;
use crate::http::h2;
use crate::http::header::{Header, HeaderId, HeaderList};
use crate::http::method::Version;
use crate::http::request::Request;
use crate::http::request_log::debug;

/// Passes the fields on, without those that stay here: `hidden` by default, and what `conf` says.
pub(crate) fn pass_on(r: &Request, fields: &HeaderList, conf: &Conf, hidden: &[&str]) {
    const FRAMING: [HeaderId; 5] = [
        HeaderId::Connection,
        HeaderId::ContentLength,
        HeaderId::KeepAlive,
        HeaderId::TransferEncoding,
        HeaderId::Upgrade,
    ];
    let wanted = r.is_main() && !r.header_sent.get() && r.http_version.get() >= Version::HTTP_11;
    if !wanted || !any_says_yes(&r.loc().core.early_hints, r) {
        return;
    }
    if let Some(stream) = r.conn().http2() {
        let passed = |field: &&Header| !FRAMING.contains(&field.id) && !conf.hides(&field.name, hidden);
        let mut passed = fields.iter().filter(passed).peekable();
        if passed.peek().is_some() {
            h2::response::send_hints(stream, passed);
        }
        return;
    }
    let mut head = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
    let empty = head.len();
    for field in fields.iter().filter(|field| !FRAMING.contains(&field.id) && !conf.hides(&field.name, hidden)) {
        for part in [&field.name[..], b": ", &field.value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    if head.len() > empty {
        debug!(r, "http send early hints \"{}\"", r.uri.borrow().escape_ascii());
        head.extend_from_slice(b"\r\n");
        r.conn().append_slice(&head);
        // Whoever sends the response notices a connection that is broken.
        let _ = r.conn().send(u64::MAX);
    }
}
