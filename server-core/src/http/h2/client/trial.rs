//! The reader of responses on its own, for those who try it with any bytes.

use std::cell::RefCell;
use std::fmt::Arguments;
use std::rc::Rc;

use bytes::BytesMut;

use super::{Broken, Flow, Piece, Reader, Speaker};
use crate::upstream::windows::Windows;

/// What was made of a server's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// The status, when there was a head.
    pub status: Option<u16>,
    /// The body, as far as it came.
    pub body: Vec<u8>,
    /// The fields behind it, as lines.
    pub trailers: Vec<u8>,
    /// Whether the response is complete.
    pub complete: bool,
    /// Why it makes no sense.
    pub errors: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Errors(RefCell<Vec<Vec<u8>>>);

impl Speaker for Errors {
    fn is_debug(&self) -> bool {
        false
    }

    fn debug(&self, _: Arguments<'_>) {}

    fn error(&self, pieces: &[&[u8]]) {
        self.0.borrow_mut().push(pieces.concat());
    }
}

impl Trial {
    /// Reads a response whose bytes come `step` at a time.
    pub fn of(bytes: &[u8], step: usize) -> Self {
        let errors = Rc::new(Errors::default());
        let flow = Rc::new(Flow::new(Rc::clone(&errors) as Rc<dyn Speaker>));
        flow.begin(Rc::new(Windows::new()));
        let mut reader = Reader::new(flow, 4096);
        let mut trial = Self::default();
        let mut input = BytesMut::new();
        'pieces: for piece in bytes.chunks(step.max(1)) {
            input.extend_from_slice(piece);
            loop {
                match reader.next(&mut input) {
                    Ok(Piece::Data(part)) => trial.body.extend_from_slice(&part),
                    Ok(Piece::Head(status, _)) => trial.status = Some(status),
                    Ok(Piece::Hints(_)) => {}
                    Ok(Piece::Nothing) => break,
                    Err(Broken) => break 'pieces,
                }
            }
        }
        trial.trailers = reader.take_trailers();
        trial.complete = reader.is_done();
        trial.errors = errors.0.take();
        trial
    }
}
