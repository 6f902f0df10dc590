//! Request headers: a handler at the end of the rewrite phase.

use std::rc::Rc;

use bytes::Bytes;

use super::directives::{Command, Field};
use super::matching::replace;
use crate::conf::value::number;
use crate::http::code::Code;
use crate::http::conf;
use crate::http::header::{Header, HeaderId};
use crate::http::headers_in::ConnectionType;
use crate::http::method::Version;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::log::Level;

/// Runs the directives.
pub(crate) struct InputHandler;

impl Handler for InputHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        !loc.headers_more.input.is_empty()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if r.http_version.get() < Version::HTTP_10 {
            return Code::DECLINED.into();
        }
        r.log_bytes(Level::Debug, &[b"headers more rewrite handler, uri \"", &r.uri.get(), b"\""]);
        for command in r.loc().headers_more.input.iter().filter(|command| applies(r, command)) {
            for field in &command.fields {
                if set(r, field, field.value.eval(r)).is_none() {
                    return Code::ERROR.into();
                }
            }
        }
        Code::DECLINED.into()
    }
}

fn applies(r: &Request, command: &Command) -> bool {
    if command.types.is_empty() {
        return true;
    }
    let kind = r.headers_in.value(HeaderId::ContentType).unwrap_or_default();
    command.types.iter().any(|accepted| **accepted == *kind)
}

/// Sets or clears one header; `None` when the value can't be.
fn set(r: &Request, field: &Field, value: Bytes) -> Option<()> {
    let head = &r.headers_in;
    match field.id {
        HeaderId::Host if !field.wildcard => match host(&value) {
            Some(host) => head.server.set(host),
            None if value.is_empty() => head.server.clear(),
            None => return None,
        },
        HeaderId::ContentLength => {
            head.content_length.set(if value.is_empty() { -1 } else { number(&value)? });
            if r.is_main() && r.body.borrow().is_none() {
                r.frame_body();
            }
        }
        HeaderId::Connection => {
            let lower = value.to_ascii_lowercase();
            let says = |word: &[u8]| memchr::memmem::find(&lower, word).is_some();
            head.connection_type.set(if says(b"close") {
                r.keepalive.set(false);
                ConnectionType::Close
            } else if says(b"keep-alive") {
                ConnectionType::KeepAlive
            } else {
                ConnectionType::Unset
            });
        }
        HeaderId::UserAgent => head.set_user_agent(&value),
        _ => {}
    }
    set_matching(r, field, &value);
    // A subrequest shares the fields of its parent, unless a script made it, which gives it a list of its own.
    let mut request = r;
    while let Some(parent) = request.parent().filter(|_| !request.subrequest_in_memory.get()) {
        set_matching(parent, field, &value);
        request = parent;
    }
    Some(())
}

/// The host name of a `Host` value, in lower case and without port; `None` when it is none.
fn host(value: &[u8]) -> Option<Vec<u8>> {
    if value.contains(&0) || value.contains(&b'/') || memchr::memmem::find(value, b"..").is_some() {
        return None;
    }
    let end = if value.starts_with(b"[") {
        memchr::memchr(b']', value).map_or(value.len(), |at| at + 1)
    } else {
        memchr::memchr(b':', value).unwrap_or(value.len())
    };
    let host = &value[..end];
    let host = host.strip_suffix(b".").unwrap_or(host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Sets, adds or clears the field in the request's list.
fn set_matching(r: &Request, field: &Field, value: &Bytes) {
    let mut list = r.headers_in.list.borrow_mut();
    let prefix = field.name.strip_suffix(b"*").filter(|_| field.wildcard && value.is_empty());
    let found = replace(&mut list, &field.name, prefix, value);
    // The head of a bad request is not complete and stays as it is.
    if !found && !field.replace && !value.is_empty() && !r.main_ref().raw_fields.is_empty() {
        list.push(Header { id: field.id, name: field.name.clone(), value: value.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn hosts_are_validated_and_lowered() {
        assert_eq!(host(b"Example.COM:80"), Some(b"example.com".to_vec()));
        assert_eq!(host(b"[::1]:80"), Some(b"[::1]".to_vec()));
        assert_eq!(host(b"a..b"), None);
        assert_eq!(host(b"a/b"), None);
        assert_eq!(host(b""), None);
    }
}
