//! Cosockets: sockets that look blocking to Lua and never block the worker.
//!
//! [`read`] and [`pattern`] decide, on bytes, when a read is complete; [`transport`] is the connection below;
//! [`tcp`] is one socket with its timeouts and what is under way on it, [`udp`] one of datagrams; [`pool`] keeps idle connections for the
//! next request. The functions that scripts see are in `lua/api/socket`.

pub(crate) mod pattern;
pub(crate) mod pool;
pub(crate) mod read;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod udp;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::Socket;

use crate::upstream::resolver::Resolver;

/// A socket that ends with the session that connected it.
pub(crate) trait Endpoint {
    /// Closes the connection.
    fn end(&self);
    /// Makes it nobody's, until it ends: its session is over, but not the request that it is a part of.
    fn disown(&self);
}

/// Where a socket connects from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin {
    /// The local address; the system chooses without.
    pub(crate) address: Option<SocketAddr>,
    /// That may be somebody else's.
    pub(crate) is_transparent: bool,
}

impl Origin {
    /// Lets a socket that goes to `peer` have a foreign address, if it wants one.
    fn allow_foreign(self, socket: &Socket, peer: SocketAddr) -> io::Result<()> {
        match peer {
            _ if !self.is_transparent => Ok(()),
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
        }
    }
}

/// The settings of `lua_socket_*` and of the resolver that apply to a session.
#[derive(Clone)]
pub struct SocketConf {
    /// `lua_socket_connect_timeout`
    pub connect_timeout: Duration,
    /// `lua_socket_send_timeout`
    pub send_timeout: Duration,
    /// `lua_socket_read_timeout`
    pub read_timeout: Duration,
    /// `lua_socket_keepalive_timeout`; zero keeps connections without limit.
    pub keepalive_timeout: Duration,
    /// `lua_socket_pool_size`
    pub pool_size: usize,
    /// `lua_socket_buffer_size`
    pub buffer_size: usize,
    /// `lua_socket_log_errors`
    pub log_errors: bool,
    /// `tcp_nodelay`
    pub tcp_nodelay: bool,
    /// `resolver`
    pub resolver: Option<Rc<Resolver>>,
    /// `resolver_timeout`
    pub resolver_timeout: Duration,
    /// What stands before messages about sockets that have outlived their session.
    pub mark: &'static str,
}

impl Default for SocketConf {
    fn default() -> Self {
        let minute = Duration::from_mins(1);
        Self {
            connect_timeout: minute,
            send_timeout: minute,
            read_timeout: minute,
            keepalive_timeout: minute,
            pool_size: 30,
            buffer_size: 4096,
            log_errors: true,
            tcp_nodelay: true,
            resolver: None,
            resolver_timeout: Duration::from_secs(30),
            mark: "",
        }
    }
}
