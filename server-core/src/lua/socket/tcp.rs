//! One TCP (or unix) cosocket: its connection, its timeouts, and what is under way on it.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::pool::{Kept, Pool};
use super::read::{Input, Progress, Want};
use super::transport::Transport;
use super::{Endpoint, SocketConf};
use crate::deadline::Deadline;
use crate::lua::ffi::worker;
use crate::lua::session::Notice;

/// Bytes asked for in one read of `*a` and of sizes beyond the buffer.
const READ_MAX: usize = 64 * 1024;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The client of a request socket went away.
    ClientAborted,
    /// The peer closed.
    Closed,
    /// The system said so, with this number.
    System(i32),
    /// Too late.
    Timeout,
}

impl Failure {
    /// What the system said; connections that end without a word are closed.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::System(number),
            None if error.kind() == io::ErrorKind::ConnectionAborted => Self::ClientAborted,
            None => Self::Closed,
        }
    }

    /// The text that scripts get.
    pub(crate) fn text(self) -> String {
        match self {
            Self::ClientAborted => "client aborted".to_owned(),
            Self::Closed => "closed".to_owned(),
            Self::System(number) => errno_text(number).to_lowercase(),
            Self::Timeout => "timeout".to_owned(),
        }
    }
}

/// The system's text for an error number.
pub(crate) fn errno_text(number: i32) -> &'static str {
    nix::errno::Errno::from_raw(number).desc()
}

/// The milliseconds of the three timeouts of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) send: Duration,
    pub(crate) read: Duration,
}

impl Timeouts {
    /// Settings in milliseconds; those that are not positive come from the configuration.
    pub(crate) fn new(connect: i64, send: i64, read: i64, conf: &SocketConf) -> Self {
        let or = |milliseconds: i64, default: Duration| match u64::try_from(milliseconds) {
            Ok(milliseconds @ 1..) => Duration::from_millis(milliseconds),
            _ => default,
        };
        Self {
            connect: or(connect, conf.connect_timeout),
            send: or(send, conf.send_timeout),
            read: or(read, conf.read_timeout),
        }
    }
}

/// What a socket is connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The body of the request.
    Body,
    /// Another server.
    #[default]
    Peer,
    /// The client's connection as a whole.
    Raw,
}

/// A cosocket. Operations of one direction exclude each other; both directions may be under way at a time.
pub(crate) struct TcpSocket {
    /// What it is connected to.
    pub(crate) kind: Kind,
    /// What stands before messages about it.
    mark: &'static str,
    /// The session that connected it: only its code may use it.
    pub(crate) owner: Cell<*mut c_void>,
    /// The connection, while there is one.
    pub(crate) transport: RefCell<Option<Rc<dyn Transport>>>,
    /// What has arrived.
    pub(crate) input: RefCell<Input>,
    /// The search whose held-back bytes belong to the input.
    pub(crate) search: RefCell<Option<Rc<super::pattern::Pattern>>>,
    /// The timeouts.
    pub(crate) timeouts: Cell<Timeouts>,
    /// Size of one read.
    pub(crate) buffer_size: Cell<usize>,
    /// A connect is under way.
    pub(crate) connecting: Cell<bool>,
    /// A connection to the peer is being made.
    pub(crate) dialing: Cell<bool>,
    /// A read is under way.
    pub(crate) reading: Cell<bool>,
    /// Something was read from it, or tried to.
    pub(crate) was_read: Cell<bool>,
    /// A write is under way.
    pub(crate) writing: Cell<bool>,
    /// Reading has ended for good.
    pub(crate) read_closed: Cell<bool>,
    /// Writing has ended for good.
    pub(crate) write_closed: Cell<bool>,
    /// The peer sent its end.
    pub(crate) eof: Cell<bool>,
    /// What stands in for the connection's descriptor in options.
    pub(crate) descriptor: Cell<Option<RawFd>>,
    /// The delay of small packets was turned off.
    pub(crate) nodelay: Cell<bool>,
    /// How often the connection was taken from a pool.
    pub(crate) reused: Cell<u32>,
    /// The pool that counts the connection.
    pub(crate) pool: RefCell<Option<Rc<Pool>>>,
    /// `HOST:PORT(ADDRESS)` of the peer, for messages.
    pub(crate) peer: RefCell<Rc<str>>,
    /// What ends its reads. It belongs to the connection.
    timer: RefCell<Rc<Deadline>>,
    /// Its handshakes.
    pub(crate) tls: super::tls::TlsState,
}

impl TcpSocket {
    /// A socket without connection.
    pub(crate) fn new(kind: Kind, owner: *mut c_void, conf: &SocketConf, timeouts: Timeouts) -> Rc<Self> {
        Rc::new(Self {
            kind,
            mark: conf.mark,
            owner: Cell::new(owner),
            transport: RefCell::default(),
            input: RefCell::default(),
            search: RefCell::default(),
            timeouts: Cell::new(timeouts),
            buffer_size: Cell::new(conf.buffer_size.max(1)),
            connecting: Cell::new(false),
            dialing: Cell::new(false),
            reading: Cell::new(false),
            was_read: Cell::new(false),
            writing: Cell::new(false),
            read_closed: Cell::new(false),
            write_closed: Cell::new(false),
            eof: Cell::new(false),
            descriptor: Cell::new(None),
            nodelay: Cell::new(false),
            reused: Cell::new(0),
            pool: RefCell::default(),
            peer: RefCell::new("".into()),
            timer: RefCell::default(),
            tls: super::tls::TlsState::default(),
        })
    }

    /// A read is under way, or no more.
    pub(crate) fn set_reading(&self, reading: bool) {
        self.reading.set(reading);
        if let Some(transport) = self.transport.borrow().as_ref() {
            transport.set_reading(reading);
        }
    }

    /// Turns off the delay of small packets, once for each connection. Whether that was done now.
    pub(crate) fn set_nodelay(&self) -> bool {
        !self.nodelay.replace(true) && self.transport.borrow().as_ref().is_some_and(|transport| transport.set_nodelay())
    }

    /// What the error log says about the peer.
    pub(crate) fn upstream(&self) -> String {
        let peer = self.peer.borrow();
        if peer.is_empty() { String::new() } else { format!(", upstream: {peer}") }
    }

    /// Whether there is a connection, or one being made.
    pub(crate) fn is_connected(&self) -> bool {
        self.transport.borrow().is_some() || self.dialing.get()
    }

    /// Whether reading is over.
    pub(crate) fn is_read_closed(&self) -> bool {
        !self.is_connected() || self.read_closed.get()
    }

    /// Whether writing is over.
    pub(crate) fn is_write_closed(&self) -> bool {
        !self.is_connected() || self.write_closed.get()
    }

    /// Uses a connection.
    pub(crate) fn attach(&self, kept: Kept) {
        self.transport.replace(Some(kept.transport));
        self.reused.set(kept.reused);
        self.peer.replace(kept.peer);
        self.input.take();
        self.search.take();
        self.eof.set(false);
        self.descriptor.set(None);
        self.nodelay.set(kept.nodelay);
        self.timer.replace(kept.timer);
        self.read_closed.set(false);
        self.write_closed.set(false);
    }

    /// Gives the connection away.
    pub(crate) fn detach(&self) -> Option<Kept> {
        let transport = self.transport.borrow_mut().take()?;
        self.input.take();
        self.search.take();
        Some(Kept {
            transport,
            reused: self.reused.get(),
            peer: self.peer.borrow().clone(),
            nodelay: self.nodelay.get(),
            timer: self.timer.take(),
        })
    }

    /// Closes the connection, if there is one. The answer is the name of the pool that went with it.
    pub(crate) fn close(&self) -> Option<String> {
        let connection = self.detach();
        self.read_closed.set(true);
        self.write_closed.set(true);
        let pool = self.pool.borrow_mut().take();
        connection?;
        let pool = pool?;
        pool.release().then(|| pool.name())
    }

    /// Prepares for a read by `next`: what another search held back is input again.
    pub(crate) fn begin_read(&self, next: Option<&Rc<super::pattern::Pattern>>) {
        self.was_read.set(true);
        let mut search = self.search.borrow_mut();
        if let (Some(held), Some(next)) = (search.as_ref(), next)
            && Rc::ptr_eq(held, next)
        {
            return;
        }
        if let Some(held) = search.take() {
            self.input.borrow_mut().give_back(held.give_back());
        }
        *search = next.cloned();
    }

    /// Takes what there is without waiting; `None` when more is needed.
    pub(crate) fn read_now(
        &self,
        want: &mut Want,
        out: &mut Vec<u8>,
        notice: Option<&Notice>,
    ) -> Option<Result<(), Failure>> {
        loop {
            if let Some(notice) = notice
                && (self.eof.get() || !self.input.borrow().is_empty())
            {
                want.announce(self.input.borrow().unread().len(), notice);
            }
            let taken = want.take(&mut self.input.borrow_mut(), out, self.eof.get());
            match taken {
                Progress::Done => return Some(Ok(())),
                Progress::Closed => return Some(Err(Failure::Closed)),
                Progress::More => {}
            }
            let transport = self.transport.borrow().clone();
            let Some(transport) = transport else { return Some(Err(Failure::Closed)) };
            let arrived = transport.try_read(self.input.borrow_mut().buffer(), self.read_size(want));
            match arrived {
                Ok(0) => self.eof.set(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => return Some(Err(Failure::from_io(&error))),
            }
        }
    }

    /// Reads until `want` is satisfied. The timeout begins anew with everything that arrives.
    pub(crate) async fn read(
        &self,
        want: &mut Want,
        out: &mut Vec<u8>,
        notice: Option<&Notice>,
    ) -> Result<(), Failure> {
        loop {
            if let Some(result) = self.read_now(want, out, notice) {
                return result;
            }
            let transport = self.transport.borrow().clone().ok_or(Failure::Closed)?;
            let size = self.read_size(want);
            let timer = self.timer.borrow().clone();
            let deadline = crate::clock::moment() + self.timeouts.get().read;
            let arrived =
                std::future::poll_fn(|cx| match transport.poll_read(cx, self.input.borrow_mut().buffer(), size) {
                    Poll::Ready(arrived) => Poll::Ready(arrived.map_err(|error| Failure::from_io(&error))),
                    Poll::Pending if timer.poll(deadline, cx) => Poll::Ready(Err(Failure::Timeout)),
                    Poll::Pending => Poll::Pending,
                });
            if arrived.await? == 0 {
                self.eof.set(true);
            }
        }
    }

    fn read_size(&self, want: &Want) -> usize {
        let buffer = self.buffer_size.get();
        match want {
            Want::Exact(rest) => (*rest).clamp(buffer, READ_MAX.max(buffer)),
            Want::All => READ_MAX.max(buffer),
            Want::Any(_) | Want::Line | Want::Until(..) => buffer,
        }
    }

    /// Writes without waiting; the answer is how much went out.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> Result<usize, Failure> {
        let transport = self.transport.borrow().clone().ok_or(Failure::Closed)?;
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match transport.try_write(rest) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Failure::from_io(&error)),
            }
        }
        Ok(sent)
    }

    /// Writes everything. The timeout begins anew with everything that goes out.
    pub(crate) async fn write(&self, mut bytes: &[u8]) -> Result<(), Failure> {
        let transport = self.transport.borrow().clone().ok_or(Failure::Closed)?;
        while !bytes.is_empty() {
            let departure = std::future::poll_fn(|cx| match transport.poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                other => other,
            });
            match tokio::time::timeout(self.timeouts.get().send, departure).await {
                Ok(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                Ok(Err(error)) => return Err(Failure::from_io(&error)),
                Err(_elapsed) => return Err(Failure::Timeout),
            }
        }
        Ok(())
    }
}

impl Endpoint for TcpSocket {
    fn end(&self) {
        if self.transport.borrow().is_some() {
            worker::debug(format_args!("{}lua finalize socket", self.mark));
            if self.kind == Kind::Peer {
                worker::debug(format_args!("{}lua close socket connection", self.mark));
                worker::debug(format_args!("reusable connection: 0"));
            }
        }
        self.close();
        self.owner.set(std::ptr::null_mut());
    }

    fn disown(&self) {
        self.owner.set(std::ptr::dangling_mut::<u64>().cast());
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        self.close();
    }
}
