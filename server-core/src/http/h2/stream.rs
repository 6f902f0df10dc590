//! One stream: what the connection of a request is when the client speaks HTTP/2.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::frame::{self, ErrorCode, Kind, MAX_WINDOW, flags};
use super::session::Session;
use crate::http::connection::Connection;

/// How much of a body the client may send ahead of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    /// What came before anybody asked (`http2_body_preread_size`).
    Preread,
    /// Whatever there is: it goes to memory or to a file at once.
    Whole,
    /// As much as fits into a buffer of this size.
    Buffer(u32),
}

/// A stream of a session.
pub struct Stream {
    pub(crate) id: u32,
    session: Rc<Session>,
    received: RefCell<BytesMut>,
    /// The client sends nothing more.
    in_closed: Cell<bool>,
    /// We send nothing more.
    out_closed: Cell<bool>,
    /// One side gave it up.
    broken: Cell<bool>,
    rst_sent: Cell<bool>,
    /// Nobody wants the body.
    skips: Cell<bool>,
    /// The length that the head declared.
    declared: Cell<Option<u64>>,
    /// Bytes of the body that somebody took.
    taken: Cell<u64>,
    intake: Cell<Intake>,
    recv_window: Cell<u32>,
    send_window: Cell<i64>,
    /// The most that goes into one frame (`http2_chunk_size`).
    chunk_size: Cell<usize>,
    /// Nothing comes behind what waits to be sent, but perhaps trailers.
    ending: Cell<bool>,
    trailers: RefCell<Vec<u8>>,
    /// Bytes of frames' heads around the body.
    overhead: Cell<u64>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    /// It stands in the session's queue.
    pub(super) queued: Cell<bool>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(id: u32, session: &Rc<Session>, in_closed: bool) -> Rc<Self> {
        Rc::new(Self {
            id,
            session: Rc::clone(session),
            received: RefCell::default(),
            in_closed: Cell::new(in_closed),
            out_closed: Cell::new(false),
            broken: Cell::new(false),
            rst_sent: Cell::new(false),
            skips: Cell::new(false),
            declared: Cell::new(None),
            taken: Cell::new(0),
            intake: Cell::new(Intake::Preread),
            recv_window: Cell::new(session.preread_size()),
            send_window: Cell::new(session.initial_send_window()),
            chunk_size: Cell::new(frame::DEFAULT_FRAME_SIZE),
            ending: Cell::new(false),
            trailers: RefCell::default(),
            overhead: Cell::new(0),
            reader: RefCell::default(),
            writer: RefCell::default(),
            queued: Cell::new(false),
        })
    }

    /// The connection below.
    pub(crate) fn carrier(&self) -> &Rc<Connection> {
        &self.session.conn
    }

    pub(super) fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// Whether the client has sent its whole body.
    pub(crate) fn is_in_closed(&self) -> bool {
        self.in_closed.get()
    }

    /// Whether the response has been handed over completely.
    pub(crate) fn is_out_closed(&self) -> bool {
        self.out_closed.get()
    }

    /// Whether it was given up.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Bytes of frames' heads that were sent for the body.
    pub(crate) fn overhead(&self) -> u64 {
        self.overhead.get()
    }

    /// Gives it up, and wakes whoever waits for it. The client knows already, or is told elsewhere.
    pub(super) fn break_off(&self) {
        self.broken.set(true);
        self.in_closed.set(true);
        self.out_closed.set(true);
        self.wake_reader();
        self.wake_writer();
    }

    /// As [`Stream::break_off`], and tells the client why.
    pub(super) fn terminate(&self, code: ErrorCode) {
        if !self.rst_sent.replace(true) {
            self.skips.set(true);
            self.session.reset(self.id, code);
            self.break_off();
        }
    }

    /// The request has ended: says so to the client where that is not clear.
    pub(super) fn close(&self, timed_out: bool) {
        if self.rst_sent.get() || self.session.is_dead() {
            return;
        }
        let code = match (self.out_closed.get(), self.in_closed.get()) {
            (false, _) if timed_out => ErrorCode::PROTOCOL_ERROR,
            (false, _) => ErrorCode::INTERNAL_ERROR,
            (true, false) => ErrorCode::NO_ERROR,
            (true, true) => return,
        };
        self.session.reset(self.id, code);
        self.rst_sent.set(true);
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(super) fn wake_writer(&self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// The request's body.
impl Stream {
    /// Whether a frame of this length keeps to the window, of which it takes its part.
    pub(super) fn take_window(&self, length: usize) -> Result<(), u32> {
        let window = self.recv_window.get();
        let left = u32::try_from(length).ok().and_then(|length| window.checked_sub(length)).ok_or(window)?;
        self.recv_window.set(left);
        if self.intake.get() == Intake::Whole && left < MAX_WINDOW / 4 {
            self.widen(MAX_WINDOW - left);
        }
        Ok(())
    }

    fn widen(&self, more: u32) {
        if more > 0 {
            self.recv_window.set(self.recv_window.get() + more);
            self.session.widen(self.id, more);
        }
    }

    /// Takes a part of the body.
    pub(super) fn receive(&self, data: BytesMut, ends: bool) {
        if !self.skips.get() && !data.is_empty() {
            let mut received = self.received.borrow_mut();
            if received.is_empty() {
                *received = data;
            } else {
                received.extend_from_slice(&data);
            }
        }
        if ends {
            self.in_closed.set(true);
        }
        self.wake_reader();
    }

    pub(super) fn skips(&self) -> bool {
        self.skips.get()
    }

    /// Nobody wants the body: what is here goes, and what comes.
    pub(crate) fn skip_body(&self) {
        self.skips.set(true);
        self.received.take();
    }

    /// Somebody reads the whole body to memory or to a file.
    pub(crate) fn want_whole_body(&self) {
        if !self.in_closed.get() && self.intake.replace(Intake::Whole) != Intake::Whole {
            self.widen(MAX_WINDOW - self.recv_window.get());
        }
    }

    /// Somebody passes the body on through a buffer of `size` bytes.
    pub(crate) fn want_parts(&self, size: usize) {
        if self.in_closed.get() || self.intake.get() != Intake::Preread {
            return;
        }
        let preread = self.session.preread_size();
        let size = u32::try_from(size).unwrap_or(MAX_WINDOW).clamp(preread, MAX_WINDOW);
        self.intake.set(Intake::Buffer(size));
        self.widen(size - preread);
    }

    pub(super) fn declare_length(&self, length: u64) {
        self.declared.set(Some(length));
    }

    pub(super) fn declared_length(&self) -> Option<u64> {
        self.declared.get()
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Takes at most `max` bytes of what was received.
    pub(super) fn take(&self, max: usize) -> Bytes {
        let mut received = self.received.borrow_mut();
        let length = received.len().min(max);
        let data = received.split_to(length).freeze();
        let held = received.len();
        drop(received);
        self.taken.set(self.taken.get() + length as u64);
        if let Intake::Buffer(size) = self.intake.get()
            && !self.in_closed.get()
        {
            // In large steps, so that not every frame is answered by one.
            let held = u32::try_from(held).unwrap_or(u32::MAX);
            let free = size.saturating_sub(held).saturating_sub(self.recv_window.get());
            if free >= size / 4 {
                self.widen(free);
            }
        }
        data
    }

    /// What a socket would answer to a read: how much there is, 0 at the end, or that it would block.
    pub(crate) fn try_read(&self) -> io::Result<usize> {
        match self.received.borrow().len() {
            0 if self.in_closed.get() || self.broken.get() => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }

    /// Waits until [`Stream::try_read`] has something to say.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.in_closed.get() || self.broken.get() || !self.received.borrow().is_empty() {
            return Poll::Ready(());
        }
        remember(&self.reader, cx);
        Poll::Pending
    }

    /// Waits until the client gives the stream up or leaves.
    pub(crate) async fn given_up(&self) {
        poll_fn(|cx| {
            if self.broken.get() {
                return Poll::Ready(());
            }
            remember(&self.reader, cx);
            Poll::Pending
        })
        .await;
    }
}

/// The response's body.
impl Stream {
    /// The settings of the location that answers.
    pub(super) fn set_chunk_size(&self, size: usize) {
        self.chunk_size.set(size);
    }

    /// The head that was just sent was all.
    pub(super) fn close_out(&self) {
        self.out_closed.set(true);
    }

    /// Nothing comes behind what waits, but a block of trailers if it is not empty.
    pub(super) fn end_with(&self, trailers: Vec<u8>) {
        if !self.ending.replace(true) {
            *self.trailers.borrow_mut() = trailers;
        }
    }

    /// Whether the end waits to be sent.
    pub(crate) fn must_end(&self) -> bool {
        self.ending.get() && !self.out_closed.get()
    }

    pub(super) fn send_window(&self) -> i64 {
        self.send_window.get()
    }

    /// Changes the client's window and wakes whoever waits for it.
    pub(super) fn add_window(&self, more: i64) {
        self.send_window.set(self.send_window.get() + more);
        if more > 0 && self.send_window.get() > 0 {
            self.wake_writer();
        }
    }

    /// Bytes that may be sent now.
    pub(crate) fn room(&self) -> u64 {
        u64::try_from(self.send_window.get()).unwrap_or(0).min(self.session.room())
    }

    /// Waits until there is room, or no more need of it.
    pub(crate) fn poll_writable(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.room() > 0 || self.out_closed.get() {
            return Poll::Ready(());
        }
        remember(&self.writer, cx);
        if self.send_window.get() > 0 {
            self.session.wait_for_room(self);
        }
        Poll::Pending
    }

    /// Sends as much of the bytes as there is room for, in frames. `left` is what waits, these bytes included.
    pub(crate) fn write(&self, slices: &[IoSlice<'_>], left: u64) -> io::Result<usize> {
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let length = all.min(usize::try_from(self.room()).unwrap_or(usize::MAX));
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = self.chunk_size.get().min(self.session.frame_size()).max(1);
        let ends = self.must_end() && length as u64 == left && self.trailers.borrow().is_empty();
        let mut source = Source { slices, at: 0 };
        self.session.conn.append_with(|out| {
            let mut rest = length;
            while rest > 0 {
                let size = rest.min(most);
                rest -= size;
                let end = if ends && rest == 0 { flags::END_STREAM } else { 0 };
                frame::push_head(out, size, Kind::Data, end, self.id);
                source.copy(size, out);
                self.overhead.set(self.overhead.get() + frame::HEAD_LEN as u64);
            }
        });
        self.send_window.set(self.send_window.get() - length as i64);
        self.session.spend(length);
        if ends {
            self.out_closed.set(true);
        }
        self.session.conn.wake();
        Ok(length)
    }

    /// Sends the end, when everything before it has been sent.
    pub(crate) fn write_end(&self) {
        if !self.must_end() {
            return;
        }
        let trailers = self.trailers.take();
        let size = self.session.conn.append_with(|out| {
            if trailers.is_empty() {
                frame::push_head(out, 0, Kind::Data, flags::END_STREAM, self.id);
            } else {
                frame::push_headers(out, self.id, &trailers, true, self.session.frame_size());
            }
        });
        self.overhead.set(self.overhead.get() + size as u64);
        self.out_closed.set(true);
        self.session.conn.wake();
    }
}

/// Slices that are copied piece by piece.
struct Source<'a> {
    slices: &'a [IoSlice<'a>],
    /// Bytes of the first slice that are copied.
    at: usize,
}

impl Source<'_> {
    fn copy(&mut self, length: usize, out: &mut Vec<u8>) {
        let mut left = length;
        while left > 0 {
            let Some(slice) = self.slices.first() else { return };
            let rest = slice.get(self.at..).unwrap_or_default();
            let part = rest.get(..left).unwrap_or(rest);
            out.extend_from_slice(part);
            left -= part.len();
            self.at += part.len();
            if self.at == slice.len() {
                self.slices = &self.slices[1..];
                self.at = 0;
            }
        }
    }
}

/// Keeps the waker of a task.
fn remember(slot: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut slot = slot.borrow_mut();
    if !slot.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}
