//! The body of a response as it is framed on the wire.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::http::h1::chunked::{Decoder, Step};

/// A body that isn't framed as its protocol demands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Chunks that aren't.
    #[error("upstream sent invalid chunked response")]
    Chunk,
    /// Something that was logged already.
    #[error("upstream sent an invalid response")]
    Logged,
    /// What another protocol has to complain about.
    #[error("{0}")]
    Protocol(String),
}

/// The framing of a protocol that has its own.
pub(crate) trait Unframe {
    /// As [`Framing::take`].
    fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, BodyError>;

    /// The lines behind the body.
    fn take_trailers(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Whether everything has come.
    fn is_ended(&self) -> bool;

    /// Whether the server may close here as well.
    fn may_end(&self) -> bool {
        false
    }

    /// Whether the connection is fit for another request then.
    fn keeps(&self) -> bool {
        true
    }

    /// Whether the server may say something behind the end.
    fn goes_on(&self) -> bool {
        false
    }
}

/// How the end of a body is known.
pub(crate) enum Framing {
    /// Chunks.
    Chunked(Box<Decoder>),
    /// As a protocol of its own has it.
    Custom(Box<dyn Unframe>),
    /// It has ended.
    Ended,
    /// This many bytes are left.
    Length(u64),
    /// The connection ends with it.
    ToEnd,
}

impl Framing {
    /// Takes the next part of the body from the front of the input; `None` when there is none now.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::Custom(custom) => custom.take(input),
            Self::Ended => Ok(None),
            Self::ToEnd if input.is_empty() => Ok(None),
            Self::ToEnd => Ok(Some(input.split().freeze())),
            Self::Length(0) => {
                *self = Self::Ended;
                Ok(None)
            }
            Self::Length(_) if input.is_empty() => Ok(None),
            Self::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= length as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Some(input.split_to(length).freeze()))
            }
            Self::Chunked(decoder) => {
                let (framing, step) = decoder.step(input).map_err(|_| BodyError::Chunk)?;
                input.advance(framing);
                match step {
                    Step::More | Step::End => Ok(None),
                    Step::Data(length) => {
                        decoder.took(length);
                        Ok(Some(input.split_to(length).freeze()))
                    }
                }
            }
        }
    }

    /// Whether everything has come.
    pub(super) fn is_ended(&self) -> bool {
        match self {
            Self::Chunked(decoder) => decoder.is_done(),
            Self::Custom(custom) => custom.is_ended(),
            Self::Ended | Self::Length(0) => true,
            Self::Length(_) | Self::ToEnd => false,
        }
    }

    /// Whether the end of the connection is a proper end here.
    pub(super) fn may_end(&self) -> bool {
        match self {
            Self::Custom(custom) => custom.may_end(),
            framing => matches!(framing, Self::ToEnd),
        }
    }

    /// Whether the connection is fit for another request after this body.
    pub(super) fn keeps(&self) -> bool {
        match self {
            Self::Custom(custom) => custom.is_ended() && custom.keeps(),
            framing => framing.is_ended(),
        }
    }

    /// Whether bytes behind the body belong to it no less.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self, Self::Custom(custom) if custom.goes_on())
    }

    /// The lines behind the last chunk.
    pub(super) fn take_trailers(&mut self) -> Vec<u8> {
        match self {
            Self::Chunked(decoder) => decoder.take_trailers(),
            Self::Custom(custom) => custom.take_trailers(),
            Self::Ended | Self::Length(_) | Self::ToEnd => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(framing: &mut Framing, input: &mut BytesMut) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(part) = framing.take(input).expect("well framed") {
            out.extend_from_slice(&part);
        }
        out
    }

    #[test]
    fn chunks_are_joined_up_to_their_end() {
        let mut framing = Framing::Chunked(Box::default());
        let mut input = BytesMut::from(&b"3\r\nabc\r\n2;x\r\nde"[..]);
        assert_eq!((all(&mut framing, &mut input), framing.is_ended()), (b"abcde".to_vec(), false));
        input.extend_from_slice(b"\r\n0\r\n\r\nmore");
        assert_eq!((all(&mut framing, &mut input), framing.is_ended()), (Vec::new(), true));
        assert_eq!(&*input, b"more");
    }

    #[test]
    fn a_length_takes_no_more_than_it_says() {
        let mut framing = Framing::Length(3);
        let mut input = BytesMut::from(&b"abcd"[..]);
        assert_eq!((all(&mut framing, &mut input), framing.is_ended(), &*input), (b"abc".to_vec(), true, &b"d"[..]));
    }
}
