//! Takes what a server sends apart: one response, and what is said besides it.
//!
//! Frames come in pieces of any size. Bodies and blocks of header fields are used as they come, so that no more of a
//! frame is held than what is received at once, and at most one field.

use std::rc::Rc;

use bytes::{Buf as _, Bytes, BytesMut};

use super::fields::Block;
use super::flow::Flow;
use super::{Broken, control};
use crate::http::h2::frame::{DEFAULT_FRAME_SIZE, HEAD_LEN, Head, Kind, MAX_WINDOW, flags};
use crate::http::h2::hpack::Field;
use crate::http::header::HeaderList;

/// Bytes of frames, beyond eight times those of bodies, after which a server is doing harm.
const FLOOD: u64 = 1024 * 1024;

/// What comes out of the frames.
pub(crate) enum Piece {
    /// A part of the body.
    Data(Bytes),
    /// The head of the response.
    Head(u16, HeaderList),
    /// What is said before the response (`103 Early Hints`).
    Hints(HeaderList),
    /// Nothing more for now.
    Nothing,
}

/// Where in its input a response is.
enum State {
    /// Before a frame.
    Head,
    /// Behind the head of a frame.
    Payload(Head),
    /// In the body that a frame brings.
    Data { left: usize, padding: usize, ends: bool },
    /// In a block of header fields.
    Block { left: usize, padding: usize, last: bool },
    /// In settings.
    Settings(usize),
    /// In something that nobody wants; the stream may end behind it, or a block of header fields.
    Skip { left: usize, then: Then },
}

/// What follows something that was skipped.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    EndOfStream,
    EndOfBlock,
}

/// One step in the input.
enum Step {
    Again,
    Out(Piece),
}

/// Reads the response to one request.
pub(crate) struct Reader {
    flow: Rc<Flow>,
    state: State,
    block: Option<Block>,
    /// The longest head, in bytes.
    head_max: usize,
    status: Option<u16>,
    fields: HeaderList,
    trailers: Vec<u8>,
    head_done: bool,
    /// Bytes of the body that are still expected, when that is known.
    length: Option<u64>,
    done: bool,
    was_reset: bool,
    goes_away: bool,
    /// Something made no sense.
    is_broken: bool,
    /// Bytes that were no body.
    overhead: u64,
}

impl Reader {
    /// Reads the response to the request of `flow`; its head may have `head_max` bytes.
    pub(crate) fn new(flow: Rc<Flow>, head_max: usize) -> Self {
        Self {
            flow,
            state: State::Head,
            block: None,
            head_max,
            status: None,
            fields: HeaderList::with_room(),
            trailers: Vec::new(),
            head_done: false,
            length: None,
            done: false,
            was_reset: false,
            goes_away: false,
            is_broken: false,
            overhead: 0,
        }
    }

    /// Takes the next piece from the front of the input. What is left there is less than a frame's head, or a part of a
    /// frame that makes no sense alone.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Piece, Broken> {
        let next = self.take(input);
        self.is_broken |= next.is_err();
        next
    }

    fn take(&mut self, input: &mut BytesMut) -> Result<Piece, Broken> {
        let before = input.len();
        let piece = loop {
            match self.step(input)? {
                Some(Step::Again) => {}
                Some(Step::Out(piece)) => break piece,
                None => {
                    if self.done {
                        self.check_length()?;
                    }
                    break Piece::Nothing;
                }
            }
        };
        let carried = if let Piece::Data(data) = &piece { data.len() } else { 0 };
        self.overhead += (before - input.len() - carried) as u64;
        if self.overhead / 8 > self.flow.carried.get() + FLOOD {
            return self.flow.speaker.fail(format_args!("upstream sent too many http2 frames"));
        }
        Ok(piece)
    }

    /// The body has this length, if it is known: what the head says, or what its status means.
    pub(crate) fn expect(&mut self, length: Option<u64>) {
        self.length = length;
    }

    /// Whether the response is complete.
    pub(crate) fn is_done(&self) -> bool {
        self.done && !self.is_broken
    }

    /// Whether the connection is fit for another request.
    pub(crate) fn keeps(&self) -> bool {
        let between_frames = matches!(self.state, State::Head);
        self.is_done() && between_frames && !self.goes_away && self.flow.is_out_closed() && self.flow.may_go_on()
    }

    /// The fields behind the body, as lines.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    /// Whether the body is as long as it was said to be.
    fn check_length(&self) -> Result<(), Broken> {
        if self.length.is_some_and(|length| length > 0) {
            return self.flow.speaker.fail(format_args!("upstream prematurely closed stream"));
        }
        Ok(())
    }

    /// Uses one piece of the input; `None` when there is too little of it.
    fn step(&mut self, input: &mut BytesMut) -> Result<Option<Step>, Broken> {
        match self.state {
            State::Head => {
                if let Some(&[l0, l1, l2]) = input.first_chunk::<3>() {
                    let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
                    if length > DEFAULT_FRAME_SIZE {
                        let message = format_args!("upstream sent too large http2 frame: {length}");
                        return self.flow.speaker.fail(message);
                    }
                }
                let Some(head) = Head::parse(input) else { return Ok(None) };
                input.advance(HEAD_LEN);
                self.begin(head)?;
            }
            State::Payload(head) => {
                let needed = start_len(&head);
                if input.len() < needed {
                    return Ok(None);
                }
                let start = input.split_to(needed);
                self.state = self.payload(head, &start)?;
            }
            State::Data { left: 0, padding, ends } => {
                let then = if ends { Then::EndOfStream } else { Then::Nothing };
                self.state = State::Skip { left: padding, then };
            }
            State::Data { .. } | State::Block { left: 1.., .. } if input.is_empty() => return Ok(None),
            State::Data { left, padding, ends } => {
                let data = input.split_to(left.min(input.len())).freeze();
                self.state = State::Data { left: left - data.len(), padding, ends };
                if let Some(length) = &mut self.length {
                    let Some(rest) = length.checked_sub(data.len() as u64) else {
                        let message = "upstream sent response body larger than indicated content length";
                        return self.flow.speaker.fail(format_args!("{message}"));
                    };
                    *length = rest;
                }
                return Ok(Some(Step::Out(Piece::Data(data))));
            }
            State::Block { left, padding, last } => {
                let piece = input.split_to(left.min(input.len()));
                let left = left - piece.len();
                if self.decode(piece).is_err() {
                    return self.invalid_block();
                }
                self.state = if left > 0 {
                    State::Block { left, padding, last }
                } else {
                    State::Skip { left: padding, then: if last { Then::EndOfBlock } else { Then::Nothing } }
                };
            }
            State::Settings(0) => {
                control::end_settings(&self.flow)?;
                self.state = State::Head;
            }
            State::Settings(left) => {
                let Some(&[i0, i1, v0, v1, v2, v3]) = input.first_chunk::<6>() else { return Ok(None) };
                input.advance(6);
                let id = u16::from_be_bytes([i0, i1]);
                control::setting(&self.flow, id, u32::from_be_bytes([v0, v1, v2, v3]))?;
                self.state = State::Settings(left - 6);
            }
            State::Skip { left, then } => {
                let length = input.len().min(left);
                input.advance(length);
                if length < left {
                    self.state = State::Skip { left: left - length, then };
                    return Ok(None);
                }
                self.state = State::Head;
                match then {
                    Then::Nothing => {}
                    Then::EndOfStream => self.done = true,
                    Then::EndOfBlock => return self.end_block().map(Some),
                }
            }
        }
        Ok(Some(Step::Again))
    }

    /// Looks at the head of a frame.
    fn begin(&mut self, head: Head) -> Result<(), Broken> {
        let (kind, id) = (head.kind.number(), self.flow.id());
        let speaker = &*self.flow.speaker;
        speaker.debug(format_args!("frame: {kind}, len: {}, f:{}, i:{}", head.len, head.flags, head.stream));
        let continues = head.kind == Kind::Continuation;
        if continues != self.block.is_some() || (head.kind == Kind::Data && !self.head_done) {
            return speaker.fail(format_args!("upstream sent unexpected http2 frame: {kind}"));
        }
        if head.kind == Kind::Data {
            if head.stream != id {
                return speaker.fail(format_args!("upstream sent data frame for unknown stream {}", head.stream));
            }
            self.flow.receive(head.len)?;
        }
        if head.stream != 0 && head.stream != id {
            return speaker.fail(format_args!("upstream sent frame for unknown stream {}", head.stream));
        }
        if head.stream != 0 && self.done && !matches!(head.kind, Kind::RstStream | Kind::WindowUpdate) {
            return speaker.fail(format_args!("upstream sent frame for closed stream {id}"));
        }
        match head.kind {
            Kind::PushPromise => return speaker.fail(format_args!("upstream sent unexpected push promise frame")),
            Kind::Data if head.len < start_len(&head) => {
                return speaker.fail(format_args!("upstream sent too short http2 frame"));
            }
            Kind::Headers if head.len < start_len(&head) => {
                speaker.say(format_args!("upstream sent headers frame with invalid length: {}", head.len));
                return self.invalid_block();
            }
            _ => control::check(&self.flow, &head)?,
        }
        self.state = State::Payload(head);
        Ok(())
    }

    /// Uses the beginning of a frame's payload.
    fn payload(&mut self, head: Head, start: &[u8]) -> Result<State, Broken> {
        let left = head.len - start.len();
        let padding = match start.first() {
            Some(&padding) if matches!(head.kind, Kind::Data | Kind::Headers) && head.has(flags::PADDED) => padding,
            _ => 0,
        };
        let padding = usize::from(padding);
        if padding > left {
            let message = format_args!("upstream sent http2 frame with too long padding: {padding} in frame {left}");
            self.flow.speaker.say(message);
            return if head.kind == Kind::Headers { self.invalid_block() } else { Err(Broken) };
        }
        let left = left - padding;
        Ok(match head.kind {
            Kind::Data => State::Data { left, padding, ends: head.has(flags::END_STREAM) },
            Kind::Headers | Kind::Continuation => {
                let limit = self.head_max;
                let block = self.block.get_or_insert_with(|| Block::new(limit, head.has(flags::END_STREAM)));
                block.grow(&*self.flow.speaker, HEAD_LEN + head.len)?;
                State::Block { left, padding, last: head.has(flags::END_HEADERS) }
            }
            Kind::RstStream => {
                self.reset(number(start))?;
                State::Head
            }
            Kind::Goaway => {
                control::goaway(&self.flow, number(start) & MAX_WINDOW, number(start.get(4..).unwrap_or_default()))?;
                self.goes_away = true;
                State::Skip { left, then: Then::Nothing }
            }
            Kind::WindowUpdate => {
                control::window_update(&self.flow, head.stream, number(start))?;
                State::Head
            }
            Kind::Ping => {
                control::ping(&self.flow, start.try_into().unwrap_or_default())?;
                State::Head
            }
            Kind::Settings if head.has(flags::ACK) => State::Head,
            Kind::Settings => State::Settings(left),
            Kind::Priority | Kind::PushPromise | Kind::Unknown(_) => State::Skip { left, then: Then::Nothing },
        })
    }

    /// The server gives the stream up, which is fine only behind its end.
    fn reset(&mut self, error: u32) -> Result<(), Broken> {
        self.flow.speaker.debug(format_args!("error: {error}"));
        if error != 0 || !self.done {
            return self.flow.speaker.fail(format_args!("upstream rejected request with error {error}"));
        }
        if self.was_reset {
            return self.flow.speaker.fail(format_args!("upstream sent frame for closed stream {}", self.flow.id()));
        }
        self.was_reset = true;
        Ok(())
    }

    fn decode(&mut self, piece: BytesMut) -> Result<(), Broken> {
        let Some(mut block) = self.block.take() else { return Ok(()) };
        let flow = Rc::clone(&self.flow);
        let decoded = block.decode(&*flow.speaker, piece, |field| self.field(field));
        self.block = Some(block);
        decoded
    }

    /// A field of the head, or of what follows the body.
    fn field(&mut self, field: Field) -> Result<(), Broken> {
        let flow = &self.flow;
        let Field { name, value } = field;
        let what = if self.head_done { "trailer" } else { "header" };
        flow.speaker.debug(format_args!("{what}: \"{}: {}\"", name.escape_ascii(), value.escape_ascii()));
        let is_pseudo = name.first() == Some(&b':');
        if self.head_done {
            if is_pseudo {
                return flow.speaker.fail_field("upstream sent invalid trailer ", &name, &value);
            }
            for part in [&name[..], b": ", &value, b"\r\n"] {
                self.trailers.extend_from_slice(part);
            }
            return Ok(());
        }
        if !is_pseudo {
            if self.status.is_none() {
                return flow.speaker.fail(format_args!("upstream sent no :status header"));
            }
            self.fields.add(name, value);
            return Ok(());
        }
        if &name[..] != b":status" {
            return flow.speaker.fail_field("upstream sent invalid header ", &name, &value);
        }
        if self.status.is_some() {
            return flow.speaker.fail(format_args!("upstream sent duplicate :status header"));
        }
        let shown = value.escape_ascii();
        match &value[..] {
            digits @ [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
                let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
                if status < 200 && status != 103 {
                    return flow.speaker.fail(format_args!("upstream sent unexpected :status \"{shown}\""));
                }
                self.status = Some(status);
                Ok(())
            }
            _ => flow.speaker.fail(format_args!("upstream sent invalid :status \"{shown}\"")),
        }
    }

    /// A block is complete.
    fn end_block(&mut self) -> Result<Step, Broken> {
        let Some(block) = self.block.take() else { return Ok(Step::Again) };
        if !block.is_whole() {
            self.flow.speaker.say(format_args!("upstream sent truncated http2 header"));
            return self.invalid_block();
        }
        if self.head_done {
            self.flow.speaker.debug(format_args!("trailer done"));
            if !block.ends_stream {
                return self.flow.speaker.fail(format_args!("upstream sent trailer without end stream flag"));
            }
            self.done = true;
            return Ok(Step::Again);
        }
        self.flow.speaker.debug(format_args!("header done"));
        let fields = std::mem::take(&mut self.fields);
        match self.status.take() {
            None => self.flow.speaker.fail(format_args!("upstream sent no :status header")),
            Some(103) if block.ends_stream => {
                self.flow.speaker.fail(format_args!("upstream prematurely closed stream"))
            }
            Some(103) => Ok(Step::Out(Piece::Hints(fields))),
            Some(status) => {
                self.head_done = true;
                self.done = block.ends_stream;
                Ok(Step::Out(Piece::Head(status, fields)))
            }
        }
    }

    /// Says that a block makes no sense; why was said before.
    fn invalid_block<T>(&self) -> Result<T, Broken> {
        let what = if self.head_done { "trailer" } else { "header" };
        self.flow.speaker.fail(format_args!("upstream sent invalid {what}"))
    }
}

/// Bytes at the beginning of a payload that must be there before it is looked at.
fn start_len(head: &Head) -> usize {
    let padded = usize::from(head.has(flags::PADDED));
    match head.kind {
        Kind::Data => padded,
        Kind::Headers => padded + if head.has(flags::PRIORITY) { 5 } else { 0 },
        Kind::RstStream | Kind::WindowUpdate => 4,
        Kind::Goaway | Kind::Ping => 8,
        Kind::Continuation | Kind::Priority | Kind::PushPromise | Kind::Settings | Kind::Unknown(_) => 0,
    }
}

/// The number that the bytes begin with; 0 when they are too few.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |&bytes| u32::from_be_bytes(bytes))
}
