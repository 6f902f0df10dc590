//! What sending and receiving of one request share.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Arguments};
use std::rc::Rc;

use super::Broken;
use crate::http::h2::frame::{self, MAX_WINDOW};
use crate::upstream::windows::Windows;

/// Answers to settings and pings that may wait to be sent.
const ACKS_MAX: u32 = 1000;

/// Who writes down what happens on a connection.
pub(crate) trait Speaker {
    /// Whether debug lines are wanted.
    fn is_debug(&self) -> bool;

    /// Writes a debug line.
    fn debug(&self, message: Arguments<'_>);

    /// Says why a server can't be understood; the pieces need not be UTF-8.
    fn error(&self, pieces: &[&[u8]]);
}

impl dyn Speaker + '_ {
    pub(super) fn say(&self, message: Arguments<'_>) {
        self.error(&[message.to_string().as_bytes()]);
    }

    /// Says why a server can't be understood, and that this is so.
    pub(super) fn fail<T>(&self, message: Arguments<'_>) -> Result<T, Broken> {
        self.say(message);
        Err(Broken)
    }

    /// As `fail`, of a field whose bytes may be anything.
    pub(super) fn fail_field<T>(&self, before: &str, name: &[u8], value: &[u8]) -> Result<T, Broken> {
        self.error(&[before.as_bytes(), b"\"", name, b": ", value, b"\""]);
        Err(Broken)
    }
}

/// One request on one connection: its stream, and the frames that wait besides the request itself.
pub(crate) struct Flow {
    pub(super) speaker: Rc<dyn Speaker>,
    windows: RefCell<Rc<Windows>>,
    id: Cell<u32>,
    /// Bytes that the server takes on this stream; less than none when it changed its mind.
    send_window: Cell<i64>,
    recv_window: Cell<u32>,
    /// Frames to send besides the request's.
    control: RefCell<Vec<u8>>,
    acks: Cell<u32>,
    /// All of the request is framed.
    out_closed: Cell<bool>,
    /// Bytes of bodies, in both directions.
    pub(super) carried: Cell<u64>,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("id", &self.id.get()).finish_non_exhaustive()
    }
}

impl Flow {
    /// Nothing is sent before [`Flow::begin`].
    pub(crate) fn new(speaker: Rc<dyn Speaker>) -> Self {
        Self {
            speaker,
            windows: RefCell::new(Rc::new(Windows::new())),
            id: Cell::new(0),
            send_window: Cell::new(0),
            recv_window: Cell::new(0),
            control: RefCell::default(),
            acks: Cell::new(0),
            out_closed: Cell::new(false),
            carried: Cell::new(0),
        }
    }

    /// Begins a request on a connection; an earlier one, on another connection, is forgotten.
    pub(crate) fn begin(&self, windows: Rc<Windows>) {
        self.id.set(windows.open_stream());
        self.send_window.set(i64::from(windows.initial.get()));
        self.recv_window.set(MAX_WINDOW);
        self.control.borrow_mut().clear();
        self.acks.set(0);
        self.out_closed.set(false);
        self.carried.set(0);
        *self.windows.borrow_mut() = windows;
    }

    /// The stream.
    pub(super) fn id(&self) -> u32 {
        self.id.get()
    }

    /// Bytes of the body that may be sent now.
    pub(super) fn room(&self) -> usize {
        let room = self.send_window.get().clamp(0, i64::from(self.windows.borrow().send.get()));
        usize::try_from(room).unwrap_or(0)
    }

    /// So many bytes of the body were framed; never more than there is room for.
    pub(super) fn spend(&self, length: usize) {
        let windows = self.windows.borrow();
        self.send_window.set(self.send_window.get() - length as i64);
        windows.send.set(windows.send.get().saturating_sub(u32::try_from(length).unwrap_or(u32::MAX)));
        self.carry(length);
    }

    pub(super) fn carry(&self, length: usize) {
        self.carried.set(self.carried.get() + length as u64);
    }

    pub(super) fn close_out(&self) {
        self.out_closed.set(true);
    }

    pub(super) fn is_out_closed(&self) -> bool {
        self.out_closed.get()
    }

    /// Whether nothing waits to be framed or sent from here.
    pub(crate) fn is_flushed(&self) -> bool {
        self.out_closed.get() && !self.has_control()
    }

    /// Whether frames wait besides those of the request.
    pub(crate) fn has_control(&self) -> bool {
        !self.control.borrow().is_empty()
    }

    /// Whether the connection has numbers for more streams.
    pub(super) fn may_go_on(&self) -> bool {
        self.windows.borrow().has_streams()
    }

    /// Moves the waiting frames behind `out`.
    pub(super) fn take_control(&self, out: &mut Vec<u8>) {
        out.append(&mut self.control.borrow_mut());
        self.acks.set(0);
    }

    /// Queues the answer to a frame of the server; too many that were not sent yet are an error.
    pub(super) fn answer(&self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Broken> {
        self.speaker.debug(format_args!("send {name} ack"));
        if self.acks.get() > ACKS_MAX {
            return self.speaker.fail(format_args!("upstream sent too many {name} frames"));
        }
        self.acks.set(self.acks.get() + 1);
        write(&mut self.control.borrow_mut());
        Ok(())
    }

    /// The server takes more on the stream, or on the connection (`stream` is 0).
    pub(super) fn widen(&self, stream: u32, more: u32) -> Result<(), Broken> {
        let windows = self.windows.borrow();
        let window = if stream == 0 { i64::from(windows.send.get()) } else { self.send_window.get() };
        let window = window + i64::from(more);
        if window > i64::from(MAX_WINDOW) {
            return self.speaker.fail(format_args!("upstream sent too large window update"));
        }
        if stream == 0 {
            windows.send.set(u32::try_from(window).unwrap_or(0));
        } else {
            self.send_window.set(window);
        }
        Ok(())
    }

    /// The server grants another window to streams, the current one included.
    pub(super) fn set_initial(&self, size: u32) -> Result<(), Broken> {
        let windows = self.windows.borrow();
        let window = self.send_window.get() + i64::from(size) - i64::from(windows.initial.get());
        if size > MAX_WINDOW || window > i64::from(MAX_WINDOW) {
            let message = format_args!("upstream sent settings frame with too large initial window size: {size}");
            return self.speaker.fail(message);
        }
        windows.initial.set(size);
        self.send_window.set(window);
        Ok(())
    }

    /// A frame of the response's body came.
    pub(super) fn receive(&self, length: usize) -> Result<(), Broken> {
        let windows = self.windows.borrow();
        let taken = u32::try_from(length).unwrap_or(u32::MAX);
        let left = |name: &str, window: u32| match window.checked_sub(taken) {
            Some(left) => Ok(left),
            None => self.speaker.fail(format_args!(
                "upstream violated {name} flow control, received {length} data frame with window {window}"
            )),
        };
        let stream = left("stream", self.recv_window.get())?;
        let connection = left("connection", windows.recv.get())?;
        self.carry(length);
        let least = MAX_WINDOW / 4;
        if stream >= least && connection >= least {
            self.recv_window.set(stream);
            windows.recv.set(connection);
            return Ok(());
        }
        self.speaker.debug(format_args!("send window update: {connection} {stream}"));
        let mut control = self.control.borrow_mut();
        for (id, left) in [(0, connection), (self.id.get(), stream)] {
            if left < MAX_WINDOW {
                frame::push_window_update(&mut control, id, MAX_WINDOW - left);
            }
        }
        self.recv_window.set(MAX_WINDOW);
        windows.recv.set(MAX_WINDOW);
        Ok(())
    }
}
