//! `bench`: rsty and nginx with its Lua module, in alternating runs of one call.
//!
//! The servers are pinned to the first core; the load and whatever stands behind the servers to the second. On a shared
//! machine requests per second rank nothing by themselves; the figure to look at is the CPU time that the server spent
//! on one request. Its ratio is the median of the ratios of neighbouring runs. Where nginx is not installed, rsty is
//! measured alone; a case whose tool is missing is left out, with a word about it.

mod configuration;
mod helpers;
mod server;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::{Failure, Outcome};
use configuration::Neighbours;
use helpers::{Backend, Redis};
use server::{Running, Server};

/// Runs of each server and path.
const ROUNDS: usize = 7;
/// Starts measured for the start-up time.
const STARTS: usize = 15;
/// Idle connections, and sleeping light threads, whose memory is measured.
const CONNECTIONS: usize = 10_000;
const THREADS: usize = 100_000;

/// One thing to measure.
struct Case {
    title: &'static str,
    kind: Kind,
}

enum Kind {
    Load(Load),
    Idle,
    Threads,
    Start,
}

/// Requests for a path.
struct Load {
    path: &'static str,
    /// What must be there beside the servers.
    needs: Option<Need>,
    tls: bool,
    header: Option<&'static str>,
}

/// What may be missing on a machine.
#[derive(Clone, Copy)]
enum Need {
    Redis,
    Backend,
    Certificate,
    /// A cjson for nginx's Lua.
    Cjson,
}

impl Load {
    const fn of(path: &'static str) -> Self {
        Self { path, needs: None, tls: false, header: None }
    }

    const fn with(path: &'static str, need: Need) -> Self {
        Self { needs: Some(need), ..Self::of(path) }
    }
}

/// The client that gets its responses compressed.
const GZIP: Load = Load { header: Some("Accept-Encoding: gzip"), ..Load::of("/text.txt") };
const TLS: Load = Load { tls: true, ..Load::with("/plain", Need::Certificate) };
const TLS_FILE: Load = Load { tls: true, ..Load::with("/static.bin", Need::Certificate) };
/// A handshake for each request.
const TLS_CLOSE: Load = Load { header: Some("Connection: close"), ..TLS };

const CASES: &[Case] = &[
    Case { title: "hello", kind: Kind::Load(Load::of("/hello")) },
    Case { title: "return 200", kind: Kind::Load(Load::of("/plain")) },
    Case { title: "access log", kind: Kind::Load(Load::of("/logged")) },
    Case { title: "static 10 kB", kind: Kind::Load(Load::of("/static.bin")) },
    Case { title: "gzip 10 kB", kind: Kind::Load(GZIP) },
    Case { title: "tls", kind: Kind::Load(TLS) },
    Case { title: "tls 10 kB", kind: Kind::Load(TLS_FILE) },
    Case { title: "tls handshake", kind: Kind::Load(TLS_CLOSE) },
    Case { title: "api mix", kind: Kind::Load(Load::of("/mix")) },
    Case { title: "regex", kind: Kind::Load(Load::of("/regex")) },
    Case { title: "cjson", kind: Kind::Load(Load::with("/cjson", Need::Cjson)) },
    Case { title: "capture", kind: Kind::Load(Load::of("/capture")) },
    Case { title: "shared dict", kind: Kind::Load(Load::of("/dict")) },
    Case { title: "redis", kind: Kind::Load(Load::with("/redis", Need::Redis)) },
    Case { title: "proxy 1 kB", kind: Kind::Load(Load::with("/proxy/1k.bin", Need::Backend)) },
    Case { title: "proxy 1 MB", kind: Kind::Load(Load::with("/proxy/1m.bin", Need::Backend)) },
    Case { title: "cache hit", kind: Kind::Load(Load::with("/cached/1k.bin", Need::Backend)) },
    Case { title: "idle", kind: Kind::Idle },
    Case { title: "threads", kind: Kind::Threads },
    Case { title: "start", kind: Kind::Start },
];

/// The names of the cases.
pub(crate) fn titles() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.title)
}

/// Measures all cases, or the one that is named, with runs of `seconds` each, and prints a table.
pub(crate) fn run(seconds: u32, only: Option<&str>) -> Outcome {
    let chosen: Vec<&Case> = CASES.iter().filter(|case| only.is_none_or(|only| case.title == only)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = titles().collect();
        return Err(Failure::Tool(format!("no such case; there are: {}", known.join(", "))));
    }
    let folder = tempfile::tempdir()?;
    let redis = Redis::start(folder.path())?;
    let backend = Backend::start(folder.path())?;
    let neighbours = Neighbours {
        redis: redis.as_ref().map(|redis| redis.port),
        backend: backend.as_ref().map(|known| known.port),
        certificate: helpers::certificate(folder.path())?,
        cjson: helpers::cjson(),
    };
    let mut servers = vec![Server::rsty(folder.path(), &neighbours)?];
    match Server::nginx(folder.path(), &neighbours)? {
        Some(nginx) => servers.push(nginx),
        None => eprintln!("bench: nginx with its Lua module is not installed; rsty is measured alone"),
    }
    println!("{:<14} {:<6} {:>12} {:>16} {:>10}", "case", "server", "requests/s", "CPU µs/request", "RSS MiB");
    let running: Vec<Running> = servers.iter().map(Server::start).collect::<Result<_, _>>()?;
    for case in &chosen {
        match case.kind {
            Kind::Load(ref wanted) => match wanted.needs.and_then(|need| neighbours.missing(need)) {
                Some(what) => eprintln!("bench: {} is left out: no {what}", case.title),
                None => load(case.title, wanted, &running, seconds)?,
            },
            Kind::Idle | Kind::Threads | Kind::Start => {}
        }
    }
    drop(running);
    for case in &chosen {
        match case.kind {
            Kind::Idle => memory(case.title, &servers, idle_connections)?,
            Kind::Threads => memory(case.title, &servers, sleeping_threads)?,
            Kind::Start => start(&servers)?,
            Kind::Load(_) => {}
        }
    }
    Ok(())
}

fn load(title: &str, load: &Load, running: &[Running], seconds: u32) -> Outcome {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); running.len()];
    for _ in 0..ROUNDS {
        for (server, rows) in running.iter().zip(&mut samples) {
            rows.push(server.load(load, seconds)?);
        }
    }
    for (server, rows) in running.iter().zip(&samples) {
        let rate = median(rows.iter().map(|row| row.rate));
        let cpu = median(rows.iter().map(|row| row.cpu_micros));
        let memory = median(rows.iter().map(|row| row.memory_mib));
        println!("{title:<14} {:<6} {rate:>12.0} {cpu:>16.2} {memory:>10.1}", server.name);
    }
    if let [ours, theirs] = samples.as_slice() {
        let ratio = |field: fn(&Sample) -> f64| {
            median(ours.iter().zip(theirs).map(|(ours, theirs)| field(ours) / field(theirs)))
        };
        let (rate, cpu, memory) = (ratio(|row| row.rate), ratio(|row| row.cpu_micros), ratio(|row| row.memory_mib));
        println!("{title:<14} ratio  {rate:>12.2} {cpu:>16.3} {memory:>10.2}");
    }
    Ok(())
}

/// What a server's memory is while something is held open, and by how much it grew.
fn memory(title: &str, servers: &[Server], occupy: fn(&Running) -> Result<Vec<TcpStream>, Failure>) -> Outcome {
    let mut totals = Vec::new();
    for server in servers {
        let running = server.start()?;
        let before = running.memory_mib()?;
        let held = occupy(&running)?;
        // Long enough for a server to notice that nothing happens.
        std::thread::sleep(Duration::from_secs(2));
        let after = running.memory_mib()?;
        println!("{title:<14} {:<6} {:>29} {after:>10.1}", server.name, format!("{:+.1} MiB", after - before));
        totals.push(after);
        drop(held);
    }
    if let [ours, theirs] = totals.as_slice() {
        println!("{title:<14} ratio  {:>40.2}", ours / theirs);
    }
    Ok(())
}

/// Connections that have had a request and wait for the next.
fn idle_connections(server: &Running) -> Result<Vec<TcpStream>, Failure> {
    let mut held = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(("127.0.0.1", server.ports.plain))?;
        ask(&mut stream, "/hello", "0\r\n\r\n")?;
        held.push(stream);
    }
    Ok(held)
}

/// One request whose light threads all sleep.
fn sleeping_threads(server: &Running) -> Result<Vec<TcpStream>, Failure> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.ports.plain))?;
    ask(&mut stream, &format!("/sleep?threads={THREADS}"), "asleep")?;
    Ok(vec![stream])
}

/// Sends a request and reads until the answer has `end` in it.
fn ask(stream: &mut TcpStream, path: &str, end: &str) -> Result<(), Failure> {
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains(end) {
        match stream.read(&mut part)? {
            0 => return Err(Failure::Tool(format!("no complete answer at {path}"))),
            length => answer.extend(part.iter().take(length)),
        }
    }
    Ok(())
}

fn start(servers: &[Server]) -> Outcome {
    for server in servers {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            times.push(server.start()?.started_in);
        }
        times.sort();
        let (best, middle) = (times[0], times[STARTS / 2]);
        println!("start-up to first response: {:<6} median {middle:.1?}, best {best:.1?}", server.name);
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    cpu_micros: f64,
    memory_mib: f64,
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
