//! `srcache_fetch`: asks for a kept response and answers with it.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;

use super::control::Wishes;
use super::{State, says_yes, subrequest};
use crate::http::body;
use crate::http::code::Code;
use crate::http::conf;
use crate::http::header::HeaderId;
use crate::http::modules::calendar::parse_http_date;
use crate::http::output::{self, Buf};
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::subrequest::{self as sub, Options};
use crate::http::upstream::charset_of;
use crate::http::upstream::http_head::{self, Parsed, ResponseHead};
use crate::log::Level;

/// Asks at the end of the access phase.
pub(crate) struct FetchHandler;

impl Handler for FetchHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        loc.srcache.is_on()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let conf = &r.loc().srcache;
        if !r.method.get().is_one_of(conf.methods()) {
            let method = r.method_name.borrow();
            debug!(r, "srcache_fetch and srcache_store skipped due to request method {}", method.escape_ascii());
            return Code::DECLINED.into();
        }
        if *conf.request_cache_control {
            let wishes = Wishes::of(&r.headers_in.list.borrow());
            if wishes.no_cache {
                debug!(
                    r,
                    "srcache_fetch skipped due to request headers \"Cache-Control: no-cache\" or \"Pragma: no-cache\""
                );
                if wishes.no_store {
                    debug!(r, "srcache_store skipped due to request header \"Cache-Control: no-store\"");
                } else {
                    r.set_ctx(Rc::new(State::default()));
                }
                return Code::DECLINED.into();
            }
        }
        if let Some(skip) = &conf.fetch_skip {
            let value = skip.eval(r);
            if says_yes(&value) {
                debug!(
                    r,
                    "srcache_fetch skipped due to the true value fed into srcache_fetch_skip: \"{}\"",
                    value.escape_ascii()
                );
                r.set_ctx(Rc::new(State::default()));
                return Code::DECLINED.into();
            }
        }
        let state = r.ctx_or_default::<State>();
        if conf.fetch.is_none() {
            return Code::DECLINED.into();
        }
        let r = Rc::clone(r);
        Outcome::wait(async move { fetch(&r, &state).await })
    }
}

async fn fetch(r: &Rc<Request>, state: &State) -> Code {
    // Subrequests share the body, so it must be there.
    let code = body::read(r).code().await;
    if code == Code::ERROR || code.is_special_response() {
        return code;
    }
    let Some(call) = &r.loc().srcache.fetch else { return Code::DECLINED };
    let options = Options { in_memory: true, waited: true, ..Options::default() };
    let asked = match subrequest(r, call, None, options) {
        Ok(asked) => asked,
        Err(code) => return code,
    };
    state.asked.set(true);
    // However the subrequest ends, the connection goes on.
    let ended = Rc::new(Cell::new(Code::OK));
    let end = Rc::clone(&ended);
    sub::start(
        &asked,
        Some(Box::new(move |_, code| {
            end.set(code);
            Code::OK
        })),
    );
    asked.completion.wait().await;
    let code = ended.get();
    let status = asked.headers_out.status.get();
    debug!(r, "srcache_fetch: subrequest returned status {status}");
    if status != 200 || code == Code::ERROR || code.is_special_response() {
        return Code::DECLINED;
    }
    debug!(r, "srcache_fetch decides to send the response in cache");
    let text = Bytes::from(asked.captured.take());
    match kept(&text, *r.loc().srcache.header_buffer_size) {
        Err(fault) => {
            r.log(Level::Error, format_args!("srcache_fetch: {fault}"));
            Code::DECLINED
        }
        Ok(_) if !asked.captured_last.get() => {
            r.log(Level::Error, format_args!("srcache_fetch: cache sent truncated response body"));
            Code::DECLINED
        }
        Ok((head, length)) => {
            debug!(r, "srcache_fetch header done");
            state.from_cache.set(true);
            answer(r, &head, text.slice(length..))
        }
    }
}

/// Why a text is no kept response.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("cache sent truncated status line or headers")]
    Truncated,
    #[error("cache sent invalid status line")]
    StatusLine,
    #[error("cache sent invalid header")]
    Header,
    #[error("header buffer overflown (maybe you should consider increasing srcache_header_buffer_size?)")]
    Overflow,
}

/// The head of a kept response, and its length. No header line may be longer than `line_max` bytes.
fn kept(text: &Bytes, line_max: usize) -> Result<(ResponseHead, usize), Fault> {
    let parsed = http_head::parse(text).map_err(|_| Fault::Header)?;
    if matches!(parsed, Parsed::NoHead) {
        return Err(Fault::StatusLine);
    }
    let head = if let Parsed::Head(_, length) = parsed { &text[..length] } else { &text[..] };
    if head.split_inclusive(|byte| *byte == b'\n').skip(1).any(|line| line.len() > line_max) {
        return Err(Fault::Overflow);
    }
    match parsed {
        Parsed::Head(head, length) => Ok((head, length)),
        _ => Err(Fault::Truncated),
    }
}

/// Sends a kept response.
fn answer(r: &Rc<Request>, head: &ResponseHead, body: Bytes) -> Code {
    let out = &r.headers_out;
    out.status.set(head.status);
    for field in &head.fields {
        match field.id {
            // What frames and carries a message is decided anew.
            HeaderId::ContentLength | HeaderId::Connection | HeaderId::KeepAlive => continue,
            HeaderId::ContentType => {
                out.content_type.set(field.value.clone());
                if let Some(charset) = charset_of(&field.value) {
                    out.charset.set(charset);
                }
                continue;
            }
            HeaderId::LastModified => out.last_modified.set(parse_http_date(&field.value).unwrap_or(-1)),
            _ if field.is(super::store::ALLOW_RANGES) => {
                r.allow_ranges.set(true);
                continue;
            }
            _ => {}
        }
        out.list.borrow_mut().push(field.clone());
    }
    out.content_length.set(i64::try_from(body.len()).unwrap_or(i64::MAX));
    let code = output::send_header(r);
    if code == Code::ERROR || code.0 > 0 {
        return code;
    }
    if !r.header_only.get() && !r.filter_finalize.get() {
        let code = output::write(r, output::chain(Buf::bytes(body).ending(r)));
        if code == Code::ERROR || code.0 > 0 {
            return code;
        }
    }
    Code::HTTP_OK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &'static str) -> Fault {
        kept(&Bytes::from_static(text.as_bytes()), 20).unwrap_err()
    }

    #[test]
    fn a_kept_response_is_a_head_and_a_body() {
        let text = Bytes::from_static(b"HTTP/1.1 201 Made by us all\r\nX-A: b\r\n\r\nbody");
        let (head, length) = kept(&text, 20).unwrap();
        assert_eq!((head.status, &text[length..]), (201, &b"body"[..]));
    }

    #[test]
    fn what_is_none_is_told_apart() {
        assert_eq!(fault("HTTP 200 OK\r\n"), Fault::StatusLine);
        assert_eq!(fault("HTTP/1.1 200 OK\r\nX-A: b\r\n"), Fault::Truncated);
        assert_eq!(fault("HTTP/1.1 200 OK\r\nX A: b\r\n\r\n"), Fault::Header);
        assert_eq!(fault("HTTP/1.1 200 OK\r\nX-A: much too long a value\r\n\r\n"), Fault::Overflow);
        assert_eq!(fault("HTTP/1.1 200 OK\r\nX-A: much too long a value"), Fault::Overflow);
    }
}
