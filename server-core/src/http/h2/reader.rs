//! Takes what the client sends apart, and does what its frames ask for.
//!
//! Frames come in pieces of any size. Bodies and blocks of header fields are used as they come, so that no more of a frame
//! is held than what is received at once, and at most one field.

use std::fmt::Display;
use std::rc::Rc;

use bytes::{Buf as _, BytesMut};

use super::frame::{self, ErrorCode, HEAD_LEN, Head, Kind, MAX_WINDOW, PREFACE, flags, settings};
use super::hpack::{Decoder, Field, HpackError, Step, TABLE_SIZE};
use super::session::Session;
use super::{head, serve};
use crate::http::request_log::debug;
use crate::log::Level;

/// Bytes of frames, beyond eight times those that carry something, after which a client is doing harm.
const FLOOD: u64 = 1024 * 1024;

/// How the connection ends because of what the client sent; the log knows why.
pub(super) type Result<T> = std::result::Result<T, ErrorCode>;

/// Where in its input a connection is.
enum State {
    /// Before the preface.
    Preface,
    /// Before a frame.
    Head,
    /// Behind the head of a frame.
    Payload(Head),
    /// In the body that a frame brings.
    Data { id: u32, left: usize, padding: usize, ends: bool },
    /// In a block of header fields.
    Block { left: usize, padding: usize, last: bool },
    /// In settings; the new window, if they had one.
    Settings { left: usize, window: Option<u32> },
    /// In something that nobody wants.
    Skip(usize),
}

/// A block of header fields that is on its way.
struct Block {
    id: u32,
    /// What can't be decoded yet.
    pending: BytesMut,
    fields: Vec<Field>,
    /// Bytes of names and values that may still come.
    limit: usize,
    /// Bytes of the frames that the client sent.
    length: u64,
    ends_stream: bool,
    /// Nobody will serve it, but the table has to be kept.
    refused: bool,
}

/// Reads the frames of one connection.
pub(super) struct Reader {
    state: State,
    decoder: Decoder,
    block: Option<Block>,
    total_bytes: u64,
    payload_bytes: u64,
    /// Streams that were opened since the client was last answered.
    new_streams: usize,
    priorities_left: usize,
    /// Input waits until the request that began before it had its turn.
    awaits_request: bool,
}

impl Reader {
    pub(super) fn new(session: &Session) -> Self {
        Self {
            state: State::Preface,
            decoder: Decoder::new(session.srv.core.large_client_header_buffers.size, TABLE_SIZE),
            block: None,
            total_bytes: 0,
            payload_bytes: 0,
            new_streams: 0,
            priorities_left: session.streams_max().max(100),
            awaits_request: false,
        }
    }

    /// Whether the head of a request is on its way that will be served.
    pub(super) fn awaits_head(&self) -> bool {
        self.block.as_ref().is_some_and(|block| !block.refused)
    }

    /// The head that is on its way took too long.
    pub(super) fn give_up_head(&mut self, session: &Session) {
        if let Some(block) = &mut self.block {
            block.refused = true;
            block.fields.clear();
            session.reset(block.id, ErrorCode::PROTOCOL_ERROR);
        }
    }

    /// Whether a frame is on its way.
    pub(super) fn is_in_frame(&self) -> bool {
        self.block.is_some() || !matches!(self.state, State::Head)
    }

    /// The client is answered before more is read.
    pub(super) fn begin_turn(&mut self) {
        if !self.awaits_request {
            self.new_streams = 0;
        }
    }

    /// Uses what was received, as far as it goes; behind the head of a request whose body follows, not before the
    /// request had its turn: who serves it says how much of the body may come. Whether something is left to use.
    pub(super) fn process(&mut self, session: &Rc<Session>) -> Result<bool> {
        let mut input = session.conn.input.take();
        let before = input.len();
        self.awaits_request = false;
        let result = loop {
            match self.step(session, &mut input) {
                Ok(true) if self.awaits_request && !input.is_empty() => break Ok(()),
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(code) => break Err(code),
            }
        };
        self.total_bytes += (before - input.len()) as u64;
        *session.conn.input.borrow_mut() = input;
        result?;
        if self.total_bytes / 8 > self.payload_bytes + FLOOD {
            session.log(Level::Info, format_args!("http2 flood detected"));
            return Err(ErrorCode::ENHANCE_YOUR_CALM);
        }
        self.awaits_request &= !session.conn.input.borrow().is_empty();
        Ok(self.awaits_request)
    }

    /// Uses one piece of the input. Whether there may be another one.
    fn step(&mut self, session: &Rc<Session>, input: &mut BytesMut) -> Result<bool> {
        match &mut self.state {
            State::Preface => {
                let length = input.len().min(PREFACE.len());
                if input[..length] != PREFACE[..length] {
                    return fail(session, ErrorCode::PROTOCOL_ERROR, "invalid connection preface");
                }
                if length < PREFACE.len() {
                    return Ok(false);
                }
                input.advance(length);
                self.state = State::Head;
            }
            State::Head => {
                let Some(head) = Head::parse(input) else { return Ok(false) };
                input.advance(HEAD_LEN);
                self.begin(session, head)?;
            }
            State::Payload(head) => {
                let head = *head;
                let needed = start_len(&head);
                if input.len() < needed {
                    return Ok(false);
                }
                let start = input.split_to(needed);
                self.payload(session, head, &start)?;
            }
            &mut State::Data { id, left, padding, ends } => {
                if left > 0 && input.is_empty() {
                    return Ok(false);
                }
                let data = input.split_to(left.min(input.len()));
                let left = left - data.len();
                self.payload_bytes += data.len() as u64;
                // It may have gone since the frame began.
                if let Some(stream) = session.find(id) {
                    stream.receive(data, ends && left == 0);
                }
                self.state = if left > 0 { State::Data { id, left, padding, ends } } else { State::Skip(padding) };
            }
            &mut State::Block { left, padding, last } => {
                if left > 0 && input.is_empty() {
                    return Ok(false);
                }
                let piece = input.split_to(left.min(input.len()));
                let left = left - piece.len();
                self.decode(session, piece)?;
                if left > 0 {
                    self.state = State::Block { left, padding, last };
                } else {
                    self.state = State::Skip(padding);
                    if last {
                        self.finish_block(session)?;
                    }
                }
            }
            &mut State::Settings { left, window } => {
                if left == 0 {
                    self.state = State::Head;
                    session.push(frame::push_settings_ack);
                    if let Some(window) = window {
                        session.set_initial_send_window(window);
                    }
                    return Ok(true);
                }
                let Some(&[i0, i1, v0, v1, v2, v3]) = input.first_chunk::<6>() else { return Ok(false) };
                input.advance(6);
                let value = u32::from_be_bytes([v0, v1, v2, v3]);
                let changed = setting(session, u16::from_be_bytes([i0, i1]), value)?;
                self.state = State::Settings { left: left - 6, window: changed.or(window) };
            }
            State::Skip(left) => {
                let length = input.len().min(*left);
                input.advance(length);
                *left -= length;
                if *left > 0 {
                    return Ok(false);
                }
                self.state = State::Head;
            }
        }
        Ok(true)
    }

    /// Looks at the head of a frame.
    fn begin(&mut self, session: &Rc<Session>, head: Head) -> Result<()> {
        session.debug(format_args!(
            "http2 frame type:{} f:{:x} l:{} sid:{}",
            head.kind.number(),
            head.flags,
            head.len,
            head.stream
        ));
        if let Some(block) = &self.block {
            if head.kind != Kind::Continuation {
                let message = "client sent inappropriate frame while CONTINUATION was expected";
                return fail(session, ErrorCode::PROTOCOL_ERROR, message);
            }
            if head.stream != block.id {
                let message = "client sent CONTINUATION frame with incorrect identifier";
                return fail(session, ErrorCode::PROTOCOL_ERROR, message);
            }
        }
        let wrong_length = |name: &str| {
            let message = format_args!("client sent {name} frame with incorrect length {}", head.len);
            fail(session, ErrorCode::FRAME_SIZE_ERROR, message)
        };
        let wrong_stream = |name: &str| {
            let message = format_args!("client sent {name} frame with incorrect identifier");
            fail(session, ErrorCode::PROTOCOL_ERROR, message)
        };
        match head.kind {
            Kind::Data | Kind::Headers if head.has(flags::PADDED) && head.len == 0 => {
                let name = if head.kind == Kind::Data { "padded DATA" } else { "HEADERS" };
                return wrong_length(name);
            }
            Kind::Headers => {
                let needed = start_len(&head);
                if head.len < needed {
                    return wrong_length("HEADERS");
                }
                if head.len == needed {
                    let message = "client sent HEADERS frame with empty header block";
                    return fail(session, ErrorCode::FRAME_SIZE_ERROR, message);
                }
            }
            Kind::Priority if head.len != 5 => return wrong_length("PRIORITY"),
            Kind::RstStream if head.len != 4 => return wrong_length("RST_STREAM"),
            Kind::Ping if head.len != 8 => return wrong_length("PING"),
            Kind::WindowUpdate if head.len != 4 => return wrong_length("WINDOW_UPDATE"),
            Kind::Goaway if head.len < 8 => return wrong_length("GOAWAY"),
            Kind::Goaway if head.stream != 0 => return wrong_stream("GOAWAY"),
            Kind::Settings if head.stream != 0 => return wrong_stream("SETTINGS"),
            Kind::Settings if head.flags == flags::ACK && head.len > 0 => {
                let message = "client sent SETTINGS frame with the ACK flag and nonzero length";
                return fail(session, ErrorCode::FRAME_SIZE_ERROR, message);
            }
            Kind::Settings if !head.len.is_multiple_of(6) => return wrong_length("SETTINGS"),
            Kind::PushPromise => {
                return fail(session, ErrorCode::PROTOCOL_ERROR, "client sent PUSH_PROMISE frame");
            }
            Kind::Continuation if self.block.is_none() => {
                return fail(session, ErrorCode::PROTOCOL_ERROR, "client sent unexpected CONTINUATION frame");
            }
            Kind::Unknown(kind) => {
                session.log(Level::Info, format_args!("client sent frame with unknown type {kind}"));
            }
            _ => {}
        }
        self.state = State::Payload(head);
        Ok(())
    }

    /// Uses the beginning of a frame's payload.
    fn payload(&mut self, session: &Rc<Session>, head: Head, start: &[u8]) -> Result<()> {
        let rest = head.len - start.len();
        self.state = match head.kind {
            Kind::Data => Self::begin_data(session, head, start)?,
            Kind::Headers => self.begin_block(session, head, start)?,
            Kind::Continuation => {
                if let Some(block) = &mut self.block {
                    block.length += head.len as u64;
                }
                State::Block { left: rest, padding: 0, last: head.has(flags::END_HEADERS) }
            }
            Kind::Priority => self.priority(session, head, start)?,
            Kind::RstStream => {
                reset(session, head, number(start))?;
                State::Head
            }
            Kind::Settings if head.flags == flags::ACK => {
                session.settings_acked.set(true);
                State::Head
            }
            Kind::Settings => State::Settings { left: rest, window: None },
            Kind::Ping => {
                if !head.has(flags::ACK)
                    && let Ok(payload) = start.try_into()
                {
                    session.push(|out| frame::push_ping_ack(out, payload));
                }
                State::Head
            }
            Kind::WindowUpdate => {
                window_update(session, head, number(start) & MAX_WINDOW)?;
                State::Head
            }
            Kind::Goaway | Kind::PushPromise | Kind::Unknown(_) => State::Skip(rest),
        };
        Ok(())
    }

    fn begin_data(session: &Session, head: Head, start: &[u8]) -> Result<State> {
        let padding = start.first().map_or(0, |&padding| usize::from(padding));
        if !start.is_empty() && padding >= head.len {
            let message =
                format_args!("client sent padded DATA frame with incorrect length: {}, padding: {padding}", head.len);
            return fail(session, ErrorCode::PROTOCOL_ERROR, message);
        }
        if head.stream == 0 {
            return fail(session, ErrorCode::PROTOCOL_ERROR, "client sent DATA frame with incorrect identifier");
        }
        if let Err(window) = session.take_window(head.len) {
            let message = format_args!(
                "client violated connection flow control: received DATA frame length {}, available window {window}",
                head.len
            );
            return fail(session, ErrorCode::FLOW_CONTROL_ERROR, message);
        }
        let (id, left) = (head.stream, head.len - start.len() - padding);
        let skip = State::Skip(left + padding);
        let Some(stream) = session.find(id) else { return Ok(skip) };
        if let Err(window) = stream.take_window(head.len) {
            let message = format_args!(
                "client violated flow control for stream {id}: received DATA frame length {}, available window {window}",
                head.len
            );
            session.log(Level::Info, message);
            session.terminate(&stream, ErrorCode::FLOW_CONTROL_ERROR);
            return Ok(skip);
        }
        if stream.is_in_closed() {
            session.log(Level::Info, format_args!("client sent DATA frame for half-closed stream {id}"));
            session.terminate(&stream, ErrorCode::STREAM_CLOSED);
            return Ok(skip);
        }
        let ends = head.has(flags::END_STREAM);
        if stream.skips() {
            if ends {
                stream.receive(BytesMut::new(), true);
            }
            return Ok(skip);
        }
        Ok(State::Data { id, left, padding, ends })
    }

    fn begin_block(&mut self, session: &Rc<Session>, head: Head, start: &[u8]) -> Result<State> {
        let id = head.stream;
        if session.goes_away() {
            return Ok(State::Skip(head.len - start.len()));
        }
        let (padding, start) = match start.split_first() {
            Some((&padding, rest)) if head.has(flags::PADDED) => (usize::from(padding), rest),
            _ => (0, start),
        };
        let length = head.len - start_len(&head);
        let Some(left) = length.checked_sub(padding) else {
            let message =
                format_args!("client sent padded HEADERS frame with incorrect length: {length}, padding: {padding}");
            return fail(session, ErrorCode::PROTOCOL_ERROR, message);
        };
        let last = session.last_stream.get();
        if id.is_multiple_of(2) || id <= last {
            let message = format_args!("client sent HEADERS frame with incorrect identifier {id}, the last was {last}");
            return fail(session, ErrorCode::PROTOCOL_ERROR, message);
        }
        if head.has(flags::PRIORITY) && number(start) & MAX_WINDOW == id {
            let message = format_args!("client sent HEADERS frame for stream {id} with incorrect dependency");
            return fail(session, ErrorCode::PROTOCOL_ERROR, message);
        }
        session.last_stream.set(id);
        let ends_stream = head.has(flags::END_STREAM);
        let buffers = &*session.srv.core.large_client_header_buffers;
        self.block = Some(Block {
            id,
            pending: BytesMut::new(),
            fields: Vec::with_capacity(8),
            limit: buffers.size.saturating_mul(buffers.count),
            length: left as u64,
            ends_stream,
            refused: self.is_refused(session, id, ends_stream)?,
        });
        Ok(State::Block { left, padding, last: head.has(flags::END_HEADERS) })
    }

    /// Whether a new stream is one too many; an error when there were too many of those.
    fn is_refused(&mut self, session: &Session, id: u32, ends_stream: bool) -> Result<bool> {
        let most = session.streams_max();
        let processing = session.processing();
        self.new_streams += 1;
        if processing >= most {
            session.log(Level::Info, format_args!("concurrent streams exceeded {processing}"));
        } else if self.new_streams > 2 * most {
            session.log(Level::Info, format_args!("client sent too many streams at once"));
        } else if !session.settings_acked.get() && !ends_stream && session.preread_size() < frame::DEFAULT_WINDOW {
            let message = "client sent stream with data before settings were acknowledged";
            session.log(Level::Info, format_args!("{message}"));
        } else {
            self.priorities_left += most;
            return Ok(false);
        }
        if session.refuse(id) { Ok(true) } else { Err(ErrorCode::NO_ERROR) }
    }

    /// Decodes what came of a block.
    fn decode(&mut self, session: &Session, piece: BytesMut) -> Result<()> {
        let Some(block) = &mut self.block else { return Ok(()) };
        if block.pending.is_empty() {
            block.pending = piece;
        } else {
            block.pending.extend_from_slice(&piece);
        }
        loop {
            match self.decoder.step(&block.pending, block.limit) {
                Ok(Step::Field(field, used)) => {
                    block.pending.advance(used);
                    block.limit -= field.name.len() + field.value.len();
                    if !block.refused {
                        block.fields.push(field);
                    }
                }
                Ok(Step::Resized(used)) => block.pending.advance(used),
                Ok(Step::More) => return Ok(()),
                Err(error) => {
                    let code = match error {
                        HpackError::TooLarge | HpackError::TextTooLarge(..) => ErrorCode::ENHANCE_YOUR_CALM,
                        HpackError::EmptyName => ErrorCode::PROTOCOL_ERROR,
                        _ => ErrorCode::COMPRESSION_ERROR,
                    };
                    return fail(session, code, error);
                }
            }
        }
    }

    /// A block is complete: its stream is served.
    fn finish_block(&mut self, session: &Rc<Session>) -> Result<()> {
        let Some(block) = self.block.take() else { return Ok(()) };
        if !block.pending.is_empty() {
            let message = "client sent header block with incorrect length";
            return fail(session, ErrorCode::FRAME_SIZE_ERROR, message);
        }
        if block.refused {
            return Ok(());
        }
        self.payload_bytes += block.length;
        let (stream, r) = session.open(block.id, block.ends_stream);
        r.request_length.set(block.length);
        let core = &session.loc.core;
        let age = crate::clock::now().monotonic_msec - session.conn.opened.monotonic_msec;
        let is_last = core.keepalive_timeout.is_zero()
            || session.conn.requests.get() >= *core.keepalive_requests
            || age > core.keepalive_time.as_millis() as i64;
        if is_last {
            session.go_away(ErrorCode::NO_ERROR);
        }
        debug!(r, "http2 request of stream {}", block.id);
        let refusal = head::fill(&r, &stream, &block.fields).err();
        self.awaits_request = !block.ends_stream;
        serve::start(session, stream, r, refusal);
        Ok(())
    }

    /// Order is ours: priorities are only checked.
    fn priority(&mut self, session: &Session, head: Head, start: &[u8]) -> Result<State> {
        self.priorities_left = self.priorities_left.saturating_sub(1);
        if self.priorities_left == 0 {
            return fail(session, ErrorCode::ENHANCE_YOUR_CALM, "client sent too many PRIORITY frames");
        }
        let id = head.stream;
        if id == 0 {
            return fail(session, ErrorCode::PROTOCOL_ERROR, "client sent PRIORITY frame with incorrect identifier");
        }
        if number(start) & MAX_WINDOW == id {
            let message = format_args!("client sent PRIORITY frame for stream {id} with incorrect dependency");
            return fail(session, ErrorCode::PROTOCOL_ERROR, message);
        }
        Ok(State::Head)
    }
}

/// Bytes at the beginning of a payload that must be there before it is looked at.
fn start_len(head: &Head) -> usize {
    let padded = usize::from(head.has(flags::PADDED));
    match head.kind {
        Kind::Data => padded,
        Kind::Headers => padded + if head.has(flags::PRIORITY) { 5 } else { 0 },
        Kind::Priority => 5,
        Kind::RstStream | Kind::WindowUpdate => 4,
        Kind::Ping => 8,
        Kind::Settings | Kind::Goaway | Kind::PushPromise | Kind::Continuation | Kind::Unknown(_) => 0,
    }
}

/// The number that the bytes begin with; 0 when they are too few.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |&bytes| u32::from_be_bytes(bytes))
}

/// Logs why the connection ends.
fn fail<T>(session: &Session, code: ErrorCode, message: impl Display) -> Result<T> {
    session.log(Level::Info, format_args!("{message}"));
    Err(code)
}

/// Uses one of the client's settings; a new window is used when all of them are known.
fn setting(session: &Session, id: u16, value: u32) -> Result<Option<u32>> {
    session.debug(format_args!("http2 setting {id}:{value}"));
    let wrong = |name: &str, code| {
        fail(session, code, format_args!("client sent SETTINGS frame with incorrect {name} value {value}"))
    };
    match id {
        settings::INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
            wrong("INITIAL_WINDOW_SIZE", ErrorCode::FLOW_CONTROL_ERROR)
        }
        settings::INITIAL_WINDOW_SIZE => Ok(Some(value)),
        settings::MAX_FRAME_SIZE => {
            let size = usize::try_from(value).unwrap_or(usize::MAX);
            if !(frame::DEFAULT_FRAME_SIZE..=frame::MAX_FRAME_SIZE).contains(&size) {
                return wrong("MAX_FRAME_SIZE", ErrorCode::PROTOCOL_ERROR);
            }
            session.set_frame_size(size);
            Ok(None)
        }
        settings::ENABLE_PUSH if value > 1 => wrong("ENABLE_PUSH", ErrorCode::PROTOCOL_ERROR),
        settings::HEADER_TABLE_SIZE => {
            session.must_empty_table.set(true);
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// The client gives a stream up.
fn reset(session: &Session, head: Head, status: u32) -> Result<()> {
    let id = head.stream;
    if id == 0 {
        return fail(session, ErrorCode::PROTOCOL_ERROR, "client sent RST_STREAM frame with incorrect identifier");
    }
    let Some(stream) = session.find(id) else { return Ok(()) };
    if let Some(r) = session.request_of(&stream) {
        match ErrorCode(status) {
            ErrorCode::CANCEL => r.log(Level::Info, format_args!("client canceled stream {id}")),
            ErrorCode::INTERNAL_ERROR => {
                r.log(Level::Info, format_args!("client terminated stream {id} due to internal error"));
            }
            _ => r.log(Level::Info, format_args!("client terminated stream {id} with status {status}")),
        }
    }
    if session.is_cancelled_too_often() {
        return fail(session, ErrorCode::ENHANCE_YOUR_CALM, "client canceled too many streams");
    }
    stream.break_off();
    session.abandon(&stream);
    Ok(())
}

/// The client takes more.
fn window_update(session: &Session, head: Head, more: u32) -> Result<()> {
    let id = head.stream;
    if more == 0 {
        let message = "client sent WINDOW_UPDATE frame with incorrect window increment 0";
        return fail(session, ErrorCode::PROTOCOL_ERROR, message);
    }
    if id == 0 {
        if let Err(window) = session.add_window(more) {
            let message = format_args!(
                "client violated connection flow control: received WINDOW_UPDATE frame with window increment {more} \
                 not allowed for window {window}"
            );
            return fail(session, ErrorCode::FLOW_CONTROL_ERROR, message);
        }
        return Ok(());
    }
    let Some(stream) = session.find(id) else { return Ok(()) };
    let window = stream.send_window();
    if i64::from(more) > i64::from(MAX_WINDOW) - window {
        let message = format_args!(
            "client violated flow control for stream {id}: received WINDOW_UPDATE frame with window increment {more} \
             not allowed for window {window}"
        );
        session.log(Level::Info, message);
        session.terminate(&stream, ErrorCode::FLOW_CONTROL_ERROR);
        return Ok(());
    }
    stream.add_window(i64::from(more));
    Ok(())
}
