//! Clients of a port for datagrams (UDP, or a unix socket): who sends something begins a session, and what else comes
//! from that address belongs to it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};

use crate::cycle::ListenAddress;
use crate::datagram_socket::DatagramSocket;
use crate::http::connection::Address;
use crate::log::{ErrorLog, Level};

/// The largest datagram.
const DATAGRAM_MAX: usize = 65_535;
/// Datagrams that wait for their session. Those beyond are lost, as they are in the system's buffer.
const INBOX_MAX: usize = 256;

/// Who sent a datagram, and to which of our addresses.
type Key = (Address, Address);

/// A socket that datagrams come to, with the clients that have a session.
pub(crate) struct Port {
    socket: DatagramSocket,
    own: Address,
    /// Every address of the machine is ours: answers must say which one they come from.
    wildcard: bool,
    clients: RefCell<HashMap<Key, Weak<Client>>>,
    buffer: RefCell<Vec<u8>>,
}

/// A datagram that has arrived.
struct Datagram {
    from: Option<SockaddrStorage>,
    to: Option<IpAddr>,
    length: usize,
    truncated: bool,
}

impl Port {
    /// Takes over a socket that is bound to `address`.
    pub(crate) fn open(socket: OwnedFd, address: &ListenAddress) -> io::Result<Rc<Self>> {
        let (own, wildcard) = match address {
            ListenAddress::Inet(inet) => (Address::Ip(*inet), inet.ip().is_unspecified()),
            ListenAddress::Unix(path) => {
                let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
                (Address::Unix(Bytes::copy_from_slice(path)), false)
            }
        };
        if wildcard {
            match own {
                Address::Ip(SocketAddr::V6(_)) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
                _ => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            }
        }
        let socket = match own {
            Address::Ip(_) => DatagramSocket::udp(socket)?,
            Address::Unix(_) => DatagramSocket::unix(socket)?,
        };
        let buffer = RefCell::new(vec![0; DATAGRAM_MAX]);
        Ok(Rc::new(Self { socket, own, wildcard, clients: RefCell::default(), buffer }))
    }

    /// Waits for somebody without a session. What others send goes to their sessions meanwhile.
    pub(crate) async fn accept(self: &Rc<Self>, log: &ErrorLog) -> io::Result<Rc<Client>> {
        loop {
            self.socket.readable().await?;
            let (datagram, bytes) = match self.socket.try_read(|fd| self.receive(fd)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                received => received?,
            };
            if datagram.truncated {
                log.write(Level::Alert, format_args!("recvmsg() truncated data"));
                continue;
            }
            let own = match (&self.own, datagram.to) {
                (Address::Ip(own), Some(ip)) => Address::Ip(SocketAddr::new(ip, own.port())),
                (own, _) => own.clone(),
            };
            let key = (address_of(datagram.from.as_ref()), own);
            let known = self.clients.borrow().get(&key).and_then(Weak::upgrade);
            if let Some(client) = known {
                client.deliver(bytes);
                continue;
            }
            let client = Rc::new(Client {
                port: Rc::clone(self),
                peer: datagram.from,
                key: key.clone(),
                inbox: RefCell::new(VecDeque::from([bytes])),
                reader: RefCell::default(),
                writable: RefCell::default(),
            });
            // Who has no name can't be told from others.
            if client.peer.is_some() {
                self.clients.borrow_mut().insert(key, Rc::downgrade(&client));
            }
            return Ok(client);
        }
    }

    fn receive(&self, fd: RawFd) -> io::Result<(Datagram, Bytes)> {
        let mut buffer = self.buffer.borrow_mut();
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let control = self.wildcard.then_some(control.as_mut_slice());
        let message = recvmsg::<SockaddrStorage>(fd, &mut slices, control, MsgFlags::MSG_DONTWAIT)?;
        let mut to = None;
        if self.wildcard {
            for message in message.cmsgs()? {
                match message {
                    ControlMessageOwned::Ipv4PacketInfo(info) => {
                        to = Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes()));
                    }
                    ControlMessageOwned::Ipv6PacketInfo(info) => to = Some(IpAddr::from(info.ipi6_addr.s6_addr)),
                    _ => {}
                }
            }
        }
        let truncated = message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        let datagram = Datagram { from: message.address, to, length: message.bytes, truncated };
        let bytes = Bytes::copy_from_slice(buffer.get(..datagram.length).unwrap_or_default());
        Ok((datagram, bytes))
    }

    /// Tells the sessions that nothing more will come.
    pub(crate) fn close(&self) {
        let clients: Vec<_> = self.clients.take().into_values().filter_map(|client| client.upgrade()).collect();
        for client in clients {
            client.inbox.borrow_mut().clear();
            client.wake();
        }
    }

    fn fd(&self) -> RawFd {
        self.socket.fd()
    }
}

/// The sender's address; a unix socket without name has an empty one.
fn address_of(peer: Option<&SockaddrStorage>) -> Address {
    if let Some(inet) = peer.and_then(SockaddrStorage::as_sockaddr_in) {
        return Address::Ip(SocketAddr::V4((*inet).into()));
    }
    if let Some(inet) = peer.and_then(SockaddrStorage::as_sockaddr_in6) {
        return Address::Ip(SocketAddr::V6((*inet).into()));
    }
    let unix = peer.and_then(SockaddrStorage::as_unix_addr);
    let name = unix.and_then(|unix| match (unix.path(), unix.as_abstract()) {
        (Some(path), _) => Some(Bytes::copy_from_slice(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))),
        (None, Some(name)) => Some(Bytes::from([&[0], name].concat())),
        (None, None) => None,
    });
    Address::Unix(name.unwrap_or_default())
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// The client of one session.
pub struct Client {
    port: Rc<Port>,
    peer: Option<SockaddrStorage>,
    key: Key,
    inbox: RefCell<VecDeque<Bytes>>,
    reader: RefCell<Option<Waker>>,
    writable: RefCell<Option<Writable>>,
}

impl Client {
    /// Its address.
    pub(crate) fn address(&self) -> &Address {
        &self.key.0
    }

    /// The address that it sends to.
    pub(crate) fn local(&self) -> &Address {
        &self.key.1
    }

    /// The number of the socket, which all clients of the port share.
    pub(crate) fn fd(&self) -> RawFd {
        self.port.fd()
    }

    /// The next datagram that has arrived.
    pub(crate) fn try_receive(&self) -> Option<Bytes> {
        self.inbox.borrow_mut().pop_front()
    }

    /// Waits for a datagram; `None` when none will come any more. One task may wait.
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(bytes) = self.try_receive() {
            return Poll::Ready(Some(bytes));
        }
        if !self.is_known() {
            return Poll::Ready(None);
        }
        *self.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Lets the client's next datagram begin another session.
    pub(crate) fn leave(&self) {
        if self.is_known() {
            self.port.clients.borrow_mut().remove(&self.key);
        }
    }

    fn is_known(&self) -> bool {
        let clients = self.port.clients.borrow();
        clients.get(&self.key).is_some_and(|known| std::ptr::eq(known.as_ptr(), self))
    }

    fn deliver(&self, bytes: Bytes) {
        let mut inbox = self.inbox.borrow_mut();
        if inbox.len() < INBOX_MAX {
            inbox.push_back(bytes);
        }
        drop(inbox);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut v4 = None;
        let mut v6 = None;
        if self.port.wildcard {
            match self.local() {
                Address::Ip(SocketAddr::V4(address)) => {
                    let address = libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) };
                    let any = libc::in_addr { s_addr: 0 };
                    v4 = Some(libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: any });
                }
                Address::Ip(SocketAddr::V6(address)) => {
                    let address = libc::in6_addr { s6_addr: address.ip().octets() };
                    v6 = Some(libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 });
                }
                Address::Unix(_) => {}
            }
        }
        let control = match (&v4, &v6) {
            (Some(info), _) => Some(ControlMessage::Ipv4PacketInfo(info)),
            (_, Some(info)) => Some(ControlMessage::Ipv6PacketInfo(info)),
            (None, None) => None,
        };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        // The readiness is what was last known: the system has the last word.
        Ok(sendmsg(self.fd(), slices, control.as_slice(), flags, self.peer.as_ref())?)
    }

    /// Waits until the socket takes datagrams.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slot = self.writable.borrow_mut();
        let waiting = slot.get_or_insert_with(|| {
            let port = Rc::clone(&self.port);
            Box::pin(async move {
                // Whoever waits was refused: only the next event makes another try worth a system call.
                let refused = |_| Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = port.socket.try_write(refused);
                port.socket.writable().await
            })
        });
        let ready = waiting.as_mut().poll(cx);
        if ready.is_ready() {
            *slot = None;
        }
        ready
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future>(test: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    fn port(address: &str) -> (Rc<Port>, SocketAddr) {
        let socket = std::net::UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let bound = socket.local_addr().unwrap();
        (Port::open(socket.into(), &ListenAddress::Inet(bound)).unwrap(), bound)
    }

    fn log() -> ErrorLog {
        ErrorLog::to_stderr(Level::Stderr)
    }

    #[test]
    fn what_comes_from_one_address_is_one_session() {
        run(async {
            let (port, bound) = port("127.0.0.1:0");
            let (one, two) = (std::net::UdpSocket::bind("127.0.0.1:0"), std::net::UdpSocket::bind("127.0.0.1:0"));
            let (one, two) = (one.unwrap(), two.unwrap());
            one.send_to(b"first", bound).unwrap();
            let client = port.accept(&log()).await.unwrap();
            assert_eq!(client.address(), &Address::Ip(one.local_addr().unwrap()));
            assert_eq!(client.try_receive().unwrap(), "first");
            one.send_to(b"", bound).unwrap();
            two.send_to(b"other", bound).unwrap();
            let other = port.accept(&log()).await.unwrap();
            assert_eq!(other.try_receive().unwrap(), "other");
            assert_eq!(client.try_receive().unwrap(), "", "an empty datagram is one");
            assert!(client.try_receive().is_none());
            client.leave();
            one.send_to(b"again", bound).unwrap();
            let again = port.accept(&log()).await.unwrap();
            assert_eq!(again.try_receive().unwrap(), "again");
        });
    }

    #[test]
    fn answers_come_from_the_address_that_was_asked() {
        run(async {
            let (port, bound) = port("0.0.0.0:0");
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"x", ("127.0.0.2", bound.port())).unwrap();
            let client = port.accept(&log()).await.unwrap();
            assert_eq!(client.local(), &Address::Ip(([127, 0, 0, 2], bound.port()).into()));
            client.send(&[IoSlice::new(b"an"), IoSlice::new(b"swer")]).unwrap();
            let mut buffer = [0; 16];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&b"answer"[..], ([127, 0, 0, 2], bound.port()).into()));
        });
    }

    #[test]
    fn a_port_that_closes_ends_its_sessions() {
        run(async {
            let (port, bound) = port("127.0.0.1:0");
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"x", bound).unwrap();
            let client = port.accept(&log()).await.unwrap();
            client.try_receive();
            port.close();
            assert_eq!(std::future::poll_fn(|cx| client.poll_receive(cx)).await, None);
        });
    }
}
