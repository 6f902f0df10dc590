//! A response, taken apart as the original's HTTP library does.
//!
//! The differences from a strict reader are wanted: the first line is the status line whatever it says, one blank
//! is eaten behind a header's colon, repeated headers are joined, and a body may end early.

use crate::model::Value;

/// A response as assertions see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code; `None` where the first line has no number in its place.
    pub code: Option<Vec<u8>>,
    /// Names and values in order. Continuation lines are part of their value.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body, with chunks joined.
    pub content: Vec<u8>,
}

/// What came out of some bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The response; `None` where its chunks are malformed.
    pub response: Option<Response>,
    /// Status line and headers with their line ends, without the blank line.
    pub raw_headers: Vec<u8>,
    /// Bytes behind the response.
    pub left: Option<Vec<u8>>,
    /// Why there is no response, in the original's words.
    pub failure: Option<String>,
    /// A remark: the body is shorter than promised.
    pub warning: Option<String>,
}

/// Parses `raw`; `head` says that the request's method was HEAD.
pub fn parse(raw: &[u8], head: bool) -> Parsed {
    let mut response = split(raw);
    let mut parsed = Parsed { raw_headers: raw_headers(raw).to_vec(), ..Parsed::default() };
    if response.code.as_ref().is_some_and(|code| !code.iter().all(u8::is_ascii_digit)) {
        response.code = None;
    }
    if matches!(response.code.as_deref(), Some(b"304" | b"101")) {
        parsed.response = Some(response);
        return parsed;
    }
    if response.header("Transfer-Encoding").as_deref() == Some(b"chunked") {
        match decode_chunks(&response.content, &response.all("Trailer")) {
            Ok((decoded, left)) => {
                parsed.left = if left.is_empty() { None } else { Some(left.to_vec()) };
                response.content = decoded;
            }
            Err(failure) => return Parsed { failure: Some(failure), ..Parsed::default() },
        }
    } else if let Some(length) = response.header("Content-Length").as_deref().and_then(length) {
        let got = response.content.len();
        if got < length && !head {
            parsed.warning = Some(format!("response body truncated: {length} expected, but got {got}"));
        } else if got > length {
            parsed.left = Some(response.content.split_off(length));
        }
    }
    parsed.response = Some(response);
    parsed
}

/// A response without status line and headers: everything is body.
pub fn parse_http09(raw: &[u8]) -> Parsed {
    let response = Response { code: Some(b"200".to_vec()), headers: Vec::new(), content: raw.to_vec() };
    Parsed { response: Some(response), ..Parsed::default() }
}

impl Response {
    /// The value of a header; several are joined by `, `. In `name`, `_` stands for `-`.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let values = self.all(name);
        if values.is_empty() { None } else { Some(values.join(b", ".as_slice())) }
    }

    fn all(&self, name: &str) -> Vec<Vec<u8>> {
        let wanted = name.replace('_', "-");
        let same = self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        same.map(|(_, value)| value.clone()).collect()
    }
}

fn raw_headers(raw: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(raw, b"\r\n\r\n").map_or(0, |at| at + 2);
    raw.get(..end).unwrap_or_default()
}

/// The first line without its end, and what follows.
fn first_line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr::memchr(b'\n', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b"".as_slice()),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

fn split(raw: &[u8]) -> Response {
    let (line, mut rest) = first_line(raw);
    let mut response = Response { code: status_code(line), ..Response::default() };
    loop {
        let (line, next) = first_line(rest);
        if let Some((name, value)) = header(line) {
            response.headers.push((name.to_vec(), value.to_vec()));
        } else if let (Some(b' ' | b'\t'), Some((_, value))) = (line.first(), response.headers.last_mut()) {
            value.push(b'\n');
            value.extend_from_slice(line);
        } else {
            break;
        }
        rest = next;
    }
    let body = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")).unwrap_or(rest);
    response.content = body.to_vec();
    response
}

fn status_code(line: &[u8]) -> Option<Vec<u8>> {
    let starts_with_code = line.get(3) == Some(&b' ') && line.iter().take(3).all(u8::is_ascii_digit);
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let code = if starts_with_code { words.next() } else { words.nth(1) };
    code.map(<[u8]>::to_vec)
}

fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = line.iter().take_while(|byte| !byte.is_ascii_whitespace() && **byte != b':').count();
    let (name, rest) = line.split_at(length);
    let value = rest.get(blanks(rest)..)?.strip_prefix(b":")?;
    (!name.is_empty()).then(|| (name, value.strip_prefix(b" ").unwrap_or(value)))
}

/// Number of spaces and tabs in front.
fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// A `Content-Length` that is there; as in Perl the digits in front count.
fn length(value: &[u8]) -> Option<usize> {
    if value.is_empty() { None } else { usize::try_from(Value::str(value.to_vec()).to_int()).ok() }
}

/// The joined chunks and the bytes behind the last one.
fn decode_chunks<'a>(raw: &'a [u8], trailers: &[Vec<u8>]) -> Result<(Vec<u8>, &'a [u8]), String> {
    let mut decoded = Vec::new();
    let mut rest = raw;
    loop {
        if let Some(behind) = last_chunk(rest, trailers)? {
            return Ok((decoded, behind));
        }
        let Some((size, data)) = chunk_size(rest) else {
            let shown = |bytes| String::from_utf8_lossy(bytes).into_owned();
            return Err(if rest.is_empty() {
                format!("no last chunk found - {}", shown(raw))
            } else {
                format!("invalid chunked body received: {}", shown(rest))
            });
        };
        let Some((chunk, behind)) = data.split_at_checked(size) else {
            return Err("invalid chunked data received (not enought octets for the data section)".to_owned());
        };
        decoded.extend_from_slice(chunk);
        rest = behind.strip_prefix(b"\r\n").ok_or("invalid chunked data received (expected CRLF).")?;
    }
}

/// What stands behind the last chunk, if `rest` begins with that.
fn last_chunk<'a>(rest: &'a [u8], trailers: &[Vec<u8>]) -> Result<Option<&'a [u8]>, String> {
    let Some(after) = rest.strip_prefix(b"0") else { return Ok(None) };
    let Some(mut after) = after.get(blanks(after)..).and_then(|after| after.strip_prefix(b"\r\n")) else {
        return Ok(None);
    };
    if trailers.is_empty() {
        return Ok(after.strip_prefix(b"\r\n"));
    }
    for name in trailers {
        let line = after.strip_prefix(name.as_slice()).and_then(|line| line.strip_prefix(b": "));
        match line.and_then(|line| memchr::memchr(b'\n', line).map(|at| line.split_at(at + 1))) {
            Some((line, behind)) if line.ends_with(b"\r\n") => after = behind,
            _ => {
                let name = String::from_utf8_lossy(name);
                return Err(format!("invalid trailer data received (expected {name})."));
            }
        }
    }
    match after.strip_prefix(b"\r\n") {
        Some(behind) => Ok(Some(behind)),
        None => Err("invalid chunked data received (expected CRLF).".to_owned()),
    }
}

fn chunk_size(rest: &[u8]) -> Option<(usize, &[u8])> {
    let rest = rest.get(blanks(rest)..)?;
    let (digits, rest) = rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count());
    let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((size, rest.get(blanks(rest)..)?.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(raw: &str) -> Option<String> {
        parse(raw.as_bytes(), false).response.map(|response| String::from_utf8_lossy(&response.content).into_owned())
    }

    #[test]
    fn headers_are_joined_and_found_in_any_case() {
        let raw = b"HTTP/1.1 200 OK\r\nFoo: a\r\nX:  b\r\n c\r\nfoo: d\r\nA_B: e\r\n\r\nbody";
        let parsed = parse(raw, false);
        let response = parsed.response.unwrap();
        assert_eq!(response.code.as_deref(), Some(b"200".as_slice()));
        assert_eq!(response.header("FOO").as_deref(), Some(b"a, d".as_slice()));
        assert_eq!(response.header("X").as_deref(), Some(b" b\n c".as_slice()));
        assert_eq!(response.header("A_B"), None);
        assert_eq!(response.content, b"body");
        assert!(parsed.raw_headers.ends_with(b"A_B: e\r\n"));
    }

    #[test]
    fn chunks_are_joined_and_the_rest_is_left() {
        let parsed = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 3 \r\nabc\r\n0\r\n\r\nHTTP", false);
        assert_eq!(parsed.response.unwrap().content, b"abc");
        assert_eq!(parsed.left.as_deref(), Some(b"HTTP".as_slice()));
    }

    #[test]
    fn malformed_chunks_are_failures() {
        for (body, words) in [
            ("3\r\nab", "not enought octets"),
            ("3;x=y\r\nabc\r\n", "invalid chunked body received: 3;x=y"),
            ("3\r\nabc\r\n", "no last chunk found"),
            ("3\r\nabcd\r\n", "expected CRLF"),
            ("ffffffffffffffffffff\r\n", "invalid chunked body"),
        ] {
            let parsed = parse(format!("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes(), false);
            assert!(parsed.failure.as_deref().is_some_and(|failure| failure.contains(words)), "{body}: {parsed:?}");
        }
    }

    #[test]
    fn trailers_are_skipped() {
        let head = "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n";
        assert_eq!(content(&format!("{head}1\r\na\r\n0\r\nX: 1\r\n\r\n")).as_deref(), Some("a"));
        assert_eq!(content(&format!("{head}1\r\na\r\n0\r\n\r\n")), None);
    }

    #[test]
    fn a_body_longer_than_promised_is_cut() {
        let parsed = parse(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nabc", false);
        assert_eq!(parsed.response.unwrap().content, b"ab");
        assert_eq!(parsed.left.as_deref(), Some(b"c".as_slice()));
        assert!(parse(b"HTTP/1.1 200\r\nContent-Length: 9\r\n\r\nabc", false).warning.is_some());
        assert!(parse(b"HTTP/1.1 200\r\nContent-Length: 9\r\n\r\n", true).warning.is_none());
    }

    #[test]
    fn nothing_and_nonsense_have_no_code() {
        assert_eq!(parse(b"", false).response.unwrap().code, None);
        assert_eq!(parse(b"write failed: Broken pipe", false).response.unwrap().code, None);
        assert_eq!(parse(b"404 Not Found\n", false).response.unwrap().code.as_deref(), Some(b"404".as_slice()));
    }
}
