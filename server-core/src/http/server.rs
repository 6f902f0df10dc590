//! Accepting connections and serving the requests that come over them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::conf::{LocConf, SrvConf};
use super::connection::{Address, Connection, Stream};
use super::h2::{self, frame::PREFACE};
use super::head_reader::{self, Head};
use super::modules::core::{LingeringClose, LocConf as CoreConf, PortServers};
use super::proxy_protocol;
use super::request::Request;
use super::run;
use crate::cycle::{Cycle, ListenAddress, ListenSpec, Subsystem};
use crate::log::{ErrorLog, Level};
use crate::lua::ffi::worker::stat;
use crate::process::counters::{self, Counters, InProgress};
use crate::process::{BoundListener, trim_memory};
use crate::stream::Port;
use crate::tls::server::accept as accept_tls;
use crate::tls::stream::Direction;
use crate::{log_at, log_debug};

struct Entry {
    connection: Weak<Connection>,
    task: JoinHandle<()>,
}

/// So many connections at a time are worth the time that it takes to give their memory back.
const FLOOD: usize = 256;
/// How long after the end of a flood that happens: others may leave, too.
const EBB_PAUSE: Duration = Duration::from_secs(1);

/// How exactly the time of parked connections is kept.
const PARKED_PAUSE: Duration = Duration::from_millis(250);

/// All connections of a worker.
pub struct Server {
    cycle: &'static Cycle,
    connections: RefCell<Slab<Entry>>,
    limit: usize,
    room: Notify,
    pause: Pause,
    last_gone: Notify,
    /// The most connections there were since memory was last given back.
    most: Cell<usize>,
    /// Most of them have gone.
    ebbed: Notify,
    exiting: Cell<bool>,
    /// Idle connections that keep what they need for their next request.
    reserves: Cell<usize>,
    /// There are idle connections without timers.
    parked: Notify,
    accepting: RefCell<Vec<JoinHandle<()>>>,
    counters: Counters,
    /// The second in which Lua was last shown what is counted.
    published: Cell<i64>,
    /// The second in which the log was last told that idle connections have to go.
    reused: Cell<i64>,
}

thread_local! {
    static NEXT_NUMBER: Cell<u64> = const { Cell::new(1) };
}

/// A number for a connection, unique in this worker.
pub fn next_connection_number() -> u64 {
    let number = NEXT_NUMBER.get();
    NEXT_NUMBER.set(number + 1);
    number
}

/// Begins to accept connections. Must be called inside the worker's runtime.
pub fn serve(cycle: &'static Cycle, listeners: Vec<BoundListener>) -> io::Result<Rc<Server>> {
    let server = Rc::new(Server {
        cycle,
        connections: RefCell::default(),
        limit: cycle.conf.worker_connections.unwrap_or(512),
        room: Notify::new(),
        pause: Pause::default(),
        last_gone: Notify::new(),
        most: Cell::new(0),
        ebbed: Notify::new(),
        exiting: Cell::new(false),
        reserves: Cell::new(0),
        parked: Notify::new(),
        accepting: RefCell::default(),
        counters: counters::of_this_process(),
        published: Cell::new(0),
        reused: Cell::new(0),
    });
    for listener in listeners {
        let task = server.accept_from(listener)?;
        server.accepting.borrow_mut().push(task);
    }
    let tidied = Rc::clone(&server);
    let task = tokio::task::spawn_local(async move { tidied.give_back_memory().await });
    server.accepting.borrow_mut().push(task);
    let watched = Rc::clone(&server);
    let task = tokio::task::spawn_local(async move { watched.close_parked().await });
    server.accepting.borrow_mut().push(task);
    Ok(server)
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if let Self::Datagrams(port) = self {
            port.close();
        }
    }
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
    Datagrams(Rc<Port>),
}

impl Acceptor {
    fn open(listener: BoundListener, cycle: &Cycle) -> io::Result<Self> {
        match cycle.conf.listen.get(listener.index) {
            Some(spec) if spec.datagram => Ok(Self::Datagrams(Port::open(listener.socket, &spec.address)?)),
            Some(ListenSpec { address: ListenAddress::Unix(_), .. }) => {
                let socket = std::os::unix::net::UnixListener::from(listener.socket);
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(socket)?))
            }
            _ => {
                let socket = std::net::TcpListener::from(listener.socket);
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(socket)?))
            }
        }
    }

    async fn accept(&self, log: &ErrorLog) -> io::Result<(Stream, Address)> {
        match self {
            Self::Datagrams(port) => {
                let client = port.accept(log).await?;
                let address = client.address().clone();
                Ok((Stream::Datagrams(client), address))
            }
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Address::Ip(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Address::Unix(Bytes::new())))
            }
        }
    }
}

impl Server {
    fn accept_from(self: &Rc<Self>, listener: BoundListener) -> io::Result<JoinHandle<()>> {
        let spec = listener.index;
        let acceptor = Acceptor::open(listener, self.cycle)?;
        let server = Rc::clone(self);
        Ok(tokio::task::spawn_local(async move { server.accept_loop(spec, acceptor).await }))
    }

    async fn accept_loop(self: Rc<Self>, spec: usize, acceptor: Acceptor) {
        loop {
            self.wait_for_room().await;
            self.wait_for_a_slot().await;
            match acceptor.accept(&self.cycle.log).await {
                Ok((stream, peer)) => self.take(spec, stream, peer),
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    let level = if errno == libc::ECONNABORTED { Level::Error } else { Level::Alert };
                    let call = if matches!(acceptor, Acceptor::Datagrams(_)) { "recvmsg()" } else { "accept4()" };
                    self.cycle.log.write_errno(level, errno, format_args!("{call} failed"));
                    if matches!(errno, libc::EMFILE | libc::ENFILE) {
                        // As nginx: not again before this pause, or it would spin.
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                }
            }
        }
    }

    /// Waits while there are as many connections as `connection_limit` allows. Those that wait to be accepted stay in
    /// the kernel's backlog.
    async fn wait_for_room(&self) {
        let Some(limit) = self.cycle.conf.connection_limit else { return };
        while self.connections.borrow().len() >= limit {
            self.pause.begin(limit, self.cycle);
            self.room.notified().await;
        }
        self.pause.end(limit, self.cycle);
        // Others that accept may wait as well.
        self.room.notify_one();
    }

    /// Waits while there are as many connections as `worker_connections` allows, and closes an idle one meanwhile.
    async fn wait_for_a_slot(&self) {
        let mut waited = false;
        while self.connections.borrow().len() >= self.limit {
            self.close_an_idle_connection();
            // One ends, or becomes idle.
            self.room.notified().await;
            waited = true;
        }
        if waited {
            self.room.notify_one();
        }
    }

    /// A connection waits for its next request. Until then it may be closed when its slot is needed.
    pub(super) fn becomes_idle(&self, connection: &Connection) {
        connection.idle.set(true);
        connection.debug(format_args!("reusable connection: 1"));
        if self.connections.borrow().len() >= self.limit {
            self.room.notify_one();
        }
    }

    fn take(self: &Rc<Self>, spec: usize, stream: Stream, peer: Address) {
        crate::clock::update();
        let subsystem = self.cycle.conf.listen.get(spec).map_or(Subsystem::Http, |spec| spec.subsystem);
        let main = self.cycle.main(subsystem).unwrap_or(&self.cycle.http);
        let number = next_connection_number();
        let connection = Rc::new(Connection::new(self.cycle, main, number, stream, peer, main.core.ports.get(spec)));
        let call = if connection.datagrams().is_some() { "recvmsg" } else { "accept" };
        log_debug!(self.cycle.log, "*{number} {call}: {}", String::from_utf8_lossy(&connection.peer_text.borrow()));
        let mut connections = self.connections.borrow_mut();
        let slot = connections.vacant_entry();
        let key = slot.key();
        let weak = Rc::downgrade(&connection);
        self.counters.connection_opened();
        let server = Rc::clone(self);
        // Two sorts of tasks: what waits for requests shall not be as large as what serves sessions.
        let task = if connection.is_stream() {
            tokio::task::spawn_local(async move {
                let _guard = Guard { server: &server, key };
                crate::stream::serve(&connection).await;
                connection.debug(format_args!("reusable connection: 0"));
            })
        } else {
            tokio::task::spawn_local(async move {
                let _guard = Guard { server: &server, key };
                serve_connection(&server, &connection).await;
                connection.debug(format_args!("reusable connection: 0"));
            })
        };
        slot.insert(Entry { connection: weak, task });
        self.most.set(self.most.get().max(connections.len()));
    }

    /// After a flood of connections, gives the memory that they took back to the system: the allocator would keep it.
    async fn give_back_memory(&self) {
        loop {
            self.ebbed.notified().await;
            tokio::time::sleep(EBB_PAUSE).await;
            self.most.set(self.connections.borrow().len());
            trim_memory();
        }
    }

    /// Closes parked connections when their time is over: one timer for all of them, which need not be exact.
    async fn close_parked(&self) {
        loop {
            self.parked.notified().await;
            loop {
                tokio::time::sleep(PARKED_PAUSE).await;
                let now = Instant::now();
                let mut waits = false;
                for (_, entry) in self.connections.borrow().iter() {
                    let until = entry.connection.upgrade().and_then(|connection| connection.parked_until());
                    match until {
                        Some(until) if until <= now => entry.task.abort(),
                        Some(_) => waits = true,
                        None => {}
                    }
                }
                if !waits {
                    break;
                }
            }
        }
    }

    /// Closes the idle connection whose time would be over first, if there is one. Its slot is free when its task has
    /// been dropped.
    fn close_an_idle_connection(&self) {
        let connections = self.connections.borrow();
        let idle = connections.iter().filter_map(|(_, entry)| {
            let connection = entry.connection.upgrade()?;
            (connection.idle.get() && connection.requests.get() > 0).then_some((entry, connection))
        });
        let Some((entry, connection)) = idle.min_by_key(|(_, connection)| connection.idle_until()) else { return };
        let second = crate::clock::now().sec;
        if self.reused.replace(second) != second {
            let limit = self.limit;
            log_at!(self.cycle.log, Level::Warn, "{limit} worker_connections are not enough, reusing connections");
        }
        if connection.is_multiplexed.get() {
            connection.closing.set(true);
            connection.wake();
        } else {
            entry.task.abort();
        }
    }

    /// Stops accepting and closes idle connections; others end with their current request.
    pub fn quit(&self) {
        self.exiting.set(true);
        for task in self.accepting.borrow_mut().drain(..) {
            task.abort();
        }
        for (_, entry) in self.connections.borrow().iter() {
            if let Some(connection) = entry.connection.upgrade().filter(|known| known.is_multiplexed.get()) {
                // It says goodbye, and its streams end in peace.
                connection.wake();
                continue;
            }
            // The first request of a new connection may be on its way.
            let is_idle = |connection: Rc<Connection>| connection.idle.get() && connection.requests.get() > 0;
            if entry.connection.upgrade().is_some_and(is_idle) {
                entry.task.abort();
            }
        }
    }

    /// Lets an idle connection keep its memory, unless enough others do.
    fn reserve(&self) -> Option<Reserve<'_>> {
        let reserves = self.reserves.get();
        (reserves < RESERVES_MAX).then(|| {
            self.reserves.set(reserves + 1);
            Reserve(self)
        })
    }

    /// Waits until the last connection has gone.
    pub async fn drained(&self) {
        while !self.connections.borrow().is_empty() {
            self.last_gone.notified().await;
        }
    }

    /// Cuts all connections.
    pub fn terminate(&self) {
        for (_, entry) in self.connections.borrow().iter() {
            entry.task.abort();
        }
    }

    /// The number of open connections.
    pub fn open_connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Shows Lua what all processes count, as of this second.
    fn publish_counts(&self) {
        let second = crate::clock::now().sec;
        if self.published.replace(second) != second {
            stat::publish(&counters::totals());
        }
    }

    /// A request begins: counts it among those that are answered.
    pub(super) fn begin_request(&self) -> InProgress<'_> {
        let progress = self.counters.reading();
        progress.writing();
        self.publish_counts();
        progress
    }

    /// Whether the worker is about to end.
    pub fn is_exiting(&self) -> bool {
        self.exiting.get()
    }
}

/// Idle connections that keep what their next request needs; others make it anew.
const RESERVES_MAX: usize = 128;

/// The right of an idle connection to keep its memory.
struct Reserve<'a>(&'a Server);

impl Drop for Reserve<'_> {
    fn drop(&mut self) {
        self.0.reserves.set(self.0.reserves.get().saturating_sub(1));
    }
}

/// The times at which `connection_limit` kept the worker from accepting.
#[derive(Default)]
struct Pause {
    since: Cell<Option<Instant>>,
    count: Cell<u64>,
}

impl Pause {
    fn begin(&self, limit: usize, cycle: &Cycle) {
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
            self.count.set(self.count.get() + 1);
            log_at!(cycle.log, Level::Warn, "connection_limit of {limit} is reached, accepting none until one ends");
        }
    }

    fn end(&self, limit: usize, cycle: &Cycle) {
        if let Some(since) = self.since.take() {
            let (waited, count) = (since.elapsed().as_millis(), self.count.get());
            log_at!(
                cycle.log,
                Level::Notice,
                "below connection_limit of {limit} again after {waited} ms (pause {count})"
            );
        }
    }
}

/// Gives the slot of a connection back, however its task ends.
struct Guard<'a> {
    server: &'a Server,
    key: usize,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut connections = self.server.connections.borrow_mut();
        connections.try_remove(self.key);
        self.server.counters.connection_closed();
        let most = self.server.most.get();
        if most >= FLOOD && connections.len() < most / 4 {
            // Once a flood: the next one is counted from here.
            self.server.most.set(0);
            self.server.ebbed.notify_one();
        }
        self.server.room.notify_one();
        if connections.is_empty() {
            self.server.last_gone.notify_waiters();
        }
    }
}

/// Looks at the first byte of a connection: whether a TLS record may begin with it.
async fn speaks_tls(conn: &Connection, deadline: Instant) -> bool {
    let mut first = [0];
    loop {
        match nix::sys::socket::recv(conn.descriptor(), &mut first, nix::sys::socket::MsgFlags::MSG_PEEK) {
            // The handshake finds the end, or the error, for itself.
            Ok(0) => return true,
            Ok(_) => return first[0] & 0x80 != 0 || first[0] == 0x16,
            Err(nix::errno::Errno::EAGAIN) => {}
            Err(_) => return true,
        }
        conn.clear_ready(Direction::Read);
        if poll_fn(|cx| conn.poll_ready(Direction::Read, deadline, cx)).await.is_err() {
            return true;
        }
    }
}

/// Serves one connection until it ends.
///
/// Most connections are idle most of the time, so what serves a request is boxed: a connection that waits for its
/// next request is little more than this function.
async fn serve_connection(server: &Rc<Server>, conn: &Rc<Connection>) {
    let Some((default, loc)) = served_by(conn) else { return };
    if !begin_connection(conn).await {
        return;
    }
    if is_http2(conn, default) {
        // Large, and rare.
        if Box::pin(speaks_http2(conn)).await {
            Box::pin(h2::serve::serve(server, conn, default, loc)).await;
            return;
        }
        if conn.input.borrow().is_empty() {
            return;
        }
    }
    let mut spare: Option<Rc<Request>> = None;
    let mut place = None;
    let mut reserve: Option<Reserve<'_>> = None;
    loop {
        let pipelined = !conn.input.borrow().is_empty();
        if !pipelined {
            server.becomes_idle(conn);
            conn.lend_input();
            if !conn.wait_for_request().await {
                return;
            }
        }
        if !pipelined {
            conn.debug(format_args!("reusable connection: 0"));
        }
        conn.unpark();
        conn.pipelined.set(pipelined);
        conn.idle.set(false);
        drop(reserve.take());
        let Some((default, loc)) = served_by(conn) else { return };
        let r = match spare.take() {
            Some(r) => {
                r.begin(default, loc);
                r
            }
            None => Request::new(Rc::clone(conn), default, loc),
        };
        let serving = place.get_or_insert_with(|| Box::pin(None));
        serving.set(Some(serve_request(server, conn, r)));
        let Some(request) = serving.as_mut().as_pin_mut() else { return };
        let served = request.await;
        serving.set(None);
        let Some(r) = served else { return };
        conn.action.set(Some("keepalive"));
        conn.set_idle_until(crate::clock::moment() + *r.loc().core.keepalive_timeout);
        spare = r.recycle();
        reserve = server.reserve();
        if reserve.is_none() {
            spare = None;
            place = None;
            conn.park();
            server.parked.notify_one();
        }
    }
}

/// The server and the location that a connection's requests begin in.
fn served_by(conn: &Connection) -> Option<(&'static SrvConf, &'static LocConf)> {
    let default = conn.port?.default?;
    Some((default, default.core.loc.get().copied()?))
}

/// Whether a client may speak HTTP/2 without having said so in a TLS handshake, or has said so.
fn is_http2(conn: &Connection, default: &SrvConf) -> bool {
    match conn.tls() {
        Some((tls, _)) => tls.ssl().selected_alpn_protocol() == Some(b"h2"),
        None => *default.http2.enable || conn.port.is_some_and(|port| port.options.http2),
    }
}

/// Whether a client that may speak HTTP/2 does: with TLS it has said so, without it begins with the preface. What was
/// received then stays in the input, nothing when the client has left.
async fn speaks_http2(conn: &Connection) -> bool {
    if conn.is_tls() {
        return true;
    }
    loop {
        if !conn.wait_for_request().await {
            conn.input.borrow_mut().clear();
            return false;
        }
        let input = conn.input.borrow();
        let length = input.len().min(PREFACE.len());
        if input.get(..length) != PREFACE.get(..length) {
            return false;
        }
        if length == PREFACE.len() {
            return true;
        }
    }
}

/// Prepares a connection for its first request. Whether requests may come.
async fn begin_connection(conn: &Rc<Connection>) -> bool {
    let Some(((default, loc), port)) = served_by(conn).zip(conn.port) else { return false };
    if *loc.core.tcp_nodelay
        && let Stream::Tcp(stream) = &conn.stream
    {
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
    }
    conn.action.set(Some("waiting for request"));
    let until = Instant::now() + *default.core.client_header_timeout;
    conn.set_idle_until(until);
    let is_greeted = port.options.proxy_protocol || port.options.ssl;
    !is_greeted || Box::pin(greet(conn, port, default, until)).await
}

/// What comes before the first request: the PROXY protocol's header and the TLS handshake. Whether requests may come.
async fn greet(
    conn: &Rc<Connection>,
    port: &'static PortServers,
    default: &'static SrvConf,
    deadline: Instant,
) -> bool {
    if port.options.proxy_protocol && !proxy_protocol::read(conn, deadline).await {
        return false;
    }
    if port.options.ssl && speaks_tls(conn, deadline).await {
        let Some(context) = default.ssl.context() else { return false };
        if !accept_tls(conn, port, context, default, deadline).await {
            return false;
        }
        conn.action.set(Some("waiting for request"));
    }
    true
}

/// Serves one request, of which bytes are there. It is returned when the connection stays for another one.
async fn serve_request(server: &Server, conn: &Rc<Connection>, r: Rc<Request>) -> Option<Rc<Request>> {
    crate::clock::step();
    conn.requests.set(conn.requests.get() + 1);
    conn.sent.set(0);
    let progress = server.counters.reading();
    conn.has_other_reader.set(false);
    conn.set_active(&r);
    conn.action.set(Some("reading client request line"));
    match head_reader::read(&r).await {
        Head::Closed => {
            run::log_closed(&r);
            return None;
        }
        Head::Complete => {
            if server.exiting.get() {
                r.headers_in.connection_type.set(super::headers_in::ConnectionType::Close);
            }
            progress.writing();
            server.publish_counts();
            if crate::dev::is_on() && crate::dev::is_foreign(&r) {
                run::serve_refusal(&r, super::Code::FORBIDDEN).await;
            } else {
                run::serve(&r).await;
            }
        }
        Head::Refused(code) => run::serve_refusal(&r, code).await,
    }
    run::close(&r).await;
    drop(progress);
    if r.detached.get() {
        return None;
    }
    let keeps = r.keepalive.get() && !conn.error.get() && !conn.read_eof.get() && !server.exiting.get();
    if !keeps {
        if !conn.error.get() {
            linger(&r).await;
        }
        return None;
    }
    Some(r)
}

/// Lets the client finish what it is sending before the connection is cut, or the response might be lost to a
/// reset.
async fn linger(r: &Rc<Request>) {
    let conn = r.conn();
    let core = &r.loc().core;
    let unread = r.lingering_close.get() || !conn.input.borrow().is_empty();
    let lingers = match *core.lingering_close {
        LingeringClose::Always => true,
        LingeringClose::On => unread,
        LingeringClose::Off => false,
    };
    if lingers {
        linger_on(conn, core).await;
    }
}

/// Reads and throws away what a client still sends, for as long as the settings say.
pub(super) async fn linger_on(conn: &Connection, core: &CoreConf) {
    conn.shutdown_write();
    let end = Instant::now() + *core.lingering_time;
    loop {
        conn.input.borrow_mut().clear();
        let deadline = end.min(Instant::now() + *core.lingering_timeout);
        match conn.read(deadline).await {
            Ok(read) if read > 0 && Instant::now() < end => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F>(_: impl FnOnce(&'static Rc<Server>, &'static Rc<Connection>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_small() {
        // With what the runtime adds, a task of 256 bytes.
        let future = size_of_future(serve_connection);
        assert!(future <= 120, "the future has {future} bytes");
        let connection = size_of::<Connection>();
        assert!(connection <= 512, "the connection has {connection} bytes");
    }
}
