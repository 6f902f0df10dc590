//! One question to one server: over UDP, and over TCP when the answer was cut.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::{self, Answer, Kind};
use crate::log::{LogContext, failure_level, with_process_log};

/// How long one server may take before the next one is asked.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer over UDP that is read.
const DATAGRAM_MAX: usize = 4096;

/// Asks the servers in turn, beginning with `first`, until one answers. Never ends by itself when none does: the caller
/// has the deadline.
pub(super) async fn ask(servers: &[SocketAddr], first: usize, name: &str, kind: Kind) -> Option<Answer> {
    let mut at = first;
    loop {
        let server = *servers.get(at % servers.len().max(1))?;
        at += 1;
        let question = message::question(random_id(), name, kind)?;
        // A server that can't be reached is left at once only when there is another one to ask.
        match timeout(SERVER_TIMEOUT, ask_one(server, &question, kind)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(failure)) => {
                failure.log(server);
                if servers.len() <= 1 || at >= first + servers.len() {
                    tokio::time::sleep(SERVER_TIMEOUT).await;
                }
            }
            Err(_late) => {}
        }
    }
}

/// A system call that failed, by its name.
struct Failure(&'static str, io::Error);

impl Failure {
    fn log(&self, server: SocketAddr) {
        let Self(call, error) = self;
        let text = format_args!("{call}() failed");
        let level = failure_level(error);
        with_process_log(|log| log.write_for(Some(&Asked(server)), level, error.raw_os_error(), text));
    }
}

/// The server that a line in the log is about.
struct Asked(SocketAddr);

impl LogContext for Asked {
    fn connection(&self) -> u64 {
        0
    }

    fn describe(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!(" while resolving, resolver: {}", self.0).as_bytes());
    }
}

async fn ask_one(server: SocketAddr, question: &[u8], kind: Kind) -> Result<Answer, Failure> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let failed = |call| move |error| Failure(call, error);
    // A fresh socket for each question: its port is as hard to guess as the id.
    let socket = UdpSocket::bind(any).await.map_err(failed("socket"))?;
    socket.connect(server).await.map_err(failed("connect"))?;
    socket.send(question).await.map_err(failed("send"))?;
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(failed("recv"))?;
        let answer = buffer.get(..length).and_then(|message| message::answer(message, question, kind));
        match answer {
            Some(answer) if answer.truncated => {
                return ask_over_tcp(server, question, kind).await.map_err(failed("recv"));
            }
            Some(answer) => return Ok(answer),
            None => {}
        }
    }
}

async fn ask_over_tcp(server: SocketAddr, question: &[u8], kind: Kind) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = Vec::with_capacity(question.len() + 2);
    framed.extend((question.len() as u16).to_be_bytes());
    framed.extend(question);
    stream.write_all(&framed).await?;
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    message::answer(&message, question, kind).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn random_id() -> u16 {
    let mut bytes = [0; 2];
    // The system's generator cannot fail once it is seeded; zero would still be a valid id.
    match openssl::rand::rand_bytes(&mut bytes) {
        Ok(()) => u16::from_ne_bytes(bytes),
        Err(_unseeded) => 0,
    }
}
