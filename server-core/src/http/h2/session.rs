//! What the streams of one connection share: its windows, its limits, and who is being served.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Arguments;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::task::AbortHandle;

use super::frame::{self, DEFAULT_FRAME_SIZE, DEFAULT_WINDOW, ErrorCode, MAX_FRAME_SIZE, MAX_WINDOW, settings};
use super::stream::Stream;
use crate::http::conf::{LocConf, SrvConf};
use crate::http::connection::{self, Connection};
use crate::http::request::Request;
use crate::http::server::Server;
use crate::log::{Entry, ErrorLog, Level};

/// When so many bytes wait to be sent, streams wait; at once, one may add as many.
const OUTPUT_MAX: u64 = 64 * 1024;
/// A client that does not take its answers is not listened to when so many bytes wait for it.
const OUTPUT_FULL: u64 = 256 * 1024;
/// Streams that a client may give up, each made good by one that ended well.
const CANCELLED_MAX: u32 = 1000;

/// A stream and who serves it.
pub(super) struct Served {
    pub(super) stream: Rc<Stream>,
    pub(super) request: Rc<Request>,
    task: AbortHandle,
}

/// The streams of a connection.
pub(super) struct Session {
    pub(super) conn: Rc<Connection>,
    pub(super) server: Rc<Server>,
    pub(super) srv: &'static SrvConf,
    pub(super) loc: &'static LocConf,
    /// By number.
    served: RefCell<Vec<Served>>,
    /// The highest number of a stream that the client opened.
    pub(super) last_stream: Cell<u32>,
    /// The connection's windows.
    send_window: Cell<u32>,
    recv_window: Cell<u32>,
    /// The window of new streams.
    initial_send_window: Cell<i64>,
    frame_size: Cell<usize>,
    pub(super) settings_acked: Cell<bool>,
    /// The client changed its limit for the table that we don't use: it is told so with the next block.
    pub(super) must_empty_table: Cell<bool>,
    /// No new streams are served.
    goaway: Cell<bool>,
    /// The connection has ended for the streams.
    dead: Cell<bool>,
    /// Refused so far, and given up by the client without one that ended well.
    refused: Cell<u32>,
    cancelled: Cell<u32>,
    /// Streams that wait for room, the one that waits longest first.
    waiting: RefCell<VecDeque<Rc<Stream>>>,
    /// Who waits for the last stream.
    emptied: RefCell<Option<Waker>>,
    /// Where blocks of header fields are made.
    pub(super) block: RefCell<Vec<u8>>,
}

impl Session {
    /// Begins to speak HTTP/2 on a connection.
    pub(super) fn begin(
        server: &Rc<Server>,
        conn: &Rc<Connection>,
        srv: &'static SrvConf,
        loc: &'static LocConf,
    ) -> Rc<Self> {
        let session = Rc::new(Self {
            conn: Rc::clone(conn),
            server: Rc::clone(server),
            srv,
            loc,
            served: RefCell::default(),
            last_stream: Cell::new(0),
            send_window: Cell::new(DEFAULT_WINDOW),
            recv_window: Cell::new(MAX_WINDOW),
            initial_send_window: Cell::new(i64::from(DEFAULT_WINDOW)),
            frame_size: Cell::new(DEFAULT_FRAME_SIZE),
            settings_acked: Cell::new(false),
            must_empty_table: Cell::new(false),
            goaway: Cell::new(false),
            dead: Cell::new(false),
            refused: Cell::new(0),
            cancelled: Cell::new(0),
            waiting: RefCell::default(),
            emptied: RefCell::default(),
            block: RefCell::default(),
        });
        let offered = [
            (settings::MAX_CONCURRENT_STREAMS, session.streams_max() as u32),
            (settings::INITIAL_WINDOW_SIZE, session.preread_size()),
            (settings::MAX_FRAME_SIZE, MAX_FRAME_SIZE as u32),
        ];
        conn.append_with(|out| {
            frame::push_settings(out, &offered);
            frame::push_window_update(out, 0, MAX_WINDOW - DEFAULT_WINDOW);
        });
        session
    }

    /// The log of the address's default server.
    fn error_log(&self) -> &'static ErrorLog {
        self.loc.core.log.as_ref().unwrap_or(&self.conn.cycle().log)
    }

    /// Writes a line about the connection.
    pub(super) fn log(&self, level: Level, message: Arguments<'_>) {
        let log = self.error_log();
        if log.enabled(level) {
            let message = message.to_string();
            log.write_entry(&Entry { level, message: message.as_bytes(), errno: None, context: Some(&*self.conn) });
        }
    }

    pub(super) fn debug(&self, message: Arguments<'_>) {
        self.log(Level::Debug, message);
    }

    /// As [`Session::log`], about a failed system call.
    pub(super) fn log_errno(&self, level: Level, errno: i32, message: &str) {
        let log = self.error_log();
        if log.enabled(level) {
            let entry = Entry { level, message: message.as_bytes(), errno: Some(errno), context: Some(&*self.conn) };
            log.write_entry(&entry);
        }
    }
}

/// Limits and settings.
impl Session {
    /// `http2_max_concurrent_streams`
    pub(super) fn streams_max(&self) -> usize {
        *self.srv.http2.concurrent_streams
    }

    /// `http2_body_preread_size`
    pub(super) fn preread_size(&self) -> u32 {
        u32::try_from(*self.srv.http2.preread_size).unwrap_or(MAX_WINDOW).min(MAX_WINDOW)
    }

    pub(super) fn initial_send_window(&self) -> i64 {
        self.initial_send_window.get()
    }

    /// The client's `SETTINGS_INITIAL_WINDOW_SIZE`, which changes the windows of its streams, too.
    pub(super) fn set_initial_send_window(&self, size: u32) {
        let change = i64::from(size) - self.initial_send_window.replace(i64::from(size));
        let too_large = {
            let served = self.served.borrow();
            served.iter().for_each(|served| served.stream.add_window(change));
            let is_large = |served: &&Served| served.stream.send_window() > i64::from(MAX_WINDOW);
            served.iter().filter(is_large).map(|served| Rc::clone(&served.stream)).collect::<Vec<_>>()
        };
        for stream in too_large {
            self.terminate(&stream, ErrorCode::FLOW_CONTROL_ERROR);
        }
    }

    /// The longest frame that the client takes.
    pub(super) fn frame_size(&self) -> usize {
        self.frame_size.get()
    }

    pub(super) fn set_frame_size(&self, size: usize) {
        self.frame_size.set(size);
    }

    /// A stream is refused. Whether the client may try again.
    pub(super) fn refuse(&self, id: u32) -> bool {
        self.refused.set(self.refused.get() + 1);
        if self.refused.get() as usize > self.streams_max().max(100) {
            self.log(Level::Info, format_args!("client sent too many refused streams"));
            return false;
        }
        self.reset(id, ErrorCode::REFUSED_STREAM);
        true
    }

    /// The client gave a stream up. Whether it did so too often.
    pub(super) fn is_cancelled_too_often(&self) -> bool {
        self.cancelled.set(self.cancelled.get() + 1);
        self.cancelled.get() > CANCELLED_MAX
    }
}

/// Frames that are not about one stream's body.
impl Session {
    /// Bytes that streams together may send now.
    pub(super) fn room(&self) -> u64 {
        // A stream that may send makes whole frames: the last one may go beyond.
        let free = if self.conn.output_len() < OUTPUT_MAX { OUTPUT_MAX } else { 0 };
        free.min(u64::from(self.send_window.get()))
    }

    /// Streams have sent so many bytes.
    pub(super) fn spend(&self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.send_window.set(self.send_window.get().saturating_sub(length));
    }

    /// The client takes more. Whether the window may be so large.
    pub(super) fn add_window(&self, more: u32) -> Result<(), u32> {
        let window = self.send_window.get();
        if more > MAX_WINDOW - window {
            return Err(window);
        }
        self.send_window.set(window + more);
        Ok(())
    }

    /// Whether so much waits that nothing more is to be read.
    pub(super) fn is_full(&self) -> bool {
        self.conn.output_len() > OUTPUT_FULL
    }

    /// A stream waits for room of the connection.
    pub(super) fn wait_for_room(&self, stream: &Rc<Stream>) {
        if !stream.queued.replace(true) {
            self.waiting.borrow_mut().push_back(Rc::clone(stream));
        }
    }

    /// Gives room to the stream that waits longest.
    pub(super) fn wake_next(&self) {
        while self.room() > 0 {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(stream) = next else { return };
            stream.queued.set(false);
            if !stream.is_out_closed() {
                stream.wake_writer();
                return;
            }
        }
    }

    /// A frame of body came. Whether it keeps to the connection's window.
    pub(super) fn take_window(&self, length: usize) -> Result<(), u32> {
        let window = self.recv_window.get();
        let left = u32::try_from(length).ok().and_then(|length| window.checked_sub(length)).ok_or(window)?;
        self.recv_window.set(left);
        if left < MAX_WINDOW / 4 {
            self.recv_window.set(MAX_WINDOW);
            self.widen(0, MAX_WINDOW - left);
        }
        Ok(())
    }

    /// Lets the client send more.
    pub(super) fn widen(&self, stream: u32, more: u32) {
        self.push(|out| frame::push_window_update(out, stream, more));
    }

    /// Ends a stream.
    pub(super) fn reset(&self, stream: u32, code: ErrorCode) {
        self.push(|out| frame::push_rst_stream(out, stream, code));
    }

    /// Announces that no new streams are served; once.
    pub(super) fn go_away(&self, code: ErrorCode) {
        if !self.goaway.replace(true) {
            self.push(|out| frame::push_goaway(out, self.last_stream.get(), code));
        }
    }

    /// Whether that was announced.
    pub(super) fn goes_away(&self) -> bool {
        self.goaway.get()
    }

    /// Queues a frame and has it sent.
    pub(super) fn push(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.dead.get() {
            self.conn.append_with(write);
            self.conn.wake();
        }
    }
}

/// Who is being served.
impl Session {
    /// Makes the request of a new stream.
    pub(super) fn open(self: &Rc<Self>, id: u32, in_closed: bool) -> (Rc<Stream>, Rc<Request>) {
        let below = &self.conn;
        below.requests.set(below.requests.get() + 1);
        let stream = Stream::new(id, self, in_closed);
        let socket = connection::Stream::Http2(Rc::clone(&stream));
        let peer = below.peer.borrow().clone();
        let conn = Connection::over(below, socket, peer);
        let request = Request::new(Rc::new(conn), self.srv, self.loc);
        request.conn().set_active(&request);
        (stream, request)
    }

    pub(super) fn add(&self, stream: Rc<Stream>, request: Rc<Request>, task: AbortHandle) {
        self.conn.idle.set(false);
        self.served.borrow_mut().push(Served { stream, request, task });
    }

    /// The number of streams that are being served.
    pub(super) fn processing(&self) -> usize {
        self.served.borrow().len()
    }

    pub(super) fn find(&self, id: u32) -> Option<Rc<Stream>> {
        let served = self.served.borrow();
        let place = served.binary_search_by_key(&id, |served| served.stream.id).ok()?;
        served.get(place).map(|served| Rc::clone(&served.stream))
    }

    /// The request of a stream.
    pub(super) fn request_of(&self, stream: &Stream) -> Option<Rc<Request>> {
        let served = self.served.borrow();
        let place = served.binary_search_by_key(&stream.id, |served| served.stream.id).ok()?;
        served.get(place).map(|served| Rc::clone(&served.request))
    }

    /// Ends a stream because of what the client did, and its request with it.
    pub(super) fn terminate(&self, stream: &Stream, code: ErrorCode) {
        stream.terminate(code);
        self.abandon(stream);
    }

    /// Lets the request of a stream know that its client has gone.
    pub(super) fn abandon(&self, stream: &Stream) {
        if let Some(request) = self.request_of(stream) {
            request.conn().error.set(true);
            request.conn().wake();
        }
    }

    /// A request has ended.
    pub(super) fn remove(&self, stream: &Stream) {
        stream.close(self.request_of(stream).is_some_and(|request| request.conn().timed_out.get()));
        let ended_well = !stream.is_broken();
        let gone = {
            let mut served = self.served.borrow_mut();
            let place = served.binary_search_by_key(&stream.id, |served| served.stream.id);
            place.ok().map(|place| served.remove(place))
        };
        drop(gone);
        if ended_well {
            self.cancelled.set(self.cancelled.get().saturating_sub(1));
        }
        if self.processing() == 0 {
            self.server.becomes_idle(&self.conn);
            if let Some(waker) = self.emptied.take() {
                waker.wake();
            }
        }
        self.conn.wake();
    }

    /// Whether the connection has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.get()
    }

    /// The connection ends: all requests are told that their client has gone.
    pub(super) fn end(&self) {
        self.dead.set(true);
        self.waiting.borrow_mut().clear();
        let served: Vec<_> = self.served.borrow().iter().map(|served| Rc::clone(&served.stream)).collect();
        for stream in served {
            stream.break_off();
            self.abandon(&stream);
        }
    }

    /// Waits until no request is being served any more.
    pub(super) fn poll_empty(&self, cx: &Context<'_>) -> Poll<()> {
        if self.processing() == 0 {
            return Poll::Ready(());
        }
        *self.emptied.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Cuts off all requests.
    pub(super) fn abort_all(&self) {
        self.dead.set(true);
        self.waiting.borrow_mut().clear();
        let served = self.served.take();
        for served in &served {
            served.task.abort();
        }
    }
}
