//! From the request sections of a block to the bytes on the wire.

use crate::model::{Block, Value};
use crate::run::expand::{ExpandError, Expander};

/// Bytes sent in one go.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Seconds to wait before sending them; `None` means the block's own delay between packets.
    pub delay: Option<f64>,
}

/// What goes over one connection.
pub type Request = Vec<Packet>;

/// Why a block has no usable request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A variable could not be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// `more_headers` is a list that is too short.
    #[error("--- more_headers lacks data for the request {0}")]
    MissingHeaders(usize),
    /// There is no request line.
    #[error("Request line should be non-empty")]
    NoRequest,
    /// The request line has more than three words.
    #[error("Request line is not valid. Should be 'meth [url [version]]' but got \"{0}\".")]
    RequestLine(String),
    /// A section has a value of the wrong kind.
    #[error("invalid value of --- {0}")]
    WrongKind(&'static str),
}

/// All requests of a block, in the order of sending. `evaluated` is the value of a `request_eval` section.
pub fn requests(
    block: &Block,
    evaluated: Option<Value>,
    server_name: &[u8],
    expander: &mut Expander<'_>,
) -> Result<Vec<Request>, RequestError> {
    if let Some(raw) = block.value("raw_request") {
        return Ok(vec![raw_request(&raw)]);
    }
    let headers = block.value("more_headers").filter(Value::is_true).unwrap_or_else(|| Value::from(""));
    let builder = Builder { headers: &headers, server_name };
    if let Some(pipelined) = block.value("pipelined_requests").filter(Value::is_true) {
        let Value::Array(items) = &pipelined else { return Err(RequestError::WrongKind("pipelined_requests")) };
        let items = items.borrow().clone();
        let mut bytes = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let text = expander.expand(&item.to_bytes())?;
            let connection = if index + 1 == items.len() { Connection::Close } else { Connection::KeepAlive };
            bytes.extend(builder.build(index, connection, &[text])?.concat());
        }
        return Ok(vec![vec![Packet { bytes, delay: None }]]);
    }
    match evaluated.or_else(|| block.value("request")).unwrap_or_default() {
        Value::Array(items) => {
            let items = items.borrow().clone();
            items.iter().enumerate().map(|(index, item)| one_of_many(&builder, index, item)).collect()
        }
        value if value.reference_kind().is_empty() => {
            let text = without_comments(&value.to_bytes()).to_vec();
            let bytes = builder.build(0, Connection::Close, &[text])?.concat();
            Ok(vec![vec![Packet { bytes, delay: None }]])
        }
        _ => Err(RequestError::WrongKind("request")),
    }
}

fn raw_request(value: &Value) -> Request {
    let packet = |value: &Value| Packet { bytes: value.to_bytes().to_vec(), delay: None };
    match value {
        Value::Array(items) => items.borrow().iter().map(packet).collect(),
        other => vec![packet(other)],
    }
}

/// One element of a `request` list: text, or a list of packets.
fn one_of_many(builder: &Builder<'_>, index: usize, item: &Value) -> Result<Request, RequestError> {
    let Value::Array(packets) = item else {
        let bytes = builder.build(index, Connection::Close, &[item.to_bytes().to_vec()])?.concat();
        return Ok(vec![Packet { bytes, delay: None }]);
    };
    let mut texts = Vec::new();
    let mut delays = Vec::new();
    for packet in packets.borrow().iter() {
        if let Value::Hash(hash) = packet {
            let hash = hash.borrow();
            texts.push(hash.get(b"value").map(|value| value.to_bytes().to_vec()).unwrap_or_default());
            delays.push(hash.get(b"delay_before").filter(|delay| delay.is_defined()).map(Value::to_number));
        } else {
            texts.push(packet.to_bytes().to_vec());
            delays.push(None);
        }
    }
    let built = builder.build(index, Connection::Close, &texts)?;
    let delays = delays.into_iter().chain(std::iter::repeat(None));
    Ok(built.into_iter().zip(delays).map(|(bytes, delay)| Packet { bytes, delay }).collect())
}

/// The text without blanks and comment lines in front.
fn without_comments(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        let Some(comment) = text.strip_prefix(b"#") else { return text };
        // A comment needs a character behind its `#`, and a line behind itself.
        let length = comment.iter().take_while(|byte| **byte != b'\n').count();
        match comment.get(length..) {
            Some(rest) if length > 0 && !rest.is_empty() => text = rest,
            _ => return text,
        }
    }
}

#[derive(Clone, Copy)]
enum Connection {
    Close,
    KeepAlive,
}

struct Builder<'a> {
    headers: &'a Value,
    server_name: &'a [u8],
}

impl Builder<'_> {
    /// The complete request, cut where the packets of its source were cut.
    fn build(&self, index: usize, connection: Connection, packets: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, RequestError> {
        let source = packets.concat();
        let line = RequestLine::parse(&source)?;
        let headers = match self.headers {
            Value::Array(items) => {
                let item = items.borrow().get(index).cloned().filter(Value::is_defined);
                MoreHeaders::parse(&item.ok_or(RequestError::MissingHeaders(index))?.to_bytes())
            }
            text => MoreHeaders::parse(&text.to_bytes()),
        };
        let mut body = line.body.to_vec();
        let mut head = Vec::new();
        if !headers.has_prefix(b"host:") {
            head.extend_from_slice(&[b"Host: ", self.server_name, b"\r\n"].concat());
        }
        if !headers.has_prefix(b"connection") {
            let value: &[u8] = match connection {
                Connection::Close => b"close",
                Connection::KeepAlive => b"keep-alive",
            };
            head.extend_from_slice(&[b"Connection: ", value, b"\r\n"].concat());
        }
        head.extend_from_slice(&headers.text);
        let has_length = headers.lines().any(|line| line.starts_with(b"Content-Length:"));
        if !headers.chunked && !body.is_empty() && !has_length {
            body = trim(&body).to_vec();
            head.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        Ok(cut(line.pieces(head, body), packets))
    }
}

/// A piece of the source that becomes other bytes. `length` 0 is an insertion, empty `bytes` a removal.
struct Piece {
    length: usize,
    bytes: Vec<u8>,
}

struct RequestLine<'a> {
    before: usize,
    words: Vec<(&'a [u8], usize)>,
    after: usize,
    body: &'a [u8],
}

impl<'a> RequestLine<'a> {
    fn parse(source: &'a [u8]) -> Result<Self, RequestError> {
        let end = memchr::memchr(b'\n', source).map_or(source.len(), |at| at + 1);
        let (first, body) = source.split_at(end);
        if first.is_empty() || first == b"0" {
            return Err(RequestError::NoRequest);
        }
        let invalid = || RequestError::RequestLine(String::from_utf8_lossy(first).into_owned());
        let mut rest = trim(first);
        let before = first.iter().take_while(|byte| is_blank(**byte)).count();
        let after = first.len().saturating_sub(before + rest.len());
        let mut words = Vec::new();
        while !rest.is_empty() {
            let (word, behind) = rest.split_at(rest.iter().take_while(|byte| !is_blank(**byte)).count());
            // Only spaces may stand between the words.
            let spaces = behind.iter().take_while(|byte| **byte == b' ').count();
            if word.is_empty() {
                return Err(invalid());
            }
            words.push((word, spaces));
            rest = behind.get(spaces..).unwrap_or_default();
        }
        if words.is_empty() || words.len() > 3 {
            return Err(invalid());
        }
        Ok(Self { before, words, after, body })
    }

    fn pieces(&self, head: Vec<u8>, body: Vec<u8>) -> Vec<Piece> {
        let mut pieces = vec![Piece { length: self.before, bytes: Vec::new() }];
        let defaults: [(&[u8], &[u8]); 3] = [(b"GET", b" "), (b"/", b" "), (b"HTTP/1.1", b"\r\n")];
        for (index, (default, end)) in defaults.into_iter().enumerate() {
            let (word, spaces) = self.words.get(index).copied().unwrap_or((b"", 0));
            let text = if word.is_empty() { default } else { word };
            pieces.push(Piece { length: word.len(), bytes: [text, end].concat() });
            pieces.push(Piece { length: spaces, bytes: Vec::new() });
        }
        pieces.push(Piece { length: self.after, bytes: Vec::new() });
        pieces.push(Piece { length: 0, bytes: head });
        pieces.push(Piece { length: self.body.len(), bytes: body });
        pieces
    }
}

/// Applies the pieces, keeping the cuts between packets: where a cut falls inside a piece, as many of the piece's
/// new bytes as it had old ones on that side stay there.
fn cut(pieces: Vec<Piece>, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if packets.len() < 2 {
        return vec![pieces.into_iter().flat_map(|piece| piece.bytes).collect()];
    }
    let mut lengths = packets.iter().map(Vec::len);
    let mut room = lengths.next().unwrap_or(0);
    let mut out = Vec::new();
    let mut current = Vec::new();
    for mut piece in pieces {
        while piece.length > room {
            let taken = room.min(piece.bytes.len());
            current.extend(piece.bytes.drain(..taken));
            piece.length -= room;
            if !current.is_empty() {
                out.push(std::mem::take(&mut current));
            }
            match lengths.next() {
                Some(length) => room = length,
                None => break,
            }
        }
        room = room.saturating_sub(piece.length);
        current.append(&mut piece.bytes);
    }
    if !current.is_empty() {
        out.push(current);
    }
    out
}

/// The lines of `more_headers`, as they are sent.
struct MoreHeaders {
    text: Vec<u8>,
    chunked: bool,
}

impl MoreHeaders {
    fn parse(source: &[u8]) -> Self {
        let mut more = Self { text: Vec::new(), chunked: false };
        for line in source.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if line.trim_ascii_start().starts_with(b"#") {
                continue;
            }
            let (key, value) = line.split_at(memchr::memchr(b':', line).unwrap_or(line.len()));
            let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii_start();
            more.chunked |= key.eq_ignore_ascii_case(b"transfer-encoding") && value == b"chunked";
            more.text.extend_from_slice(&[key, b": ", value, b"\r\n"].concat());
        }
        more
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|byte| *byte == b'\n')
    }

    fn has_prefix(&self, lower: &[u8]) -> bool {
        self.lines().any(|line| line.get(..lower.len()).is_some_and(|start| start.eq_ignore_ascii_case(lower)))
    }
}

/// Perl's `\s`, which includes the vertical tab.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(*byte)).map_or(start, |at| at + 1);
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rsty_diag::Span;

    use super::*;

    fn built(sections: &[(&str, Value)]) -> Result<Vec<Vec<String>>, RequestError> {
        let block = Block::new(b"x".to_vec(), Vec::new(), Span::at(0), 1, 1);
        for (name, value) in sections {
            block.set_value(name, value.clone());
        }
        let variables = BTreeMap::new();
        let requests = requests(&block, None, b"localhost", &mut Expander::new(&variables, 1984))?;
        let text = |packet: Packet| String::from_utf8_lossy(&packet.bytes).into_owned();
        Ok(requests.into_iter().map(|request| request.into_iter().map(text).collect()).collect())
    }

    #[test]
    fn a_method_alone_is_enough() {
        let built = built(&[("request", Value::from("GET\n"))]).unwrap();
        assert_eq!(built, [["GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]]);
    }

    #[test]
    fn blanks_and_comments_in_front_are_dropped() {
        let built = built(&[("request", Value::from("  # why\n#more\n   GET  /a   HTTP/1.0 \n"))]).unwrap();
        assert_eq!(built, [["GET /a HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n"]]);
    }

    #[test]
    fn a_body_gets_its_length_and_loses_blanks_around_it() {
        let built = built(&[("request", Value::from("POST /a\n  hello\n world\n"))]).unwrap();
        assert!(built[0][0].ends_with("Connection: close\r\nContent-Length: 12\r\n\r\nhello\n world"), "{built:?}");
    }

    #[test]
    fn an_own_length_keeps_the_body_as_it_is() {
        let headers = Value::from("Content-Length: 3\n# no\nX:y\nHOST: a\nConnection-Not: x\n");
        let built = built(&[("request", Value::from("POST /a\nhi\n")), ("more_headers", headers)]).unwrap();
        let expected = "POST /a HTTP/1.1\r\nContent-Length: 3\r\nX: y\r\nHOST: a\r\nConnection-Not: x\r\n\r\nhi\n";
        assert_eq!(built, [[expected]]);
    }

    #[test]
    fn a_chunked_body_is_sent_as_it_is() {
        let headers = Value::from("Transfer-Encoding: chunked");
        let built = built(&[("request", Value::from("POST /a\n2\r\nhi\r\n")), ("more_headers", headers)]).unwrap();
        assert!(built[0][0].ends_with("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"), "{built:?}");
    }

    #[test]
    fn pipelined_requests_share_a_connection() {
        let list = Value::array(vec![Value::from("GET /a"), Value::from("GET /b")]);
        let built = built(&[("pipelined_requests", list)]).unwrap();
        assert_eq!(built.len(), 1);
        assert!(built[0][0].contains("/a HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\nGET /b"));
        assert!(built[0][0].ends_with("Connection: close\r\n\r\n"));
    }

    #[test]
    fn packets_keep_their_cuts() {
        let texts = ["GE", "T /a HTTP/1.1\n", "bo", "dy"];
        let packets = Value::array(texts.into_iter().map(Value::from).collect());
        let built = built(&[("request", Value::array(vec![packets]))]).unwrap();
        assert_eq!(built[0].first().map(String::as_str), Some("GE"));
        assert_eq!(built[0].last().map(String::as_str), Some("dy"));
        assert!(built[0].concat().starts_with("GET /a HTTP/1.1\r\n"), "{built:?}");
    }

    #[test]
    fn too_many_words_or_none_are_errors() {
        assert!(matches!(built(&[("request", Value::from("GET /a b c"))]), Err(RequestError::RequestLine(_))));
        assert_eq!(built(&[]), Err(RequestError::NoRequest));
    }
}
