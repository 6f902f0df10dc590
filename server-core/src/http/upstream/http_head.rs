//! The head of an HTTP/1 response, from bytes.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::protocol::Head;
use crate::http::header::HeaderList;

/// The head of a response.
#[derive(Debug, Default)]
pub(crate) struct ResponseHead {
    /// The status.
    pub(crate) status: u16,
    /// Status and reason as they came: `404 Not Found`.
    pub(crate) status_line: Bytes,
    /// Whether the protocol is HTTP/1.1 or later.
    pub(crate) is_http11: bool,
    /// The fields.
    pub(crate) fields: HeaderList,
}

/// A head as places in its text.
#[derive(Debug)]
pub(crate) struct Places {
    status: u16,
    status_line: Range<usize>,
    is_http11: bool,
    /// Names and values.
    fields: SmallVec<[(Range<usize>, Range<usize>); 16]>,
}

impl Places {
    /// The head whose text this is.
    pub(crate) fn head(self, text: &Bytes) -> ResponseHead {
        let mut fields = HeaderList::with_room();
        for (name, value) in self.fields {
            fields.add(text.slice(name), text.slice(value));
        }
        ResponseHead {
            status: self.status,
            status_line: text.slice(self.status_line),
            is_http11: self.is_http11,
            fields,
        }
    }
}

/// What the front of the input holds.
#[derive(Debug)]
pub(crate) enum Parsed<H> {
    /// A whole head, and its length.
    Head(H, usize),
    /// Not enough yet.
    More,
    /// No status line: a response without head, as of HTTP/0.9.
    NoHead,
}

/// A field that isn't one; as much of it as is worth showing, and the byte that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidField(pub(crate) Vec<u8>, pub(crate) u8);

/// Reads a head from the front of `input`.
pub(crate) fn parse(input: &Bytes) -> Result<Parsed<ResponseHead>, InvalidField> {
    Ok(match find(input)? {
        Parsed::Head(places, length) => Parsed::Head(places.head(input), length),
        Parsed::More => Parsed::More,
        Parsed::NoHead => Parsed::NoHead,
    })
}

/// Finds the parts of a head at the front of `input`.
pub(crate) fn find(input: &[u8]) -> Result<Parsed<Places>, InvalidField> {
    let (is_http11, status, line_start) = match status_line(input) {
        StatusLine::Is(is_http11, status, start) => (is_http11, status, start),
        StatusLine::More => return Ok(Parsed::More),
        StatusLine::Isnt => return Ok(Parsed::NoHead),
    };
    let Some(end) = memchr::memchr(b'\n', &input[line_start..]) else { return Ok(Parsed::More) };
    let end = line_start + end;
    let line_end = if input[..end].ends_with(b"\r") { end - 1 } else { end };
    let mut places = Places { status, status_line: line_start..line_end, is_http11, fields: SmallVec::new() };
    let mut at = end + 1;
    loop {
        let line = &input[at..];
        let plain = plain_field(line);
        let Some(length) = plain.map(|(_, length)| length).or_else(|| memchr::memchr(b'\n', line)) else {
            check_field(line)?;
            return Ok(Parsed::More);
        };
        let content = &line[..length];
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let start = at;
        at += length + 1;
        if content.is_empty() {
            return Ok(Parsed::Head(places, at));
        }
        let colon = match plain {
            Some((colon, _)) => colon,
            None => {
                check_field(content)?;
                memchr::memchr(b':', content).unwrap_or(content.len())
            }
        };
        let value = content.get(colon + 1..).unwrap_or_default();
        let leading = value.iter().take_while(|byte| **byte == b' ').count();
        let trailing = value[leading..].iter().rev().take_while(|byte| **byte == b' ').count();
        let value_start = (start + colon + 1 + leading).min(start + content.len());
        let value_end = (start + content.len() - trailing).max(value_start);
        places.fields.push((start..start + colon, value_start..value_end));
    }
}

/// Where the colon and the end of the first line are, when it is a whole field with nothing to object to: what all lines
/// should be.
fn plain_field(line: &[u8]) -> Option<(usize, usize)> {
    let colon = line.iter().position(|&byte| byte <= b' ' || byte == b':' || byte == 0x7f).filter(|&at| at > 0)?;
    let value = line.get(colon..).filter(|value| value.starts_with(b":"))?;
    let end = memchr::memchr2(b'\n', 0, value).filter(|&end| value[end] == b'\n')?;
    Some((colon, colon + end))
}

/// A head that is complete, as caches keep it.
pub(crate) fn parse_head(text: &Bytes) -> Option<Head> {
    match parse(text) {
        Ok(Parsed::Head(head, _)) => {
            let ResponseHead { status, mut status_line, is_http11, fields } = head;
            if status_line.len() <= b"200 ".len() {
                // Its protocol had no reasons.
                status_line.clear();
            }
            Some(Head { status, status_line, keeps: is_http11, fields: fields.into(), ..Head::default() })
        }
        Ok(Parsed::More | Parsed::NoHead) | Err(InvalidField(..)) => None,
    }
}

enum StatusLine {
    /// Protocol, status, and where the status begins.
    Is(bool, u16, usize),
    More,
    Isnt,
}

fn status_line(input: &[u8]) -> StatusLine {
    const START: &[u8] = b"HTTP/";
    let common = input.len().min(START.len());
    if input[..common] != START[..common] {
        return StatusLine::Isnt;
    }
    let rest = &input[common..];
    let major = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(dot) = rest.get(major) else { return StatusLine::More };
    let after = rest.get(major + 1..).unwrap_or_default();
    let minor = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(space) = after.get(minor) else {
        return if *dot == b'.' { StatusLine::More } else { StatusLine::Isnt };
    };
    if major == 0 || major > 2 || minor == 0 || minor > 2 || *dot != b'.' || *space != b' ' || rest[0] == b'0' {
        return StatusLine::Isnt;
    }
    let spaces = after[minor..].iter().take_while(|byte| **byte == b' ').count();
    let status = &after[minor + spaces..];
    let digits = status.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let start = input.len() - status.len();
    match status.get(digits) {
        None => StatusLine::More,
        Some(b' ' | b'.' | b'\r' | b'\n') if digits == 3 => {
            let number = status[..3].iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
            let is_http11 = &rest[..major] != b"1" || &after[..minor] != b"0";
            StatusLine::Is(is_http11, number, start)
        }
        Some(_) => StatusLine::Isnt,
    }
}

/// Names have no control characters or spaces, values no zero bytes.
fn check_field(line: &[u8]) -> Result<(), InvalidField> {
    let colon = memchr::memchr(b':', line);
    let name = &line[..colon.unwrap_or(line.len())];
    let name = if colon.is_none() { name.strip_suffix(b"\r").unwrap_or(name) } else { name };
    let bad = name.iter().position(|byte| *byte <= b' ' || *byte == 0x7f).or_else(|| {
        let value = &line[colon? + 1..];
        memchr::memchr(0, value).map(|at| at + name.len() + 1)
    });
    let bad = bad.or_else(|| (colon == Some(0)).then_some(0));
    match bad {
        None => Ok(()),
        Some(at) => Err(InvalidField(line[..at].to_vec(), line[at])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &'static str) -> ResponseHead {
        match parse(&Bytes::from_static(text.as_bytes())) {
            Ok(Parsed::Head(head, length)) => {
                assert_eq!(length, text.len());
                head
            }
            other => panic!("no head: {other:?}"),
        }
    }

    #[test]
    fn a_head_keeps_its_words() {
        let head = head("HTTP/1.1 418 I'm a kettle\r\nX-One:  a b \r\nEmpty:\r\nbare\n\r\n");
        assert_eq!((head.status, &*head.status_line, head.is_http11), (418, &b"418 I'm a kettle"[..], true));
        let fields: Vec<_> = head.fields.iter().map(|field| (&*field.name, &*field.value)).collect();
        assert_eq!(fields, [(&b"X-One"[..], &b"a b"[..]), (b"Empty", b""), (b"bare", b"")]);
    }

    #[test]
    fn every_prefix_of_a_head_asks_for_more() {
        let text = b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n";
        for length in 0..text.len() {
            assert!(matches!(parse(&Bytes::from_static(&text[..length])), Ok(Parsed::More)), "{length}");
        }
    }

    #[test]
    fn what_is_no_status_line_is_a_bare_body() {
        for text in ["hello", "HTTP/1.1 20x OK\r\n", "HTTP/11\n", "HTTP/ 1.1 200 OK"] {
            assert!(matches!(parse(&Bytes::from_static(text.as_bytes())), Ok(Parsed::NoHead)), "{text}");
        }
    }

    #[test]
    fn control_characters_in_names_and_zeros_in_values_are_refused() {
        let error = |text: &'static str| parse(&Bytes::from_static(text.as_bytes())).unwrap_err();
        assert_eq!(error("HTTP/1.1 200 OK\r\nA B: c\r\n\r\n"), InvalidField(b"A".to_vec(), b' '));
        assert_eq!(error("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n"), InvalidField(b"A: ".to_vec(), 0));
        assert_eq!(error("HTTP/1.1 200 OK\r\n: x\r\n\r\n"), InvalidField(Vec::new(), b':'));
    }

    proptest::proptest! {
        #[test]
        fn a_plain_field_is_one_that_passes_the_checks(line in "[a-c: \\x00\\r\\x7f]{0,6}") {
            let text = [line.as_bytes(), b"\n"].concat();
            let content = line.strip_suffix('\r').unwrap_or(&line).as_bytes();
            let is_right = check_field(content).is_ok() && content.contains(&b':');
            let expected = is_right.then(|| (memchr::memchr(b':', content).unwrap_or(0), line.len()));
            proptest::prop_assert_eq!(plain_field(&text), expected);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let mut all = b"HTTP/1.1 200 OK\r\n".to_vec();
            all.extend_from_slice(&bytes);
            let _ = (parse(&bytes.into()), parse(&all.into()));
        }
    }
}
