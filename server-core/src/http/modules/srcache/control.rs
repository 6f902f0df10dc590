//! What `Cache-Control`, `Pragma` and `Expires` say.

use super::State;
use super::conf::LocConf;
use crate::http::header::{HeaderId, HeaderList};
use crate::http::modules::calendar::parse_http_date;

/// What a request says about caches.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    /// It wants no kept response.
    pub(super) no_cache: bool,
    /// The response shall not be kept.
    pub(super) no_store: bool,
}

impl Wishes {
    /// Reads the headers of a request.
    pub(super) fn of(headers: &HeaderList) -> Self {
        let says =
            |name: &[u8], word| headers.iter().any(|field| field.is(name) && contains(&field.value, word).is_some());
        Self {
            no_cache: says(b"Cache-Control", b"no-cache") || says(b"Pragma", b"no-cache"),
            no_store: says(b"Cache-Control", b"no-store"),
        }
    }
}

/// Whether the headers of a response allow to keep it; if they say until when, `state` knows it afterwards. `now` is
/// in seconds since 1970.
pub(super) fn allows_store(headers: &HeaderList, conf: &LocConf, state: &State, now: i64) -> bool {
    for field in headers.iter().filter(|field| field.id == HeaderId::CacheControl) {
        let forbids = |word: &[u8], ignored: bool| !ignored && contains(&field.value, word).is_some();
        if forbids(b"private", *conf.store_private)
            || forbids(b"no-store", *conf.store_no_store)
            || forbids(b"no-cache", *conf.store_no_cache)
        {
            return false;
        }
        if state.valid.get() != 0 {
            continue;
        }
        let Some(at) = contains(&field.value, b"max-age=") else { continue };
        let text = &field.value[at + b"max-age=".len()..];
        let text = text.split(|byte| matches!(byte, b',' | b';' | b' ')).next().unwrap_or_default();
        match crate::conf::value::number(text) {
            Some(seconds) if seconds > 0 => state.valid.set(now.saturating_add(seconds)),
            _ => return false,
        }
    }
    if state.valid.get() == 0
        && let Some(expires) = headers.value(HeaderId::Expires)
    {
        match parse_http_date(&expires) {
            Some(until) if until > now => state.valid.set(until),
            _ => return false,
        }
    }
    true
}

/// Where a word stands in a text, whatever its case.
fn contains(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::conf::Merge as _;

    const NOW: i64 = 1_000_000;

    fn list(fields: &[(&'static str, &'static str)]) -> HeaderList {
        let mut list = HeaderList::default();
        for (name, value) in fields {
            list.add(*name, *value);
        }
        list
    }

    /// Seconds for which a response is kept, 0 if it doesn't say.
    fn kept(fields: &[(&'static str, &'static str)]) -> Option<i64> {
        let mut conf = LocConf::default();
        conf.merge(&LocConf::default()).unwrap();
        let state = State::default();
        allows_store(&list(fields), &conf, &state, NOW).then(|| match state.valid.get() {
            0 => 0,
            valid => valid - NOW,
        })
    }

    #[test]
    fn a_request_may_want_no_kept_response() {
        let wishes = |fields: &[_]| Wishes::of(&list(fields));
        assert_eq!(wishes(&[]), Wishes { no_cache: false, no_store: false });
        assert_eq!(wishes(&[("Pragma", "No-Cache")]), Wishes { no_cache: true, no_store: false });
        assert_eq!(wishes(&[("Cache-Control", "a, no-store, no-cache")]), Wishes { no_cache: true, no_store: true });
    }

    #[test]
    fn a_response_says_how_long_it_may_be_kept() {
        assert_eq!(kept(&[]), Some(0));
        assert_eq!(kept(&[("Cache-Control", "public, max-age=70")]), Some(70));
        assert_eq!(kept(&[("Cache-Control", "max-age=70"), ("Expires", "Thu, 01 Jan 1970 00:00:01 GMT")]), Some(70));
        assert_eq!(kept(&[("Expires", "Mon, 12 Jan 1970 13:46:50 GMT")]), Some(10));
        for no in [("Cache-Control", "PRIVATE"), ("Cache-Control", "max-age=0"), ("Cache-Control", "max-age=x")] {
            assert_eq!(kept(&[no]), None, "{no:?}");
        }
        assert_eq!(kept(&[("Expires", "0")]), None);
    }
}
