//! One request over HTTP/2 with prior knowledge, in the place of curl, which the original runs for it.
//!
//! The request comes as the bytes of an HTTP/1 one, and what came back is handed over as `curl -i` prints it, so that
//! everything behind this module stays the same. Failures are worded as curl words them, since specs quote that.
//! The frames are `h2`'s own: a complete HTTP client would add headers, and specs look at every one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, Version};

/// What to send, and where.
#[derive(Debug)]
pub struct Http2Exchange<'a> {
    /// The server.
    pub address: SocketAddr,
    /// The request as HTTP/1 would have it.
    pub request: &'a [u8],
    /// The longest time for all of it.
    pub limit: Duration,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http2Outcome {
    /// What came, as `curl -i` prints it.
    pub received: Vec<u8>,
    /// What curl would complain about.
    pub complaint: Option<String>,
}

/// Sends the request and receives the response.
pub fn exchange_http2(plan: &Http2Exchange<'_>) -> Http2Outcome {
    let mut outcome = Http2Outcome::default();
    let start = Instant::now();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            outcome.complaint = Some(format!("no event loop: {error}"));
            return outcome;
        }
    };
    let result = runtime.block_on(async {
        let work = converse(plan, &mut outcome.received);
        tokio::time::timeout(plan.limit, work).await
    });
    outcome.complaint = match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!(
            "curl: (28) Operation timed out after {} milliseconds with {} bytes received",
            start.elapsed().as_millis(),
            outcome.received.len()
        )),
    };
    outcome
}

/// Failures, in curl's words.
#[derive(Debug, thiserror::Error)]
enum Http2Error {
    #[error("curl: (3) URL using bad/illegal format or missing URL: {0}")]
    BadRequest(String),
    #[error("curl: (7) Failed to connect to {} port {} after 0 ms: Could not connect to server", .0.ip(), .0.port())]
    Connect(SocketAddr),
    #[error("curl: (52) Empty reply from server")]
    Empty,
    #[error("curl: (56) {0}")]
    Receive(String),
    #[error("curl: (92) HTTP/2 stream 1 reset by server (error {:#x} {})", u32::from(*.0), name(*.0))]
    Reset(h2::Reason),
}

async fn converse(plan: &Http2Exchange<'_>, received: &mut Vec<u8>) -> Result<(), Http2Error> {
    let (request, body) = request(plan)?;
    let stream = tokio::net::TcpStream::connect(plan.address).await.map_err(|_| Http2Error::Connect(plan.address))?;
    let (client, connection) = h2::client::handshake(stream).await.map_err(failure)?;
    // The connection must be driven beside the exchange; its own failure shows there, too.
    let mut connection = std::pin::pin!(connection);
    let exchange = exchange(client, request, body, received);
    let mut exchange = std::pin::pin!(exchange);
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            result = &mut exchange => return result,
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

async fn exchange(
    client: h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
    received: &mut Vec<u8>,
) -> Result<(), Http2Error> {
    let mut client = client.ready().await.map_err(failure)?;
    let (response, mut sending) = client.send_request(request, body.is_empty()).map_err(failure)?;
    if !body.is_empty() {
        sending.send_data(body, true).map_err(failure)?;
    }
    let response = response.await.map_err(failure)?;
    received.extend_from_slice(&head(&response));
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(failure)?;
        received.extend_from_slice(&piece);
        // The window is ours to open again; a closed stream no longer cares.
        let _ = body.flow_control().release_capacity(piece.len());
    }
    if let Some(trailers) = body.trailers().await.map_err(failure)? {
        for (name, value) in &trailers {
            received.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
    }
    Ok(())
}

fn failure(error: h2::Error) -> Http2Error {
    match error.reason() {
        Some(h2::Reason::NO_ERROR) => Http2Error::Empty,
        Some(reason) if error.is_reset() => Http2Error::Reset(reason),
        _ if error.is_io() => Http2Error::Empty,
        _ => Http2Error::Receive(error.to_string()),
    }
}

/// The protocol's name of a reason, as curl prints it.
fn name(reason: h2::Reason) -> String {
    format!("{reason:?}")
}

/// The head of a response as `curl -i` prints it.
fn head(response: &Response<h2::RecvStream>) -> Vec<u8> {
    let mut head = format!("HTTP/2 {} \r\n", response.status().as_u16()).into_bytes();
    for (name, value) in response.headers() {
        head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The request in HTTP/2's terms. Headers that only mean something to a connection are left out.
fn request(plan: &Http2Exchange<'_>) -> Result<(Request<()>, Bytes), Http2Error> {
    let end = memchr::memmem::find(plan.request, b"\r\n\r\n");
    let (head, body) = match end {
        Some(at) => (plan.request.get(..at).unwrap_or_default(), plan.request.get(at + 4..).unwrap_or_default()),
        None => (plan.request, b"".as_slice()),
    };
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let bad = || Http2Error::BadRequest(line.to_owned());
    let mut words = line.split_ascii_whitespace();
    let method = Method::from_bytes(words.next().unwrap_or_default().as_bytes()).map_err(|_| bad())?;
    let path = words.next().ok_or_else(bad)?;
    let mut authority = plan.address.to_string();
    let mut request = Request::builder().method(method).version(Version::HTTP_2);
    for (header, value) in lines.filter_map(|line| line.split_once(':')) {
        let (header, value) = (header.trim(), value.trim());
        if header.eq_ignore_ascii_case("host") {
            value.clone_into(&mut authority);
        } else if !["connection", "transfer-encoding", "keep-alive", "upgrade"]
            .iter()
            .any(|own| header.eq_ignore_ascii_case(own))
        {
            let name = HeaderName::from_bytes(header.as_bytes());
            let value = HeaderValue::from_bytes(value.as_bytes());
            let (Ok(name), Ok(value)) = (name, value) else { return Err(bad()) };
            request = request.header(name, value);
        }
    }
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build().map_err(|_| bad())?;
    let request = request.uri(uri).body(()).map_err(|_| bad())?;
    Ok((request, Bytes::copy_from_slice(body)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers one stream, or resets it where `reset` says so. Yields its address.
    fn serve(reset: Option<h2::Reason>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    if let Some(reason) = reset {
                        respond.send_reset(reason);
                        continue;
                    }
                    let names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
                    let text = format!("{} {} [{}]", request.method(), request.uri(), names.join(","));
                    let response = Response::builder().header("x-a", "b").body(()).unwrap();
                    let mut sending = respond.send_response(response, false).unwrap();
                    sending.send_data(Bytes::from(text), true).unwrap();
                }
            });
        });
        address
    }

    fn ask(address: SocketAddr, request: &str) -> Http2Outcome {
        exchange_http2(&Http2Exchange { address, request: request.as_bytes(), limit: Duration::from_secs(5) })
    }

    #[test]
    fn the_answer_reads_as_curl_prints_it() {
        let request = "POST /t?a=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Y: z\r\n\r\nbody";
        let outcome = ask(serve(None), request);
        let expected = "HTTP/2 200 \r\nx-a: b\r\n\r\nPOST http://localhost/t?a=1 [x-y]";
        assert_eq!(String::from_utf8_lossy(&outcome.received), expected);
        assert_eq!(outcome.complaint, None);
    }

    #[test]
    fn failures_are_worded_as_curl_words_them() {
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let outcome = ask(serve(Some(h2::Reason::INTERNAL_ERROR)), request);
        let text = "curl: (92) HTTP/2 stream 1 reset by server (error 0x2 INTERNAL_ERROR)";
        assert_eq!(outcome, Http2Outcome { received: Vec::new(), complaint: Some(text.to_owned()) });
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let complaint = ask(free, request).complaint.unwrap();
        assert!(complaint.starts_with("curl: (7) Failed to connect to 127.0.0.1 port "), "{complaint}");
    }

    #[test]
    fn silence_is_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Http2Exchange { address, request: b"GET / HTTP/1.1\r\n\r\n", limit: Duration::from_millis(100) };
        let complaint = exchange_http2(&plan).complaint.unwrap();
        assert!(complaint.ends_with("with 0 bytes received"), "{complaint}");
    }
}
