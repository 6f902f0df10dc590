//! A network of a lane's own.
//!
//! In a network namespace every lane has all ports to itself: blocks that hard-code a port run side by side, and
//! two runs on one machine never meet. Namespaces belong to threads; what a thread starts lives in its namespace.

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::os::fd::AsRawFd as _;

/// Why a thread can't have its own network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The loopback interface stays down.
    #[error("bring up the loopback interface")]
    Loopback(#[source] nix::errno::Errno),
    /// The system does not allow a new namespace.
    #[error("enter a network namespace")]
    Namespace(#[source] nix::errno::Errno),
}

/// Moves the calling thread into a new network namespace in which only loopback exists.
pub fn enter() -> Result<(), NetworkError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(NetworkError::Namespace)?;
    bring_up_loopback().map_err(NetworkError::Loopback)
}

/// Whether [`enter`] would work; tried in a thread of its own.
pub fn is_possible() -> bool {
    std::thread::spawn(|| enter().is_ok()).join().unwrap_or(false)
}

/// Sets the interface's flag `UP` with a route netlink message.
fn bring_up_loopback() -> Result<(), nix::errno::Errno> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const LOOPBACK_INDEX: u32 = 1;
    const IFF_UP: u32 = 1;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32_u32.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    for word in [1_u32, 0, 0, LOOPBACK_INDEX, IFF_UP, IFF_UP] {
        message.extend_from_slice(&word.to_ne_bytes());
    }
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0_u8; 256];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // The acknowledgement holds a negative error number behind its 16 byte header.
    let code = answer.get(16..20).filter(|_| length >= 20).and_then(|bytes| bytes.try_into().ok());
    match code.map_or(0, i32::from_ne_bytes) {
        0 => Ok(()),
        code => Err(nix::errno::Errno::from_raw(code.saturating_neg())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn two_networks_have_the_same_port() {
        if !super::is_possible() {
            return;
        }
        let listen = || {
            super::enter().unwrap();
            let listener = TcpListener::bind("127.0.0.1:1984").unwrap();
            TcpStream::connect("127.0.0.1:1984").unwrap();
            listener
        };
        let first = std::thread::spawn(listen).join().unwrap();
        let second = std::thread::spawn(listen).join().unwrap();
        drop((first, second));
    }
}
