//! Request lines and header lines, read from the front of a buffer that may still be growing.

use std::ops::Range;

use memchr::memchr;

use crate::http::method::{Method, Version};

/// What was found at the front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// A whole line; `.1` is the number of bytes it took.
    Complete(T, usize),
    /// The line isn't complete yet.
    Partial,
}

/// Why a request line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The method has characters that methods don't have.
    #[error("client sent invalid method")]
    Method,
    /// HTTP/0.9 has only GET.
    #[error("client sent invalid method in HTTP/0.9 request")]
    MethodInHttp09,
    /// It isn't a request line.
    #[error("client sent invalid request")]
    Request,
    /// A major version above 1.
    #[error("client sent invalid version")]
    Version,
}

/// A request line; ranges count from the line's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// Bytes before the line that don't belong to it (empty lines).
    pub skipped: usize,
    /// Length of the line without its end.
    pub len: usize,
    /// The method as a word.
    pub method_name: Range<usize>,
    /// The method.
    pub method: Method,
    /// Path and arguments. Empty for `http://host` and for CONNECT: the path is `/` then.
    pub target: Range<usize>,
    /// The scheme of an absolute target.
    pub schema: Option<Range<usize>>,
    /// Host and port of an absolute target or of CONNECT.
    pub host: Option<Range<usize>>,
    /// `HTTP/1.1`; empty in HTTP/0.9.
    pub protocol: Range<usize>,
    /// The version.
    pub version: Version,
}

/// Reads a request line.
pub fn request_line(input: &[u8]) -> Result<Parsed<RequestLine>, LineError> {
    let skipped = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let rest = &input[skipped..];
    let method_len = rest.iter().take_while(|byte| is_method(**byte)).count();
    let Some(end) = memchr(b'\n', rest) else {
        return match rest.get(method_len) {
            None => Ok(Parsed::Partial),
            Some(b' ') if method_len > 0 => Ok(Parsed::Partial),
            Some(_) => Err(LineError::Method),
        };
    };
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    if method_len == 0 || line.get(method_len) != Some(&b' ') {
        return Err(LineError::Method);
    }
    let method = Method::of(&line[..method_len]);
    let at = skip_spaces(line, method_len);
    let (target, schema, host) = target(line, at, method)?;
    let target_end = match &host {
        Some(host) if target.is_empty() => host.end,
        _ => target.end,
    };
    let at = skip_spaces(line, target_end);
    let (version, protocol) =
        if at == line.len() { (Version::HTTP_09, at..at) } else { (version(&line[at..])?, at..line.len()) };
    if version == Version::HTTP_09 && method != Method::GET {
        return Err(LineError::MethodInHttp09);
    }
    let parsed = RequestLine {
        skipped,
        len: line.len(),
        method_name: 0..method_len,
        method,
        target,
        schema,
        host,
        protocol,
        version,
    };
    Ok(Parsed::Complete(parsed, skipped + end + 1))
}

const fn is_method(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'_' | b'-')
}

fn skip_spaces(line: &[u8], at: usize) -> usize {
    at + line[at..].iter().take_while(|byte| **byte == b' ').count()
}

type Target = (Range<usize>, Option<Range<usize>>, Option<Range<usize>>);

fn target(line: &[u8], at: usize, method: Method) -> Result<Target, LineError> {
    if method == Method::CONNECT {
        let host = host(line, at)?;
        let has_port = line[host.clone()].rsplit(|byte| *byte == b':').next().is_some_and(is_port);
        if !has_port || line.get(host.end) != Some(&b' ') {
            return Err(LineError::Request);
        }
        return Ok((host.end..host.end, None, Some(host)));
    }
    match line.get(at) {
        Some(b'/') => Ok((path(line, at)?, None, None)),
        Some(byte) if byte.is_ascii_alphabetic() => {
            let length = line[at..]
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
                .count();
            let schema = at..at + length;
            if !line[schema.end..].starts_with(b"://") {
                return Err(LineError::Request);
            }
            let host = host(line, schema.end + 3)?;
            match line.get(host.end) {
                Some(b'/' | b'?') => Ok((path(line, host.end)?, Some(schema), Some(host))),
                Some(b' ') => Ok((host.end..host.end, Some(schema), Some(host))),
                _ => Err(LineError::Request),
            }
        }
        _ => Err(LineError::Request),
    }
}

fn is_port(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// The host of an absolute target with its port, as far as its characters go.
fn host(line: &[u8], at: usize) -> Result<Range<usize>, LineError> {
    let rest = &line[at..];
    let name = match rest.first() {
        Some(b'[') => {
            let is_literal = |byte: &&u8| byte.is_ascii_alphanumeric() || b":-._~!$&'()*+,;=".contains(byte);
            let length = rest[1..].iter().take_while(is_literal).count() + 1;
            if rest.get(length) != Some(&b']') {
                return Err(LineError::Request);
            }
            length + 1
        }
        _ => rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')).count(),
    };
    let port = match rest.get(name) {
        Some(b':') => 1 + rest[name + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    Ok(at..at + name + port)
}

/// Path and arguments: up to a space, without control characters.
fn path(line: &[u8], at: usize) -> Result<Range<usize>, LineError> {
    let length = line[at..].iter().position(|byte| *byte <= b' ' || *byte == 0x7f).unwrap_or(line.len() - at);
    match line.get(at + length) {
        None | Some(b' ') => Ok(at..at + length),
        Some(_) => Err(LineError::Request),
    }
}

fn version(text: &[u8]) -> Result<Version, LineError> {
    let text = text.strip_prefix(b"HTTP/").ok_or(LineError::Request)?;
    let text = &text[..text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1)];
    match text.first() {
        Some(b'1') => {}
        Some(b'2'..=b'9') => return Err(LineError::Version),
        _ => return Err(LineError::Request),
    }
    match text.get(1) {
        Some(b'.') => {}
        Some(b'0'..=b'9') => return Err(LineError::Version),
        _ => return Err(LineError::Request),
    }
    let minor = &text[2..];
    if minor.is_empty() || minor.len() > 3 || !minor.iter().all(u8::is_ascii_digit) {
        return Err(LineError::Request);
    }
    Ok(Version(1000 + minor.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'))))
}

/// A header line; ranges count from its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderLine {
    /// The empty line: the head ends here.
    End,
    /// A field.
    Field {
        /// Its name.
        name: Range<usize>,
        /// Its value without the spaces around it.
        value: Range<usize>,
        /// The name has only letters, digits, hyphens (and underscores where allowed).
        valid: bool,
    },
}

/// A header line that ends the request: the offset of the byte that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderError(pub usize);

/// Whether underscores in header names are fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    /// They are.
    Allowed,
    /// They make a name invalid.
    Invalid,
}

/// Reads a header line.
pub fn header_line(input: &[u8], underscores: Underscores) -> Result<Parsed<HeaderLine>, HeaderError> {
    let mut valid = true;
    let mut at = 0;
    // The name.
    let colon = loop {
        let Some(&byte) = input.get(at) else { return Ok(Parsed::Partial) };
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => {}
            b'_' if underscores == Underscores::Allowed => {}
            b'_' => valid = false,
            b':' if at > 0 => break at,
            b'\r' | b'\n' => {
                return Ok(match line_end(input, at)? {
                    None => Parsed::Partial,
                    Some(end) if at == 0 => Parsed::Complete(HeaderLine::End, end),
                    Some(end) => Parsed::Complete(HeaderLine::Field { name: 0..at, value: at..at, valid }, end),
                });
            }
            0..=b' ' | 0x7f | b':' => return Err(HeaderError(at)),
            _ => valid = false,
        }
        at += 1;
    };
    // The value.
    let start = colon + 1;
    let start = start + input[start..].iter().take_while(|byte| **byte == b' ').count();
    let Some(length) = memchr::memchr3(b'\r', b'\n', 0, &input[start..]) else { return Ok(Parsed::Partial) };
    let end = start + length;
    if input[end] == 0 {
        return Err(HeaderError(end));
    }
    let Some(next) = line_end(input, end)? else { return Ok(Parsed::Partial) };
    let last = input[start..end].iter().rposition(|byte| *byte != b' ').map_or(start, |last| start + last + 1);
    Ok(Parsed::Complete(HeaderLine::Field { name: 0..colon, value: start..last, valid }, next))
}

/// Where the next line starts, if the line end that begins at `at` is complete: LF, or CR with LF.
fn line_end(input: &[u8], at: usize) -> Result<Option<usize>, HeaderError> {
    let returns = if at == 0 { 1 } else { usize::MAX };
    let crs = input[at..].iter().take(returns).take_while(|byte| **byte == b'\r').count();
    match input.get(at + crs) {
        None => Ok(None),
        Some(b'\n') => Ok(Some(at + crs + 1)),
        Some(_) => Err(HeaderError(at + crs)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(input: &str) -> Result<RequestLine, LineError> {
        match request_line(input.as_bytes())? {
            Parsed::Complete(line, used) => {
                assert_eq!(used, input.len());
                Ok(line)
            }
            Parsed::Partial => panic!("partial: {input:?}"),
        }
    }

    fn header(input: &str) -> Result<(&str, &str, bool), HeaderError> {
        match header_line(input.as_bytes(), Underscores::Invalid)? {
            Parsed::Complete(HeaderLine::Field { name, value, valid }, _) => Ok((&input[name], &input[value], valid)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_usual_line_is_taken_apart() {
        let text = "GET /a?b HTTP/1.1\r\n";
        let parsed = line(text).unwrap();
        assert_eq!((&text[parsed.target], &text[parsed.protocol]), ("/a?b", "HTTP/1.1"));
        assert_eq!((parsed.method, parsed.version), (Method::GET, Version::HTTP_11));
    }

    #[test]
    fn an_absolute_target_has_a_host() {
        let text = "GET http://h:80?x HTTP/1.0\n";
        let parsed = line(text).unwrap();
        assert_eq!((&text[parsed.host.unwrap()], &text[parsed.target]), ("h:80", "?x"));
        assert!(line("GET http://h HTTP/1.0\n").unwrap().target.is_empty());
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(line("GET /\r\n").unwrap().version, Version::HTTP_09);
        assert_eq!(line("GET / HTTP/1.2\r\n").unwrap().version, Version(1002));
        assert_eq!(line("GET / HTTP/2.0\r\n"), Err(LineError::Version));
        assert_eq!(line("GET / HTTP/1.\r\n"), Err(LineError::Request));
        assert_eq!(line("POST /\r\n"), Err(LineError::MethodInHttp09));
    }

    #[test]
    fn bad_lines_are_rejected() {
        assert_eq!(line("get / HTTP/1.1\r\n"), Err(LineError::Method));
        assert_eq!(request_line(b"g"), Err(LineError::Method));
        assert_eq!(line("GET /a b HTTP/1.1\r\n"), Err(LineError::Request));
        assert_eq!(line("GET /a\tb HTTP/1.1\r\n"), Err(LineError::Request));
        assert_eq!(line("GET /\0 HTTP/1.1\r\n"), Err(LineError::Request));
        assert_eq!(line("GET * HTTP/1.1\r\n"), Err(LineError::Request));
        assert_eq!(line("CONNECT h HTTP/1.1\r\n"), Err(LineError::Request));
        assert!(line("CONNECT h:1 HTTP/1.1\r\n").is_ok());
    }

    #[test]
    fn values_lose_the_spaces_around_them() {
        assert_eq!(header("A-b:  c d  \r\n"), Ok(("A-b", "c d", true)));
        assert_eq!(header("a:\r\n"), Ok(("a", "", true)));
        assert_eq!(header("a\r\n"), Ok(("a", "", true)));
        assert_eq!(header("a_b: c\r\n"), Ok(("a_b", "c", false)));
    }

    #[test]
    fn bad_header_lines_are_rejected() {
        assert_eq!(header("a : b\r\n"), Err(HeaderError(1)));
        assert_eq!(header(": b\r\n"), Err(HeaderError(0)));
        assert_eq!(header(" folded\r\n"), Err(HeaderError(0)));
        assert_eq!(header("a: b\0c\r\n"), Err(HeaderError(4)));
        assert_eq!(header("a: b\rc\r\n"), Err(HeaderError(5)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = request_line(&input);
            let _ = header_line(&input, Underscores::Invalid);
        }
    }
}
