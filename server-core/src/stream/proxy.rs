//! `proxy_pass`: a session carried to another server and back.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::time::Instant;

use super::settings::Pass;
use crate::http::conf::LocConf;
use crate::http::connection::Address;
use crate::http::output::Data;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::{self, Conf, Outgoing, Protocol, Reader, Route};
use crate::http::{Code, Request};
use crate::log::Level;
use crate::upstream::address::Target;
use crate::upstream::connection::Connection;

/// Serves a session through another server.
pub(super) async fn serve(r: &Rc<Request>) -> Code {
    r.debug(format_args!("proxy connection handler"));
    let code = upstream::dial(r, &Plain, |server| relay(r, server)).await;
    r.debug(format_args!("finalize stream proxy: {}", code.0));
    code
}

/// Bytes as they are.
struct Plain;

impl Protocol for Plain {
    fn conf(&self, loc: &'static LocConf) -> &'static Conf {
        &loc.stream.upstream
    }

    fn hidden(&self) -> &'static [&'static str] {
        &[]
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
        Ok(Route { target, group, uri: Bytes::new(), scheme: "", tls: *conf.proxy_ssl, default_port: 0 })
    }

    fn request(&self, _: &Rc<Request>, _: &Destination) -> Result<Outgoing, Code> {
        Ok(Outgoing::default())
    }

    fn reader(&self, _: &Outgoing) -> Box<dyn Reader> {
        unreachable!("a session is dialled, not asked")
    }
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
    Timeout,
}

/// Carries bytes in both directions until one side ends.
async fn relay(r: &Rc<Request>, server: Rc<Connection>) -> Code {
    let conn = r.conn();
    let conf = &r.loc().stream;
    conn.action.set(Some("proxying connection"));
    let mut carried = Carried::default();
    if *conf.proxy_protocol {
        carried.to_server.extend_from_slice(&proxy_header(r));
    }
    let waiting = conn.input.borrow_mut().split();
    carried.from_client = waiting.len() as u64;
    r.request_length.set(carried.from_client);
    carried.to_server.extend_from_slice(&waiting);
    let timeout: Duration = *conf.proxy_timeout;
    let mut deadline = Instant::now() + timeout;
    let end = poll_fn(|cx| {
        loop {
            match carried.step(r, &server, cx) {
                Ok(Step::Moved) => deadline = Instant::now() + timeout,
                Ok(Step::Blocked) if conn.poll_deadline(deadline, cx) => return Poll::Ready(Ok(End::Timeout)),
                Ok(Step::Blocked) => return Poll::Pending,
                Ok(Step::Ended(end)) => return Poll::Ready(Ok(end)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    })
    .await;
    r.set_ctx(Rc::new(Counts { received: carried.from_server, sent: carried.sent_to_server }));
    match end {
        Ok(End::Timeout) => {
            r.log_errno(Level::Info, libc::ETIMEDOUT, format_args!("connection timed out"));
            Code::HTTP_OK
        }
        Ok(end) => {
            let who = if end == End::Client { "client" } else { "upstream" };
            r.log(Level::Info, format_args!("{who} disconnected"));
            Code::HTTP_OK
        }
        Err(error) => {
            r.log_errno(Level::Error, error.raw_os_error().unwrap_or(0), format_args!("recv() failed"));
            Code::HTTP_OK
        }
    }
}

/// What a session exchanged with its server, for log lines.
pub(crate) struct Counts {
    /// Bytes that came from the server.
    pub(crate) received: u64,
    /// Bytes that went to it.
    pub(crate) sent: u64,
}

/// How far the exchange got.
enum Step {
    /// Something went through.
    Moved,
    /// Both sides have to be waited for.
    Blocked,
    /// One side ended, and the other has everything.
    Ended(End),
}

/// The bytes under way.
#[derive(Default)]
struct Carried {
    to_server: BytesMut,
    from_server_buffer: BytesMut,
    client_ended: bool,
    server_ended: bool,
    from_client: u64,
    sent_to_server: u64,
    from_server: u64,
}

impl Carried {
    /// Moves what can be moved now.
    fn step(&mut self, r: &Rc<Request>, server: &Connection, cx: &mut Context<'_>) -> io::Result<Step> {
        let moved = self.upload(r, server, cx)? | self.download(r, server, cx)?;
        if self.client_ended && self.to_server.is_empty() {
            return Ok(Step::Ended(End::Client));
        }
        if self.server_ended && !r.conn().has_output() {
            return Ok(Step::Ended(End::Server));
        }
        Ok(if moved { Step::Moved } else { Step::Blocked })
    }

    /// From the client to the server.
    fn upload(&mut self, r: &Rc<Request>, server: &Connection, cx: &mut Context<'_>) -> io::Result<bool> {
        let conn = r.conn();
        let mut moved = false;
        if self.to_server.is_empty() && !self.client_ended {
            match conn.try_read() {
                Ok(0) => {
                    self.client_ended = true;
                    moved = true;
                }
                Ok(read) => {
                    self.from_client += read as u64;
                    r.request_length.set(self.from_client);
                    self.to_server = conn.input.borrow_mut().split();
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    moved |= conn.poll_read_ready(cx)?.is_ready();
                }
                // A client that is gone ends the session like one that says so.
                Err(_) => {
                    self.client_ended = true;
                    moved = true;
                }
            }
        }
        if !self.to_server.is_empty()
            && let Poll::Ready(written) = server.poll_write(cx, &[IoSlice::new(&self.to_server)])
        {
            let written = written?;
            self.sent_to_server += written as u64;
            self.to_server.advance(written);
            moved = true;
        }
        Ok(moved)
    }

    /// From the server to the client.
    fn download(&mut self, r: &Rc<Request>, server: &Connection, cx: &mut Context<'_>) -> io::Result<bool> {
        let conn = r.conn();
        let size = *r.loc().stream.upstream.buffer_size;
        let mut moved = false;
        if !conn.has_output()
            && !self.server_ended
            && let Poll::Ready(read) = server.poll_read(cx, &mut self.from_server_buffer, size)
        {
            let read = read?;
            self.server_ended = read == 0;
            self.from_server += read as u64;
            conn.append(Data::Bytes(self.from_server_buffer.split().freeze()));
            moved = true;
        }
        if conn.has_output() {
            let before = conn.sent.get();
            if conn.send(u64::MAX) == Code::ERROR {
                self.client_ended = true;
                self.to_server.clear();
                conn.discard_output();
                return Ok(true);
            }
            moved |= conn.sent.get() > before;
            if conn.has_output() {
                moved |= conn.poll_write_ready(cx)?.is_ready();
            }
        }
        Ok(moved)
    }
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
