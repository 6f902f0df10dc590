//! `proxy_pass`: a session carried to another server and back.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::settings::Pass;
use super::{datagram_relay, relay};
use crate::http::conf::LocConf;
use crate::http::connection::Address;
use crate::http::upstream::{self, Conf, Dialing, Route};
use crate::http::{Code, Request};
use crate::log::Level;
use crate::log_at;
use crate::upstream::address::Target;
use crate::upstream::connection::Connection;

/// Serves a session through another server.
pub(super) async fn serve(r: &Rc<Request>) -> Code {
    r.debug(format_args!("proxy connection handler"));
    let code = upstream::dial(r, &Plain, |server| async move {
        announce(r, &server);
        match r.conn().datagrams() {
            Some(client) => datagram_relay::run(r, client, &server).await,
            None => relay::run(r, &server).await,
        }
    })
    .await;
    r.debug(format_args!("finalize stream proxy: {}", code.0));
    code
}

/// Says which way the session goes.
fn announce(r: &Request, server: &Connection) {
    let kind = if r.conn().datagrams().is_some() { "udp " } else { "" };
    if let Some(local) = server.local() {
        let attempts = r.upstream.borrow().clone();
        let peer = attempts.and_then(|attempts| attempts.peer()).unwrap_or_default();
        let peer = String::from_utf8_lossy(&peer);
        log_bare(r, format_args!("{kind}proxy {local} connected to {peer}"));
    }
}

/// Bytes as they are.
struct Plain;

impl Dialing for Plain {
    fn conf(&self, loc: &'static LocConf) -> &'static Conf {
        &loc.stream.upstream
    }

    fn route(&self, r: &Rc<Request>) -> Result<Route, Code> {
        let conf = &r.loc().stream;
        let (target, group) = match conf.pass.as_deref() {
            Some(Pass::Fixed { target, group }) => (target.clone(), group.get().cloned()),
            Some(Pass::Variable(url)) => {
                let url = url.eval(r);
                let target = Target::parse(&url, 0).map_err(|error| {
                    let text = error.to_string();
                    r.log_bytes(Level::Error, &[text.as_bytes(), b" in upstream \"", &url, b"\""]);
                    Code::INTERNAL_SERVER_ERROR
                })?;
                let is_group = r.main_conf().upstream.find(&target.host, None).is_some();
                if !target.has_port && !target.is_unix && !is_group {
                    r.log_bytes(Level::Error, &[b"no port in upstream \"", &url, b"\""]);
                    return Err(Code::INTERNAL_SERVER_ERROR);
                }
                (target, None)
            }
            None => return Err(Code::INTERNAL_SERVER_ERROR),
        };
        Ok(Route {
            target,
            group,
            uri: Bytes::new(),
            scheme: "",
            tls: *conf.proxy_ssl && r.conn().datagrams().is_none(),
            default_port: 0,
        })
    }

    fn preamble(&self, r: &Request) -> Vec<u8> {
        if !*r.loc().stream.proxy_protocol {
            return Vec::new();
        }
        r.debug(format_args!("stream proxy send PROXY protocol header"));
        proxy_header(r)
    }
}

/// What a session exchanged with its server, for log lines.
pub(crate) struct Counts {
    /// Bytes that came from the server.
    pub(crate) received: u64,
    /// Bytes that went to it.
    pub(crate) sent: u64,
}

/// What both kinds of sessions count, as the last line about them says it.
pub(super) fn exchanged(r: &Request, received: u64, sent: u64) -> String {
    let (from_client, to_client) = (r.request_length.get(), r.bytes_sent());
    format!("bytes from/to client:{from_client}/{to_client}, bytes from/to upstream:{received}/{sent}")
}

/// Notes in the session's last attempt what went through.
pub(super) fn count(r: &Request, received: u64, sent: u64) {
    r.set_ctx(Rc::new(Counts { received, sent }));
    if let Some(attempts) = &*r.upstream.borrow() {
        attempts.last(|attempt| (attempt.bytes_received, attempt.bytes_sent) = (received, sent));
    }
}

/// Notes that the first bytes of the server came now.
pub(super) fn note_first_byte(r: &Request, since: Instant) {
    if let Some(attempts) = &*r.upstream.borrow() {
        let elapsed = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        attempts.last(|attempt| {
            attempt.header_time.get_or_insert(elapsed);
        });
    }
}

/// Writes a line that says nothing about the client.
pub(super) fn log_bare(r: &Request, message: std::fmt::Arguments<'_>) {
    let conn = r.conn();
    let log = r.loc().core.log.as_ref().unwrap_or(&conn.cycle().log);
    log_at!(log, Level::Info, "*{} {message}", conn.number);
}

/// What waits for the server when the session begins: who the client is, if it wants to know, and what preread
/// handlers looked at.
pub(super) fn greeting(r: &Request, tells_client: bool) -> BytesMut {
    let mut greeting = BytesMut::new();
    if tells_client {
        r.debug(format_args!("stream proxy add PROXY protocol header"));
        greeting.extend_from_slice(&proxy_header(r));
    }
    let waiting = r.conn().input.borrow_mut().split();
    r.debug(format_args!("stream proxy add preread buffer: {}", waiting.len()));
    r.request_length.set(r.request_length.get().max(waiting.len() as u64));
    if greeting.is_empty() {
        return waiting;
    }
    greeting.extend_from_slice(&waiting);
    greeting
}

/// The PROXY protocol's first version, as the server behind us wants it.
fn proxy_header(r: &Request) -> Vec<u8> {
    let conn = r.conn();
    let (peer, local) = (conn.peer.borrow(), conn.local());
    match (&*peer, local) {
        (Address::Ip(peer), Address::Ip(local)) => {
            let family = match peer {
                SocketAddr::V4(_) => "TCP4",
                SocketAddr::V6(_) => "TCP6",
            };
            format!("PROXY {family} {} {} {} {}\r\n", peer.ip(), local.ip(), peer.port(), local.port()).into_bytes()
        }
        _ => b"PROXY UNKNOWN\r\n".to_vec(),
    }
}
