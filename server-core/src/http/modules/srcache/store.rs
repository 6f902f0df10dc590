//! `srcache_store`: writes a response down while it leaves, and takes it to a cache.

use std::rc::Rc;

use bytes::Bytes;

use super::control::allows_store;
use super::{State, says_yes, subrequest};
use crate::http::code::Code;
use crate::http::date::http_time;
use crate::http::header::HeaderId;
use crate::http::header_filter::status_line;
use crate::http::method::Method;
use crate::http::modules::content::for_each_piece;
use crate::http::output::{BodyNext, Chain, HeaderNext};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::subrequest::{self as sub, Options};
use crate::log::Level;

/// The header that remembers in the cache that ranges of a response may be asked for.
pub(super) const ALLOW_RANGES: &[u8] = b"X-SRCache-Allow-Ranges";

/// What a head adds to a length that was told, roughly.
const HEAD_ABOUT: u64 = 15;

/// Decides whether the response is stored, and begins with its head.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    if let Some(state) = r.ctx::<State>()
        && !state.from_cache.get()
        && r.loc().srcache.store.is_some()
        && is_stored(r, &state)
    {
        debug!(r, "srcache_store decides to store the response");
        r.filter_need_in_memory.set(true);
        state.status.set(r.headers_out.status.get());
        state.stores.set(true);
        if r.method.get() == Method::HEAD {
            r.header_only.set(true);
        }
        let mut text = state.text.borrow_mut();
        write_head(r, &mut text);
        state.head.set(text.len());
        drop(text);
        let code = next.run(r);
        // What filters say together with the head is theirs, not the location's.
        state.gathers.set(true);
        return code;
    }
    next.run(r)
}

fn is_stored(r: &Rc<Request>, state: &State) -> bool {
    let conf = &r.loc().srcache;
    let out = &r.headers_out;
    if !r.method.get().is_one_of(conf.methods() & !Method::HEAD.0) {
        let method = r.method_name.borrow();
        debug!(r, "srcache_store skipped due to request method {}", method.escape_ascii());
        return false;
    }
    if !*conf.ignore_content_encoding
        && let Some(encoding) = out.value(HeaderId::ContentEncoding).filter(|encoding| !encoding.is_empty())
    {
        r.log(
            Level::Warn,
            format_args!(
                "srcache_store skipped due to response header \"Content-Encoding: {}\" (maybe you forgot to disable \
                 compression on the backend?)",
                encoding.escape_ascii()
            ),
        );
        return false;
    }
    let now = crate::clock::now().sec;
    if *conf.response_cache_control && !allows_store(&out.list.borrow(), conf, state, now) {
        debug!(r, "srcache_store skipped due to response header Cache-Control");
        return false;
    }
    if let Some(value) = skip_value(r) {
        debug!(
            r,
            "srcache_store skipped due to the true value fed into srcache_store_skip: \"{}\"",
            value.escape_ascii()
        );
        return false;
    }
    let status = out.status.get();
    match &conf.statuses {
        Some(statuses) if !statuses.contains(&status) => {
            debug!(r, "srcache_store bypassed because of unmatched status code {status} with srcache_store_statuses");
            return false;
        }
        None if !matches!(status, 200 | 301 | 302 | 307 | 308) => {
            debug!(
                r,
                "srcache_store bypassed because of unmatched status code {status} (only 200, 301, 302, 307, or 308 \
                 are accepted by default)"
            );
            return false;
        }
        _ => {}
    }
    let most = *conf.max_size;
    let length = u64::try_from(out.content_length.get()).unwrap_or(0);
    if most > 0 && length > 0 && length + HEAD_ABOUT > most as u64 {
        debug!(
            r,
            "srcache_store bypassed because of too large Content-Length response header: {length} (limit is: {most})"
        );
        return false;
    }
    true
}

/// The value of `srcache_store_skip` if it says yes.
fn skip_value(r: &Request) -> Option<Bytes> {
    let value = r.loc().srcache.store_skip.as_ref()?.eval(r);
    says_yes(&value).then_some(value)
}

/// The head as the cache keeps it.
fn write_head(r: &Request, text: &mut Vec<u8>) {
    let conf = &r.loc().srcache;
    let out = &r.headers_out;
    let status = out.status.get();
    text.extend_from_slice(b"HTTP/1.1 ");
    if !out.status_line.is_empty() {
        text.extend_from_slice(&out.status_line.borrow());
    } else if let Some(line) = status_line(status) {
        text.extend_from_slice(line.as_bytes());
    } else {
        text.extend_from_slice(status.to_string().as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    if status == 304 {
        r.header_only.set(true);
    }
    if !conf.hides(b"Content-Type") && !out.content_type.is_empty() {
        let kind = out.content_type.borrow();
        let charset = out.charset.borrow();
        let parts: &[&[u8]] = if charset.is_empty() || kind.contains(&b';') {
            &[b"Content-Type: ", &kind, b"\r\n"]
        } else {
            &[b"Content-Type: ", &kind, b"; charset=", &charset, b"\r\n"]
        };
        for part in parts {
            text.extend_from_slice(part);
        }
    }
    let list = out.list.borrow();
    if !matches!(status, 200 | 204 | 206 | 304) {
        out.last_modified.set(-1);
    }
    if !conf.hides(b"Last-Modified") && !list.contains(HeaderId::LastModified) && out.last_modified.get() != -1 {
        text.extend_from_slice(b"Last-Modified: ");
        text.extend_from_slice(&http_time(out.last_modified.get()));
        text.extend_from_slice(b"\r\n");
    }
    if r.allow_ranges.get() {
        text.extend_from_slice(ALLOW_RANGES);
        text.extend_from_slice(b": 1\r\n");
    }
    for field in list.iter().filter(|field| !conf.hides(&field.name)) {
        for part in [&field.name[..], b": ", &field.value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
}

/// Writes the body down. With its end, the subrequest begins that stores it; the client gets the end after that.
pub(crate) fn body_filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    if !chain.is_empty()
        && let Some(state) = r.ctx::<State>()
        && state.gathers.get()
        && !gather(r, &state, &chain)
    {
        state.stores.set(false);
        state.gathers.set(false);
        state.text.take();
    }
    next.run(r, chain)
}

/// Whether the response is still to be stored.
fn gather(r: &Rc<Request>, state: &State, chain: &Chain) -> bool {
    let conf = &r.loc().srcache;
    let out = &r.headers_out;
    if out.status.get() == 206 && state.status.get() == 200 {
        if !*conf.store_ranges {
            return false;
        }
        // The range filter cut the response after its head was written down.
        let mut text = state.text.borrow_mut();
        let digit = b"HTTP/1.1 20".len();
        if let Some(digit) = text.get_mut(digit) {
            *digit = b'6';
        }
        state.status.set(206);
    }
    let mut text = state.text.borrow_mut();
    let most = *conf.max_size;
    for buf in chain {
        let length = text.len() + usize::try_from(buf.len()).unwrap_or(usize::MAX);
        if most > 0 && length > most {
            debug!(
                r,
                "srcache_store bypassed because response body exceeded maximum size: {length} (limit is: {most})"
            );
            return false;
        }
        let copied = for_each_piece(buf, |piece| {
            text.extend_from_slice(piece);
            Ok(())
        });
        if let Err(error) = copied {
            r.log_errno(Level::Error, error.raw_os_error().unwrap_or(0), format_args!("srcache_store: read() failed"));
            return false;
        }
    }
    drop(text);
    !chain.iter().any(|buf| buf.last) || stores(r, state)
}

/// Begins the subrequest that stores the response.
fn stores(r: &Rc<Request>, state: &State) -> bool {
    let out = &r.headers_out;
    let length = state.text.borrow().len() - state.head.get();
    let (told, status) = (out.content_length.get(), out.status.get());
    if told > i64::try_from(length).unwrap_or(i64::MAX) {
        r.log(Level::Error, format_args!("srcache_store: skipped because response body truncated: {told} > {length}"));
        return false;
    }
    let old = state.status.get();
    if status >= 300 && status != old {
        r.log(Level::Error, format_args!("srcache_store: skipped due to new error status code {status} (old: {old})"));
        return false;
    }
    if let Some(value) = skip_value(r) {
        debug!(r, "srcache_store skipped due to the true value in srcache_store_skip: \"{}\"", value.escape_ascii());
        return false;
    }
    let Some(call) = &r.loc().srcache.store else { return false };
    let text = Bytes::from(state.text.take());
    let Ok(stored) = subrequest(r, call, Some(text), Options::default()) else { return false };
    stored.mute.set(true);
    sub::start(
        &stored,
        Some(Box::new(|stored, code| {
            let status = stored.headers_out.status.get();
            if stored.header_sent.get() {
                debug!(stored, "srcache_store: subrequest returned status {status}");
            }
            if code == Code::ERROR || code.is_special_response() || status >= 300 {
                stored
                    .log(Level::Error, format_args!("srcache_store subrequest failed: rc={} status={status}", code.0));
            }
            // However it ended, the response is complete.
            Code::OK
        })),
    );
    true
}
