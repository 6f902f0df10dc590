//! One connection: packets out, everything that comes back in.
//!
//! Reading ends at the peer's end of stream, at an error, or when nothing has happened for the idle timeout. A
//! `Content-Length` never ends it, as in the original: specs rely on seeing what a server sends too much.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::run::wire::request::Packet;

/// What to send, and how.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The server.
    pub address: SocketAddr,
    /// The packets.
    pub packets: &'a [Packet],
    /// Seconds between packets that have no delay of their own.
    pub middle_delay: Option<f64>,
    /// The longest time in which nothing happens.
    pub idle: Duration,
    /// When to give up whatever happens.
    pub deadline: Instant,
    /// Which half to close after the last packet.
    pub shutdown: Option<Shutdown>,
}

/// How the connection ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was received; the text of a write error where nothing was.
    pub received: Vec<u8>,
    /// When the peer ended it; the peer was awake then.
    pub ended: Option<Instant>,
    /// Whether the idle timeout ended it.
    pub timed_out: bool,
    /// Whether the deadline ended it.
    pub over_deadline: bool,
    /// A remark about a failed read or write.
    pub warning: Option<String>,
}

/// The server could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("Can't connect to {address}: {}", text(source))]
pub struct ConnectError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Connects, sends and receives.
pub fn exchange(plan: &Exchange<'_>) -> Result<Outcome, ConnectError> {
    let mut connection = Connection { stream: connect(plan)?, outcome: Outcome::default() };
    if let Err(error) = connection.run(plan) {
        connection.outcome.warning = Some(error.to_string());
    }
    Ok(connection.outcome)
}

fn connect(plan: &Exchange<'_>) -> Result<TcpStream, ConnectError> {
    let failed = |source| ConnectError { address: plan.address, source };
    // The start command has bound the port, so a refusal means a server that is gone or still busy with a reload.
    let patience = plan.deadline.min(Instant::now() + Duration::from_secs(2));
    loop {
        match TcpStream::connect_timeout(&plan.address, plan.idle.max(Duration::from_millis(100))) {
            Ok(stream) => {
                stream.set_nonblocking(true).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) if Instant::now() >= patience => return Err(failed(error)),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

struct Connection {
    stream: TcpStream,
    outcome: Outcome,
}

enum Progress {
    Done,
    Going,
}

impl Connection {
    fn run(&mut self, plan: &Exchange<'_>) -> std::io::Result<()> {
        let mut writer = Writer { packets: plan.packets, offset: 0, middle_delay: plan.middle_delay };
        let mut writing = true;
        loop {
            let events = if writing { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
            let left = plan.deadline.saturating_duration_since(Instant::now());
            let ready = self.wait(events, plan.idle.min(left))?;
            if ready.is_empty() {
                self.outcome.over_deadline = left <= plan.idle;
                self.outcome.timed_out = !self.outcome.over_deadline;
                return Ok(());
            }
            if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                match self.receive() {
                    Ok(Progress::Going) => {}
                    Ok(Progress::Done) => {
                        self.outcome.ended = Some(Instant::now());
                        return Ok(());
                    }
                    Err(error) => {
                        let message = format!("HTTP response read failure: {}", text(&error));
                        return Err(std::io::Error::other(message));
                    }
                }
            }
            if writing && ready.contains(PollFlags::POLLOUT) {
                writing = self.send(&mut writer, plan.shutdown)?;
            }
        }
    }

    fn wait(&self, events: PollFlags, limit: Duration) -> std::io::Result<PollFlags> {
        loop {
            let mut polled = [PollFd::new(self.stream.as_fd(), events)];
            let timeout = PollTimeout::try_from(limit.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut polled, timeout) {
                Ok(_) => return Ok(polled[0].revents().unwrap_or(PollFlags::empty())),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends what the socket takes. Whether there is more to send.
    fn send(&mut self, writer: &mut Writer<'_>, shutdown: Option<Shutdown>) -> std::io::Result<bool> {
        match writer.send(&mut self.stream) {
            Ok(Progress::Going) => Ok(true),
            Ok(Progress::Done) => {
                if let Some(how) = shutdown {
                    // The peer may be gone already; the next read sees that.
                    let _ = self.stream.shutdown(how);
                }
                Ok(false)
            }
            Err(error) => {
                let message = format!("write failed: {}", text(&error));
                if self.outcome.received.is_empty() {
                    self.outcome.received = message.clone().into_bytes();
                }
                Err(std::io::Error::other(message))
            }
        }
    }

    fn receive(&mut self) -> std::io::Result<Progress> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Progress::Done),
                Ok(count) => self.outcome.received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Going),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.outcome.received.len() > RESPONSE_MAX {
                return Err(std::io::Error::other("response larger than the runner keeps"));
            }
        }
    }
}

/// More than any spec needs; a runaway server must not fill the memory.
const RESPONSE_MAX: usize = 256 << 20;

struct Writer<'a> {
    packets: &'a [Packet],
    offset: usize,
    middle_delay: Option<f64>,
}

impl Writer<'_> {
    fn send(&mut self, stream: &mut TcpStream) -> std::io::Result<Progress> {
        loop {
            let Some((packet, rest)) = self.packets.split_first() else { return Ok(Progress::Done) };
            let bytes = packet.bytes.get(self.offset..).unwrap_or_default();
            if !bytes.is_empty() {
                match stream.write(bytes) {
                    Ok(count) => self.offset += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Going),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
                continue;
            }
            self.packets = rest;
            self.offset = 0;
            if let Some(next) = rest.first() {
                // Nothing is read meanwhile, as in the original.
                let seconds = next.delay.or(self.middle_delay).unwrap_or(0.0);
                std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            }
        }
    }
}

/// The system's words for an error, without Rust's error number.
fn text(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn serve(reply: &'static [u8], linger: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
            stream.write_all(reply).unwrap();
            thread::sleep(linger);
        });
        address
    }

    fn plan(address: SocketAddr, packets: &[Packet]) -> Exchange<'_> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let idle = Duration::from_millis(200);
        Exchange { address, packets, middle_delay: None, idle, deadline, shutdown: None }
    }

    #[test]
    fn reading_ends_at_the_end_of_the_stream() {
        let packets = [Packet { bytes: b"GET".to_vec(), delay: None }];
        let outcome = exchange(&plan(serve(b"hello", Duration::ZERO), &packets)).unwrap();
        assert_eq!(outcome.received, b"hello");
        assert!(!outcome.timed_out && outcome.ended.is_some());
    }

    #[test]
    fn a_silent_peer_ends_in_a_timeout_with_what_came() {
        let packets = [Packet { bytes: b"GET".to_vec(), delay: None }];
        let outcome = exchange(&plan(serve(b"part", Duration::from_secs(1)), &packets)).unwrap();
        assert_eq!(outcome.received, b"part");
        assert!(outcome.timed_out && outcome.ended.is_none());
    }
}
