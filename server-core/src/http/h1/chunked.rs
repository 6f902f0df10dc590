//! Bodies in chunks, decoded from the front of a buffer.

/// The body is not framed as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client sent invalid chunked body")]
pub struct ChunkError;

/// What comes next in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This many bytes of data follow right here.
    Data(usize),
    /// The body has ended.
    End,
    /// More bytes are needed.
    More,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    SizeFirst,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLf,
    TrailerFirst,
    Trailer,
    TrailerEnd,
    BodyEnd,
    Done,
}

/// The longest framing (a size line with its extension, or all trailers) that is accepted.
const FRAMING_MAX: usize = 16 * 1024;

/// The decoder's state between buffers.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    state: State,
    /// Data bytes still to come in this chunk.
    rest: u64,
    framing: usize,
    /// The lines behind the last chunk, when somebody wants them.
    trailers: Option<Vec<u8>>,
}

impl Decoder {
    /// A decoder that keeps the trailers for [`Decoder::take_trailers`].
    pub fn keeping_trailers() -> Self {
        Self { trailers: Some(Vec::new()), ..Self::default() }
    }

    /// The lines behind the last chunk, as they came, once the body has ended. At most 16 kB.
    pub fn take_trailers(&mut self) -> Vec<u8> {
        self.trailers.take().unwrap_or_default()
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Consumes framing from the front of `input` up to the next data, and says how many bytes it was.
    ///
    /// After [`Step::Data`] the caller takes up to that many bytes and reports them with [`Decoder::took`].
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, Step), ChunkError> {
        for (at, &byte) in input.iter().enumerate() {
            if self.state == State::Done {
                return Ok((at, Step::End));
            }
            if self.state == State::Data {
                let length = usize::try_from(self.rest).unwrap_or(usize::MAX).min(input.len() - at);
                return Ok((at, Step::Data(length)));
            }
            self.framing += 1;
            if self.framing > FRAMING_MAX {
                return Err(ChunkError);
            }
            let was_trailer = matches!(self.state, State::TrailerFirst | State::Trailer | State::TrailerEnd);
            self.state = self.next(byte)?;
            if was_trailer && let Some(trailers) = &mut self.trailers {
                trailers.push(byte);
            }
        }
        let step = if self.state == State::Done { Step::End } else { Step::More };
        Ok((input.len(), step))
    }

    /// Data bytes were taken from the buffer.
    pub fn took(&mut self, bytes: usize) {
        self.rest = self.rest.saturating_sub(bytes as u64);
        if self.rest == 0 {
            self.state = State::DataEnd;
            self.framing = 0;
        }
    }

    fn next(&mut self, byte: u8) -> Result<State, ChunkError> {
        Ok(match (self.state, byte) {
            (State::SizeFirst, _) => {
                self.rest = u64::from(digit(byte).ok_or(ChunkError)?);
                State::Size
            }
            (State::Size, b'\r') => State::SizeEnd,
            (State::Size, b';' | b' ' | b'\t') => State::Extension,
            (State::Size, _) => {
                let digit = u64::from(digit(byte).ok_or(ChunkError)?);
                if self.rest > (i64::MAX as u64) >> 4 {
                    return Err(ChunkError);
                }
                self.rest = self.rest << 4 | digit;
                State::Size
            }
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, b'\n') => return Err(ChunkError),
            (State::Extension, _) => State::Extension,
            (State::SizeEnd, b'\n') if self.rest == 0 => State::TrailerFirst,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataEnd, b'\r') => State::DataEndLf,
            (State::DataEndLf, b'\n') => State::SizeFirst,
            (State::TrailerFirst, b'\r') => State::BodyEnd,
            (State::TrailerFirst, b'\n') => return Err(ChunkError),
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::Trailer, b'\n') => State::TrailerFirst,
            (State::TrailerFirst | State::Trailer, _) => State::Trailer,
            (State::TrailerEnd, b'\n') => State::TrailerFirst,
            (State::BodyEnd, b'\n') => State::Done,
            _ => return Err(ChunkError),
        })
    }
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes pieces of input; the body and the bytes behind it, or an error.
    fn decode(pieces: &[&[u8]]) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
        let mut decoder = Decoder::default();
        let mut body = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (used, step) = decoder.step(rest)?;
                rest = &rest[used..];
                match step {
                    Step::Data(length) => {
                        body.extend_from_slice(&rest[..length]);
                        decoder.took(length);
                        rest = &rest[length..];
                    }
                    Step::End => return Ok(Some((body, rest.len()))),
                    Step::More => break,
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_extensions_and_trailers_are_understood() {
        let input = b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\nrest";
        assert_eq!(decode(&[input]), Ok(Some((b"abcd".to_vec(), 4))));
    }

    #[test]
    fn trailers_are_kept_when_wanted() {
        let mut decoder = Decoder::keeping_trailers();
        assert_eq!(decoder.step(b"0\r\nA: b\r\nC: d\r\n\r\n").map(|(_, step)| step), Ok(Step::End));
        assert_eq!(decoder.take_trailers(), b"A: b\r\nC: d\r\n\r");
    }

    #[test]
    fn bad_framing_is_rejected() {
        for input in ["0x1\r\n", "-1\r\n", "+1\r\n", "11111111111111111\r\n", "1\r\nab\r\n", "1\nab", "1;x\n", ";\r\n"]
        {
            assert_eq!(decode(&[input.as_bytes()]), Err(ChunkError), "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn cutting_the_input_changes_nothing(body in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..80) {
            let mut input = Vec::new();
            for chunk in body.chunks(7) {
                input.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                input.extend_from_slice(chunk);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\n");
            let (first, second) = input.split_at(cut.min(input.len()));
            prop_assert_eq!(decode(&[first, second]), Ok(Some((body, 0))));
        }
    }
}
