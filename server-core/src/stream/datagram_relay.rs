//! A UDP session's datagrams, in both directions, until as many answers came as are expected or nobody says anything.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::datagrams::Client;
use super::proxy::{self, exchanged, greeting, log_bare};
use super::rate::Rate;
use crate::http::{Code, Request};
use crate::log::Level;
use crate::upstream::connection::Connection;

/// The largest datagram.
const DATAGRAM_MAX: usize = 65_535;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As many answers came as were expected.
    Complete,
    /// The worker leaves.
    Shutdown,
    Timeout,
}

/// Carries datagrams in both directions.
pub(super) async fn run(r: &Rc<Request>, client: &Client, server: &Connection) -> Code {
    let conn = r.conn();
    let conf = &r.loc().stream;
    conn.action.set(Some("proxying connection"));
    let mut carried = Carried {
        client,
        server,
        to_server: Some(greeting(r, *conf.proxy_protocol).freeze()),
        to_client: None,
        buffer: BytesMut::new(),
        requests: 1,
        responses: 0,
        from_server: 0,
        sent_to_server: 0,
        server_failed: false,
        upload: Rate::of(r, conf.upload_rate.as_deref()),
        download: Rate::of(r, conf.download_rate.as_deref()),
    };
    let timeout = *conf.proxy_timeout;
    let mut deadline = Instant::now() + timeout;
    let end = poll_fn(|cx| {
        loop {
            match carried.step(r, cx) {
                Step::Moved => deadline = Instant::now() + timeout,
                Step::Blocked if carried.upload.is_paused() || carried.download.is_paused() => return Poll::Pending,
                Step::Blocked if conn.poll_deadline(deadline, cx) => return Poll::Ready(End::Timeout),
                Step::Blocked => return Poll::Pending,
                Step::Ended(end) => return Poll::Ready(end),
            }
        }
    })
    .await;
    proxy::count(r, carried.from_server, carried.sent_to_server);
    let packets = format!("packets from/to client:{}/{}", carried.requests, carried.responses);
    let counts = exchanged(r, carried.from_server, carried.sent_to_server);
    match end {
        End::Complete => log_bare(r, format_args!("udp done, {packets}, {counts}")),
        End::Shutdown => log_bare(r, format_args!("disconnected on shutdown")),
        End::Timeout if carried.has_enough(r) || conf.responses.is_none() => {
            log_bare(r, format_args!("udp timed out, {packets}, {counts}"));
        }
        End::Timeout => {
            r.log_errno(Level::Error, libc::ETIMEDOUT, format_args!("upstream timed out"));
            return Code::BAD_GATEWAY;
        }
    }
    Code::HTTP_OK
}

enum Step {
    Moved,
    Blocked,
    Ended(End),
}

/// The datagrams under way.
struct Carried<'a> {
    client: &'a Client,
    server: &'a Connection,
    to_server: Option<Bytes>,
    to_client: Option<Bytes>,
    buffer: BytesMut,
    requests: u64,
    responses: u64,
    from_server: u64,
    sent_to_server: u64,
    server_failed: bool,
    upload: Rate,
    download: Rate,
}

impl Carried<'_> {
    /// Whether as many answers came as `proxy_responses` expects.
    fn has_enough(&self, r: &Request) -> bool {
        r.loc().stream.responses.is_some_and(|each| self.responses >= each.saturating_mul(self.requests))
    }

    fn step(&mut self, r: &Rc<Request>, cx: &mut Context<'_>) -> Step {
        let Some(uploaded) = self.upload(r, cx) else { return Step::Ended(End::Shutdown) };
        let moved = uploaded | self.download(r, cx);
        let expected = r.loc().stream.requests.unwrap_or(0);
        if expected > 0 && self.requests >= expected {
            // What the client sends from now on begins another session.
            self.client.leave();
        }
        let is_pending = self.to_server.is_some() || self.to_client.is_some();
        if self.requests >= expected && !is_pending && self.has_enough(r) {
            return Step::Ended(End::Complete);
        }
        if moved { Step::Moved } else { Step::Blocked }
    }

    /// From the client to the server; `None` when there will be no more.
    fn upload(&mut self, r: &Request, cx: &mut Context<'_>) -> Option<bool> {
        let mut moved = false;
        let may_read = self.to_server.is_none() && !self.has_left(r);
        if may_read
            && self.upload.poll_room(r.request_length.get(), cx).is_ready()
            && let Poll::Ready(received) = self.client.poll_receive(cx)
        {
            let bytes = received?;
            self.requests += 1;
            r.request_length.set(r.request_length.get() + bytes.len() as u64);
            self.upload.took(bytes.len());
            self.to_server = Some(bytes);
            moved = true;
        }
        if let Some(bytes) = &self.to_server
            && let Poll::Ready(sent) = self.server.poll_write(cx, &[IoSlice::new(bytes)])
        {
            match sent {
                Ok(sent) => self.sent_to_server += sent as u64,
                Err(error) => self.fail(r, "send()", &error),
            }
            self.to_server = None;
            moved = true;
        }
        Some(moved)
    }

    fn has_left(&self, r: &Request) -> bool {
        r.loc().stream.requests.is_some_and(|expected| expected > 0 && self.requests >= expected)
    }

    /// From the server to the client.
    fn download(&mut self, r: &Request, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        if self.to_client.is_none()
            && !self.server_failed
            && self.download.poll_room(self.from_server, cx).is_ready()
            && let Poll::Ready(read) = self.server.poll_read(cx, &mut self.buffer, DATAGRAM_MAX)
        {
            moved = true;
            match read {
                Ok(read) => {
                    if self.responses == 0 {
                        proxy::note_first_byte(r, self.server.opened);
                    }
                    self.responses += 1;
                    self.from_server += read as u64;
                    self.download.took(read);
                    self.to_client = Some(self.buffer.split().freeze());
                }
                Err(error) => self.fail(r, "recv()", &error),
            }
        }
        if let Some(bytes) = &self.to_client {
            match r.conn().try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return moved | self.client.poll_writable(cx).is_ready();
                }
                Ok(_) => {}
                Err(error) => {
                    r.log_errno(Level::Info, error.raw_os_error().unwrap_or(0), format_args!("sendmsg() failed"));
                }
            }
            self.to_client = None;
            moved = true;
        }
        moved
    }

    /// The server can't be reached, as it turned out.
    fn fail(&mut self, r: &Request, call: &str, error: &io::Error) {
        self.server_failed = true;
        r.log_errno(Level::Error, error.raw_os_error().unwrap_or(0), format_args!("{call} failed"));
    }
}
