//! What of a response's head reaches the client, and in which form.

use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::conf::{Conf, Ignored};
use super::protocol::{Head, Protocol};
use crate::http::header::{Header, HeaderId, HeaderList};
use crate::http::modules::calendar::parse_http_date;
use crate::http::request::Request;
use crate::http::{Code, h1, redirect};
use crate::log::Level;

/// What the head says about the way the response is carried.
#[derive(Debug, Default)]
pub(super) struct Carriage {
    /// The length of the body; `None` when it isn't told.
    pub(super) content_length: Option<u64>,
    /// The body comes in chunks.
    pub(super) chunked: bool,
    /// The connection ends with the response.
    pub(super) closes: bool,
    /// `X-Accel-Buffering`, when it counts.
    pub(super) buffering: Option<bool>,
}

impl Carriage {
    /// Reads a head. What can't be right is logged, and the response is invalid.
    pub(super) fn of(r: &Request, conf: &Conf, head: &Head) -> Result<Self, ()> {
        let mut carriage = Self { closes: !head.keeps, ..Self::default() };
        let mut length: Option<&Header> = None;
        let mut coding: Option<&Header> = None;
        for field in head.fields.iter() {
            match field.id {
                HeaderId::ContentLength | HeaderId::TransferEncoding => {
                    let known = if field.id == HeaderId::ContentLength { &mut length } else { &mut coding };
                    if let Some(previous) = known.replace(field) {
                        let pieces: [&[u8]; 7] = [
                            b"upstream sent duplicate header line: \"",
                            &field.name,
                            b": ",
                            &field.value,
                            b"\", previous value: \"",
                            &[&previous.name[..], b": ", &previous.value[..]].concat(),
                            b"\"",
                        ];
                        r.log_bytes(Level::Error, &pieces);
                        return Err(());
                    }
                }
                HeaderId::Connection if contains_word(&field.value, b"close") => carriage.closes = true,
                _ if field.is(b"X-Accel-Buffering") && *conf.ignore_headers & Ignored::ACCEL_BUFFERING == 0 => {
                    carriage.buffering = match &*field.value.to_ascii_lowercase() {
                        b"no" => Some(false),
                        b"yes" => Some(true),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        if let Some(field) = length {
            let value = crate::conf::value::number(&field.value).and_then(|number| u64::try_from(number).ok());
            if value.is_none() {
                let pieces: [&[u8]; 4] =
                    [b"upstream sent invalid \"Content-Length\" header: \"", &field.name, b": ", &field.value];
                r.log_bytes(Level::Error, &[&pieces.concat(), b"\""]);
                return Err(());
            }
            carriage.content_length = value;
        } else if head.is_all {
            carriage.content_length = Some(0);
        }
        if let Some(field) = coding {
            if length.is_some() {
                let message = "upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time";
                r.log(Level::Error, format_args!("{message}"));
                return Err(());
            }
            if !field.value.eq_ignore_ascii_case(b"chunked") {
                r.log_bytes(Level::Error, &[b"upstream sent unknown \"Transfer-Encoding\": \"", &field.value, b"\""]);
                return Err(());
            }
            carriage.chunked = true;
        }
        Ok(carriage)
    }
}

fn contains_word(value: &[u8], word: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
}

/// Of fields that may come once, only the first one counts. The others are logged and dropped.
pub(super) fn drop_repeated(r: &Request, fields: &mut Rc<HeaderList>) {
    let mut seen = 0;
    let mut comes_again = |field: &Header| {
        let bit = once(field);
        let again = seen & bit != 0;
        seen |= bit;
        again
    };
    if !fields.iter().any(&mut comes_again) {
        return;
    }
    let first: SmallVec<[Header; 8]> = fields.iter().filter(|field| once(field) != 0).cloned().collect();
    let mut seen = 0;
    Rc::make_mut(fields).retain(|field| {
        let bit = once(field);
        let again = seen & bit != 0;
        seen |= bit;
        if let Some(previous) = first.iter().find(|known| again && once(known) == bit) {
            let pieces: [&[u8]; 9] = [
                b"upstream sent duplicate header line: \"",
                &field.name,
                b": ",
                &field.value,
                b"\", previous value: \"",
                &previous.name,
                b": ",
                &previous.value,
                b"\", ignored",
            ];
            r.log_bytes(Level::Warn, &pieces);
        }
        !again
    });
}

/// A bit for each field that may come once; 0 for the others.
fn once(field: &Header) -> u16 {
    match field.id {
        HeaderId::ContentType => 1,
        HeaderId::Date => 1 << 1,
        HeaderId::Etag => 1 << 2,
        HeaderId::Expires => 1 << 3,
        HeaderId::LastModified => 1 << 4,
        HeaderId::Location => 1 << 5,
        HeaderId::Refresh => 1 << 6,
        HeaderId::Server => 1 << 7,
        HeaderId::Other if field.is(b"Status") => 1 << 8,
        HeaderId::Other if field.is(b"X-Accel-Expires") => 1 << 9,
        HeaderId::Other if field.is(b"X-Accel-Limit-Rate") => 1 << 10,
        HeaderId::Other if field.is(b"X-Accel-Redirect") => 1 << 11,
        _ => 0,
    }
}

/// A head on its way to the client.
pub(super) struct Passing<'a> {
    pub(super) r: &'a Rc<Request>,
    pub(super) conf: &'static Conf,
    pub(super) protocol: &'static dyn Protocol,
    pub(super) caching: Caching,
}

/// What a response has to do with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caching {
    /// Nothing.
    None,
    /// It comes out of one.
    Kept,
    /// It goes into one.
    Stored,
}

impl Passing<'_> {
    /// `X-Accel-Redirect`: another location of ours answers. The code with which the handler ends.
    pub(super) fn accel_redirect(&self, head: &Head) -> Option<Code> {
        let r = self.r;
        if *self.conf.ignore_headers & Ignored::ACCEL_REDIRECT != 0 {
            return None;
        }
        let uri = head.fields.named(b"X-Accel-Redirect").next()?.value.clone();
        for field in head.fields.iter() {
            let kept = matches!(
                field.id,
                HeaderId::ContentType
                    | HeaderId::SetCookie
                    | HeaderId::CacheControl
                    | HeaderId::Expires
                    | HeaderId::AcceptRanges
            ) || field.is(b"Content-Disposition")
                || field.is(b"X-Accel-Limit-Rate")
                || field.is(b"X-Accel-Charset");
            if kept {
                self.copy(field);
            }
        }
        if uri.first() == Some(&b'@') {
            return Some(redirect::named(r, &uri));
        }
        let (path, args) = match memchr::memchr(b'?', &uri) {
            Some(at) => (uri.slice(..at), uri.slice(at + 1..)),
            None => (uri.clone(), Bytes::new()),
        };
        let leaves = |path: &[u8]| path.split(|byte| *byte == b'/').any(|part| part == b"..");
        let unsafe_path = path.is_empty() || leaves(&path) || leaves(&h1::uri::unescape(&path));
        let Ok(path) = h1::uri::normalize(&path, h1::uri::Slashes::Keep)
            .map_err(|_| ())
            .and_then(|path| if unsafe_path { Err(()) } else { Ok(path) })
        else {
            r.log_bytes(Level::Error, &[b"unsafe URI \"", &uri, b"\" was detected"]);
            return Some(Code::NOT_FOUND);
        };
        if r.method.get() != crate::http::Method::HEAD {
            r.method.set(crate::http::Method::GET);
            r.method_name.set(Bytes::from_static(b"GET"));
        }
        Some(redirect::internal(r, path, Some(args)))
    }

    /// Passes a head on.
    pub(super) fn pass_on(&self, head: &Head, carriage: &Carriage) {
        let r = self.r;
        for field in head.fields.iter() {
            // HTTP/2 has no such header (RFC 9113, 8.2.2).
            if field.id == HeaderId::Upgrade && r.conn().http2().is_some() {
                continue;
            }
            // Of the headers that we know, these may be hidden though nobody said so.
            let may_be_hidden = matches!(field.id, HeaderId::Date | HeaderId::Other | HeaderId::Server);
            if !may_be_hidden && self.conf.hide_headers.is_empty() {
                debug_assert!(!self.hides(&field.name), "{} is not hidden by default", field.id.name());
                self.copy(field);
            } else if !self.hides(&field.name) || field.is(b"X-Accel-Limit-Rate") || field.is(b"X-Accel-Charset") {
                self.copy(field);
            }
        }
        let out = &r.headers_out;
        for (id, name) in [(HeaderId::Server, b"Server".as_slice()), (HeaderId::Date, b"Date")] {
            // A server that doesn't tell is not spoken for, when its word counts.
            if self.speaks(name) && !self.hides(name) && !head.fields.contains(id) {
                out.hide(id);
            }
        }
        out.status.set(head.status);
        out.status_line.set(head.status_line.clone());
        out.content_length.set(carriage.content_length.and_then(|length| i64::try_from(length).ok()).unwrap_or(-1));
        r.disable_not_modified.set(self.caching == Caching::None);
        if *self.conf.force_ranges {
            r.allow_ranges.set(true);
            r.single_range.set(self.caching != Caching::Kept);
        }
    }

    fn hides(&self, name: &[u8]) -> bool {
        self.conf.hides(name, self.protocol.hidden())
    }

    /// Whether servers of this protocol name themselves and the date.
    fn speaks(&self, name: &[u8]) -> bool {
        self.protocol.hidden().iter().any(|known| known.as_bytes() == name)
    }

    fn copy(&self, field: &Header) {
        let r = self.r;
        let out = &r.headers_out;
        let ignored = *self.conf.ignore_headers;
        match field.id {
            HeaderId::ContentLength | HeaderId::TransferEncoding | HeaderId::Connection | HeaderId::KeepAlive => {}
            HeaderId::ContentType => {
                out.content_type.set(field.value.clone());
                if let Some(charset) = charset_of(&field.value) {
                    out.charset.set(charset);
                }
            }
            HeaderId::LastModified => {
                if let Some(time) = parse_http_date(&field.value) {
                    out.last_modified.set(time);
                }
                out.list.borrow_mut().push(field.clone());
            }
            HeaderId::Location => {
                let rewritten = self.protocol.rewrite_address(r, &field.value, 0);
                let is_ours = rewritten.is_some();
                let value = rewritten.unwrap_or_else(|| field.value.clone());
                out.list.borrow_mut().add(field.name.clone(), value);
                out.redirects_locally.set(is_ours);
            }
            HeaderId::Refresh => {
                let start = memchr::memmem::find(&field.value.to_ascii_lowercase(), b"url=").map(|at| at + 4);
                let rewritten = start.and_then(|start| self.protocol.rewrite_address(r, &field.value, start));
                out.list.borrow_mut().add(field.name.clone(), rewritten.unwrap_or_else(|| field.value.clone()));
            }
            HeaderId::SetCookie => {
                let rewritten = self.protocol.rewrite_cookie(r, &field.value);
                out.list.borrow_mut().add(field.name.clone(), rewritten.unwrap_or_else(|| field.value.clone()));
            }
            // The range filter says so by itself then.
            HeaderId::AcceptRanges if *self.conf.force_ranges => {}
            HeaderId::AcceptRanges if self.caching != Caching::None => {
                r.allow_ranges.set(true);
                r.single_range.set(self.caching == Caching::Stored);
            }
            _ if field.is(b"Status") => {}
            _ if field.is(b"X-Accel-Limit-Rate") => {
                let rate = crate::conf::value::number(&field.value).and_then(|rate| u64::try_from(rate).ok());
                if let Some(rate) = rate.filter(|_| ignored & Ignored::ACCEL_LIMIT_RATE == 0) {
                    r.limit_rate.set(rate);
                    r.limit_rate_set.set(true);
                }
                self.pass_if_shown(field);
            }
            _ if field.is(b"X-Accel-Charset") => {
                if ignored & Ignored::ACCEL_CHARSET == 0 {
                    out.charset.set(field.value.clone());
                }
                self.pass_if_shown(field);
            }
            _ => out.list.borrow_mut().push(field.clone()),
        }
    }

    fn pass_if_shown(&self, field: &Header) {
        if !self.hides(&field.name) {
            self.r.headers_out.list.borrow_mut().push(field.clone());
        }
    }
}

/// The charset among the parameters of a media type.
pub(crate) fn charset_of(value: &Bytes) -> Option<Bytes> {
    let semicolon = memchr::memchr(b';', value)?;
    value[semicolon + 1..].split(|byte| *byte == b';').find_map(|part| {
        let part = part.trim_ascii();
        let name = part.get(..8).filter(|name| name.eq_ignore_ascii_case(b"charset="))?;
        let text = &part[name.len()..];
        let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
        Some(value.slice_ref(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_is_found_among_parameters() {
        let find = |text: &'static str| charset_of(&Bytes::from_static(text.as_bytes()));
        assert_eq!(find("text/html; charset=utf-8"), Some(Bytes::from_static(b"utf-8")));
        assert_eq!(find("text/html; q=1;Charset=\"koi8-r\""), Some(Bytes::from_static(b"koi8-r")));
        assert_eq!(find("text/html"), None);
    }

    #[test]
    fn words_of_connection_are_compared_in_any_case() {
        assert!(contains_word(b"keep-alive, Close", b"close"));
        assert!(!contains_word(b"enclose", b"close"));
    }
}
