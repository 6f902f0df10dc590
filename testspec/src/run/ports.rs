//! Ports that no other lane of any run on this machine uses.
//!
//! A range of ports is taken by binding a name in the abstract socket namespace. The kernel gives the name back when
//! the process ends, however it ends, and nothing lies in any folder. The name is one for all users of the machine.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Taken ports; they are free again when this is dropped.
#[derive(Debug)]
pub(super) struct Ports {
    first: Option<u16>,
    _name: UnixDatagram,
}

/// Below the range from which the kernel takes ports for clients.
const RANGE: std::ops::Range<u16> = 21_000..31_000;
/// A server needs its port and three behind it for stream servers.
const STEP: u16 = 8;
/// How often a run asks whether another has finished.
const PAUSE: Duration = Duration::from_millis(50);

impl Ports {
    /// Takes a range of ports for a lane.
    pub(super) fn reserve() -> io::Result<Self> {
        for first in RANGE.step_by(usize::from(STEP)) {
            let Some(name) = take(&first.to_string())? else { continue };
            let free = (first..first + STEP).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
            if free {
                return Ok(Self { first: Some(first), _name: name });
            }
        }
        Err(io::Error::other("no free ports are left for another lane"))
    }

    /// Takes the ports that specs use by default. Waits while another run has them; `wait` is called once then.
    pub(super) fn classic(stopped: impl Fn() -> bool, wait: impl FnOnce()) -> io::Result<Self> {
        let mut wait = Some(wait);
        loop {
            if let Some(name) = take("classic")? {
                return Ok(Self { first: None, _name: name });
            }
            if stopped() {
                return Err(io::Error::other("the run was stopped while another one used the classic ports"));
            }
            if let Some(wait) = wait.take() {
                wait();
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The port that the lane's servers listen on, where it is not the default one.
    pub(super) fn for_lane(&self) -> Option<u16> {
        self.first
    }
}

/// Binds the name; `None` where somebody else has it.
fn take(what: &str) -> io::Result<Option<UnixDatagram>> {
    let address = SocketAddr::from_abstract_name(format!("rsty-ports-{what}"))?;
    match UnixDatagram::bind_addr(&address) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether anybody listens for TCP connections in the network of the calling thread. Where the system doesn't tell,
/// somebody may.
pub(super) fn has_listeners() -> bool {
    /// The state of a listening socket in the tables of proc(5).
    const LISTEN: &str = "0A";
    let mut told = false;
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        let Ok(text) = std::fs::read_to_string(table) else { continue };
        told = true;
        if text.lines().skip(1).any(|line| line.split_whitespace().nth(3) == Some(LISTEN)) {
            return true;
        }
    }
    !told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lanes_never_get_the_same_ports_and_they_come_back() {
        let first = Ports::reserve().unwrap();
        let second = Ports::reserve().unwrap();
        assert_ne!(first.for_lane(), second.for_lane());
        let port = first.for_lane().unwrap();
        assert!(take(&port.to_string()).unwrap().is_none());
        drop(first);
        assert!(take(&port.to_string()).unwrap().is_some());
    }

    #[test]
    fn who_listens_is_seen() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(has_listeners());
        drop(listener);
        if crate::run::netns::is_possible() {
            let alone = std::thread::spawn(|| {
                crate::run::netns::enter().unwrap();
                has_listeners()
            });
            assert!(!alone.join().unwrap());
        }
    }
}
