//! A connection to a server behind us.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use futures_util::future::LocalBoxFuture;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextRef, SslRef};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::address::PeerAddress;
use crate::datagram_socket::DatagramSocket;
use crate::deadline::Deadline;
use crate::slow_network;
use crate::tls::Tls;
use crate::tls::stream::Direction;
use crate::tls::upstream::{ClientSide, Secured};

/// Why a connection can't even be begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The local address is not ours.
    #[error("failed to bind")]
    Bind(#[source] io::Error),
    /// The system refused at once.
    #[error("failed to connect")]
    Connect(#[from] io::Error),
}

/// How a connection is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Where from.
    pub(crate) local: Option<SocketAddr>,
    /// The local address need not be one of ours.
    pub(crate) transparent: bool,
    /// The system looks whether the peer is still there.
    pub(crate) keepalive: bool,
    /// Datagrams instead of a stream: a read is one of them, and so is a write.
    pub(crate) datagrams: bool,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Datagrams(Datagrams),
}

/// Datagrams to and from one peer. One task waits for them.
struct Datagrams {
    socket: Rc<DatagramSocket>,
    readable: RefCell<Option<LocalBoxFuture<'static, io::Result<()>>>>,
    writable: RefCell<Option<LocalBoxFuture<'static, io::Result<()>>>>,
}

impl Datagrams {
    fn new(socket: DatagramSocket) -> Self {
        Self { socket: Rc::new(socket), readable: RefCell::default(), writable: RefCell::default() }
    }

    fn try_io<T>(&self, interest: Interest, mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        if interest.is_writable() {
            self.socket.try_write(|_| operation())
        } else {
            self.socket.try_read(|_| operation())
        }
    }
}

impl AsRawFd for Datagrams {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.fd()
    }
}

impl Readiness for Datagrams {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slot = self.readable.borrow_mut();
        let waiting = slot.get_or_insert_with(|| {
            let socket = Rc::clone(&self.socket);
            Box::pin(async move { socket.readable().await })
        });
        let ready = ready!(waiting.as_mut().poll(cx));
        *slot = None;
        Poll::Ready(ready)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slot = self.writable.borrow_mut();
        let waiting = slot.get_or_insert_with(|| {
            let socket = Rc::clone(&self.socket);
            Box::pin(async move { socket.writable().await })
        });
        let ready = ready!(waiting.as_mut().poll(cx));
        *slot = None;
        Poll::Ready(ready)
    }

    fn receive(&self, into: &mut impl BufMut) -> io::Result<usize> {
        let mut buffer = vec![0; into.remaining_mut().min(DATAGRAM_MAX)];
        let length = self
            .socket
            .try_read(|fd| Ok(nix::sys::socket::recv(fd, &mut buffer, nix::sys::socket::MsgFlags::empty())?))?;
        into.put_slice(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }

    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write(|fd| send_message(fd, slices))
    }
}

/// A connection to a server behind us, used by one request at a time.
pub(crate) struct Connection {
    // Before the socket: the goodbye must still find it open.
    secured: OnceCell<Secured>,
    stream: Stream,
    /// Requests so far.
    pub(crate) requests: Cell<u32>,
    /// When it was made.
    pub(crate) opened: Instant,
    /// What ends the waits of the request that uses it.
    pub(crate) timer: Deadline,
}

macro_rules! on_stream {
    ($self:expr, $stream:ident => $body:expr) => {
        match &$self.stream {
            Stream::Tcp($stream) => $body,
            Stream::Unix($stream) => $body,
            Stream::Datagrams($stream) => $body,
        }
    };
}

/// What all kinds of sockets can do, under one name.
trait Readiness {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn receive(&self, into: &mut impl BufMut) -> io::Result<usize>;
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

fn send_message(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
    Ok(nix::sys::socket::sendmsg::<()>(fd, slices, &[], flags, None)?)
}

macro_rules! impl_readiness {
    ($kind:ty, $readable:ident, $writable:ident, $receive:ident) => {
        impl Readiness for $kind {
            fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.$readable(cx)
            }

            fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                ready!(slow_network::poll_writable(self, cx))?;
                self.$writable(cx)
            }

            fn receive(&self, into: &mut impl BufMut) -> io::Result<usize> {
                self.$receive(into)
            }

            fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
                slow_network::write(self, slices, |slices| {
                    self.try_io(Interest::WRITABLE, || send_message(self.as_raw_fd(), slices))
                })
            }
        }
    };
}

impl_readiness!(TcpStream, poll_read_ready, poll_write_ready, try_read_buf);
impl_readiness!(UnixStream, poll_read_ready, poll_write_ready, try_read_buf);

impl Connection {
    /// Begins to connect; [`Connection::connected`] waits for the end. An error here is one that the system knew
    /// at once.
    pub(crate) fn start(address: &PeerAddress, options: Options) -> Result<Self, StartError> {
        let stream = match address {
            PeerAddress::Ip(address) => {
                let (kind, protocol) =
                    if options.datagrams { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
                let socket = Socket::new(Domain::for_address(*address), kind.nonblocking().cloexec(), Some(protocol))?;
                if options.keepalive && !options.datagrams {
                    socket.set_keepalive(true)?;
                }
                if let Some(local) = options.local {
                    bind(&socket, local, options.transparent).map_err(StartError::Bind)?;
                }
                begin(&socket, &(*address).into())?;
                if options.datagrams {
                    Stream::Datagrams(Datagrams::new(DatagramSocket::udp(socket.into())?))
                } else {
                    // Small requests shall not wait for acknowledgements; without the option they are only slower.
                    let _ = socket.set_tcp_nodelay(true);
                    Stream::Tcp(TcpStream::from_std(socket.into())?)
                }
            }
            PeerAddress::Unix(path) => {
                let kind = if options.datagrams { Type::DGRAM } else { Type::STREAM };
                let socket = Socket::new(Domain::UNIX, kind.nonblocking().cloexec(), None)?;
                let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(path);
                if options.datagrams {
                    // Without a name it could not be answered.
                    let name = nix::sys::socket::UnixAddr::new_unnamed();
                    nix::sys::socket::bind(socket.as_raw_fd(), &name).map_err(io::Error::from)?;
                }
                begin(&socket, &SockAddr::unix(Path::new(path))?)?;
                if options.datagrams {
                    Stream::Datagrams(Datagrams::new(DatagramSocket::unix(socket.into())?))
                } else {
                    Stream::Unix(UnixStream::from_std(socket.into())?)
                }
            }
        };
        let timer = Deadline::default();
        Ok(Self { secured: OnceCell::new(), stream, requests: Cell::new(0), opened: Instant::now(), timer })
    }

    /// Waits until the connection stands, or has failed.
    pub(crate) async fn connected(&self) -> io::Result<()> {
        let error = match &self.stream {
            Stream::Tcp(stream) => {
                stream.writable().await?;
                stream.take_error()?
            }
            Stream::Unix(stream) => {
                stream.writable().await?;
                stream.take_error()?
            }
            // Whatever goes wrong is known when something is received.
            Stream::Datagrams(_) => None,
        };
        error.map_or(Ok(()), Err)
    }

    /// Puts TLS over the connection, set up by `prepare` before its handshake. Who secures twice keeps the first.
    pub(crate) fn secure(
        &self,
        context: &SslContextRef,
        side: ClientSide,
        prepare: impl FnOnce(&mut SslRef) -> Result<(), ErrorStack>,
    ) -> Result<(), ErrorStack> {
        let secured = Secured::new(context, self.fd(), side, prepare)?;
        self.secured.get_or_init(|| secured);
        Ok(())
    }

    /// The TLS connection, and what is known of its handshake.
    pub(crate) fn tls(&self) -> Option<(&Tls, &ClientSide)> {
        self.secured.get().map(Secured::parts)
    }

    /// Waits for the socket.
    pub(crate) fn poll_ready(&self, direction: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match direction {
            Direction::Read => on_stream!(self, stream => stream.poll_readable(cx)),
            Direction::Write => on_stream!(self, stream => stream.poll_writable(cx)),
        }
    }

    /// Notes that the system would block.
    pub(crate) fn clear_ready(&self, direction: Direction) {
        let interest = match direction {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
        };
        // An operation that would block is how the readiness is taken back.
        let _ = on_stream!(self, stream => {
            stream.try_io(interest, || Err::<(), _>(io::ErrorKind::WouldBlock.into()))
        });
    }

    /// Appends what has arrived, at most `most` bytes; 0 is the end. Of a datagram, what is longer is lost.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, into: &mut BytesMut, most: usize) -> Poll<io::Result<usize>> {
        if let Some((tls, _)) = self.tls() {
            return self.poll_tls(tls, Direction::Read, cx, |tls| {
                into.reserve(most);
                tls.read(into, most)
            });
        }
        loop {
            on_stream!(self, stream => ready!(stream.poll_readable(cx))?);
            into.reserve(most);
            let mut limited = (&mut *into).limit(most);
            match on_stream!(self, stream => stream.receive(&mut limited)) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Ok(length) if 0 < length && length < most && !self.has_datagrams() => {
                    // That was all there was: only the next event makes another read worth a system call.
                    self.clear_ready(Direction::Read);
                    return Poll::Ready(Ok(length));
                }
                done => return Poll::Ready(done),
            }
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some((tls, _)) = self.tls() {
            // One record is better than several small ones.
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            let total: usize = slices.iter().map(|slice| slice.len()).sum();
            if first.len() < total && total <= RECORD_SIZE {
                let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                return self.poll_tls(tls, Direction::Write, cx, |tls| tls.write(&joined));
            }
            return self.poll_tls(tls, Direction::Write, cx, |tls| tls.write(first));
        }
        loop {
            on_stream!(self, stream => ready!(stream.poll_writable(cx))?);
            let written = on_stream!(self, stream => stream.send(slices));
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_tls<T>(
        &self,
        tls: &Tls,
        own: Direction,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&Tls) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match operation(tls) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            let direction = tls.waits_for(own);
            self.clear_ready(direction);
            ready!(self.poll_ready(direction, cx))?;
        }
    }

    /// Our own address, as text.
    pub(crate) fn local(&self) -> Option<String> {
        match &self.stream {
            Stream::Tcp(stream) => Some(stream.local_addr().ok()?.to_string()),
            Stream::Datagrams(datagrams) => {
                Some(datagrams.socket.local().map_or_else(|| "unix:".to_owned(), |address| address.to_string()))
            }
            Stream::Unix(_) => Some("unix:".to_owned()),
        }
    }

    fn has_datagrams(&self) -> bool {
        matches!(self.stream, Stream::Datagrams(_))
    }

    /// The descriptor, for messages.
    pub(crate) fn fd(&self) -> RawFd {
        on_stream!(self, stream => stream.as_raw_fd())
    }

    /// Whether nothing has arrived and the server has not closed: fit for another request.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = match self.tls() {
            Some((tls, _)) => {
                let read = tls.read(&mut &mut byte[..], 1);
                if read.is_err() {
                    self.clear_ready(Direction::Read);
                }
                read
            }
            None => on_stream!(self, stream => stream.receive(&mut &mut byte[..])),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The largest datagram.
const DATAGRAM_MAX: usize = 65_535;
/// The most that goes into one TLS record.
const RECORD_SIZE: usize = 16 * 1024;

fn bind(socket: &Socket, local: SocketAddr, transparent: bool) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    if transparent {
        // Foreign addresses, where the system lets us.
        match local {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
    }
    if local.port() == 0 {
        // The system chooses the port when it knows the peer, so that ports don't run out early.
        setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    }
    socket.bind(&local.into())
}

/// A connection in progress is as good as one that stands.
fn begin(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    match socket.connect(address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}
