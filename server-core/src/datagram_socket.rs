//! A socket of datagrams: UDP, or a unix socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::net::{UdpSocket, UnixDatagram};

/// A non-blocking socket of datagrams that several tasks may wait for.
#[derive(Debug)]
pub(crate) enum DatagramSocket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl DatagramSocket {
    /// Takes over a socket of the internet.
    pub(crate) fn udp(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::net::UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket).map(Self::Udp)
    }

    /// Takes over a unix socket.
    pub(crate) fn unix(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        UnixDatagram::from_std(socket).map(Self::Unix)
    }

    /// Waits until a datagram has arrived, or the news that one did not.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.ready(READABLE).await
    }

    /// Waits until a datagram can leave.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await
    }

    async fn ready(&self, interest: Interest) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.ready(interest).await.map(drop),
            Self::Unix(socket) => socket.ready(interest).await.map(drop),
        }
    }

    /// Receives with the descriptor; when that would block, [`Self::readable`] waits again.
    pub(crate) fn try_read<T>(&self, mut receive: impl FnMut(RawFd) -> io::Result<T>) -> io::Result<T> {
        // The two kinds of readiness are taken back one by one.
        match self.try_io(Interest::READABLE, &mut receive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.try_io(Interest::ERROR, receive),
            received => received,
        }
    }

    /// Sends with the descriptor; when that would block, [`Self::writable`] waits again.
    pub(crate) fn try_write<T>(&self, send: impl FnOnce(RawFd) -> io::Result<T>) -> io::Result<T> {
        self.try_io(Interest::WRITABLE, send)
    }

    fn try_io<T>(&self, interest: Interest, operation: impl FnOnce(RawFd) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Udp(socket) => socket.try_io(interest, || operation(socket.as_raw_fd())),
            Self::Unix(socket) => socket.try_io(interest, || operation(socket.as_raw_fd())),
        }
    }

    /// The own address; a unix socket has none here.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        match self {
            Self::Udp(socket) => socket.as_raw_fd(),
            Self::Unix(socket) => socket.as_raw_fd(),
        }
    }
}

/// That nobody listens at the other end is something to read, too.
const READABLE: Interest = Interest::READABLE.add(Interest::ERROR);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_not_there_wakes_who_waits_for_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let gone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(gone).unwrap();
            let socket = DatagramSocket::udp(socket.into()).unwrap();
            socket.writable().await.unwrap();
            socket.writable().await.unwrap();
            socket.try_write(|fd| Ok(nix::sys::socket::send(fd, b"x", nix::sys::socket::MsgFlags::empty())?)).unwrap();
            socket.readable().await.unwrap();
            let mut buffer = [0];
            let received =
                socket.try_read(|fd| Ok(nix::sys::socket::recv(fd, &mut buffer, nix::sys::socket::MsgFlags::empty())?));
            assert_eq!(received.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        });
    }
}
