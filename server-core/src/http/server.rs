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

use super::connection::{Address, Connection, Stream};
use super::head_reader::{self, Head};
use super::modules::core::LingeringClose;
use super::proxy_protocol;
use super::request::Request;
use super::run;
use crate::cycle::{Cycle, ListenAddress};
use crate::log::Level;
use crate::process::BoundListener;
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

/// All connections of a worker.
pub struct Server {
    cycle: &'static Cycle,
    connections: RefCell<Slab<Entry>>,
    limit: usize,
    room: Notify,
    last_gone: Notify,
    /// The most connections there were since memory was last given back.
    most: Cell<usize>,
    /// Most of them have gone.
    ebbed: Notify,
    exiting: Cell<bool>,
    accepting: RefCell<Vec<JoinHandle<()>>>,
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
        last_gone: Notify::new(),
        most: Cell::new(0),
        ebbed: Notify::new(),
        exiting: Cell::new(false),
        accepting: RefCell::default(),
    });
    for listener in listeners {
        let task = server.accept_from(listener)?;
        server.accepting.borrow_mut().push(task);
    }
    let tidied = Rc::clone(&server);
    let task = tokio::task::spawn_local(async move { tidied.give_back_memory().await });
    server.accepting.borrow_mut().push(task);
    Ok(server)
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    async fn accept(&self) -> io::Result<(Stream, Address)> {
        match self {
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
        let acceptor = match self.cycle.conf.listen.get(spec).map(|spec| &spec.address) {
            Some(ListenAddress::Unix(_)) => {
                let socket = std::os::unix::net::UnixListener::from(listener.socket);
                socket.set_nonblocking(true)?;
                Acceptor::Unix(UnixListener::from_std(socket)?)
            }
            _ => {
                let socket = std::net::TcpListener::from(listener.socket);
                socket.set_nonblocking(true)?;
                Acceptor::Tcp(TcpListener::from_std(socket)?)
            }
        };
        let server = Rc::clone(self);
        Ok(tokio::task::spawn_local(async move { server.accept_loop(spec, acceptor).await }))
    }

    async fn accept_loop(self: Rc<Self>, spec: usize, acceptor: Acceptor) {
        loop {
            while self.connections.borrow().len() >= self.limit {
                if !self.close_an_idle_connection() {
                    self.room.notified().await;
                }
            }
            match acceptor.accept().await {
                Ok((stream, peer)) => self.take(spec, stream, peer),
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    let level = if errno == libc::ECONNABORTED { Level::Error } else { Level::Alert };
                    self.cycle.log.write_errno(level, errno, format_args!("accept4() failed"));
                    if matches!(errno, libc::EMFILE | libc::ENFILE) {
                        // As nginx: not again before this pause, or it would spin.
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                }
            }
        }
    }

    fn take(self: &Rc<Self>, spec: usize, stream: Stream, peer: Address) {
        crate::clock::update();
        let port = self.cycle.http.core.ports.get(spec);
        let number = next_connection_number();
        let connection = Rc::new(Connection::new(self.cycle, number, stream, peer, port));
        log_debug!(self.cycle.log, "*{number} accept: {}", String::from_utf8_lossy(&connection.peer_text.borrow()));
        let mut connections = self.connections.borrow_mut();
        let slot = connections.vacant_entry();
        let key = slot.key();
        let weak = Rc::downgrade(&connection);
        let server = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            let _guard = Guard { server: &server, key };
            serve_connection(&server, &connection).await;
        });
        slot.insert(Entry { connection: weak, task });
        self.most.set(self.most.get().max(connections.len()));
    }

    /// After a flood of connections, gives the memory that they took back to the system: the allocator would keep it.
    async fn give_back_memory(&self) {
        loop {
            self.ebbed.notified().await;
            tokio::time::sleep(EBB_PAUSE).await;
            self.most.set(self.connections.borrow().len());
            crate::process::sys::trim_memory();
        }
    }

    /// Closes the connection that has been idle and was accepted first; whether there was one.
    fn close_an_idle_connection(&self) -> bool {
        let connections = self.connections.borrow();
        let idle = connections.iter().find(|(_, entry)| {
            entry.connection.upgrade().is_some_and(|connection| connection.idle.get() && connection.requests.get() > 0)
        });
        let Some((_, entry)) = idle else { return false };
        log_at!(self.cycle.log, Level::Warn, "{} worker_connections are not enough, reusing connections", self.limit);
        // Its slot is free when its task has been dropped: the caller waits for that.
        entry.task.abort();
        false
    }

    /// Stops accepting and closes idle connections; others end with their current request.
    pub fn quit(&self) {
        self.exiting.set(true);
        for task in self.accepting.borrow_mut().drain(..) {
            task.abort();
        }
        for (_, entry) in self.connections.borrow().iter() {
            if entry.connection.upgrade().is_some_and(|connection| connection.idle.get()) {
                entry.task.abort();
            }
        }
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

    /// Whether the worker is about to end.
    pub fn is_exiting(&self) -> bool {
        self.exiting.get()
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
async fn serve_connection(server: &Server, conn: &Rc<Connection>) {
    let Some(port) = conn.port else { return };
    let Some(default) = port.default else { return };
    let Some(loc) = default.core.loc.get() else { return };
    if *loc.core.tcp_nodelay
        && let Stream::Tcp(stream) = &conn.stream
    {
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
    }
    conn.action.set(Some("waiting for request"));
    let first_deadline = Instant::now() + *default.core.client_header_timeout;
    if port.options.proxy_protocol && !proxy_protocol::read(conn, first_deadline).await {
        return;
    }
    if port.options.ssl && speaks_tls(conn, first_deadline).await {
        let Some(context) = default.ssl.context() else { return };
        if !accept_tls(conn, port, context, default, first_deadline).await {
            return;
        }
        conn.action.set(Some("waiting for request"));
    }
    let mut reused: Option<Rc<Request>> = None;
    let mut idle_until = first_deadline;
    loop {
        conn.idle.set(true);
        if conn.input.borrow().is_empty() {
            match conn.read(idle_until).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
            conn.pipelined.set(false);
        } else {
            conn.pipelined.set(true);
        }
        conn.idle.set(false);
        crate::clock::update();
        conn.requests.set(conn.requests.get() + 1);
        conn.sent.set(0);
        conn.has_other_reader.set(false);
        let r = match reused.take() {
            Some(r) if Rc::strong_count(&r) == 1 => {
                r.reset(default, loc);
                r
            }
            _ => Request::new(Rc::clone(conn), default, loc),
        };
        conn.set_active(&r);
        conn.action.set(Some("reading client request line"));
        match head_reader::read(&r).await {
            Head::Closed => {
                run::log_closed(&r);
                return;
            }
            Head::Complete => {
                if server.exiting.get() {
                    r.headers_in.connection_type.set(super::headers_in::ConnectionType::Close);
                }
                run::serve(&r).await;
            }
            Head::Refused(code) => run::serve_refusal(&r, code).await,
        }
        run::close(&r).await;
        if r.detached.get() {
            return;
        }
        let keeps = r.keepalive.get() && !conn.error.get() && !conn.read_eof.get() && !server.exiting.get();
        if !keeps {
            if !conn.error.get() {
                linger(&r).await;
            }
            return;
        }
        conn.action.set(Some("keepalive"));
        idle_until = Instant::now() + *r.loc().core.keepalive_timeout;
        r.release();
        reused = Some(r);
    }
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
    if !lingers {
        return;
    }
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
