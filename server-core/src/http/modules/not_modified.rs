//! `ngx_http_not_modified_filter_module`: 304 and 412 for conditional requests.

use std::rc::Rc;

use super::calendar::parse_http_date;
use crate::http::code::Code;
use crate::http::header::HeaderId;
use crate::http::modules::core::IfModifiedSince;
use crate::http::output::HeaderNext;
use crate::http::request::Request;
use crate::http::special_response;

/// Whether weak entity tags count as equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Turns a 200 into a 304 or 412.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let out = &r.headers_out;
    if out.status.get() != 200 || !r.is_main() || r.disable_not_modified.get() {
        return next.run(r);
    }
    let header = |id| r.headers_in.value(id);
    let modified = out.last_modified.get();
    if let Some(since) = header(HeaderId::IfUnmodifiedSince)
        && (modified == -1 || parse_http_date(&since).unwrap_or(-1) < modified)
    {
        return special_response::filter_finalize(r, Code::PRECONDITION_FAILED);
    }
    let etag = out.value(HeaderId::Etag);
    if let Some(list) = header(HeaderId::IfMatch)
        && !matches(&list, etag.as_deref(), Comparison::Strong)
    {
        return special_response::filter_finalize(r, Code::PRECONDITION_FAILED);
    }
    let (since, none_match) = (header(HeaderId::IfModifiedSince), header(HeaderId::IfNoneMatch));
    if since.is_none() && none_match.is_none() {
        return next.run(r);
    }
    if since.is_some_and(|since| is_modified(*r.loc().core.if_modified_since, modified, &since))
        || none_match.is_some_and(|list| !matches(&list, etag.as_deref(), Comparison::Weak))
    {
        return next.run(r);
    }
    out.status.set(304);
    out.status_line.clear();
    out.content_type.clear();
    out.clear_content_length();
    out.clear_accept_ranges();
    out.list.borrow_mut().remove_known(HeaderId::ContentEncoding);
    next.run(r)
}

fn is_modified(how: IfModifiedSince, modified: i64, since: &[u8]) -> bool {
    if modified == -1 || how == IfModifiedSince::Off {
        return true;
    }
    let since = parse_http_date(since).unwrap_or(-1);
    since != modified && (how == IfModifiedSince::Exact || since < modified)
}

/// Whether a list of entity tags names ours.
fn matches(list: &[u8], etag: Option<&[u8]>, comparison: Comparison) -> bool {
    if list == b"*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    let strong = |tag: &[u8]| -> Vec<u8> {
        match (comparison, tag.strip_prefix(b"W/")) {
            (Comparison::Weak, Some(tag)) => tag.to_vec(),
            _ => tag.to_vec(),
        }
    };
    let etag = strong(etag);
    list.split(|&byte| byte == b',').any(|tag| strong(tag.trim_ascii()) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_strongly_or_weakly() {
        let matches = |list: &str, etag: &str, how| matches(list.as_bytes(), Some(etag.as_bytes()), how);
        assert!(matches("\"a\", \"b\"", "\"b\"", Comparison::Strong));
        assert!(matches("W/\"a\"", "\"a\"", Comparison::Weak));
        assert!(matches("\"a\"", "W/\"a\"", Comparison::Weak));
        assert!(!matches("W/\"a\"", "\"a\"", Comparison::Strong));
        assert!(!matches("\"ab\"", "\"a\"", Comparison::Weak));
        assert!(super::matches(b"*", None, Comparison::Strong));
    }

    #[test]
    fn times_are_compared_as_configured() {
        let since = b"Thu, 01 Jan 1970 00:01:40 GMT";
        assert!(!is_modified(IfModifiedSince::Exact, 100, since));
        assert!(is_modified(IfModifiedSince::Exact, 99, since));
        assert!(!is_modified(IfModifiedSince::Before, 99, since));
        assert!(is_modified(IfModifiedSince::Before, 101, since));
        assert!(is_modified(IfModifiedSince::Off, 100, since));
        assert!(is_modified(IfModifiedSince::Exact, -1, since));
    }
}
