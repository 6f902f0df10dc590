//! Requests as `Test::Nginx::LWP` sends them: through a complete HTTP client, with that client's own headers.
//!
//! The client names itself, offers to take trailers, and follows redirections of GET and HEAD.

use crate::model::{Block, Value};
use crate::run::repeat::seconds;
use crate::run::wire::{Packet, Request, RequestError};

/// The most redirections that are followed.
pub const REDIRECTIONS_MAX: usize = 7;

/// The request of a block.
pub fn lwp_request(block: &Block, port: u16) -> Result<Request, RequestError> {
    let text = |name: &str| block.value(name).map(|value| value.to_bytes().to_vec()).unwrap_or_default();
    let source = text("request");
    let end = memchr::memchr(b'\n', &source).unwrap_or(source.len());
    let (line, body) = source.split_at(end);
    let line = String::from_utf8_lossy(line.trim_ascii()).into_owned();
    let (method, path) = line.split_once(char::is_whitespace).unwrap_or((&line, "/"));
    if method.is_empty() {
        return Err(RequestError::NoRequest);
    }
    let body = body.trim_ascii();
    let mut headers: Vec<(String, String)> = Vec::new();
    // A later header of the same name replaces an earlier one.
    for line in [text("request_headers"), text("more_headers")].concat().split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        if let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with('#')) {
            set(&mut headers, name.trim(), value.trim());
        }
    }
    let mut packets = Vec::new();
    let has_body = matches!(method, "POST" | "PUT");
    if !body.is_empty() {
        set_default(&mut headers, "Content-Length", &body.len().to_string());
    } else if has_body {
        set_default(&mut headers, "Content-Type", "text/plain");
        match block.value("chunked_body") {
            Some(Value::Array(chunks)) => {
                set_default(&mut headers, "Transfer-Encoding", "chunked");
                let delay = |name: &str| block.value(name).map_or(0.0, |value| seconds(&value.to_bytes()));
                packets = chunked(&chunks.borrow(), delay("start_chunk_delay"), delay("middle_chunk_delay"));
            }
            Some(_) => return Err(RequestError::WrongKind("chunked_body")),
            None => set_default(&mut headers, "Content-Length", "0"),
        }
    }
    let mut head = head(method, path.trim(), port, &headers).into_bytes();
    head.extend_from_slice(body);
    packets.insert(0, Packet { bytes: head, delay: None });
    Ok(packets)
}

/// The request that follows a redirection, if the answer is one that the client follows.
pub fn lwp_redirection(method: &str, status: &[u8], location: Option<&[u8]>, port: u16) -> Option<Request> {
    let follows = matches!(method, "GET" | "HEAD") && matches!(status, b"301" | b"302" | b"303" | b"307" | b"308");
    let location = String::from_utf8_lossy(location.filter(|_| follows)?).into_owned();
    let own = [format!("http://localhost:{port}"), format!("http://127.0.0.1:{port}")];
    let path = match own.iter().find_map(|own| location.strip_prefix(own.as_str())) {
        Some("") => "/",
        Some(path) => path,
        None if location.starts_with('/') => &location,
        // Another server is none of the test's.
        None => return None,
    };
    Some(vec![Packet { bytes: head(method, path, port, &[]).into_bytes(), delay: None }])
}

fn head(method: &str, path: &str, port: u16, headers: &[(String, String)]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nTE: deflate,gzip;q=0.3\r\nConnection: TE, close\r\n");
    let has = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if !has("Host") {
        head.push_str(&format!("Host: localhost:{port}\r\n"));
    }
    if !has("User-Agent") {
        head.push_str("User-Agent: Test::Nginx::LWP\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}

fn chunked(chunks: &[Value], start: f64, middle: f64) -> Vec<Packet> {
    let mut packets: Vec<Packet> = Vec::with_capacity(chunks.len() + 1);
    for (index, chunk) in chunks.iter().enumerate() {
        let chunk = chunk.to_bytes();
        let bytes = [format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat();
        packets.push(Packet { bytes, delay: Some(if index == 0 { start } else { middle }) });
    }
    packets.push(Packet { bytes: b"0\r\n\r\n".to_vec(), delay: Some(middle) });
    packets
}

fn set(headers: &mut Vec<(String, String)>, name: &str, value: &str) {
    headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    headers.push((name.to_owned(), value.to_owned()));
}

fn set_default(headers: &mut Vec<(String, String)>, name: &str, value: &str) {
    if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
        headers.push((name.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use rsty_diag::Span;

    use super::*;

    fn block(sections: &[(&str, Value)]) -> Block {
        let block = Block::new(b"x".to_vec(), Vec::new(), Span::at(0), 1, 1);
        for (name, value) in sections {
            block.set_value(name, value.clone());
        }
        block
    }

    fn text(request: &Request) -> String {
        request.iter().map(|packet| String::from_utf8_lossy(&packet.bytes).into_owned()).collect()
    }

    #[test]
    fn the_client_adds_its_headers() {
        let sections = [("request", Value::from("GET /a\n")), ("more_headers", Value::from("X-A: b\n# no\n"))];
        let expected = "GET /a HTTP/1.1\r\nTE: deflate,gzip;q=0.3\r\nConnection: TE, close\r\nHost: localhost:1984\r\n\
            User-Agent: Test::Nginx::LWP\r\nX-A: b\r\n\r\n";
        assert_eq!(text(&lwp_request(&block(&sections), 1984).unwrap()), expected);
    }

    #[test]
    fn a_chunked_body_is_sent_piece_by_piece() {
        let chunks = Value::array(vec![Value::from("hello"), Value::from("world")]);
        let sections =
            [("request", Value::from("POST /a")), ("chunked_body", chunks), ("middle_chunk_delay", Value::from("0.5"))];
        let request = lwp_request(&block(&sections), 1984).unwrap();
        assert_eq!(request.len(), 4);
        assert!(text(&request).ends_with("\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"));
        assert_eq!(request[2].delay, Some(0.5));
        assert!(
            lwp_request(&block(&[("request", Value::from("POST /a")), ("chunked_body", Value::from("x"))]), 1).is_err()
        );
    }

    #[test]
    fn redirections_on_the_same_server_are_followed() {
        let to = |location: &str| lwp_redirection("GET", b"302", Some(location.as_bytes()), 1984);
        assert!(text(&to("http://localhost:1984/b?c").unwrap()).starts_with("GET /b?c HTTP/1.1\r\n"));
        assert!(text(&to("/b").unwrap()).starts_with("GET /b HTTP/1.1\r\n"));
        assert!(to("http://example.com/").is_none());
        assert!(lwp_redirection("POST", b"302", Some(b"/b"), 1984).is_none());
        assert!(lwp_redirection("GET", b"200", None, 1984).is_none());
    }
}
