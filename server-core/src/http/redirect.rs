//! Internal redirects: the request starts again with another path, or in a named location.

use std::rc::Rc;

use bytes::Bytes;

use super::code::Code;
use super::location;
use super::request::{Request, Restart};
use super::request_log::debug;
use crate::log::Level;

/// Sends the request to another path. The caller returns the code ([`Code::DONE`] when all is well).
pub fn internal(r: &Rc<Request>, uri: impl Into<Bytes>, args: Option<Bytes>) -> Code {
    let uri = uri.into();
    let left = r.uri_changes.get().saturating_sub(1);
    r.uri_changes.set(left);
    if left == 0 {
        r.log_bytes(
            Level::Error,
            &[b"rewrite or internal redirection cycle while internally redirecting to \"", &uri, b"\""],
        );
        return Code::INTERNAL_SERVER_ERROR;
    }
    r.uri.set(uri);
    match args {
        Some(args) => r.args.set(args),
        None => r.args.clear(),
    }
    debug!(r, "internal redirect: \"{}?{}\"", r.uri.borrow().escape_ascii(), r.args.borrow().escape_ascii());
    r.set_extension();
    r.clear_ctx();
    if let Some(loc) = r.srv().core.loc.get() {
        r.set_loc(loc);
        location::enter(r, loc);
    }
    r.internal.set(true);
    r.valid_unparsed_uri.set(false);
    r.left_location.set(false);
    r.add_uri_to_alias.set(false);
    r.restart.set(Some(Restart::ServerRewrite));
    Code::DONE
}

/// Sends the request to a named location (`name` with its `@`).
pub fn named(r: &Rc<Request>, name: &[u8]) -> Code {
    let left = r.uri_changes.get().saturating_sub(1);
    r.uri_changes.set(left);
    if left == 0 {
        r.log_bytes(
            Level::Error,
            &[b"rewrite or internal redirection cycle while redirect to named location \"", name, b"\""],
        );
        return Code::INTERNAL_SERVER_ERROR;
    }
    if r.uri.is_empty() {
        r.log_bytes(Level::Error, &[b"empty URI in redirect to named location \"", name, b"\""]);
        return Code::INTERNAL_SERVER_ERROR;
    }
    let found = r.srv().core.loc.get().and_then(|loc| loc.core.locations.named(name));
    let Some(loc) = found else {
        r.log_bytes(Level::Error, &[b"could not find named location \"", name, b"\""]);
        return Code::INTERNAL_SERVER_ERROR;
    };
    debug!(
        r,
        "using location: {} \"{}?{}\"",
        name.escape_ascii(),
        r.uri.borrow().escape_ascii(),
        r.args.borrow().escape_ascii()
    );
    r.internal.set(true);
    r.content_handler.set(None);
    r.uri_changed.set(false);
    r.clear_ctx();
    location::enter(r, loc);
    r.restart.set(Some(Restart::Rewrite));
    Code::DONE
}
