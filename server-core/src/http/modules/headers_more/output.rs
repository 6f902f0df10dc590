//! Response headers: the header filter.

use std::rc::Rc;

use bytes::Bytes;

use super::directives::{Command, Field};
use super::matching::replace;
use crate::conf::value::number;
use crate::http::code::Code;
use crate::http::header::{Header, HeaderId};
use crate::http::output::HeaderNext;
use crate::http::request::Request;
use crate::log::Level;

/// Runs the directives.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().headers_more;
    if r.main_conf().headers_more.filters && r.logs(Level::Debug) {
        r.log_bytes(Level::Debug, &[b"headers more header filter, uri \"", &r.uri.get(), b"\""]);
    }
    for command in conf.output.iter().filter(|command| applies(r, command)) {
        for field in &command.fields {
            if set(r, field, field.value.eval(r)).is_none() {
                return Code::ERROR;
            }
        }
    }
    next.run(r)
}

fn applies(r: &Request, command: &Command) -> bool {
    let out = &r.headers_out;
    let kind = out.content_type.get();
    let status = out.status.get();
    (command.types.is_empty() || command.types.iter().any(|accepted| **accepted == *media_type(&kind)))
        && (command.statuses.is_empty() || command.statuses.contains(&status))
}

/// The media type without its parameters.
fn media_type(content_type: &[u8]) -> &[u8] {
    let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    content_type[..end].trim_ascii_end()
}

/// Sets or clears one header; `None` when the value can't be.
fn set(r: &Request, field: &Field, value: Bytes) -> Option<()> {
    let out = &r.headers_out;
    match field.id {
        _ if field.append => {
            if !value.is_empty() {
                out.list.borrow_mut().push(Header { id: field.id, name: field.name.clone(), value });
            }
        }
        _ if field.wildcard => set_matching(r, field, value),
        HeaderId::ContentType => {
            out.list.borrow_mut().remove_known(HeaderId::ContentType);
            set_content_type(r, &value);
        }
        HeaderId::ContentLength => {
            out.clear_content_length();
            if !value.is_empty() {
                out.content_length.set(number(&value)?);
            }
        }
        HeaderId::LastModified if value.is_empty() => out.clear_last_modified(),
        HeaderId::AcceptRanges if value.is_empty() => {
            r.allow_ranges.set(false);
            out.clear_accept_ranges();
        }
        HeaderId::Server | HeaderId::Date if value.is_empty() => out.hide(field.id),
        _ => set_matching(r, field, value),
    }
    Some(())
}

/// The type goes into one place and its charset into another.
fn set_content_type(r: &Request, value: &Bytes) {
    let out = &r.headers_out;
    let lower = value.to_ascii_lowercase();
    let parameter = memchr::memmem::find(&lower, b"charset=").filter(|&at| {
        let before = lower[..at].trim_ascii_end();
        before.ends_with(b";")
    });
    let Some(at) = parameter else {
        out.content_type.set(value.clone());
        return;
    };
    let charset = value.slice(at + 8..);
    let charset = charset.strip_prefix(b"\"").map_or(charset.clone(), |rest| charset.slice_ref(rest));
    let charset = charset.strip_suffix(b"\"").map_or(charset.clone(), |rest| charset.slice_ref(rest));
    out.charset.set(charset);
    let kind = value[..at].trim_ascii_end();
    let kind = kind.strip_suffix(b";").unwrap_or(kind);
    out.content_type.set(value.slice_ref(kind));
}

/// Sets, adds or clears the field in the response's list.
fn set_matching(r: &Request, field: &Field, value: Bytes) {
    let mut list = r.headers_out.list.borrow_mut();
    let prefix = field.name.strip_suffix(b"*").filter(|_| field.wildcard);
    if !replace(&mut list, &field.name, prefix, &value) && !field.wildcard && !value.is_empty() {
        list.push(Header { id: field.id, name: field.name.clone(), value });
    }
}
