//! The modes that put load on a block's first request instead of checking what the block claims.
//!
//! `TEST_NGINX_CHECK_LEAK` samples the server's memory under load: its growth shows as a slope, and as a small plot.
//! `TEST_NGINX_BENCHMARK="REQUESTS [CONNECTIONS]"` measures throughput and latency. Connections are kept alive where
//! the server keeps them; every assertion is skipped.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::model::Value;
use crate::run::block::{Gathered, Run};
use crate::run::check::BailOut;
use crate::run::wire::Request;

/// A mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Throughput and latency.
    Benchmark {
        /// How many requests are measured.
        requests: u32,
        /// Over how many connections at a time.
        connections: u32,
        /// How many requests go before.
        warm_up: u32,
    },
    /// Memory, sampled this often.
    CheckLeak {
        /// How many samples.
        samples: u32,
    },
}

impl Mode {
    /// The mode that the environment asks for, if any. The benchmark wins over the leak check; modes that are not
    /// implemented are errors.
    pub fn of(variables: &BTreeMap<String, Vec<u8>>) -> Result<Option<Self>, String> {
        let variable = |name: &str| {
            let value = variables.get(name).map(|value| Value::str(value.clone()));
            value.filter(Value::is_true)
        };
        let count = |name: &str, default: u32| {
            variable(name)
                .map_or(default, |value| u32::try_from(value.to_int().clamp(0, 10_000_000)).unwrap_or(default))
        };
        // A mode that looks for something must not pass by not looking.
        for (name, what) in [("TEST_NGINX_USE_VALGRIND", "Valgrind"), ("TEST_NGINX_USE_RR", "rr")] {
            if variable(name).is_some() {
                return Err(format!("{what} mode is not supported; unset {name}"));
            }
        }
        if let Some(value) = variable("TEST_NGINX_BENCHMARK") {
            let text = value.to_text();
            let numbers: Option<Vec<u32>> = text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
            let (requests, connections) = match numbers.as_deref() {
                Some([requests]) => (*requests, 1),
                Some([requests, connections]) => (*requests, *connections),
                _ => return Err(format!("TEST_NGINX_BENCHMARK is \"{text}\", not \"REQUESTS [CONNECTIONS]\"")),
            };
            let warm_up = count("TEST_NGINX_BENCHMARK_WARMUP", 0);
            return Ok(Some(Self::Benchmark { requests, connections: connections.clamp(1, 256), warm_up }));
        }
        if variable("TEST_NGINX_CHECK_LEAK").is_some() {
            return Ok(Some(Self::CheckLeak { samples: count("TEST_NGINX_CHECK_LEAK_COUNT", 100).clamp(2, 100_000) }));
        }
        Ok(None)
    }

    /// The reason for which assertions are skipped.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Benchmark { .. } => "the \"benchmark\" testing mode",
            Self::CheckLeak { .. } => "the \"check leak\" testing mode",
        }
    }
}

/// How long after one sample of the memory the next one is taken.
const SAMPLE_GAP: Duration = Duration::from_millis(20);
/// How long the load runs before the first sample: what a server takes at first is no leak.
const WARM_UP: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Puts load on the first request, and notes what came of it.
    pub(crate) fn press(&self, mode: Mode, requests: &[Request], gathered: &mut Gathered<'_>) -> Result<(), BailOut> {
        let Some(first) = requests.first() else { return Ok(()) };
        let bytes: Vec<u8> = first.iter().flat_map(|packet| packet.bytes.iter().copied()).collect();
        let load = Load { address: self.address()?, request: kept_alive(&bytes) };
        match mode {
            Mode::Benchmark { requests, connections, warm_up } => {
                load.run(warm_up, connections);
                let start = Instant::now();
                let results = load.run(requests, connections);
                gathered.recorder.note(results.describe(start.elapsed(), connections));
            }
            Mode::CheckLeak { samples } => {
                let (sizes, results) = load.while_pressed(|| {
                    std::thread::sleep(WARM_UP);
                    self.server_pid().map(|pid| sample(pid, samples)).unwrap_or_default()
                });
                if sizes.len() < samples as usize {
                    let name = self.block.display_name();
                    gathered.recorder.extra_failure(format!("{name} - the nginx process is gone"));
                }
                gathered.recorder.note(describe_memory(&sizes));
                gathered.recorder.note(format!("{} requests, {} failed", results.latencies.len(), results.failed));
            }
        }
        Ok(())
    }
}

/// Samples the memory of a process until it ends; in KiB.
fn sample(pid: Pid, samples: u32) -> Vec<u64> {
    let mut sizes = Vec::with_capacity(samples as usize);
    for _ in 0..samples {
        std::thread::sleep(SAMPLE_GAP);
        match resident(pid) {
            Some(size) => sizes.push(size),
            None => break,
        }
    }
    sizes
}

/// The memory that a process has in use, in KiB.
fn resident(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The slope of the sizes over their number, by least squares.
fn slope(sizes: &[u64]) -> f64 {
    let count = sizes.len() as f64;
    let mean_x = f64::midpoint(count, 1.0);
    let mean_y = sizes.iter().sum::<u64>() as f64 / count;
    let (mut above, mut below) = (0.0, 0.0);
    for (index, size) in sizes.iter().enumerate() {
        let x = (index + 1) as f64 - mean_x;
        above += x * (*size as f64 - mean_y);
        below += x * x;
    }
    if below > 0.0 { above / below } else { 0.0 }
}

/// The sizes as the original prints them, and as a plot.
fn describe_memory(sizes: &[u64]) -> String {
    let (Some(least), Some(most)) = (sizes.iter().min(), sizes.iter().max()) else {
        return "LeakTest: k=N/A".to_owned();
    };
    let list: Vec<String> = sizes.iter().map(u64::to_string).collect();
    let k = slope(sizes);
    format!("LeakTest: [{}]\nLeakTest: k={k:.1}\n{}  {least} to {most} KiB", list.join(" "), plot(sizes, 60))
}

/// A line of blocks whose heights are the sizes, at most `width` wide.
fn plot(sizes: &[u64], width: usize) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let least = sizes.iter().min().copied().unwrap_or(0);
    let span = sizes.iter().max().copied().unwrap_or(0).saturating_sub(least).max(1);
    let step = sizes.len().div_ceil(width.max(1)).max(1);
    let height = |sizes: &[u64]| {
        let most = sizes.iter().max().copied().unwrap_or(least);
        let index = usize::try_from((most - least) * 7 / span).unwrap_or(7);
        HEIGHTS.get(index).copied().unwrap_or('█')
    };
    sizes.chunks(step).map(height).collect()
}

/// A request on which a connection stays open, unless the block itself says otherwise.
fn kept_alive(request: &[u8]) -> Vec<u8> {
    let added: &[u8] = b"\r\nConnection: close\r\n";
    match memchr::memmem::find(request, added) {
        Some(at) => {
            let (before, after) = (request.get(..at).unwrap_or_default(), request.get(at + added.len()..));
            [before, b"\r\n", after.unwrap_or_default()].concat()
        }
        None => request.to_vec(),
    }
}

struct Load {
    address: SocketAddr,
    request: Vec<u8>,
}

#[derive(Debug, Default)]
struct Results {
    latencies: Vec<Duration>,
    failed: u64,
}

/// The most latencies that a connection keeps.
const LATENCIES_MAX: usize = 1_000_000;

impl Load {
    /// Sends this many requests over so many connections at a time.
    fn run(&self, requests: u32, connections: u32) -> Results {
        let left = AtomicI64::new(i64::from(requests));
        self.clients(connections, || left.fetch_sub(1, Ordering::Relaxed) > 0)
    }

    /// Sends requests over two connections as long as `watch` takes.
    fn while_pressed<T>(&self, watch: impl FnOnce() -> T) -> (T, Results) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| self.clients(2, || !stop.load(Ordering::Relaxed)));
            let watched = watch();
            stop.store(true, Ordering::Relaxed);
            (watched, load.join().unwrap_or_default())
        })
    }

    fn clients(&self, count: u32, more: impl Fn() -> bool + Sync) -> Results {
        let more = &more;
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..count).map(|_| scope.spawn(move || self.client(more))).collect();
            let mut all = Results::default();
            for client in clients {
                let mut results = client.join().unwrap_or_default();
                all.latencies.append(&mut results.latencies);
                all.failed += results.failed;
            }
            all
        })
    }

    fn client(&self, more: &impl Fn() -> bool) -> Results {
        let mut results = Results::default();
        let mut connection = None;
        while more() {
            let start = Instant::now();
            match self.ask(&mut connection) {
                Ok(()) if results.latencies.len() < LATENCIES_MAX => results.latencies.push(start.elapsed()),
                Ok(()) => {}
                Err(_) => {
                    results.failed += 1;
                    connection = None;
                    // A server that refuses must not be asked in a tight loop.
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        results
    }

    /// One request and its answer, over the open connection if there is one.
    fn ask(&self, connection: &mut Option<TcpStream>) -> std::io::Result<()> {
        let limit = Duration::from_secs(5);
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, limit)?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(&self.request)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return if answer.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
            }
            answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
            if is_complete(&answer) {
                *connection = Some(stream);
                return Ok(());
            }
            if answer.len() > 256 << 20 {
                return Err(ErrorKind::FileTooLarge.into());
            }
        }
    }
}

/// Whether an answer has ended on a connection that stays open: by its length, or by its last chunk.
fn is_complete(answer: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let body = answer.get(end + 4..).unwrap_or_default();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if header("connection:") == Some("close") {
        return false;
    }
    if header("transfer-encoding:") == Some("chunked") {
        return body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n");
    }
    header("content-length:").and_then(|length| length.parse().ok()).is_some_and(|length: usize| body.len() >= length)
}

impl Results {
    fn describe(mut self, took: Duration, connections: u32) -> String {
        self.latencies.sort();
        let done = self.latencies.len();
        let at = |share: f64| {
            let index = (done as f64 * share) as usize;
            let latency = self.latencies.get(index.min(done.saturating_sub(1)));
            latency.map_or(0.0, Duration::as_secs_f64) * 1000.0
        };
        format!(
            "Benchmark: {done} requests over {connections} at a time in {:.2} s: {:.0} requests/s\n\
             Benchmark: latency p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms; {} failed",
            took.as_secs_f64(),
            done as f64 / took.as_secs_f64().max(1e-9),
            at(0.5),
            at(0.9),
            at(0.99),
            self.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(variables: &[(&str, &str)]) -> Result<Option<Mode>, String> {
        Mode::of(&variables.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect())
    }

    #[test]
    fn the_environment_chooses_the_mode() {
        assert_eq!(mode(&[("TEST_NGINX_CHECK_LEAK", "0")]), Ok(None));
        assert_eq!(mode(&[("TEST_NGINX_CHECK_LEAK", "1")]), Ok(Some(Mode::CheckLeak { samples: 100 })));
        let both = [("TEST_NGINX_CHECK_LEAK", "1"), ("TEST_NGINX_BENCHMARK", "500 4")];
        assert_eq!(mode(&both), Ok(Some(Mode::Benchmark { requests: 500, connections: 4, warm_up: 0 })));
        assert!(mode(&[("TEST_NGINX_BENCHMARK", "many")]).is_err());
        assert!(mode(&[("TEST_NGINX_USE_VALGRIND", "1")]).is_err());
    }

    #[test]
    fn growth_is_a_slope() {
        assert!((slope(&[10, 12, 14, 16]) - 2.0).abs() < 1e-9);
        assert!(slope(&[7, 7, 7]).abs() < 1e-9);
        assert_eq!(plot(&[0, 7, 14], 60), "▁▄█");
        assert_eq!(plot(&[5; 200], 50).chars().count(), 50);
        assert!(describe_memory(&[1, 2]).contains("k=1.0"));
    }

    #[test]
    fn an_answer_ends_by_length_or_chunk() {
        assert!(is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi"));
        assert!(is_complete(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"));
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"));
        assert_eq!(
            kept_alive(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        );
    }

    #[test]
    fn load_is_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut buffer = [0; 1024];
                    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
                    }
                });
            }
        });
        let load = Load { address, request: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec() };
        let results = load.run(50, 3);
        assert_eq!((results.latencies.len(), results.failed), (50, 0));
        let ((), results) = load.while_pressed(|| std::thread::sleep(Duration::from_millis(30)));
        assert!(!results.latencies.is_empty());
    }
}
