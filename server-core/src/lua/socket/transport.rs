//! The connection below a cosocket.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::task::{Context, Poll, ready};

use bytes::BufMut as _;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::Origin;
use crate::interrupted::uninterrupted;
use crate::slow_network;
use crate::tls::Tls;
use crate::tls::stream::Direction;

/// A non-blocking byte stream that is used by reference: one reader and one writer at a time.
pub(crate) trait Transport {
    /// Appends at most `most` bytes that have arrived; 0 is the end.
    fn poll_read(&self, cx: &mut Context<'_>, into: &mut Vec<u8>, most: usize) -> Poll<io::Result<usize>>;
    /// Writes what fits.
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    /// Reads without waiting; `WouldBlock` when nothing has arrived.
    fn try_read(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize>;
    /// Writes without waiting.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Waits until bytes may have arrived, or may leave.
    fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>>;
    /// Notes that the system would block.
    fn clear_ready(&self, direction: Direction);
    /// The descriptor.
    fn fd(&self) -> RawFd;
    /// Says that somebody waits for bytes, or does no more.
    fn set_reading(&self, _reading: bool) {}
    /// Turns off the delay of small packets. Whether there is such a thing.
    fn set_nodelay(&self) -> bool {
        false
    }
    /// The TLS connection that the bytes go through.
    fn tls(&self) -> Option<&Tls> {
        None
    }
}

/// Reads of at most so many bytes make room for what arrives, and not for what might.
const SMALL: usize = 16 * 1024;

thread_local! {
    static ARRIVALS: RefCell<Box<[u8]>> = RefCell::new(vec![0; SMALL].into());
}

fn read_small(into: &mut Vec<u8>, most: usize, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    ARRIVALS.with_borrow_mut(|arrivals| {
        let length = read(arrivals.get_mut(..most).unwrap_or_default())?;
        into.extend_from_slice(arrivals.get(..length).unwrap_or_default());
        Ok(length)
    })
}

macro_rules! impl_transport {
    ($stream:ty, $nodelay:expr) => {
        impl Transport for $stream {
            fn poll_read(&self, cx: &mut Context<'_>, into: &mut Vec<u8>, most: usize) -> Poll<io::Result<usize>> {
                loop {
                    ready!(self.poll_read_ready(cx))?;
                    match Transport::try_read(self, into, most) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        result => return Poll::Ready(result),
                    }
                }
            }

            fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                loop {
                    ready!(Transport::poll_ready(self, cx, Direction::Write))?;
                    match Transport::try_write(self, bytes) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        result => return Poll::Ready(result),
                    }
                }
            }

            fn try_read(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
                let result = if most <= SMALL {
                    read_small(into, most, |room| uninterrupted(|| <$stream>::try_read(self, room)))
                } else {
                    into.reserve(most);
                    uninterrupted(|| self.try_read_buf(&mut (&mut *into).limit(most)))
                };
                // A read that left room took all there was: only the next event makes another one worth a system
                // call.
                if result.as_ref().is_ok_and(|&length| 0 < length && length < most) {
                    Transport::clear_ready(self, Direction::Read);
                }
                result
            }

            fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
                slow_network::write(self, &[IoSlice::new(bytes)], |slices| {
                    uninterrupted(|| <$stream>::try_write(self, slices.first().map_or(&[], |slice| &**slice)))
                })
            }

            fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
                match direction {
                    Direction::Read => self.poll_read_ready(cx),
                    Direction::Write => {
                        ready!(slow_network::poll_writable(self, cx))?;
                        self.poll_write_ready(cx)
                    }
                }
            }

            fn clear_ready(&self, direction: Direction) {
                let interest = match direction {
                    Direction::Read => Interest::READABLE,
                    Direction::Write => Interest::WRITABLE,
                };
                // An operation that would block is how the readiness is taken back.
                let _ = self.try_io(interest, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }

            fn fd(&self) -> RawFd {
                self.as_raw_fd()
            }

            fn set_nodelay(&self) -> bool {
                let set: fn(&$stream) -> bool = $nodelay;
                set(self)
            }
        }
    };
}

impl_transport!(TcpStream, |stream| stream.set_nodelay(true).is_ok());
impl_transport!(UnixStream, |_| false);

/// The address of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// An address with a port.
    Ip(SocketAddr),
    /// The path of a unix socket.
    Unix(Vec<u8>),
}

impl Address {
    /// The address as nginx writes it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Ip(address) => address.to_string(),
            Self::Unix(path) => format!("unix:{}", String::from_utf8_lossy(path)),
        }
    }
}

/// Begins to connect. The connection is complete when it can be written ([`connected`]).
pub(crate) enum Connecting {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket, which is connected at once.
    Unix(UnixStream),
}

impl Connecting {
    /// Starts a connection.
    pub(crate) fn start(address: &Address, local: Origin) -> Result<Self, StartError> {
        match address {
            Address::Ip(address) => {
                let socket =
                    Socket::new(Domain::for_address(*address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
                if let Some(from) = local.address {
                    local.allow_foreign(&socket, *address).map_err(StartError::Bind)?;
                    bind(&socket, from).map_err(StartError::Bind)?;
                }
                start(&socket, &(*address).into())?;
                Ok(Self::Tcp(TcpStream::from_std(socket.into())?))
            }
            Address::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
                let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(path);
                start(&socket, &SockAddr::unix(Path::new(path))?)?;
                Ok(Self::Unix(UnixStream::from_std(socket.into())?))
            }
        }
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// Waits until the connection stands, or did not come about.
    pub(crate) async fn finish(self) -> io::Result<Box<dyn Transport>> {
        match self {
            Self::Tcp(stream) => {
                stream.writable().await?;
                stream.take_error()?.map_or(Ok(()), Err)?;
                Ok(Box::new(stream))
            }
            Self::Unix(stream) => Ok(Box::new(stream)),
        }
    }
}

/// Why a connection could not even be begun.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The local address.
    Bind(io::Error),
    /// The socket, or the peer.
    Connect(io::Error),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Connect(error)
    }
}

/// Chooses the local address; without a port, the system chooses that when it knows the peer.
fn bind(socket: &Socket, local: SocketAddr) -> io::Result<()> {
    if local.port() == 0 && local.is_ipv4() {
        nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    } else if local.port() != 0 {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&local.into())
}

/// A connection in progress is as good as one that stands.
fn start(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    match socket.connect(address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}
