//! `--- curl`: the command with which a person sends a block's request by hand.

use std::net::SocketAddr;

/// The curl command for the bytes of an HTTP/1 request.
pub fn curl_command(request: &[u8], address: SocketAddr) -> String {
    let (head, body) = match memchr::memmem::find(request, b"\r\n\r\n") {
        Some(at) => (request.get(..at).unwrap_or_default(), request.get(at + 4..).unwrap_or_default()),
        None => (request, b"".as_slice()),
    };
    let head = String::from_utf8_lossy(head).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or("GET"), words.next().unwrap_or("/"));
    let mut command = "curl -i -sS -H User-Agent: -H Accept:".to_owned();
    match method {
        "GET" => {}
        "HEAD" => command.push_str(" -I"),
        other => command.push_str(&format!(" -X {}", quoted(other))),
    }
    if words.next() == Some("HTTP/1.0") {
        command.push_str(" -0");
    }
    for line in lines {
        command.push_str(&format!(" -H {}", quoted(line)));
    }
    if !body.is_empty() {
        if !head.to_ascii_lowercase().contains("\r\ncontent-type:") {
            command.push_str(" -H Content-Type:");
        }
        command.push_str(&format!(" --data-binary {}", quoted(&String::from_utf8_lossy(body))));
    }
    command.push_str(&format!(" {}", quoted(&format!("http://{address}{path}"))));
    command
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_becomes_a_command() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1984));
        let request = b"POST /t?a=1&b HTTP/1.1\r\nHost: localhost\r\nX-A: it's\r\n\r\nhello world";
        let expected = r"curl -i -sS -H User-Agent: -H Accept: -X POST -H 'Host: localhost' -H 'X-A: it'\''s' -H Content-Type: --data-binary 'hello world' 'http://127.0.0.1:1984/t?a=1&b'";
        assert_eq!(curl_command(request, address), expected);
        let head = curl_command(b"HEAD / HTTP/1.0\r\n\r\n", address);
        assert_eq!(head, "curl -i -sS -H User-Agent: -H Accept: -I -0 http://127.0.0.1:1984/");
    }
}
