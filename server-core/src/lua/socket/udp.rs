//! One datagram cosocket: UDP, or a unix socket of datagrams.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{Domain, SockAddr, Socket, Type};

use super::tcp::Failure;
use super::transport::{Address, StartError};
use super::{Endpoint, Origin};
use crate::datagram_socket::DatagramSocket;

/// The largest datagram that is read.
pub(crate) const DATAGRAM_MAX: usize = 65_536;

/// A connected socket of datagrams.
#[derive(Debug)]
pub(crate) struct Datagrams(DatagramSocket);

impl Datagrams {
    /// Connects. Nothing is sent, so nothing must be waited for.
    pub(crate) fn connect(address: &Address, local: Origin) -> Result<Self, StartError> {
        match address {
            Address::Ip(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::DGRAM.nonblocking(), None)?;
                local.allow_foreign(&socket, *address)?;
                if let Some(local) = local.address {
                    socket.bind(&local.into()).map_err(StartError::Bind)?;
                }
                socket.connect(&(*address).into())?;
                Ok(Self(DatagramSocket::udp(socket.into())?))
            }
            Address::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking(), None)?;
                bind_unnamed(&socket)?;
                let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(path.as_slice());
                socket.connect(&SockAddr::unix(Path::new(path))?)?;
                Ok(Self(DatagramSocket::unix(socket.into())?))
            }
        }
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
    }

    /// Takes a datagram that has arrived; what does not fit into `buffer` is lost.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.fd(), buffer, MsgFlags::empty())?)
    }

    /// Waits for a datagram.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.0.readable().await?;
            match self.0.try_read(|fd| Ok(recv(fd, buffer, MsgFlags::empty())?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        self.0.fd()
    }
}

/// Gives a unix socket a name of the system's choice, so that the peer can answer.
fn bind_unnamed(socket: &Socket) -> io::Result<()> {
    Ok(nix::sys::socket::bind(socket.as_raw_fd(), &nix::sys::socket::UnixAddr::new_unnamed())?)
}

/// A cosocket of datagrams. One operation at a time.
pub(crate) struct UdpSocket {
    /// The session that connected it: only its code may use it.
    pub(crate) owner: Cell<*mut c_void>,
    /// The connection, while there is one.
    pub(crate) datagrams: RefCell<Option<Rc<Datagrams>>>,
    /// How long a read waits.
    pub(crate) read_timeout: Cell<Duration>,
    /// An operation is under way.
    pub(crate) waiting: Cell<bool>,
    /// The peer, for messages.
    pub(crate) peer: RefCell<Rc<str>>,
}

impl UdpSocket {
    /// A socket without connection.
    pub(crate) fn new(owner: *mut c_void, read_timeout: Duration) -> Rc<Self> {
        Rc::new(Self {
            owner: Cell::new(owner),
            datagrams: RefCell::default(),
            read_timeout: Cell::new(read_timeout),
            waiting: Cell::new(false),
            peer: RefCell::new("".into()),
        })
    }

    /// Waits for a datagram of at most `size` bytes.
    pub(crate) async fn receive(&self, size: usize) -> Result<Vec<u8>, Failure> {
        let datagrams = self.datagrams.borrow().clone().ok_or(Failure::Closed)?;
        let mut buffer = vec![0; size];
        match tokio::time::timeout(self.read_timeout.get(), datagrams.receive(&mut buffer)).await {
            Ok(Ok(length)) => {
                buffer.truncate(length);
                Ok(buffer)
            }
            Ok(Err(error)) => Err(Failure::from_io(&error)),
            Err(_elapsed) => Err(Failure::Timeout),
        }
    }
}

impl Endpoint for UdpSocket {
    fn end(&self) {
        self.datagrams.take();
        self.owner.set(std::ptr::null_mut());
    }

    fn disown(&self) {
        self.owner.set(std::ptr::dangling_mut::<u64>().cast());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn datagrams_go_there_and_back() {
        local().block_on(async {
            let peer = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let socket = UdpSocket::new(std::ptr::null_mut(), Duration::from_secs(5));
            let datagrams = Datagrams::connect(&Address::Ip(peer.local_addr().unwrap()), Origin::default()).unwrap();
            assert_eq!(datagrams.send(b"ping").unwrap(), 4);
            socket.datagrams.replace(Some(Rc::new(datagrams)));
            let mut buffer = [0; 16];
            let (length, from) = peer.recv_from(&mut buffer).await.unwrap();
            peer.send_to(&buffer[..length], from).await.unwrap();
            assert_eq!(socket.receive(3).await, Ok(b"pin".to_vec()));
            socket.read_timeout.set(Duration::from_millis(5));
            assert_eq!(socket.receive(3).await, Err(Failure::Timeout));
        });
    }

    #[test]
    fn a_unix_peer_can_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer");
        local().block_on(async {
            let peer = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
            let address = Address::Unix(path.to_str().unwrap().into());
            let datagrams = Datagrams::connect(&address, Origin::default()).unwrap();
            datagrams.send(b"x").unwrap();
            let mut buffer = [0; 4];
            let (_, from) = peer.recv_from(&mut buffer).unwrap();
            peer.send_to_addr(b"yes", &from).unwrap();
            assert_eq!(datagrams.receive(&mut buffer).await.unwrap(), 3);
        });
    }
}
