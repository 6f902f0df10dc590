//! Cuts a request into frames.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use bytes::Bytes;

use super::flow::Flow;
use crate::http::h2::frame::{self, DEFAULT_FRAME_SIZE, DEFAULT_WINDOW, Kind, MAX_WINDOW, PREFACE, flags, settings};
use crate::http::output::Data;

/// Bytes that are framed at once.
const BATCH: usize = 4 * DEFAULT_FRAME_SIZE;
/// Up to this length, a part is copied behind its frame's head instead of being a piece of its own.
const COPY_MAX: usize = 2048;
/// Settings that we announce: no table for header fields, no pushes, and as much as there is of each body.
const SETTINGS: [(u16, u32); 3] =
    [(settings::HEADER_TABLE_SIZE, 0), (settings::ENABLE_PUSH, 0), (settings::INITIAL_WINDOW_SIZE, MAX_WINDOW)];

/// A request on its way into frames.
pub(crate) struct Framer {
    flow: Rc<Flow>,
    /// The header fields, until they are framed.
    block: Option<Rc<[u8]>>,
    body: VecDeque<Data>,
    /// More of the body will come.
    is_open: bool,
}

impl Framer {
    /// Frames the request whose header fields are in `block`. When `is_open`, parts of the body follow by
    /// [`Framer::extend`].
    pub(crate) fn new(flow: Rc<Flow>, block: Rc<[u8]>, mut body: VecDeque<Data>, is_open: bool) -> Self {
        body.retain(|part| len(part) > 0);
        Self { flow, block: Some(block), body, is_open }
    }

    /// More of the body.
    pub(crate) fn extend(&mut self, parts: impl IntoIterator<Item = Bytes>) {
        self.body.extend(parts.into_iter().filter(|part| !part.is_empty()).map(Data::Bytes));
    }

    /// The body is complete.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
    }

    /// Parts of the body that wait for the server's windows.
    pub(crate) fn waiting(&self) -> usize {
        self.body.len()
    }

    /// Whether all is framed, and nothing else is to be sent.
    pub(crate) fn is_done(&self) -> bool {
        self.block.is_none() && self.flow.is_flushed()
    }

    /// Whether there is something to send even if nothing more of the body comes.
    pub(crate) fn has_frames(&self) -> bool {
        self.block.is_some() || self.flow.has_control() || (!self.body.is_empty() && self.flow.room() > 0)
    }

    /// Frames what may be sent now. Nothing is framed while `pieces` still has something.
    pub(crate) fn advance(&mut self, pieces: &mut VecDeque<Data>) -> io::Result<()> {
        if !pieces.is_empty() || self.is_done() {
            return Ok(());
        }
        let flow = Rc::clone(&self.flow);
        let mut out = Vec::new();
        if let Some(block) = self.block.take() {
            out.reserve(block.len() + 128);
            if flow.id() == 1 {
                out.extend_from_slice(PREFACE);
                frame::push_settings(&mut out, &SETTINGS);
                frame::push_window_update(&mut out, 0, MAX_WINDOW - DEFAULT_WINDOW);
            }
            let ends = self.body.is_empty() && !self.is_open;
            frame::push_headers(&mut out, flow.id(), &block, ends, DEFAULT_FRAME_SIZE);
            if ends {
                flow.close_out();
            }
        }
        flow.take_control(&mut out);
        let mut budget = BATCH;
        while budget > 0
            && flow.room() > 0
            && let Some(front) = self.body.front().map(len)
        {
            let room = DEFAULT_FRAME_SIZE.min(flow.room());
            let (parts, length) = self.small_parts(room);
            // A part that is large has frames for itself.
            let (parts, length, is_whole) =
                if parts > 0 { (parts, length, true) } else { (1, front.min(room), front <= room) };
            let last = is_whole && parts == self.body.len() && !self.is_open;
            frame::push_head(&mut out, length, Kind::Data, if last { flags::END_STREAM } else { 0 }, flow.id());
            for _ in 0..parts {
                self.push_part(length, &mut out, pieces)?;
            }
            flow.spend(length);
            budget -= length.min(budget);
            if last {
                flow.close_out();
            }
        }
        if self.body.is_empty() && !self.is_open && !flow.is_out_closed() {
            frame::push_head(&mut out, 0, Kind::Data, flags::END_STREAM, flow.id());
            flow.close_out();
        }
        if !out.is_empty() {
            pieces.push_back(Data::Bytes(out.into()));
        }
        Ok(())
    }

    /// The small parts in front that go into one frame of at most `room` bytes: their number and length.
    fn small_parts(&self, room: usize) -> (usize, usize) {
        let mut total = 0;
        let fits = |part: &&Data| {
            let length = len(part);
            let fits = matches!(part, Data::Bytes(_)) && length <= COPY_MAX && total + length <= room;
            total += if fits { length } else { 0 };
            fits
        };
        (self.body.iter().take_while(fits).count(), total)
    }

    /// Puts the part in front, or `most` bytes of it, behind a frame's head.
    fn push_part(&mut self, most: usize, out: &mut Vec<u8>, pieces: &mut VecDeque<Data>) -> io::Result<()> {
        let Some(front) = self.body.front_mut() else { return Ok(()) };
        let length = len(front).min(most);
        match front {
            Data::None => {}
            Data::Bytes(bytes) if length <= COPY_MAX => out.extend_from_slice(&bytes.split_to(length)),
            Data::Bytes(bytes) => {
                pieces.push_back(Data::Bytes(std::mem::take(out).into()));
                pieces.push_back(Data::Bytes(bytes.split_to(length)));
            }
            Data::File { file, start, .. } => {
                let at = out.len();
                out.resize(at + length, 0);
                file.read_exact_at(out.get_mut(at..).unwrap_or_default(), *start)?;
                *start += length as u64;
            }
        }
        if len(front) == 0 {
            self.body.pop_front();
        }
        Ok(())
    }
}

fn len(part: &Data) -> usize {
    match part {
        Data::None => 0,
        Data::Bytes(bytes) => bytes.len(),
        Data::File { start, end, .. } => usize::try_from(end - start).unwrap_or(usize::MAX),
    }
}
