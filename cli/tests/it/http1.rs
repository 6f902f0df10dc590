//! HTTP/1 on raw sockets: framing, limits, keep-alive, pipelining. One request in, one interpretation.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

/// The trials of this file.
pub(crate) fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($name:ident),+ $(,)?) => {
            vec![$(Trial::test(concat!("http1::", stringify!($name)), || {
                $name();
                Ok(())
            })),+]
        };
    }
    trials!(
        ambiguous_framing_is_rejected_and_the_connection_closed,
        bad_chunks_are_rejected,
        chunk_lines_end_with_crlf_and_have_limits,
        extensions_and_trailers_of_chunks_are_ignored,
        line_ends_and_control_characters_are_judged_as_nginx_does,
        hosts_are_checked,
        versions_and_methods_are_checked,
        heads_have_limits,
        pipelined_requests_are_answered_in_order,
        an_unread_body_does_not_become_a_request,
        bytes_behind_a_refused_request_are_not_read,
        heads_that_come_byte_by_byte_are_understood,
        bodies_over_the_limit_are_refused_before_they_are_read,
        paths_stay_below_the_root,
        idle_connections_are_closed_in_time,
        error_pages_redirect_internally,
        locations_are_chosen_as_nginx_chooses,
    )
}

/// A server of its own for a test; it ends with the test.
struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is ours and may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server with these directives in its one `server { }`.
fn serve(directives: &str) -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["logs", "html", "conf"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder inside");
    }
    for attempt in 0..20 {
        // A free port may be taken by somebody else before the server gets it: then another one is tried.
        let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = probe.local_addr().expect("its address").port();
        drop(probe);
        let conf = format!(
            "daemon off; master_process off; pid logs/nginx.pid; error_log logs/error.log info;
             events {{ }}
             http {{ server {{ listen 127.0.0.1:{port}; {directives} }} }}"
        );
        std::fs::write(folder.path().join("conf/nginx.conf"), conf).expect("a configuration");
        let mut child = Command::new(env!("CARGO_BIN_EXE_rsty"))
            .args(["serve", "-p"])
            .arg(folder.path())
            .args(["-c", "conf/nginx.conf"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server");
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Server { child, port, folder };
            }
            if child.try_wait().expect("its status").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        assert!(attempt < 19, "the server does not start: {}", error_log(&folder.path().join("logs/error.log")));
    }
    unreachable!("the last attempt panics")
}

fn error_log(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    }

    /// Sends bytes, reads until the server closes.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("sending");
        let mut answer = Vec::new();
        // A reset behind the answer is as good as an end.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The statuses of all answers to these bytes.
    fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        statuses(&self.exchange(bytes))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("logs/error.log")
    }
}

fn statuses(answer: &str) -> Vec<u16> {
    let found = answer.match_indices("HTTP/1.1 ").filter_map(|(at, prefix)| answer.get(at + prefix.len()..)?.get(..3));
    found.filter_map(|status| status.parse().ok()).collect()
}

const PLAIN: &str = "location / { return 200 ok; }";

fn get(headers: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n{body}").into_bytes()
}

fn ambiguous_framing_is_rejected_and_the_connection_closed() {
    let server = serve(PLAIN);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for (headers, status) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", 400),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", 400),
        ("Content-Length: +1\r\n", 400),
        ("Content-Length: 1, 1\r\n", 400),
        ("Content-Length: 12345678901234567890\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 501),
        ("Transfer-Encoding: chunked, identity\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding: \tchunked\r\n", 501),
        ("Transfer-Encoding: \x0bchunked\r\n", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
    ] {
        assert_eq!(server.statuses(&post(headers, smuggled)), [status], "{headers:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(server.statuses(old.as_bytes()), [400]);
}

fn bad_chunks_are_rejected() {
    let server = serve("location / { client_body_buffer_size 1k; return 200 $request_body; }");
    for chunk in ["0x1\r\na\r\n0\r\n\r\n", "-1\r\na\r\n0\r\n\r\n", "11111111111111111\r\n", "1\r\nabc\r\n0\r\n\r\n"] {
        let answer = server.statuses(&post("Transfer-Encoding: chunked\r\nConnection: close\r\n", chunk));
        assert!(answer.len() <= 1, "{chunk:?}: {answer:?}");
    }
    // Behind a bad chunk there is no request.
    let smuggled = "zz\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(server.statuses(&post("Transfer-Encoding: chunked\r\n", smuggled)).len(), 1);
}

fn chunk_lines_end_with_crlf_and_have_limits() {
    let server = serve("location / { content_by_lua_block { ngx.req.read_body() ngx.say(ngx.req.get_body_data()) } }");
    let ask = |chunks: &str| server.statuses(&post("Transfer-Encoding: chunked\r\nConnection: close\r\n", chunks));
    assert_eq!(ask("1\r\na\r\n0\r\n\r\n"), [200]);
    for bad in ["1\na\r\n0\r\n\r\n", "1\r\na\n0\r\n\r\n", "1;x\na\r\n0\r\n\r\n", "1\r\nab\r\n0\r\n\r\n"] {
        assert_eq!(ask(bad), [400], "{bad:?}");
    }
    assert_eq!(ask(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(100_000))), [400]);
    assert_eq!(ask(&format!("1\r\na\r\n0\r\n{}\r\n", "A: b\r\n".repeat(20_000))), [400]);
    // An expectation that nobody knows is none.
    assert_eq!(server.statuses(&get("Expect: x\r\n")), [200]);
}

fn extensions_and_trailers_of_chunks_are_ignored() {
    let server = serve(PLAIN);
    let body = "1;a=b\r\nx\r\n0\r\nContent-Length: 99\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(server.statuses(&post("Transfer-Encoding: chunked\r\n", body)), [200, 200]);
}

fn line_ends_and_control_characters_are_judged_as_nginx_does() {
    let server = serve(PLAIN);
    assert_eq!(server.statuses(b"GET / HTTP/1.1\nHost: h\nConnection: close\n\n"), [200]);
    assert_eq!(server.statuses(&get("A: b\rc\r\n")), [400]);
    assert_eq!(server.statuses(&get("A: b\0c\r\n")), [400]);
    assert_eq!(server.statuses(&get("A: b\r\n folded\r\n")), [400]);
}

fn hosts_are_checked() {
    let server = serve(PLAIN);
    assert_eq!(server.statuses(b"GET / HTTP/1.1\r\n\r\n"), [400]);
    assert_eq!(server.statuses(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), [400]);
    assert_eq!(server.statuses(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), [400]);
    assert_eq!(server.statuses(b"GET http://a/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"), [200]);
}

fn versions_and_methods_are_checked() {
    let server = serve(PLAIN);
    let request = |line: &str| format!("{line}\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes();
    assert_eq!(server.statuses(&request("GET / HTTP/1.2")), [200]);
    assert_eq!(server.statuses(&request("GET / HTTP/2.0")), [505]);
    assert_eq!(server.statuses(&request("get / HTTP/1.1")), [400]);
    assert_eq!(server.statuses(&request("TRACE / HTTP/1.1")), [405]);
    assert_eq!(server.statuses(&request("CONNECT h:80 HTTP/1.1")), [405]);
    assert_eq!(server.exchange(b"GET /\r\n"), "ok");
}

fn heads_have_limits() {
    let server = serve(PLAIN);
    let long = |length: usize| "x".repeat(length);
    let line = |length: usize| {
        let fixed = "GET / HTTP/1.1\r\n".len();
        format!("GET /{} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", long(length - fixed)).into_bytes()
    };
    assert_eq!(server.statuses(&line(8192)), [200]);
    assert_eq!(server.statuses(&line(8193)), [414]);
    let header = |length: usize| format!("A: {}\r\n", long(length - "A: \r\n".len()));
    assert_eq!(server.statuses(&get(&header(8192))), [200]);
    assert_eq!(server.statuses(&get(&header(8193))), [400]);
    assert_eq!(server.statuses(&get(&header(8000).repeat(5))), [400]);
    assert_eq!(server.statuses(&get(&"A: b\r\n".repeat(1001))), [400]);
}

fn pipelined_requests_are_answered_in_order() {
    let server = serve("location / { return 200 $uri; }");
    let mut requests = String::new();
    for number in 0..20 {
        let _ = write!(requests, "GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    requests.push_str("GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = server.exchange(requests.as_bytes());
    assert_eq!(statuses(&answer), [200; 21]);
    let bodies: Vec<_> = answer.split("\r\n\r\n").skip(1).filter_map(|part| part.split("HTTP/1.1").next()).collect();
    let expected: Vec<_> = (0..20).map(|number| format!("/{number}")).chain(["/last".into()]).collect();
    assert_eq!(bodies, expected);
}

fn an_unread_body_does_not_become_a_request() {
    let server = serve(PLAIN);
    let body = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
    let first = post(&format!("Content-Length: {}\r\n", body.len()), body);
    let all = [first, get("")].concat();
    assert_eq!(server.statuses(&all), [200, 200]);
}

fn bytes_behind_a_refused_request_are_not_read() {
    let server = serve(PLAIN);
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(statuses(&answer), [400]);
    assert!(answer.contains("Connection: close\r\n"));
}

fn heads_that_come_byte_by_byte_are_understood() {
    let server = serve(PLAIN);
    let mut stream = server.connect();
    for byte in get("X: y\r\n") {
        stream.write_all(&[byte]).expect("sending");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(statuses(&answer), [200]);
}

fn bodies_over_the_limit_are_refused_before_they_are_read() {
    let server = serve("client_max_body_size 10; location / { return 200 ok; }");
    let answer = server.exchange(&post("Content-Length: 11\r\nConnection: close\r\n", "hello world"));
    assert_eq!(statuses(&answer), [413], "{answer}");
    assert_eq!(server.statuses(&post("Content-Length: 10\r\nConnection: close\r\n", "0123456789")), [200]);
}

fn paths_stay_below_the_root() {
    let server = serve("location / { root html; }");
    std::fs::write(server.folder.path().join("secret"), "s").expect("a file");
    for path in ["/../secret", "/%2e%2e/secret", "/a%2f..%2f..%2fsecret", "/%00", "/..%2fsecret"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert_eq!(server.statuses(request.as_bytes()), [400], "{path}");
    }
    let request = "GET /..\\secret HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(server.statuses(request.as_bytes()), [404]);
}

fn idle_connections_are_closed_in_time() {
    let server = serve("keepalive_timeout 100ms; client_header_timeout 100ms; location / { return 200 ok; }");
    let begin = Instant::now();
    assert_eq!(server.statuses(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"), [200]);
    assert_eq!(server.exchange(b"GET / HT"), "");
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(error_log(&server.log_path()).contains("client timed out (110: Connection timed out) while reading"));
}

fn error_pages_redirect_internally() {
    let server = serve(
        "error_page 404 =201 /made; error_page 403 @named; error_page 410 http://x/;
         location = /made { return 200 made; }
         location @named { return 402; }
         location = /forbidden { return 403; }
         location = /gone { return 410; }
         location = /inner { internal; return 200 inner; }
         location / { return 404; }",
    );
    let at =
        |path: &str| server.exchange(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes());
    let made = at("/nothing");
    assert!(made.starts_with("HTTP/1.1 201 Created\r\n") && made.ends_with("made"), "{made}");
    assert_eq!(statuses(&at("/forbidden")), [402]);
    let gone = at("/gone");
    assert!(
        gone.starts_with("HTTP/1.1 302 Moved Temporarily\r\n") && gone.contains("Location: http://x/\r\n"),
        "{gone}"
    );
    assert_eq!(statuses(&at("/inner")), [201]);
}

fn locations_are_chosen_as_nginx_chooses() {
    let server = serve(
        "location = /e { return 200 exact; }
         location /p/ { return 200 prefix; }
         location /p/longer/ { return 200 longer; }
         location ^~ /q/ { return 200 noregex; }
         location ~ \\.php$ { return 200 regex; }
         location ~* \\.GIF$ { return 200 caseless; }
         location /n/ { location ~ in { return 200 nested; } return 200 outer; }
         location / { return 200 root; }",
    );
    for (path, body) in [
        ("/e", "exact"),
        ("/e/", "root"),
        ("/p/x", "prefix"),
        ("/p/longer/x", "longer"),
        ("/p/x.php", "regex"),
        ("/q/x.php", "noregex"),
        ("/x.gif", "caseless"),
        ("/n/inner", "nested"),
        ("/n/x", "outer"),
    ] {
        let answer = server.exchange(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{path}: {answer}");
    }
}
