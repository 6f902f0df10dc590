//! Where a request goes, and the URI it asks for there.

use std::rc::Rc;

use bytes::Bytes;

use super::conf::Pass;
use crate::http::code::Code;
use crate::http::h1;
use crate::http::request::Request;
use crate::http::upstream::Route;
use crate::log::Level;
use crate::upstream::address::Target;

/// Decides about a request.
pub(super) fn route(r: &Rc<Request>) -> Result<Route, Code> {
    let Some(pass) = r.loc().proxy.pass.clone() else { return Err(Code::INTERNAL_SERVER_ERROR) };
    let (target, group, uri, tls) = match &*pass {
        Pass::Fixed { target, group, location, tls, .. } => {
            let group = group.get().cloned().ok_or(Code::INTERNAL_SERVER_ERROR)?;
            (target.clone(), Some(group), fixed_uri(r, &slashed(&target.uri), location), *tls)
        }
        Pass::Variable(url) => {
            let url = url.eval(r);
            let Some((rest, tls, port)) = scheme_of(&url) else {
                r.log_bytes(Level::Error, &[b"invalid URL prefix in \"", &url, b"\""]);
                return Err(Code::INTERNAL_SERVER_ERROR);
            };
            let target = Target::parse(&rest, port).map_err(|error| {
                let text = error.to_string();
                r.log_bytes(Level::Error, &[text.as_bytes(), b" in upstream \"", &rest, b"\""]);
                Code::INTERNAL_SERVER_ERROR
            })?;
            let uri = slashed(&target.uri);
            let uri = if uri.is_empty() { fixed_uri(r, b"", b"") } else { uri };
            (target, None, uri, tls)
        }
    };
    if uri.is_empty() {
        r.log(Level::Error, format_args!("zero length URI to proxy"));
        return Err(Code::INTERNAL_SERVER_ERROR);
    }
    let (scheme, default_port) = if tls { ("https://", 443) } else { ("http://", 80) };
    Ok(Route { target, group, uri, scheme, tls, default_port })
}

/// What follows the scheme of a URL, whether that is `https`, and its port.
pub(super) fn scheme_of(url: &Bytes) -> Option<(Bytes, bool, u16)> {
    let begins = |scheme: &[u8]| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if begins(b"http://") {
        Some((url.slice(7..), false, 80))
    } else if begins(b"https://") {
        Some((url.slice(8..), true, 443))
    } else {
        None
    }
}

/// A URI that consists of arguments only belongs to `/`.
fn slashed(uri: &Bytes) -> Bytes {
    if uri.first() == Some(&b'?') { [b"/", &uri[..]].concat().into() } else { uri.clone() }
}

/// The request's URI, with `uri` in the place of the location's prefix if there is one.
fn fixed_uri(r: &Request, uri: &[u8], location: &[u8]) -> Bytes {
    if uri.is_empty() && r.valid_unparsed_uri.get() {
        return r.unparsed_uri.get();
    }
    let path = r.uri.get();
    let replaces = !uri.is_empty() && !r.left_location.get();
    let cut = if replaces { location.len().min(path.len()) } else { 0 };
    let mut out = if replaces { uri.to_vec() } else { Vec::new() };
    if r.quoted_uri.get() || r.internal.get() {
        out.extend_from_slice(&h1::uri::escape(&path[cut..]));
    } else {
        out.extend_from_slice(&path[cut..]);
    }
    if !r.args.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&r.args.borrow());
    }
    out.into()
}
