//! A small HTTP client, and the probe that asks for a page all the time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::ensure;
use crate::Outcome;

/// How long the client waits for anything.
const LIMIT: Duration = Duration::from_secs(10);
/// How often the probe asks, and how fast it wants to be answered.
const PROBE_EVERY: Duration = Duration::from_millis(200);
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// What a server answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Opens a connection.
pub(super) fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks for a page on a connection of its own.
pub(super) fn get(port: u16, path: &str) -> io::Result<Answer> {
    let mut stream = connect(port)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// Whether the server answers a plain request.
pub(super) fn answers(port: u16) -> bool {
    get(port, "/probe").is_ok_and(|answer| answer.status == 200)
}

fn parse(bytes: &[u8]) -> io::Result<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP response");
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(invalid)?;
    let body = text.split_once("\r\n\r\n").ok_or_else(invalid)?.1.to_owned();
    Ok(Answer { status, body })
}

/// A connection that is used again and again. Responses need a `Content-Length`.
pub(super) struct KeptAlive {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl KeptAlive {
    pub(super) fn open(port: u16) -> io::Result<Self> {
        Ok(Self { stream: connect(port)?, buffer: Vec::new() })
    }

    pub(super) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        self.buffer.clear();
        let mut piece = [0; 4096];
        loop {
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend(piece.get(..read).unwrap_or_default());
            if is_complete(&self.buffer) {
                return parse(&self.buffer);
            }
        }
    }
}

fn is_complete(response: &[u8]) -> bool {
    let text = String::from_utf8_lossy(response);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

/// Whether the peer has closed the connection. The stream must not block.
pub(super) fn is_closed(stream: &mut TcpStream) -> bool {
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// Asks for a page on fresh connections while a check runs.
pub(super) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Probe {
    pub(super) fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut complaints = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let begin = Instant::now();
                match get(port, "/probe") {
                    Ok(answer) if answer.status == 200 && begin.elapsed() < PROBE_LIMIT => {}
                    Ok(answer) => complaints.push(format!("{} after {:.1?}", answer.status, begin.elapsed())),
                    Err(error) => complaints.push(error.to_string()),
                }
                std::thread::sleep(PROBE_EVERY);
            }
            complaints
        });
        Self { stop, thread }
    }

    /// Every probe was answered in time.
    pub(super) fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let complaints = self.thread.join().unwrap_or_else(|_| vec!["the probe died".to_owned()]);
        ensure(complaints.is_empty(), || {
            let first = complaints.first().map_or("", String::as_str);
            format!("service did not hold: {} probes failed, the first with: {first}", complaints.len())
        })
    }
}
