//! `$upstream_addr` and its kin.

use bytes::Bytes;

use super::attempts::Attempt;
use crate::http::cache::{CacheUse, Status};
use crate::http::header::{HeaderId, HeaderList};
use crate::http::modules::core::cookie_value;
use crate::http::request::Request;
use crate::http::upstream::http_head::parse_head;
use crate::http::variables::VariableDef;

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    VariableDef::volatile("upstream_addr", |r, _| joined(r, |attempt, out| out.extend_from_slice(&attempt.peer))),
    VariableDef::volatile("upstream_status", |r, _| {
        joined(r, |attempt, out| match attempt.status {
            0 => out.push(b'-'),
            status => number(u64::from(status), out),
        })
    }),
    VariableDef::volatile("upstream_connect_time", |r, _| joined(r, |attempt, out| time(attempt.connect_time, out))),
    VariableDef::volatile("upstream_first_byte_time", |r, _| joined(r, |attempt, out| time(attempt.header_time, out))),
    VariableDef::volatile("upstream_session_time", |r, _| joined(r, |attempt, out| time(attempt.response_time, out))),
    VariableDef::volatile("upstream_header_time", |r, _| joined(r, |attempt, out| time(attempt.header_time, out))),
    VariableDef::volatile("upstream_response_time", |r, _| joined(r, |attempt, out| time(attempt.response_time, out))),
    VariableDef::volatile("upstream_response_length", |r, _| {
        joined(r, |attempt, out| number(attempt.response_length, out))
    }),
    VariableDef::volatile("upstream_bytes_received", |r, _| {
        joined(r, |attempt, out| number(attempt.bytes_received, out))
    }),
    VariableDef::volatile("upstream_bytes_sent", |r, _| joined(r, |attempt, out| number(attempt.bytes_sent, out))),
    VariableDef::volatile("upstream_cache_status", |r, _| {
        Some(Bytes::from_static(r.ctx::<CacheUse>()?.status.get().text().as_bytes()))
    }),
    VariableDef::volatile("upstream_cache_last_modified", |r, _| kept(r, HeaderId::LastModified)),
    VariableDef::volatile("upstream_cache_etag", |r, _| kept(r, HeaderId::Etag)),
    VariableDef::family("upstream_http_", |r, name| {
        let upstream = r.upstream.borrow();
        field(&upstream.as_ref()?.headers.borrow(), name)
    }),
    VariableDef::family("upstream_trailer_", |r, name| {
        let upstream = r.upstream.borrow();
        field(&upstream.as_ref()?.trailers.borrow(), name)
    }),
    VariableDef::family("upstream_cookie_", |r, name| {
        let upstream = r.upstream.borrow();
        cookie(&upstream.as_ref()?.headers.borrow(), name)
    }),
];

/// A header of the kept response, when it is to be confirmed.
fn kept(r: &Request, id: HeaderId) -> Option<Bytes> {
    let used = r.ctx::<CacheUse>().filter(|used| used.status.get() == Status::Expired)?;
    let entry = used.entry.borrow();
    parse_head(&entry.as_ref()?.head)?.fields.value(id)
}

fn joined(r: &Request, text: impl FnMut(&Attempt, &mut Vec<u8>)) -> Option<Bytes> {
    r.upstream.borrow().as_ref()?.join(text)
}

fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn time(msec: Option<u64>, out: &mut Vec<u8>) {
    match msec {
        None => out.push(b'-'),
        Some(msec) => out.extend_from_slice(format!("{}.{:03}", msec / 1000, msec % 1000).as_bytes()),
    }
}

/// The values of a header whose name is written with underscores.
fn field(list: &HeaderList, name: &[u8]) -> Option<Bytes> {
    let is_named = |written: &[u8]| {
        written.len() == name.len()
            && written.iter().zip(name).all(|(&a, &b)| {
                let a = if a == b'-' { b'_' } else { a };
                a.eq_ignore_ascii_case(&b)
            })
    };
    let values: Vec<Bytes> =
        list.iter().filter(|header| is_named(&header.name)).map(|header| header.value.clone()).collect();
    match &values[..] {
        [] => None,
        [only] => Some(only.clone()),
        many => Some(many.join(&b", "[..]).into()),
    }
}

/// The value of a cookie that the server set.
fn cookie(list: &HeaderList, name: &[u8]) -> Option<Bytes> {
    list.named(b"Set-Cookie").find_map(|header| {
        let end = memchr::memchr(b';', &header.value).unwrap_or(header.value.len());
        cookie_value(&header.value[..end], name).map(|value| header.value.slice_ref(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_by_names_with_underscores() {
        let mut list = HeaderList::default();
        list.add("X-Tag", "1");
        list.add("x-tag", "2");
        list.add("Set-Cookie", "sid=abc; Path=/");
        assert_eq!(field(&list, b"x_tag"), Some(Bytes::from_static(b"1, 2")));
        assert_eq!(field(&list, b"x_ta"), None);
        assert_eq!((cookie(&list, b"sid"), cookie(&list, b"path")), (Some(Bytes::from_static(b"abc")), None));
    }

    #[test]
    fn times_have_three_decimals() {
        let mut out = Vec::new();
        time(Some(1_042), &mut out);
        time(None, &mut out);
        assert_eq!(out, b"1.042-");
    }
}
