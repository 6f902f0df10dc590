//! The task of a connection that speaks HTTP/2: it reads, writes and waits, while its streams are served by tasks of their
//! own.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::frame::ErrorCode;
use super::reader::Reader;
use super::session::Session;
use super::stream::Stream;
use crate::http::code::Code;
use crate::http::conf::{LocConf, SrvConf};
use crate::http::connection::Connection;
use crate::http::request::Request;
use crate::http::run;
use crate::http::server::{self, Server};
use crate::log::Level;

/// Reads of one turn: then those who are served have theirs.
const READS_MAX: usize = 16;

/// Serves a connection until it ends. What it sent first may be in its input.
pub(crate) async fn serve(server: &Rc<Server>, conn: &Rc<Connection>, srv: &'static SrvConf, loc: &'static LocConf) {
    conn.action.set(Some("processing HTTP/2 connection"));
    conn.is_multiplexed.set(true);
    conn.idle.set(true);
    let session = Session::begin(server, conn, srv, loc);
    let _cut = Cut(&session);
    let mut driver = Driver::new(&session);
    let end = poll_fn(|cx| driver.poll(cx)).await;
    finish(&session, end).await;
}

/// Serves a new stream, or refuses it.
pub(super) fn start(session: &Rc<Session>, stream: Rc<Stream>, r: Rc<Request>, refusal: Option<Code>) {
    let served = (Rc::clone(session), Rc::clone(&stream), Rc::clone(&r));
    let task = tokio::task::spawn_local(async move {
        let (session, stream, r) = served;
        serve_stream(&session, &stream, &r, refusal).await;
        session.remove(&stream);
    });
    session.add(stream, r, task.abort_handle());
}

async fn serve_stream(session: &Rc<Session>, stream: &Stream, r: &Rc<Request>, refusal: Option<Code>) {
    let progress = session.server.begin_request();
    match refusal {
        None if crate::dev::is_on() && crate::dev::is_foreign(r) => run::serve_refusal(r, Code::FORBIDDEN).await,
        None => run::serve(r).await,
        Some(code) => run::serve_refusal(r, code).await,
    }
    // Heads of frames count as head, so that the body's length stays what it is.
    r.header_size.set(r.header_size.get() + stream.overhead());
    run::close(r).await;
    drop(progress);
}

/// Cuts the streams off when the connection's task is dropped.
struct Cut<'a>(&'a Session);

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

/// How a connection ends.
enum End {
    /// There is nobody any more.
    Gone,
    /// We end it, for this reason.
    Because(ErrorCode),
}

struct Driver<'a> {
    session: &'a Rc<Session>,
    conn: &'a Rc<Connection>,
    reader: Reader,
    /// Until when the client has to take something, while output waits.
    send_until: Option<Instant>,
    /// Until when the head of a request has to be complete.
    head_until: Option<Instant>,
    /// Until when something has to happen on an idle connection.
    idle_until: Option<Instant>,
    /// Times that the client kept the connection from being idle without asking for anything.
    idle_wakes: u64,
}

impl<'a> Driver<'a> {
    fn new(session: &'a Rc<Session>) -> Self {
        Self {
            session,
            conn: &session.conn,
            reader: Reader::new(session),
            send_until: None,
            head_until: None,
            idle_until: None,
            idle_wakes: 0,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let session = self.session;
        self.conn.set_waker(cx.waker());
        self.conn.take_wake();
        self.reader.begin_turn();
        if let Err(end) = self.read(cx) {
            return Poll::Ready(end);
        }
        if session.server.is_exiting() || self.conn.closing.get() {
            session.go_away(ErrorCode::NO_ERROR);
        }
        if let Err(end) = self.write(cx) {
            return Poll::Ready(end);
        }
        let is_unused = session.processing() == 0 && !self.reader.awaits_head();
        if is_unused && session.goes_away() && !self.conn.has_output() {
            return Poll::Ready(End::Because(ErrorCode::NO_ERROR));
        }
        self.wait(cx, is_unused)
    }

    /// Reads what is there and does what it says.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let (session, conn) = (self.session, self.conn);
        for _ in 0..READS_MAX {
            if !conn.input.borrow().is_empty() {
                crate::clock::step();
                if self.reader.process(session).map_err(End::Because)? {
                    cx.waker().wake_by_ref();
                    return Ok(());
                }
            }
            if session.is_full() {
                // Whoever takes nothing is not listened to; what makes room wakes us.
                return Ok(());
            }
            // TLS may hold bytes that the socket no longer announces.
            if !conn.is_tls() && conn.poll_read_ready(cx).is_pending() {
                return Ok(());
            }
            match conn.try_read() {
                Ok(0) => {
                    if self.reader.is_in_frame() || session.processing() > 0 {
                        session.log(Level::Info, format_args!("client prematurely closed connection"));
                    }
                    return Err(End::Gone);
                }
                Ok(_) => {
                    self.idle_until = None;
                    self.note_idle_wake()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if conn.poll_read_ready(cx).is_pending() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    session.log_errno(Level::Info, errno, "recv() failed");
                    return Err(End::Gone);
                }
            }
        }
        // Others have their turn first.
        cx.waker().wake_by_ref();
        if !conn.input.borrow().is_empty() {
            self.reader.process(session).map_err(End::Because)?;
        }
        Ok(())
    }

    /// Something came while no request is served.
    fn note_idle_wake(&mut self) -> Result<(), End> {
        if self.session.processing() > 0 {
            return Ok(());
        }
        self.idle_wakes += 1;
        let most = self.session.loc.core.keepalive_requests.saturating_mul(10);
        if self.idle_wakes > most {
            self.session.log(Level::Info, format_args!("http2 flood detected"));
            return Err(End::Because(ErrorCode::NO_ERROR));
        }
        Ok(())
    }

    /// Sends what waits and lets streams add to it.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let (session, conn) = (self.session, self.conn);
        while conn.has_output() {
            let before = conn.sent.get();
            let code = conn.send(u64::MAX);
            if conn.sent.get() != before {
                self.send_until = None;
            }
            match code {
                Code::OK => {}
                Code::ERROR => {
                    if let Some(errno) = conn.write_errno.take() {
                        session.log_errno(Level::Info, errno, "writev() failed");
                    }
                    return Err(End::Gone);
                }
                _ => match conn.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Err(End::Gone),
                    Poll::Pending => {
                        let timeout = *session.loc.core.send_timeout;
                        self.send_until.get_or_insert_with(|| Instant::now() + timeout);
                        break;
                    }
                },
            }
        }
        if !conn.has_output() {
            self.send_until = None;
        }
        session.wake_next();
        Ok(())
    }

    /// Waits for whatever comes next, and not for ever.
    fn wait(&mut self, cx: &mut Context<'_>, is_unused: bool) -> Poll<End> {
        let session = self.session;
        if self.reader.awaits_head() {
            let timeout = *session.srv.core.client_header_timeout;
            self.head_until.get_or_insert_with(|| Instant::now() + timeout);
        } else {
            self.head_until = None;
        }
        if is_unused {
            let timeout = *session.loc.core.keepalive_timeout;
            // Before the first request, `keepalive_timeout 0` does not mean that there shall be none.
            let timeout = if timeout.is_zero() { *session.srv.core.client_header_timeout } else { timeout };
            self.idle_until.get_or_insert_with(|| Instant::now() + timeout);
        } else {
            self.idle_until = None;
        }
        let moments = [self.send_until, self.head_until, self.idle_until];
        let Some(first) = moments.into_iter().flatten().min() else { return Poll::Pending };
        if !self.conn.poll_deadline(first, cx) {
            return Poll::Pending;
        }
        if self.idle_until == Some(first) {
            return Poll::Ready(End::Because(ErrorCode::NO_ERROR));
        }
        session.log_errno(Level::Info, libc::ETIMEDOUT, "client timed out");
        if self.send_until == Some(first) {
            return Poll::Ready(End::Gone);
        }
        self.reader.give_up_head(session);
        // The client is told, and what it still sends of the head is read.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Says goodbye, waits for the streams to end and closes the connection.
async fn finish(session: &Session, end: End) {
    let conn = &session.conn;
    match end {
        End::Gone => conn.error.set(true),
        End::Because(code) => {
            session.go_away(code);
            if session.processing() > 0 {
                // As much as the client takes now; its requests end at once.
                conn.send(u64::MAX);
            } else {
                conn.drain(*session.loc.core.send_timeout, u64::MAX, || u64::MAX).await;
            }
        }
    }
    session.end();
    poll_fn(|cx| session.poll_empty(cx)).await;
    if !conn.error.get() {
        let core = &session.loc.core;
        if *core.lingering_close != crate::http::modules::core::LingeringClose::Off {
            server::linger_on(conn, core).await;
        }
    }
}
