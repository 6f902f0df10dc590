//! Mock servers: `tcp_listen` and `udp_listen`.
//!
//! Each is a thread that serves one connection or one datagram, as the block says. A reply that is Perl code is
//! made by a function that the thread calls with the query; the thread loads its own copy of the spec file for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::run::perl_side::ReplyMaker;

/// Where a mock server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A port of the loopback interface (TCP) or of any (UDP).
    Port(u16),
    /// A Unix domain socket.
    Path(PathBuf),
}

/// What it answers.
pub enum Reply {
    /// Nothing.
    Nothing,
    /// These pieces, each sent by itself.
    Pieces(Vec<Vec<u8>>),
    /// What this function makes of the query.
    Made(ReplyMaker),
}

/// A TCP or stream mock server's script.
pub struct TcpScript {
    /// Where it listens.
    pub target: Target,
    /// What it answers.
    pub reply: Reply,
    /// How many bytes it reads before it answers; 0 means whatever comes first.
    pub query_length: usize,
    /// Read until nothing has come for this time, instead of a number of bytes.
    pub query_idle: Option<Duration>,
    /// Time before it answers.
    pub reply_delay: Duration,
    /// Which half it closes after accepting (0 reading, 1 writing, 2 both), and after which time.
    pub shutdown: Option<(u8, Duration)>,
    /// Whether the connection stays open after the answer.
    pub keep_open: bool,
}

/// A UDP or datagram mock server's script.
pub struct UdpScript {
    /// Where it listens.
    pub target: Target,
    /// What it answers.
    pub reply: Reply,
    /// Time before it answers.
    pub reply_delay: Duration,
}

/// A running mock server. Dropping it stops it and removes its socket file.
#[derive(Debug)]
pub struct Mock {
    query: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    socket_file: Option<PathBuf>,
}

impl Target {
    /// A port number, or a path that ends in `.sock`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self::Port);
        }
        let path = text.split_ascii_whitespace().next()?;
        path.strip_suffix(".sock").filter(|stem| !stem.is_empty())?;
        Some(Self::Path(path.into()))
    }
}

impl Mock {
    /// Starts a TCP or stream mock server.
    pub fn tcp(script: TcpScript) -> std::io::Result<Self> {
        match script.target.clone() {
            Target::Port(port) => {
                let socket = retry(|| {
                    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
                    socket.set_reuse_address(true)?;
                    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
                    socket.listen(5)?;
                    Ok(socket)
                })?;
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                Ok(Self::spawn(None, move |shared| {
                    if let Some((stream, _)) = shared.accept(|| listener.accept()) {
                        drop(listener);
                        shared.serve(stream, script);
                    }
                }))
            }
            Target::Path(path) => {
                remove_socket(&path)?;
                let listener = UnixListener::bind(&path)?;
                listener.set_nonblocking(true)?;
                Ok(Self::spawn(Some(path), move |shared| {
                    if let Some((stream, _)) = shared.accept(|| listener.accept()) {
                        drop(listener);
                        shared.serve(stream, script);
                    }
                }))
            }
        }
    }

    /// Starts a UDP or datagram mock server.
    pub fn udp(script: UdpScript) -> std::io::Result<Self> {
        let UdpScript { target, reply, reply_delay } = script;
        match target {
            Target::Port(port) => {
                let socket = retry(|| {
                    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
                    socket.set_reuse_address(true)?;
                    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
                    Ok(socket)
                })?;
                let socket = std::net::UdpSocket::from(socket);
                socket.set_nonblocking(true)?;
                Ok(Self::spawn(None, move |shared| {
                    let mut buffer = [0; 4096];
                    let Some((length, peer)) = shared.accept(|| socket.recv_from(&mut buffer)) else { return };
                    let query = buffer.get(..length).unwrap_or_default();
                    shared.keep(query);
                    shared.pause(reply_delay);
                    for piece in reply.pieces(query) {
                        // A peer that no longer listens is part of some tests.
                        let _ = socket.send_to(&piece, peer);
                    }
                }))
            }
            Target::Path(path) => {
                remove_socket(&path)?;
                let socket = UnixDatagram::bind(&path)?;
                socket.set_nonblocking(true)?;
                Ok(Self::spawn(Some(path), move |shared| {
                    let mut buffer = [0; 4096];
                    let Some((length, peer)) = shared.accept(|| socket.recv_from(&mut buffer)) else { return };
                    let query = buffer.get(..length).unwrap_or_default();
                    shared.keep(query);
                    shared.pause(reply_delay);
                    for piece in reply.pieces(query) {
                        let _ = socket.send_to_addr(&piece, &peer);
                    }
                }))
            }
        }
    }

    /// What the mock server has received by now.
    pub fn query(&self) -> Vec<u8> {
        self.query.lock().map(|query| query.clone()).unwrap_or_default()
    }

    fn spawn(socket_file: Option<PathBuf>, body: impl FnOnce(&Shared) + Send + 'static) -> Self {
        let query = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Shared { query: Arc::clone(&query), stop: Arc::clone(&stop) };
        let thread = std::thread::spawn(move || body(&shared));
        Self { query, stop, thread: Some(thread), socket_file }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in the script's thread has been reported by the panic hook.
            let _ = thread.join();
        }
        if let Some(path) = &self.socket_file {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Reply {
    fn pieces(self, query: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Pieces(pieces) => pieces,
            Self::Made(make) => make(query),
        }
    }
}

/// A connection of either family.
trait Stream: Read + Write {
    fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()>;
    fn set_read_timeout(&self, limit: Option<Duration>) -> std::io::Result<()>;
    fn set_write_timeout(&self, limit: Option<Duration>) -> std::io::Result<()>;
    fn block(&self) -> std::io::Result<()>;
}

macro_rules! stream {
    ($type:ty) => {
        impl Stream for $type {
            fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                <$type>::shutdown(self, how)
            }
            fn set_read_timeout(&self, limit: Option<Duration>) -> std::io::Result<()> {
                <$type>::set_read_timeout(self, limit)
            }
            fn set_write_timeout(&self, limit: Option<Duration>) -> std::io::Result<()> {
                <$type>::set_write_timeout(self, limit)
            }
            fn block(&self) -> std::io::Result<()> {
                self.set_nonblocking(false)
            }
        }
    };
}
stream!(std::net::TcpStream);
stream!(UnixStream);

/// What the thread shares with its owner.
struct Shared {
    query: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
}

const TICK: Duration = Duration::from_millis(5);

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn keep(&self, bytes: &[u8]) {
        if let Ok(mut query) = self.query.lock() {
            query.extend_from_slice(bytes);
        }
    }

    /// Sleeps, and less if the owner is done.
    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.stopped() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    /// Tries until it works or the owner is done.
    fn accept<T>(&self, mut attempt: impl FnMut() -> std::io::Result<T>) -> Option<T> {
        while !self.stopped() {
            match attempt() {
                Ok(value) => return Some(value),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => std::thread::sleep(TICK),
            }
        }
        None
    }

    fn serve(&self, mut stream: impl Stream, script: TcpScript) {
        let prepared = stream.block().and_then(|()| stream.set_write_timeout(Some(Duration::from_secs(5))));
        if prepared.is_err() {
            return;
        }
        let (mut reads, mut writes) = (true, true);
        if let Some((how, delay)) = script.shutdown {
            self.pause(delay);
            let (half, read, write) = match how {
                0 => (std::net::Shutdown::Read, false, true),
                1 => (std::net::Shutdown::Write, true, false),
                _ => (std::net::Shutdown::Both, false, true),
            };
            // The peer may be gone already.
            let _ = stream.shutdown(half);
            (reads, writes) = (read, write);
        }
        let query = if reads { self.read_query(&mut stream, &script) } else { Vec::new() };
        self.pause(script.reply_delay);
        if writes && !self.stopped() {
            for piece in script.reply.pieces(&query) {
                if stream.write_all(&piece).is_err() {
                    break;
                }
            }
        }
        while script.keep_open && !self.stopped() {
            std::thread::sleep(TICK);
        }
    }

    fn read_query(&self, stream: &mut impl Stream, script: &TcpScript) -> Vec<u8> {
        let mut query = Vec::new();
        let mut buffer = [0; 4096];
        let mut last = Instant::now();
        if stream.set_read_timeout(Some(TICK)).is_err() {
            return query;
        }
        while !self.stopped() {
            match stream.read(&mut buffer) {
                Ok(0) => return query,
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    query.extend_from_slice(bytes);
                    self.keep(bytes);
                    last = Instant::now();
                    if script.query_idle.is_none() && query.len() >= script.query_length {
                        return query;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if script.query_idle.is_some_and(|idle| last.elapsed() >= idle) {
                        return query;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return query,
            }
        }
        query
    }
}

/// A port may be in use for a moment by the block before.
fn retry<T>(mut attempt: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

fn remove_socket(path: &PathBuf) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(target: Target, reply: &str) -> TcpScript {
        TcpScript {
            target,
            reply: Reply::Pieces(vec![reply.as_bytes().to_vec()]),
            query_length: 4,
            query_idle: None,
            reply_delay: Duration::ZERO,
            shutdown: None,
            keep_open: false,
        }
    }

    #[test]
    fn targets_are_ports_or_socket_files() {
        assert_eq!(Target::parse(b"80"), Some(Target::Port(80)));
        assert_eq!(Target::parse(b"/a/b.sock"), Some(Target::Path("/a/b.sock".into())));
        assert_eq!(Target::parse(b"99999"), None);
        assert_eq!(Target::parse(b"/a/b"), None);
    }

    #[test]
    fn a_query_is_kept_and_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let mock = Mock::tcp(script(Target::Path(path.clone()), "pong")).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"pi").unwrap();
        client.write_all(b"ng").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "pong");
        assert_eq!(mock.query(), b"ping");
        drop(mock);
        assert!(!path.exists());
    }

    #[test]
    fn dropping_it_ends_a_server_that_nobody_called() {
        let folder = tempfile::tempdir().unwrap();
        drop(Mock::tcp(script(Target::Path(folder.path().join("a.sock")), "x")).unwrap());
        let target = Target::Path(folder.path().join("b.sock"));
        drop(Mock::udp(UdpScript { target, reply: Reply::Nothing, reply_delay: Duration::ZERO }).unwrap());
    }
}
