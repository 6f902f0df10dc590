//! Paths: decoding, normalisation and the checks that keep them below their root.

use crate::codec::{self, Escape, Rules, hex_value};

/// What became of the target of a request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// The decoded, normalised path; `None` when it is the written one.
    pub path: Option<Vec<u8>>,
    /// Length of the written path.
    pub path_len: usize,
    /// Where the arguments stand in the target.
    pub args: Option<std::ops::Range<usize>>,
    /// The path was written with dots, double slashes or a fragment.
    pub complex: bool,
    /// The path was written with `%XX`.
    pub quoted: bool,
}

/// The path can't be decoded or leads out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client sent invalid request")]
pub struct UriError;

/// Whether adjacent slashes count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slashes {
    /// `merge_slashes off`
    Keep,
    /// `merge_slashes on`
    Merge,
}

/// Takes the target of a request line apart. A target without path (`?x` or nothing) has the path `/`.
pub fn parse(target: &[u8], slashes: Slashes) -> Result<Uri, UriError> {
    if is_plain(target) {
        return Ok(Uri { path: None, path_len: target.len(), args: None, complex: false, quoted: false });
    }
    let query = memchr::memchr2(b'?', b'#', target);
    let path_len = query.unwrap_or(target.len());
    let path = &target[..path_len];
    let args = match query {
        Some(at) if target[at] == b'?' => {
            let start = at + 1;
            let length = memchr::memchr(b'#', &target[start..]).unwrap_or(target.len() - start);
            Some(start..start + length)
        }
        _ => None,
    };
    let fragment = memchr::memchr(b'#', target).is_some();
    let quoted = memchr::memchr(b'%', path).is_some();
    let complex = fragment || path.windows(2).any(|pair| pair[0] == b'/' && matches!(pair[1], b'/' | b'.'));
    let path = if complex || quoted || path.is_empty() { Some(normalize(path, slashes)?) } else { None };
    Ok(Uri { path, path_len, args, complex, quoted })
}

/// Whether a target is a path that stands for itself: no arguments, nothing to decode, nothing to remove.
fn is_plain(target: &[u8]) -> bool {
    let mut previous = 0;
    let plain = target.iter().all(|&byte| {
        let after_slash = std::mem::replace(&mut previous, byte) == b'/';
        match byte {
            b'?' | b'#' | b'%' => false,
            b'/' | b'.' => !after_slash,
            _ => true,
        }
    });
    plain && !target.is_empty()
}

/// Decodes a path and removes its dot segments.
pub fn normalize(path: &[u8], slashes: Slashes) -> Result<Vec<u8>, UriError> {
    let mut out = Vec::with_capacity(path.len() + 1);
    if path.is_empty() {
        out.push(b'/');
    }
    // Where the segment that is being read began in `out`; a byte that is only text blocks the special meaning
    // of the segment.
    let mut segment = out.len();
    let mut plain = false;
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let mut byte = byte;
        let mut literal = false;
        if byte == b'%' {
            let (high, low) = (rest.first().copied().and_then(hex_value), rest.get(1).copied().and_then(hex_value));
            let (Some(high), Some(low)) = (high, low) else { return Err(UriError) };
            byte = high << 4 | low;
            rest = &rest[2..];
            if byte == 0 {
                return Err(UriError);
            }
            literal = matches!(byte, b'%' | b'#' | b'?');
        }
        if byte == b'/' && !literal {
            let empty = out.len() == segment;
            end_segment(&mut out, segment, plain)?;
            let doubled = out.last() == Some(&b'/');
            if !doubled || (slashes == Slashes::Keep && empty) {
                out.push(b'/');
            }
            segment = out.len();
            plain = false;
        } else {
            plain |= literal;
            out.push(byte);
        }
    }
    end_segment(&mut out, segment, plain)?;
    Ok(out)
}

/// Removes the segment from `start` on if it is `.`, and the one before it if it is `..`.
fn end_segment(out: &mut Vec<u8>, start: usize, plain: bool) -> Result<(), UriError> {
    if plain || start == 0 {
        return Ok(());
    }
    match &out[start..] {
        b"." => out.truncate(start),
        b".." => {
            // `start - 1` is the slash before the dots; the segment before it begins behind another slash.
            let before = out[..start - 1].iter().rposition(|byte| *byte == b'/').ok_or(UriError)?;
            out.truncate(before + 1);
        }
        _ => {}
    }
    Ok(())
}

/// The extension of a path: what follows the last dot of its last segment.
pub fn extension(path: &[u8]) -> &[u8] {
    for (at, byte) in path.iter().enumerate().rev() {
        match byte {
            b'/' => break,
            // A name that begins with its only dot has no extension when it follows a slash.
            b'.' if at == 0 || path[at - 1] == b'/' => break,
            b'.' => return &path[at + 1..],
            _ => {}
        }
    }
    b""
}

/// Splits a URI that came from an application (a redirect, a subrequest) into path and arguments. `None`
/// when it is unsafe: empty, leading upwards, or with a NUL.
pub fn parse_unsafe(uri: &[u8]) -> Option<(Vec<u8>, Option<&[u8]>)> {
    if uri.is_empty() || uri[0] == b'?' || is_upward(uri) {
        return None;
    }
    let (path, args) = match memchr::memchr(b'?', uri) {
        Some(at) => (&uri[..at], Some(&uri[at + 1..])),
        None => (uri, None),
    };
    if path.contains(&0) || has_upward_segment(path) {
        return None;
    }
    if !path.contains(&b'%') {
        return Some((path.to_vec(), args));
    }
    let decoded = unescape(path);
    if decoded.contains(&0) || is_upward(&decoded) || has_upward_segment(&decoded) {
        return None;
    }
    Some((decoded, args))
}

fn is_upward(path: &[u8]) -> bool {
    path.starts_with(b"..") && path.get(2).is_none_or(|byte| *byte == b'/')
}

fn has_upward_segment(path: &[u8]) -> bool {
    let slashes = memchr::memchr_iter(b'/', path);
    slashes.into_iter().any(|at| is_upward(&path[at + 1..]))
}

/// Decodes `%XX`; what isn't a valid escape stays as it is.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%'
            && let [high, low, ..] = *rest
            && let (Some(high), Some(low)) = (hex_value(high), hex_value(low))
        {
            out.push(high << 4 | low);
            rest = &rest[2..];
        } else {
            out.push(byte);
        }
    }
    out
}

/// Escapes a path for a `Location` header: control characters, spaces, `%`, `?`, `#` and bytes above ASCII.
pub fn escape(path: &[u8]) -> Vec<u8> {
    codec::escaped_by(path, Escape::Uri, Rules::Nginx)
}

/// Escapes arguments: control characters, spaces, `%` and the like.
pub fn escape_args(args: &[u8]) -> Vec<u8> {
    codec::escaped_by(args, Escape::Args, Rules::Nginx)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(path: &str) -> Result<String, UriError> {
        normalize(path.as_bytes(), Slashes::Merge).map(|path| String::from_utf8_lossy(&path).into_owned())
    }

    #[test]
    fn dot_segments_and_double_slashes_go_away() {
        for (written, expected) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("//a///b", "/a/b"),
            ("/a/..b/...", "/a/..b/..."),
            ("/%61%2f%2e%2e/b", "/b"),
            ("/a%3Fb", "/a?b"),
            ("/a%2523", "/a%23"),
        ] {
            assert_eq!(merged(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn paths_that_leave_the_root_are_rejected() {
        for written in ["/..", "/../x", "/a/../../x", "/%2e%2e/x", "/a%2f..%2f..%2f..", "/%00", "/%zz", "/%4"] {
            assert_eq!(merged(written), Err(UriError), "{written}");
        }
    }

    #[test]
    fn slashes_stay_when_they_must() {
        assert_eq!(normalize(b"//a//b", Slashes::Keep), Ok(b"//a//b".to_vec()));
    }

    #[test]
    fn arguments_are_not_decoded() {
        let uri = parse(b"/a?b=%20#c", Slashes::Merge).unwrap();
        assert_eq!((uri.path_len, uri.args), (2, Some(3..8)));
        assert_eq!(parse(b"?x", Slashes::Merge).unwrap().path, Some(b"/".to_vec()));
    }

    #[test]
    fn extensions_belong_to_the_last_segment() {
        assert_eq!(extension(b"/a.b/c.tar.gz"), b"gz");
        assert_eq!(extension(b"/a.b/c"), b"");
        assert_eq!(extension(b"/.c"), b"");
    }

    #[test]
    fn unsafe_uris_are_refused() {
        assert_eq!(parse_unsafe(b"/a%20b?c"), Some((b"/a b".to_vec(), Some(b"c".as_slice()))));
        for uri in [b"".as_slice(), b"?a", b"..", b"../a", b"/a/../b", b"/a/..", b"/%2e%2e/b", b"/a\0"] {
            assert_eq!(parse_unsafe(uri), None, "{uri:?}");
        }
    }

    proptest! {
        #[test]
        fn normal_paths_stay_below_the_root(path in "/[a./%2ef\\\\]{0,40}") {
            if let Ok(normal) = normalize(path.as_bytes(), Slashes::Merge) {
                prop_assert!(normal.starts_with(b"/"));
                prop_assert!(!normal.split(|byte| *byte == b'/').any(|segment| segment == b".."));
            }
        }

        #[test]
        fn no_bytes_make_them_panic(path in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&path, Slashes::Merge);
            let _ = parse_unsafe(&path);
        }
    }
}
