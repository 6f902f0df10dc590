//! The parameters of a request: those of the configuration, and its headers as `HTTP_…`.

use std::rc::Rc;

use bytes::Bytes;

use super::conf::CgiConf;
use crate::http::cache::CacheUse;
use crate::http::header::HeaderId;
use crate::http::request::Request;

/// Names and values in order.
pub(crate) fn pairs(r: &Rc<Request>, conf: &CgiConf, passes_headers: bool) -> Vec<(Bytes, Bytes)> {
    /// What a cache wants whole responses in spite of.
    const CONDITIONS: [&str; 6] = [
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_UNMODIFIED_SINCE",
        "HTTP_IF_NONE_MATCH",
        "HTTP_IF_MATCH",
        "HTTP_RANGE",
        "HTTP_IF_RANGE",
    ];
    let mut pairs: Vec<(Bytes, Bytes)> = Vec::new();
    for param in conf.params.iter() {
        let value = param.value.eval(r);
        if !(param.if_not_empty && value.is_empty()) {
            pairs.push((param.name.clone(), value));
        }
    }
    if !passes_headers {
        return pairs;
    }
    let cached = r.ctx::<CacheUse>().is_some_and(|used| used.keeps.get());
    let first = pairs.len();
    for header in &*r.headers_in.list.borrow() {
        let name = header_name(&header.name);
        let configured = conf.params.iter().any(|param| param.name == name);
        if configured || (cached && CONDITIONS.iter().any(|known| known.as_bytes() == name)) {
            continue;
        }
        match pairs[first..].iter_mut().find(|(known, _)| *known == name) {
            Some((_, value)) => {
                let separator: &[u8] = if header.id == HeaderId::Cookie { b"; " } else { b", " };
                *value = [&value[..], separator, &header.value].concat().into();
            }
            None => pairs.push((name.into(), header.value.clone())),
        }
    }
    pairs
}

/// A header as a parameter: `X-A` is `HTTP_X_A`.
fn header_name(name: &[u8]) -> Vec<u8> {
    let upper = name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() });
    b"HTTP_".iter().copied().chain(upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_shouted() {
        assert_eq!(header_name(b"X-Some-Thing1"), b"HTTP_X_SOME_THING1");
    }
}
