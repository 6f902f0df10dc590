//! One client connection: its socket, its buffers, and who may write to it.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::Interest;
use tokio::time::Instant;

mod writing;

pub use super::address::Address;
use super::conf::MainConf;
use super::h2;
use super::inputs;
use super::modules::core::PortServers;
use super::output_queue::OutputQueue;
use super::request::Request;
use crate::clock::Now;
use crate::cycle::{Cycle, Subsystem};
use crate::deadline::Deadline;
use crate::interrupted::uninterrupted;
use crate::log::LogContext;
use crate::stream::Client;
use crate::tls::Tls;
use crate::tls::server::ServerSide;
use crate::tls::stream::Direction;

/// The socket of a connection.
pub enum Stream {
    /// None: the connection of a timer or of a worker's start.
    Fake,
    /// TCP.
    Tcp(tokio::net::TcpStream),
    /// A unix socket.
    Unix(tokio::net::UnixStream),
    /// Datagrams, which come and go by themselves: as a stream there is never anything to read.
    Datagrams(Rc<Client>),
    /// A stream of a connection that speaks HTTP/2.
    Http2(Rc<h2::Stream>),
}

/// What a PROXY protocol header said.
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    /// The client's address.
    pub source: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
    /// What version 2 says besides: types, lengths and values.
    pub tlvs: Bytes,
}

/// A client's connection. There may be many of them that are idle: what few of them have stands in boxes.
pub struct Connection {
    cycle: &'static Cycle,
    main_conf: &'static MainConf,
    /// The number in the log (`*7`).
    pub number: u64,
    /// TLS over the socket. It stands before the socket: the goodbye must still find that open.
    tls: OnceCell<(Tls, Box<ServerSide>)>,
    /// The client's connection whose handshake the script of this one serves.
    pub handshake_of: OnceCell<Rc<Connection>>,
    /// The socket.
    pub stream: Stream,
    /// When it was accepted.
    pub opened: Now,
    /// Who serves what on the address it was accepted on.
    pub port: Option<&'static PortServers>,
    /// The client's address (realip may change what requests say about it).
    pub peer: RefCell<Address>,
    /// The client's address as text, without port.
    pub peer_text: RefCell<Bytes>,
    /// Who connected, as text and port, while a request has another peer on the word of that one (`real_ip_header`).
    pub connected_peer: RefCell<Option<Box<(Bytes, u16)>>>,
    /// What its PROXY protocol header said.
    pub proxy_protocol: OnceCell<Box<ProxyProtocol>>,
    local: OnceCell<Box<Address>>,
    /// The number of requests so far, the current one included.
    pub requests: Cell<u64>,
    /// Bytes sent.
    pub sent: Cell<u64>,
    /// The connection is of no more use.
    pub error: Cell<bool>,
    /// The client was too slow.
    pub timed_out: Cell<bool>,
    /// The client closed its side.
    pub read_eof: Cell<bool>,
    /// Several requests came at once.
    pub pipelined: Cell<bool>,
    /// Whether a script is reading from the request's socket at this moment.
    pub(crate) has_other_reader: Cell<bool>,
    /// Somebody waits in [`Connection::read`].
    is_waiting_to_read: Cell<bool>,
    /// No request is being served; a worker that ends closes it.
    pub idle: Cell<bool>,
    /// It carries many requests at once and is told when it shall end, instead of being cut.
    pub(crate) is_multiplexed: Cell<bool>,
    /// It was told so.
    pub(crate) closing: Cell<bool>,
    /// What is going on, for log lines.
    pub action: Cell<Option<&'static str>>,
    /// Received and not used yet.
    pub input: RefCell<BytesMut>,
    output: RefCell<OutputQueue>,
    /// Sending goes on at this moment (`limit_rate`).
    pub(crate) delayed_until: Cell<Option<Instant>>,
    /// Why a write failed; whoever logs it takes it.
    pub(crate) write_errno: Cell<Option<i32>>,
    timer: Deadline,
    /// When the wait for the next request ends.
    idle_until: Cell<Option<Instant>>,
    /// Somebody else looks after that.
    parked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    wake: Cell<bool>,
    /// Its task looks at its requests at this moment.
    driven: Cell<bool>,
    active: Cell<*const Request>,
    /// What there is in place of a client.
    pub fake: Option<Box<FakeClient>>,
}

/// What log lines say in place of a client when there is none.
#[derive(Debug)]
pub struct FakeClient {
    /// `, context: ngx.timer, client: …`
    pub context: Vec<u8>,
    /// The part of that which timers pass on to the timers they create.
    pub place: Vec<u8>,
}

impl Connection {
    /// The connection of a request that no client made.
    pub fn fake(cycle: &'static Cycle, main_conf: &'static MainConf, number: u64) -> Self {
        Self::new(cycle, main_conf, number, Stream::Fake, Address::Unix(Bytes::new()), None)
    }

    /// A connection that was just accepted.
    pub fn new(
        cycle: &'static Cycle,
        main_conf: &'static MainConf,
        number: u64,
        stream: Stream,
        peer: Address,
        port: Option<&'static PortServers>,
    ) -> Self {
        Self {
            cycle,
            main_conf,
            number,
            tls: OnceCell::new(),
            handshake_of: OnceCell::new(),
            stream,
            opened: crate::clock::now(),
            port,
            peer_text: RefCell::new(peer.host_text()),
            peer: RefCell::new(peer),
            connected_peer: RefCell::default(),
            proxy_protocol: OnceCell::new(),
            local: OnceCell::new(),
            requests: Cell::new(0),
            sent: Cell::new(0),
            error: Cell::new(false),
            timed_out: Cell::new(false),
            read_eof: Cell::new(false),
            pipelined: Cell::new(false),
            has_other_reader: Cell::new(false),
            is_waiting_to_read: Cell::new(false),
            idle: Cell::new(true),
            is_multiplexed: Cell::new(false),
            closing: Cell::new(false),
            action: Cell::new(None),
            input: RefCell::default(),
            output: RefCell::default(),
            delayed_until: Cell::new(None),
            write_errno: Cell::new(None),
            timer: Deadline::default(),
            idle_until: Cell::new(None),
            parked: Cell::new(false),
            waker: RefCell::default(),
            wake: Cell::new(false),
            driven: Cell::new(false),
            active: Cell::new(std::ptr::null()),
            fake: None,
        }
    }

    /// The connection of a stream over another one, whose client it shares.
    pub(crate) fn over(below: &Self, stream: Stream, peer: Address) -> Self {
        let mut conn = Self::new(below.cycle, below.main_conf, below.number, stream, peer, below.port);
        conn.opened = below.opened;
        conn.requests.set(below.requests.get());
        conn.idle.set(false);
        conn.peer_text.replace(below.peer_text.borrow().clone());
        if let Some(said) = below.proxy_protocol.get() {
            // A fresh cell: nobody has set it.
            let _ = conn.proxy_protocol.set(said.clone());
        }
        conn
    }

    /// The stream of HTTP/2 that it is.
    pub(crate) fn http2(&self) -> Option<&Rc<h2::Stream>> {
        match &self.stream {
            Stream::Http2(stream) => Some(stream),
            _ => None,
        }
    }

    /// The connection with the socket.
    pub(crate) fn carrier(&self) -> &Self {
        self.http2().map_or(self, |stream| stream.carrier())
    }

    /// The configuration and the top level's log.
    pub fn cycle(&self) -> &'static Cycle {
        self.cycle
    }

    /// The settings of the subsystem that it belongs to.
    pub fn main_conf(&self) -> &'static MainConf {
        self.main_conf
    }

    /// What stands before the Lua core's log messages about it.
    pub(crate) fn mark(&self) -> &'static str {
        self.main_conf.core.subsystem.mark()
    }

    /// Whether it is a session of `stream { }`.
    pub fn is_stream(&self) -> bool {
        self.main_conf.core.subsystem == Subsystem::Stream
    }

    /// The address that is listened on, as configured: `0.0.0.0:80`.
    pub fn listen_text(&self) -> String {
        let ports = &self.main_conf.core.ports;
        let index = self.port.and_then(|port| ports.iter().position(|known| std::ptr::eq(known, port)));
        match index.and_then(|index| self.cycle.conf.listen.get(index)) {
            Some(spec) => spec.address.to_string(),
            None => self.local().to_string(),
        }
    }

    /// The client, when it sends datagrams.
    pub(crate) fn datagrams(&self) -> Option<&Rc<Client>> {
        match &self.stream {
            Stream::Datagrams(client) => Some(client),
            Stream::Fake | Stream::Tcp(_) | Stream::Unix(_) | Stream::Http2(_) => None,
        }
    }

    /// Whether there is a client at all.
    pub fn is_fake(&self) -> bool {
        matches!(self.stream, Stream::Fake)
    }

    /// Our own address.
    pub fn local(&self) -> &Address {
        self.local.get_or_init(|| {
            Box::new(match &self.stream {
                Stream::Fake => Address::Unix(Bytes::new()),
                Stream::Tcp(stream) => stream.local_addr().map_or(Address::Unix(Bytes::new()), Address::Ip),
                Stream::Unix(stream) => {
                    let path = stream.local_addr().ok().and_then(|known| known.as_pathname().map(ToOwned::to_owned));
                    let path = path.map(|path| std::os::unix::ffi::OsStringExt::into_vec(path.into_os_string()));
                    Address::Unix(path.unwrap_or_default().into())
                }
                Stream::Datagrams(client) => client.local().clone(),
                Stream::Http2(stream) => stream.carrier().local().clone(),
            })
        })
    }

    /// The number of the socket; -1 without one.
    pub fn descriptor(&self) -> RawFd {
        match &self.stream {
            Stream::Fake => -1,
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
            Stream::Datagrams(client) => client.fd(),
            Stream::Http2(stream) => stream.carrier().descriptor(),
        }
    }

    /// Whether it is this request's turn to write.
    pub fn is_active(&self, r: &Request) -> bool {
        std::ptr::eq(self.active.get(), r)
    }

    /// Gives the turn to a request. Only its address is kept.
    pub(crate) fn set_active(&self, r: &Request) {
        self.active.set(std::ptr::from_ref(r));
    }

    /// Remembers the task that serves the connection.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Lets the connection's task look at all its requests again.
    pub fn wake(&self) {
        self.wake.set(true);
        // Whoever looks at them right now asks before it waits.
        if !self.driven.get()
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }

    /// Wakes somebody who may be part of the connection's task.
    pub(crate) fn wake_waiter(&self, waiter: Waker) {
        if self.waker.borrow().as_ref().is_some_and(|own| own.will_wake(&waiter)) {
            self.wake();
        } else {
            waiter.wake();
        }
    }

    /// Says that its task looks at its requests, or does so no more.
    pub(crate) fn set_driven(&self, driven: bool) {
        self.driven.set(driven);
    }

    /// Whether somebody called [`Connection::wake`] since the last question.
    pub(crate) fn take_wake(&self) -> bool {
        self.wake.replace(false)
    }
}

/// Reading.
impl Connection {
    /// Reads what is there into `input`. `Ok(0)` is the end of the stream.
    pub fn try_read(&self) -> io::Result<usize> {
        if let Stream::Http2(stream) = &self.stream {
            // Bodies have a way of their own; here it is only told that there is something.
            let read = stream.try_read();
            self.read_eof.set(matches!(read, Ok(0)));
            return read;
        }
        let mut input = self.input.borrow_mut();
        if input.capacity() == 0 {
            *input = inputs::take();
        }
        input.reserve(READ_SIZE);
        let room = input.capacity() - input.len();
        let read = match &self.stream {
            _ if self.tls.get().is_some() => self.try_read_tls(&mut input),
            Stream::Fake => Ok(0),
            Stream::Tcp(stream) => uninterrupted(|| stream.try_read_buf(&mut *input)),
            Stream::Unix(stream) => uninterrupted(|| stream.try_read_buf(&mut *input)),
            Stream::Datagrams(_) | Stream::Http2(_) => Err(io::ErrorKind::WouldBlock.into()),
        };
        match read {
            Ok(0) => self.read_eof.set(true),
            // A read that left room took all there was: only the next event makes another one worth a system call.
            Ok(length) if length < room && self.tls.get().is_none() => self.clear_ready(Direction::Read),
            _ => {}
        }
        read
    }

    /// Gives the empty input's memory to connections that have something to read.
    pub(crate) fn lend_input(&self) {
        inputs::give_back(self.input.take());
    }

    /// Sets when the wait for the next request ends.
    pub(crate) fn set_idle_until(&self, moment: Instant) {
        self.idle_until.set(Some(moment));
    }

    /// When the wait for the next request ends.
    pub(crate) fn idle_until(&self) -> Option<Instant> {
        self.idle_until.get()
    }

    /// Lets go of memory that an idle connection has no use for, its timer included: who calls this closes the
    /// connection when its time is over.
    pub(crate) fn park(&self) {
        if !self.has_output() {
            self.output.take();
        }
        self.timer.clear();
        self.parked.set(true);
    }

    /// A request is there.
    pub(crate) fn unpark(&self) {
        self.parked.set(false);
    }

    /// When a parked connection has to be closed.
    pub(crate) fn parked_until(&self) -> Option<Instant> {
        self.idle_until.get().filter(|_| self.parked.get())
    }

    /// Waits for the first bytes of a request and reads them; false when none will come.
    pub(crate) async fn wait_for_request(&self) -> bool {
        // The wait of most connections at most times: all it needs to know is kept here.
        poll_fn(|cx| self.poll_request(cx)).await
    }

    fn poll_request(&self, cx: &mut Context<'_>) -> Poll<bool> {
        // TLS may hold bytes that the socket no longer announces.
        let mut is_ready = self.is_tls();
        loop {
            if !is_ready {
                let ready = match self.idle_until.get() {
                    Some(until) if !self.parked.get() => self.poll_ready(Direction::Read, until, cx),
                    _ => self.poll_read_ready(cx),
                };
                if ready!(ready).is_err() {
                    return Poll::Ready(false);
                }
            }
            match self.try_read() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_ready = false,
                done => return Poll::Ready(done.is_ok_and(|length| length > 0)),
            }
        }
    }

    /// Waits until there is something to read.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Fake => Poll::Ready(Ok(())),
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            Stream::Datagrams(_) => Poll::Pending,
            Stream::Http2(stream) => stream.poll_readable(cx).map(Ok),
        }
    }

    fn try_read_tls(&self, input: &mut BytesMut) -> io::Result<usize> {
        let Some((tls, _)) = self.tls.get() else { return Ok(0) };
        let read = tls.read(input, READ_SIZE);
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.clear_ready(tls.waits_for(Direction::Read));
        }
        read
    }

    /// Waits for bytes (at most until `deadline`) and reads them into `input`. `Ok(0)` is the end of the
    /// stream; no answer in time is an error of kind `TimedOut`. Only one reader at a time; dropping it is fine.
    pub async fn read(&self, deadline: Instant) -> io::Result<usize> {
        let _waiting = Waiting::mark(&self.is_waiting_to_read);
        // TLS may hold bytes that the socket no longer announces.
        let mut is_ready = self.is_tls();
        loop {
            if !is_ready {
                poll_fn(|cx| self.poll_ready(Direction::Read, deadline, cx)).await?;
            }
            match self.try_read() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_ready = false,
                done => return done,
            }
        }
    }

    /// Whether the deadline has passed; one timer serves all waits of the connection.
    pub(crate) fn poll_deadline(&self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        self.timer.poll(deadline, cx)
    }

    /// Whether somebody waits for bytes, so that nobody else may.
    pub(crate) fn is_being_read(&self) -> bool {
        self.is_waiting_to_read.get() || self.has_other_reader.get()
    }

    /// Waits until the client closes its side. Bytes that arrive meanwhile are kept.
    pub async fn client_gone(&self) {
        if let Stream::Http2(stream) = &self.stream {
            return stream.given_up().await;
        }
        // TLS may hold bytes that the socket no longer announces.
        let mut is_ready = self.is_tls();
        loop {
            // Mostly nothing comes, and no room has to be made for it.
            if !is_ready && poll_fn(|cx| self.poll_read_ready(cx)).await.is_err() {
                return;
            }
            match self.try_read() {
                Ok(0) => return,
                Ok(_) if self.input.borrow().len() > READ_AHEAD_MAX => std::future::pending::<()>().await,
                Ok(_) => is_ready = self.is_tls(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_ready = false,
                Err(_) => return,
            }
        }
    }
}

/// Somebody waits, until this is dropped.
struct Waiting<'a>(&'a Cell<bool>);

impl<'a> Waiting<'a> {
    fn mark(flag: &'a Cell<bool>) -> Self {
        flag.set(true);
        Self(flag)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// TLS.
impl Connection {
    /// The TLS connection, and what the server knows of its handshake.
    pub(crate) fn tls(&self) -> Option<(&Tls, &ServerSide)> {
        self.carrier().tls.get().map(|(tls, side)| (tls, &**side))
    }

    /// Puts TLS over the socket, once.
    pub(crate) fn set_tls(&self, tls: Tls, side: Box<ServerSide>) -> Result<(), ()> {
        self.tls.set((tls, side)).map_err(|_| ())?;
        if let Some((tls, side)) = self.tls.get() {
            side.attach(tls);
        }
        Ok(())
    }

    /// The connection whose TLS scripts see: the own one, or that of the handshake being served.
    pub(crate) fn tls_connection(&self) -> &Connection {
        self.handshake_of.get().map_or(self, |connection| connection).carrier()
    }

    /// Whether the client speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.carrier().tls.get().is_some()
    }

    /// Notes that the system would block.
    pub(crate) fn clear_ready(&self, direction: Direction) {
        let interest = match direction {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
        };
        let blocked = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        // An operation that would block is how the readiness is taken back.
        let _ = match &self.stream {
            Stream::Fake => Ok(()),
            Stream::Tcp(stream) => stream.try_io(interest, blocked),
            Stream::Unix(stream) => stream.try_io(interest, blocked),
            Stream::Datagrams(_) | Stream::Http2(_) => Ok(()),
        };
    }

    /// Waits for the socket, at most until `deadline`.
    pub(crate) fn poll_ready(
        &self,
        direction: Direction,
        deadline: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let ready = match direction {
            Direction::Read => self.poll_read_ready(cx),
            Direction::Write => self.poll_write_ready(cx),
        };
        if ready.is_pending() && self.timer.poll(deadline, cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready
    }
}

/// Bytes to make room for before a read.
const READ_SIZE: usize = 4096;
/// Bytes of later requests to keep while a handler watches for the end of the stream.
const READ_AHEAD_MAX: usize = 64 * 1024;

impl LogContext for Connection {
    fn connection(&self) -> u64 {
        self.number
    }

    fn describe(&self, out: &mut Vec<u8>) {
        if let Some(action) = self.action.get() {
            out.extend_from_slice(b" while ");
            out.extend_from_slice(action.as_bytes());
        }
        out.extend_from_slice(&self.place());
    }
}

impl Connection {
    /// `, client: ADDRESS, server: LISTENER`, as log lines name a connection without a request.
    pub(crate) fn place(&self) -> Vec<u8> {
        let kind = if self.datagrams().is_some() { "udp " } else { "" };
        let mut out = format!(", {kind}client: ").into_bytes();
        out.extend_from_slice(&self.peer_text.borrow());
        let ports = &self.main_conf.core.ports;
        let index = self.port.and_then(|port| ports.iter().position(|known| std::ptr::eq(known, port)));
        if let Some(spec) = index.and_then(|index| self.cycle.conf.listen.get(index)) {
            out.extend_from_slice(format!(", server: {}", spec.address).as_bytes());
        }
        out
    }
}
