//! URIs that scripts give: path and query string apart, nothing that climbs out of the root.

use crate::http::Request;
use crate::log::Level;

/// Whether a refusal is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusals {
    /// Written to the error log.
    Logged,
    /// Left to the caller.
    Silent,
}

/// Splits a URI into its decoded path and its query string. `None` when it is empty, holds a NUL, or has a `..`
/// component.
pub(crate) fn parse(r: &Request, uri: &[u8], refusals: Refusals) -> Option<(Vec<u8>, Vec<u8>)> {
    let parsed = split(uri);
    if parsed.is_none() && refusals == Refusals::Logged {
        r.log_bytes(Level::Error, &[b"unsafe URI \"", uri, b"\" was detected"]);
    }
    parsed
}

fn split(uri: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (path, args) = match memchr::memchr(b'?', uri) {
        Some(at) => (uri.get(..at)?, uri.get(at + 1..)?.to_vec()),
        None => (uri, Vec::new()),
    };
    if path.is_empty() || !is_safe(path) {
        return None;
    }
    if !path.contains(&b'%') {
        return Some((path.to_vec(), args));
    }
    let decoded = decode(path);
    is_safe(&decoded).then_some((decoded, args))
}

fn is_safe(path: &[u8]) -> bool {
    !path.contains(&0) && path.split(|&byte| byte == b'/').all(|component| component != b"..")
}

/// Decodes `%XX`; anything else stays, a broken escape loses its `%`.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(decoded) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            out.push(decoded);
            rest = tail.get(2..).unwrap_or_default();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_are_split_and_the_path_decoded() {
        assert_eq!(split(b"/a%20b?c=%20"), Some((b"/a b".to_vec(), b"c=%20".to_vec())));
    }

    #[test]
    fn parent_components_are_refused_also_when_encoded() {
        assert_eq!(split(b"/a/../b"), None);
        assert_eq!(split(b"/a/%2e%2e/b"), None);
        assert_eq!(split(b"/a/..b"), Some((b"/a/..b".to_vec(), Vec::new())));
    }

    #[test]
    fn empty_paths_are_refused() {
        assert_eq!(split(b""), None);
        assert_eq!(split(b"?a"), None);
    }
}
