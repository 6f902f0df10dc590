//! The way to a server: a connection that was kept, or a new one.

use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;

use super::conf::{Failure, local_address};
use super::head::NoHead;
use super::protocol::Dialing;
use super::proxied::Proxied;
use crate::http::code::Code;
use crate::http::request_log::debug;
use crate::log::Level;
use crate::upstream::address::PeerAddress;
use crate::upstream::connection::{Connection, Options, StartError};

/// A connection to use, and whether it has served requests before.
pub(super) struct Reached {
    pub(super) connection: Rc<Connection>,
    pub(super) is_kept: bool,
}

impl<P: Dialing + ?Sized + 'static> Proxied<'_, P> {
    /// A connection to a server, with TLS where that is wanted.
    pub(super) async fn reach(&mut self, address: &PeerAddress) -> Result<Reached, NoHead> {
        let kept = self.keepalive.as_ref().and_then(|(_, key)| self.selection.group().idle.take(key));
        if let Some(connection) = kept {
            let pointer = Rc::as_ptr(&connection).addr();
            let by_group = self.selection.group().keepalive.is_some();
            match &self.lua_keepalive {
                Some(whose) if !by_group => {
                    debug!(self.r, "lua balancer: keepalive reusing connection {pointer:016X}{whose}");
                }
                _ => debug!(self.r, "get keepalive peer: using connection {pointer:016X}"),
            }
            self.attempts.use_connection(&connection);
            self.connected();
            return Ok(Reached { connection, is_kept: true });
        }
        if let Some(whose) = &self.lua_keepalive
            && self.selection.group().keepalive.is_none()
        {
            debug!(self.r, "lua balancer: keepalive no free connection{whose}");
        }
        let connection = self.connect(address).await?;
        self.attempts.use_connection(&connection);
        if self.tls {
            self.introduce(&connection).await?;
            self.shake_hands(&connection, address).await?;
        }
        self.connected();
        Ok(Reached { connection, is_kept: false })
    }

    /// Sends what comes before the handshake.
    async fn introduce(&self, connection: &Connection) -> Result<(), NoHead> {
        let preamble = self.protocol.preamble(self.r);
        let mut rest = &preamble[..];
        while !rest.is_empty() {
            let sent = poll_fn(|cx| connection.poll_write(cx, &[IoSlice::new(rest)]));
            match tokio::time::timeout(self.timeouts.send, sent).await {
                Ok(Ok(sent)) => rest = rest.get(sent..).unwrap_or_default(),
                Ok(Err(error)) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    self.r.log_errno(Level::Error, errno, format_args!("send() failed"));
                    return Err(NoHead::Failed(Failure::ERROR));
                }
                Err(_elapsed) => return Err(NoHead::Failed(Failure::TIMEOUT)),
            }
        }
        Ok(())
    }

    fn connected(&self) {
        let elapsed = self.attempts.elapsed();
        self.attempts.last(|attempt| attempt.connect_time = Some(elapsed));
    }

    async fn connect(&self, address: &PeerAddress) -> Result<Rc<Connection>, NoHead> {
        let r = self.r;
        let bind = self.conf.bind.as_ref();
        let text = bind.map(|bind| bind.address.eval(r));
        let local = match text {
            _ if self.balance.bind.get().is_some() => self.balance.bind.get(),
            Some(text) if !text.is_empty() => {
                let local = local_address(&text);
                if local.is_none() {
                    r.log_bytes(Level::Error, &[b"invalid local address \"", &text, b"\""]);
                }
                local
            }
            _ => None,
        };
        let transparent = bind.is_some_and(|bind| bind.transparent);
        let keepalive = *self.conf.socket_keepalive;
        let datagrams = r.conn().datagrams().is_some();
        let (receive_buffer, send_buffer) = (*self.conf.socket_rcvbuf, *self.conf.socket_sndbuf);
        let options = Options { local, transparent, keepalive, receive_buffer, send_buffer, datagrams };
        let connection = match Connection::start(address, options) {
            Ok(connection) => connection,
            Err(StartError::Bind(error)) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let local = local.map(|local| local.ip().to_string()).unwrap_or_default();
                r.log_errno(Level::Crit, errno, format_args!("bind({local}) failed"));
                return Err(NoHead::Ended(Code::INTERNAL_SERVER_ERROR));
            }
            Err(StartError::Connect(error)) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let expected = [
                    libc::ECONNREFUSED,
                    libc::EAGAIN,
                    libc::ECONNRESET,
                    libc::ENETDOWN,
                    libc::ENETUNREACH,
                    libc::EHOSTDOWN,
                    libc::EHOSTUNREACH,
                ];
                let level = if expected.contains(&errno) { Level::Error } else { Level::Crit };
                r.log_errno(level, errno, format_args!("connect() to {address} failed"));
                return Err(NoHead::Failed(Failure::ERROR));
            }
        };
        self.timer_added(&connection, self.timeouts.connect);
        match tokio::time::timeout(self.timeouts.connect, connection.connected()).await {
            Ok(Ok(())) => Ok(Rc::new(connection)),
            Ok(Err(error)) => {
                let errno = error.raw_os_error().unwrap_or(0);
                r.log_errno(Level::Error, errno, format_args!("connect() failed"));
                Err(NoHead::Failed(Failure::ERROR))
            }
            Err(_) => Err(NoHead::Failed(Failure::TIMEOUT)),
        }
    }

    pub(super) fn timer_added(&self, connection: &Connection, limit: Duration) {
        let limit = limit.as_millis();
        let until = crate::clock::now().monotonic_msec as u128 + limit;
        debug!(self.r, "event timer add: {}: {limit}:{until}", connection.fd());
    }
}
