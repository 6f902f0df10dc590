//! Lua applications that run for long, are left by their clients, or talk to hostile peers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use super::client::{self, KeptAlive, Probe};
use super::ensure;
use super::server::{Bench, Server, Workers, memory_kib};
use crate::Failure;

/// Requests for each area of the API, and how many measurements are made on the way.
const REQUESTS: usize = 100_000;
const SAMPLES: usize = 20;

/// The areas, each a location, with what one request does.
const AREAS: &[(&str, &str)] = &[
    (
        "sockets",
        "local s = ngx.socket.tcp() assert(s:connect('127.0.0.1', ngx.var.server_port))
         s:send('GET /probe HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n') local r = s:receiveuntil('here\\n') r()
         s:setkeepalive(1000, 4)",
    ),
    ("timers", "ngx.timer.at(0, function() ngx.ctx.x = 1 end)"),
    ("threads", "local t = ngx.thread.spawn(function() ngx.sleep(0) return {} end) ngx.thread.wait(t)"),
    (
        "regexes",
        "ngx.re.gsub(ngx.var.request_id, '[a-f]', 'x', 'jo') ngx.re.match(ngx.var.uri, '(?<a>.)' .. math.random(9))",
    ),
    ("zones", "ngx.shared.zone:set(math.random(9999), ngx.var.request_id) ngx.shared.zone:get(math.random(9999))"),
    ("subrequests", "ngx.location.capture('/probe', { args = { a = 1 }, ctx = {} })"),
];

/// F5: an application that runs for long needs no more memory than one that runs for short.
pub(super) fn leaks(bench: &Bench) -> Result<String, Failure> {
    let mut locations = "location = /heap { content_by_lua_block { collectgarbage() collectgarbage()
        local text = string.format('%.0f', collectgarbage('count') * 1024)
        ngx.header['Content-Length'] = #text ngx.print(text) } }\n"
        .to_owned();
    for (name, lua) in AREAS {
        locations += &format!(
            "location = /{name} {{ content_by_lua_block {{ {lua}\nngx.header['Content-Length'] = 1 ngx.print('.') }} }}\n"
        );
    }
    let http = "lua_shared_dict zone 1m; keepalive_requests 10000000; lua_max_pending_timers 4096;";
    let mut server = bench.conf("F5").http(http).server(&locations).start()?;
    let mut figures = Vec::new();
    let mut grown = Vec::new();
    for (name, _) in AREAS {
        let (heap, memory) = slopes(&server, name)?;
        figures.push(format!("{name} {:+.0}/{:+.0}", heap.bytes, memory.bytes));
        // A line that does not fit the points is noise, however steep.
        let leaks = |slope: &Slope| slope.bytes >= 1000.0 && slope.fit > 0.8;
        if leaks(&heap) || leaks(&memory) {
            grown.push(format!(
                "{name}: heap {:+.0} (r² {:.2}), memory {:+.0} (r² {:.2})",
                heap.bytes, heap.fit, memory.bytes, memory.fit
            ));
        }
    }
    server.settle();
    server.finish(Workers::Same, &[])?;
    ensure(grown.is_empty(), || format!("bytes in 1000 requests: {}", grown.join("; ")))?;
    Ok(format!("bytes of Lua heap and memory in 1000 requests: {}", figures.join(", ")))
}

/// A line through measurements.
struct Slope {
    /// Bytes in a thousand requests.
    bytes: f64,
    /// How well the line fits, 0 to 1 (r²).
    fit: f64,
}

impl Slope {
    fn through(points: &[(f64, f64)]) -> Self {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum::<f64>();
        let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
        let fit = if yy == 0.0 { 1.0 } else { xy * xy / (xx * yy) };
        Self { bytes: xy / xx * 1000.0, fit }
    }
}

fn slopes(server: &Server, name: &str) -> Result<(Slope, Slope), Failure> {
    let mut connection = KeptAlive::open(server.port)?;
    let path = format!("/{name}");
    let (mut heap, mut memory) = (Vec::new(), Vec::new());
    let step = REQUESTS / SAMPLES;
    for sample in 0..=SAMPLES {
        for _ in 0..step {
            let answer = connection.get(&path)?;
            ensure(answer.status == 200, || format!("{name} answered {}", answer.status))?;
        }
        // The first half warms caches and pools up.
        if sample * 2 >= SAMPLES {
            let at = (sample * step) as f64;
            let used: f64 = connection.get("/heap")?.body.trim().parse().unwrap_or(0.0);
            heap.push((at, used));
            let resident: u64 = server.workers().iter().map(|pid| memory_kib(*pid)).sum();
            memory.push((at, resident as f64 * 1024.0));
        }
    }
    Ok((Slope::through(&heap), Slope::through(&memory)))
}

/// F6: a client that leaves after any byte leaves nothing behind; `ngx.on_abort` is called once.
pub(super) fn aborts(bench: &Bench) -> Result<String, Failure> {
    let locations = r#"
    lua_check_client_abort on;
    location = /body { content_by_lua_block {
        ngx.req.read_body()
        ngx.shared.zone:incr("bodies", 1, 0)
        ngx.say("read")
    } }
    location = /wait { content_by_lua_block {
        local zone = ngx.shared.zone
        zone:incr("begun", 1, 0)
        ngx.on_abort(function() zone:incr("aborted", 1, 0) ngx.exit(499) end)
        local s = ngx.socket.tcp()
        s:connect("127.0.0.1", ngx.var.server_port)
        ngx.thread.spawn(function() s:receive("*l") end)
        ngx.sleep(60)
    } }
    location = /seen { content_by_lua_block {
        ngx.print(ngx.shared.zone:get("begun") or 0, " ", ngx.shared.zone:get("aborted") or 0)
    } }"#;
    let server = bench.conf("F6").http("lua_shared_dict zone 64k;").server(locations).start()?;
    let probe = Probe::start(server.port);
    let requests: [&[u8]; 2] = [
        b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\nhello, world",
        b"POST /body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    ];
    let mut cuts = 0;
    for request in requests {
        for end in 0..=request.len() {
            for how in [Shutdown::Both, Shutdown::Write] {
                let mut stream = client::connect(server.port)?;
                stream.write_all(request.get(..end).unwrap_or_default())?;
                stream.shutdown(how)?;
                cuts += 1;
            }
        }
    }
    let waiting: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = client::connect(server.port)?;
            stream.write_all(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            Ok(stream)
        })
        .collect::<std::io::Result<_>>()?;
    std::thread::sleep(Duration::from_millis(300));
    drop(waiting);
    std::thread::sleep(Duration::from_millis(500));
    let seen = client::get(server.port, "/seen")?.body;
    probe.finish()?;
    server.finish(Workers::Same, &[])?;
    ensure(seen.trim() == "50 50", || format!("requests begun and aborted: {seen}; 50 50 were expected"))?;
    Ok(format!("{cuts} cuts, on_abort once for each of 50"))
}

/// How a peer treats its clients.
#[derive(Clone, Copy)]
enum Peer {
    /// Takes the request and says nothing.
    Stalls,
    /// Takes the request and resets the connection.
    Resets,
    /// Sends a byte every 100 ms.
    Trickles,
    /// Answers, and sends more when nothing was asked.
    SendsMore,
}

/// F7: timeouts of cosockets are exact, errors have nginx's names, and a dirty connection is never taken again.
pub(super) fn hostile_peers(bench: &Bench) -> Result<String, Failure> {
    let (stalls, resets) = (spawn(Peer::Stalls)?, spawn(Peer::Resets)?);
    let (trickles, more) = (spawn(Peer::Trickles)?, spawn(Peer::SendsMore)?);
    let locations = r#"
    lua_socket_log_errors off;
    location = /ask { content_by_lua_block {
        local s = ngx.socket.tcp()
        s:settimeouts(1000, 1000, 300)
        assert(s:connect("127.0.0.1", tonumber(ngx.var.arg_port)))
        s:send("hello\n")
        ngx.update_time()
        local begin = ngx.now()
        local line, err, partial = s:receive(tonumber(ngx.var.arg_size))
        ngx.update_time()
        ngx.print(line or "-", ",", err or "-", ",", partial or "-", ",", math.floor((ngx.now() - begin) * 1000 + 0.5))
    } }
    location = /reuse { content_by_lua_block {
        local times = 0
        for _ = 1, 10 do
            local s = ngx.socket.tcp()
            assert(s:connect("127.0.0.1", tonumber(ngx.var.arg_port)))
            times = times + s:getreusedtimes()
            s:send("hello\n")
            assert(s:receive("*l") == "answer")
            s:setkeepalive()
            ngx.sleep(0.05)
        end
        ngx.print(times)
    } }"#;
    let server = bench.conf("F7").server(locations).start()?;
    let ask = |port: u16, size: usize| -> Result<(String, f64), Failure> {
        let body = client::get(server.port, &format!("/ask?port={port}&size={size}"))?.body;
        let (text, took) = body.rsplit_once(',').unwrap_or((&body, "0"));
        Ok((text.to_owned(), took.parse().unwrap_or(0.0)))
    };
    let mut worst: f64 = 0.0;
    for _ in 0..5 {
        let (text, took) = ask(stalls, 10)?;
        ensure(text == "-,timeout,", || format!("a silent peer gave {text}"))?;
        worst = worst.max((took - 300.0).abs());
    }
    let (reset, _) = ask(resets, 10)?;
    // Ten bytes at ten a second: no single wait is longer than the timeout.
    let (trickled, took) = ask(trickles, 10)?;
    let reused = client::get(server.port, &format!("/reuse?port={more}"))?.body;
    server.finish(Workers::Same, &[])?;
    ensure(worst <= 30.0, || format!("a timeout of 300 ms was off by {worst} ms"))?;
    ensure(reset == "-,connection reset by peer,", || format!("a reset gave {reset}"))?;
    ensure(trickled == "xxxxxxxxxx,-,-" && took > 800.0, || format!("a slow peer gave {trickled} in {took} ms"))?;
    ensure(reused == "0", || format!("dirty connections were taken again {reused} times"))?;
    Ok(format!("a timeout of 300 ms is off by at most {worst} ms, no dirty connection was taken again"))
}

/// Serves clients in a thread that lives as long as the process; the answer is its port.
fn spawn(peer: Peer) -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // The client's end of a hostile conversation may come at any point.
                let _ended: std::io::Result<()> = converse(peer, stream);
            });
        }
    });
    Ok(port)
}

fn converse(peer: Peer, mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 6];
    match peer {
        Peer::Stalls => {
            stream.read_exact(&mut request)?;
            stream.read_to_end(&mut Vec::new())?;
        }
        // What was sent and not read makes the kernel reset the connection when it is closed.
        Peer::Resets => {
            stream.peek(&mut request)?;
        }
        Peer::Trickles => {
            stream.read_exact(&mut request)?;
            for _ in 0..10 {
                std::thread::sleep(Duration::from_millis(100));
                stream.write_all(b"x")?;
            }
        }
        Peer::SendsMore => loop {
            stream.read_exact(&mut request)?;
            stream.write_all(b"answer\n")?;
            std::thread::sleep(Duration::from_millis(10));
            stream.write_all(b"more\n")?;
        },
    }
    Ok(())
}
