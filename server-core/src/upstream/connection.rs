//! A connection to a server behind us.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, BytesMut};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::address::PeerAddress;

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to a server behind us, used by one request at a time.
pub(crate) struct Connection {
    stream: Stream,
    /// Requests so far.
    pub(crate) requests: Cell<u32>,
    /// When it was made.
    pub(crate) opened: Instant,
}

macro_rules! on_stream {
    ($self:expr, $stream:ident => $body:expr) => {
        match &$self.stream {
            Stream::Tcp($stream) => $body,
            Stream::Unix($stream) => $body,
        }
    };
}

impl Connection {
    /// Begins to connect; [`Connection::connected`] waits for the end. An error here is one that the system knew
    /// at once.
    pub(crate) fn start(address: &PeerAddress, local: Option<SocketAddr>) -> io::Result<Self> {
        let stream = match address {
            PeerAddress::Ip(address) => {
                let kind = Type::STREAM.nonblocking().cloexec();
                let socket = Socket::new(Domain::for_address(*address), kind, Some(Protocol::TCP))?;
                if let Some(local) = local {
                    socket.bind(&local.into())?;
                }
                begin(&socket, &(*address).into())?;
                // Small requests shall not wait for acknowledgements; without the option they are only slower.
                let _ = socket.set_tcp_nodelay(true);
                Stream::Tcp(TcpStream::from_std(socket.into())?)
            }
            PeerAddress::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
                let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(path);
                begin(&socket, &SockAddr::unix(Path::new(path))?)?;
                Stream::Unix(UnixStream::from_std(socket.into())?)
            }
        };
        Ok(Self { stream, requests: Cell::new(0), opened: Instant::now() })
    }

    /// Waits until the connection stands, or has failed.
    pub(crate) async fn connected(&self) -> io::Result<()> {
        on_stream!(self, stream => {
            stream.writable().await?;
            stream.take_error()?.map_or(Ok(()), Err)
        })
    }

    /// Waits until there is something to read, the end included.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        on_stream!(self, stream => stream.readable().await)
    }

    /// Appends what has arrived, at most `most` bytes; 0 is the end.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, into: &mut BytesMut, most: usize) -> Poll<io::Result<usize>> {
        into.reserve(most);
        loop {
            on_stream!(self, stream => ready!(stream.poll_read_ready(cx))?);
            let mut limited = (&mut *into).limit(most);
            match on_stream!(self, stream => stream.try_read_buf(&mut limited)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            on_stream!(self, stream => ready!(stream.poll_write_ready(cx))?);
            let written = on_stream!(self, stream => stream.try_io(Interest::WRITABLE, || {
                nix::sys::uio::writev(stream.as_fd(), slices).map_err(io::Error::from)
            }));
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// The descriptor, for messages.
    pub(crate) fn fd(&self) -> RawFd {
        on_stream!(self, stream => stream.as_raw_fd())
    }

    /// Whether nothing has arrived and the server has not closed: fit for another request.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = on_stream!(self, stream => stream.try_read(&mut byte));
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// A connection in progress is as good as one that stands.
fn begin(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    match socket.connect(address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}
