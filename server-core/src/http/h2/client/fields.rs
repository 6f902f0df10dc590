//! Blocks of header fields as servers send them.

use bytes::{Buf as _, BytesMut};

use super::Broken;
use super::flow::Speaker;
use crate::http::h2::hpack::{Decoder, Field, Step};

/// A block on its way.
pub(super) struct Block {
    decoder: Decoder,
    /// What can't be decoded yet.
    pending: BytesMut,
    /// Bytes of names and values that may still come.
    limit: usize,
    /// Bytes of frames that may still come.
    raw_limit: usize,
    pub(super) ends_stream: bool,
}

impl Block {
    /// A block whose fields, and whose frames, may have `limit` bytes together.
    pub(super) fn new(limit: usize, ends_stream: bool) -> Self {
        Self { decoder: Decoder::new(limit, 0), pending: BytesMut::new(), limit, raw_limit: limit, ends_stream }
    }

    /// So many bytes of frames belong to the block.
    pub(super) fn grow(&mut self, speaker: &dyn Speaker, length: usize) -> Result<(), Broken> {
        match self.raw_limit.checked_sub(length) {
            Some(left) => self.raw_limit = left,
            None => return speaker.fail(format_args!("upstream sent too big header")),
        }
        Ok(())
    }

    /// Decodes a piece of the block.
    pub(super) fn decode(
        &mut self,
        speaker: &dyn Speaker,
        piece: BytesMut,
        mut take: impl FnMut(Field) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.pending.unsplit(piece);
        loop {
            match self.decoder.step(&self.pending, self.limit) {
                Ok(Step::Field(field, used)) => {
                    self.pending.advance(used);
                    self.limit -= field.name.len() + field.value.len();
                    if !is_name(&field.name) || field.value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
                        return speaker.fail_field("upstream sent invalid header: ", &field.name, &field.value);
                    }
                    take(field)?;
                }
                Ok(Step::Resized(used)) => self.pending.advance(used),
                Ok(Step::More) => return Ok(()),
                Err(error) => return speaker.fail(format_args!("upstream sent {}", error.of_server())),
            }
        }
    }

    /// Whether nothing of a field is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.pending.is_empty()
    }
}

/// Whether a name may stand in HTTP/2: no capitals, no blanks, and a colon only in front.
fn is_name(name: &[u8]) -> bool {
    !name.iter().enumerate().any(|(at, &byte)| match byte {
        b':' => at > 0,
        b'A'..=b'Z' | 0x7f | 0..=b' ' => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_small_and_have_no_blanks() {
        for name in [&b"x-a"[..], b":status", b"x_a", b"\xc3\xa9"] {
            assert!(is_name(name), "{name:?}");
        }
        for name in [&b"X-a"[..], b"x a", b"x:a", b"x\0", b"x\x7f", b"x\n"] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
