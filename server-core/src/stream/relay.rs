//! A TCP session's bytes, in both directions, until one side ends.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::time::Instant;

use super::proxy::{self, exchanged, greeting, log_bare};
use super::rate::Rate;
use crate::http::output::Data;
use crate::http::{Code, Request};
use crate::log::Level;
use crate::upstream::connection::Connection;

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
    Timeout,
}

/// Carries bytes in both directions.
pub(super) async fn run(r: &Rc<Request>, server: &Connection) -> Code {
    let conn = r.conn();
    let conf = &r.loc().stream;
    conn.action.set(Some("proxying connection"));
    let mut carried = Carried {
        to_server: greeting(r, *conf.proxy_protocol && !*conf.proxy_ssl),
        upload: Rate::of(r, conf.upload_rate.as_deref()),
        download: Rate::of(r, conf.download_rate.as_deref()),
        half_close: *conf.half_close,
        ..Carried::default()
    };
    let timeout: Duration = *conf.proxy_timeout;
    let mut deadline = Instant::now() + timeout;
    let end = poll_fn(|cx| {
        loop {
            match carried.step(r, server, cx) {
                Ok(Step::Moved) => deadline = Instant::now() + timeout,
                Ok(Step::Delayed) => {
                    deadline = Instant::now() + timeout;
                    return Poll::Pending;
                }
                Ok(Step::Blocked) if conn.poll_deadline(deadline, cx) => return Poll::Ready(Ok(End::Timeout)),
                Ok(Step::Blocked) => return Poll::Pending,
                Ok(Step::Ended(end)) => return Poll::Ready(Ok(end)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    })
    .await;
    proxy::count(r, carried.from_server, carried.sent_to_server);
    match end {
        Ok(End::Timeout) => r.log_errno(Level::Info, libc::ETIMEDOUT, format_args!("connection timed out")),
        Ok(end) => {
            let who = if end == End::Client { "client" } else { "upstream" };
            let counts = exchanged(r, carried.from_server, carried.sent_to_server);
            log_bare(r, format_args!("{who} disconnected, {counts}"));
        }
        Err(error) => {
            r.log_errno(Level::Error, error.raw_os_error().unwrap_or(0), format_args!("send() failed"));
        }
    }
    Code::HTTP_OK
}

/// How far the exchange got.
enum Step {
    /// Something went through.
    Moved,
    /// Both sides have to be waited for.
    Blocked,
    /// Only until more may go through (`proxy_upload_rate`, `proxy_download_rate`).
    Delayed,
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
    sent_to_server: u64,
    from_server: u64,
    upload: Rate,
    download: Rate,
    half_close: bool,
    half_closed: bool,
}

impl Carried {
    /// Moves what can be moved now.
    fn step(&mut self, r: &Rc<Request>, server: &Connection, cx: &mut Context<'_>) -> io::Result<Step> {
        let moved = self.upload(r, server, cx)? | self.download(r, server, cx)?;
        let client_done = self.client_ended && self.to_server.is_empty();
        let server_done = self.server_ended && !r.conn().has_output();
        if self.half_close && client_done != server_done {
            self.close_half(r, if client_done { server.fd() } else { r.conn().descriptor() }, client_done);
        } else if client_done {
            return Ok(Step::Ended(End::Client));
        } else if server_done {
            return Ok(Step::Ended(End::Server));
        }
        Ok(match moved {
            true => Step::Moved,
            false if self.upload.is_paused() || self.download.is_paused() => Step::Delayed,
            false => Step::Blocked,
        })
    }

    /// Tells one side that the other one has said everything (`proxy_half_close`).
    fn close_half(&mut self, r: &Request, descriptor: i32, client_done: bool) {
        if self.half_closed {
            return;
        }
        self.half_closed = true;
        // Who has gone already needs no word.
        let _ = shutdown(descriptor, Shutdown::Write);
        let whose = if client_done { "upstream" } else { "client" };
        r.debug(format_args!("stream proxy {whose} socket shutdown"));
    }

    /// From the client to the server.
    fn upload(&mut self, r: &Rc<Request>, server: &Connection, cx: &mut Context<'_>) -> io::Result<bool> {
        let conn = r.conn();
        let mut moved = false;
        if self.to_server.is_empty()
            && !self.client_ended
            && let Poll::Ready(room) = self.upload.poll_room(r.request_length.get(), cx)
        {
            let read = if conn.input.borrow().is_empty() { conn.try_read() } else { Ok(1) };
            match read {
                Ok(0) => {
                    self.client_ended = true;
                    moved = true;
                }
                Ok(_) => {
                    let mut input = conn.input.borrow_mut();
                    let count = input.len().min(room);
                    self.to_server = input.split_to(count);
                    r.request_length.set(r.request_length.get() + count as u64);
                    self.upload.took(count);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    moved |= conn.poll_read_ready(cx)?.is_ready();
                }
                // A client that is gone ends the session like one that says so.
                Err(error) => {
                    r.log_errno(Level::Info, error.raw_os_error().unwrap_or(0), format_args!("recv() failed"));
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
            && let Poll::Ready(room) = self.download.poll_room(self.from_server, cx)
            && let Poll::Ready(read) = server.poll_read(cx, &mut self.from_server_buffer, size.min(room))
        {
            let read = read.unwrap_or_else(|error| {
                r.log_errno(Level::Error, error.raw_os_error().unwrap_or(0), format_args!("recv() failed"));
                0
            });
            if self.from_server == 0 {
                proxy::note_first_byte(r, server.opened);
            }
            self.server_ended = read == 0;
            self.from_server += read as u64;
            self.download.took(read);
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
