//! FastCGI records, as the specification of 1996 has them.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::http::modules::cgi::parse_cgi;
use crate::http::output::Data;
use crate::http::request::Request;
use crate::http::upstream::body::{BodyError, Unframe};
use crate::http::upstream::{Failure, Head};
use crate::log::Level;

const VERSION: u8 = 1;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// The most that goes into a record; what follows it begins at a multiple of eight.
const CONTENT_MAX: usize = 32 * 1024;
/// The end of the body.
pub(super) const STDIN_END: &[u8] = &[VERSION, STDIN, 0, 1, 0, 0, 0, 0];

/// The head of a record of our one request.
pub(crate) fn stdin_header(length: usize) -> [u8; 8] {
    header(STDIN, length)
}

fn header(kind: u8, length: usize) -> [u8; 8] {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [VERSION, kind, 0, 1, high, low, 0, 0]
}

/// The beginning of a request, and its parameters.
pub(super) fn begin(pairs: &[(Bytes, Bytes)], keep: bool) -> Vec<u8> {
    /// The one role that there is for us.
    const RESPONDER: [u8; 2] = [0, 1];
    let mut out = header(BEGIN_REQUEST, 8).to_vec();
    out.extend_from_slice(&RESPONDER);
    out.extend_from_slice(&[u8::from(keep), 0, 0, 0, 0, 0]);
    let mut params = Vec::new();
    for (name, value) in pairs {
        length(&mut params, name.len());
        length(&mut params, value.len());
        params.extend_from_slice(name);
        params.extend_from_slice(value);
    }
    for part in params.chunks(CONTENT_MAX) {
        out.extend_from_slice(&header(PARAMS, part.len()));
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&header(PARAMS, 0));
    out
}

/// Lengths up to 127 take one byte, others four.
fn length(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short @ ..0x80) => out.push(short),
        _ => out.extend_from_slice(&(u32::try_from(length).unwrap_or(u32::MAX) | 0x8000_0000).to_be_bytes()),
    }
}

/// A part of the body in records.
pub(super) fn stdin(piece: Data) -> Vec<Data> {
    let mut out = Vec::new();
    let mut record = |length: usize, content: Data| {
        out.push(Data::Bytes(Bytes::copy_from_slice(&stdin_header(length))));
        out.push(content);
    };
    match piece {
        Data::None => {}
        Data::Bytes(mut bytes) => {
            while !bytes.is_empty() {
                let part = bytes.split_to(bytes.len().min(CONTENT_MAX));
                record(part.len(), Data::Bytes(part));
            }
        }
        Data::File { file, start, end } => {
            let mut at = start;
            while at < end {
                let next = end.min(at + CONTENT_MAX as u64);
                record((next - at) as usize, Data::File { file: std::rc::Rc::clone(&file), start: at, end: next });
                at = next;
            }
        }
    }
    out
}

/// The state of reading between buffers.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    kind: u8,
    content: usize,
    padding: usize,
    /// What the server wrote to its output and nobody took yet.
    output: BytesMut,
    errors: Vec<u8>,
    ended: bool,
}

impl Decoder {
    /// Takes whole or partial records from the front of the input.
    pub(super) fn feed(&mut self, input: &mut BytesMut) -> Result<(), BodyError> {
        while !self.ended {
            if self.content > 0 {
                if input.is_empty() {
                    return Ok(());
                }
                let part = input.split_to(self.content.min(input.len()));
                self.content -= part.len();
                match self.kind {
                    STDOUT => self.output.extend_from_slice(&part),
                    STDERR => self.errors.extend_from_slice(&part),
                    _ => {}
                }
                continue;
            }
            if self.padding > 0 {
                if input.is_empty() {
                    return Ok(());
                }
                let skipped = self.padding.min(input.len());
                self.padding -= skipped;
                input.advance(skipped);
                continue;
            }
            if self.kind == END_REQUEST {
                self.ended = true;
                return Ok(());
            }
            let Some(&[version, kind, id_high, id_low, high, low, padding, _]) = input.first_chunk::<8>() else {
                return Ok(());
            };
            if version != VERSION {
                let text = format!("upstream sent unsupported FastCGI protocol version: {version}");
                return Err(BodyError::Protocol(text));
            }
            if (id_high, id_low) != (0, 1) {
                let id = u16::from_be_bytes([id_high, id_low]);
                return Err(BodyError::Protocol(format!("upstream sent unexpected FastCGI request id: {id}")));
            }
            if !matches!(kind, STDOUT | STDERR | END_REQUEST) {
                return Err(BodyError::Protocol(format!("upstream sent unexpected FastCGI record: {kind}")));
            }
            input.advance(8);
            self.kind = kind;
            self.content = usize::from(u16::from_be_bytes([high, low]));
            self.padding = usize::from(padding);
        }
        Ok(())
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Writes what the server had to complain about to the log. Whether that makes the response a failure
    /// (`fastcgi_catch_stderr`).
    pub(super) fn log_errors(&mut self, r: &Request) -> bool {
        let errors = std::mem::take(&mut self.errors);
        let text = errors.trim_ascii_end();
        if !text.is_empty() {
            r.log_bytes(Level::Error, &[b"FastCGI sent in stderr: \"", text, b"\""]);
        }
        r.loc().fastcgi.catch_stderr.iter().any(|part| memchr::memmem::find(&errors, part).is_some())
    }

    /// The head of the response, when all of it is there.
    pub(super) fn take_head(&mut self, r: &Request) -> Result<Option<Head>, Failure> {
        let Some((mut head, length)) = parse_cgi(r, &self.output)? else { return Ok(None) };
        head.keeps = *r.loc().fastcgi.keep_conn;
        self.output.advance(length);
        Ok(Some(head))
    }
}

/// The body of a response.
pub(super) struct Stdout {
    pub(super) decoder: Decoder,
    /// Bytes that are still to come, when the head told how many there are.
    pub(super) left: Option<u64>,
    /// More came than that.
    pub(super) is_cut: bool,
}

impl Unframe for Stdout {
    fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        self.decoder.feed(input)?;
        let mut output = self.decoder.output.split().freeze();
        if let Some(left) = &mut self.left {
            // What is too much is not passed on.
            self.is_cut |= output.len() as u64 > *left;
            output.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= output.len() as u64;
            if self.decoder.ended && *left > 0 && output.is_empty() {
                return Err(BodyError::Protocol("upstream prematurely closed FastCGI request".to_owned()));
            }
        }
        Ok((!output.is_empty()).then_some(output))
    }

    fn is_ended(&self) -> bool {
        let is_whole = self.decoder.ended && self.decoder.output.is_empty() && self.left.unwrap_or(0) == 0;
        is_whole || self.is_cut
    }

    fn keeps(&self) -> bool {
        !self.is_cut
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
        let mut head = header(kind, content.len());
        head[6] = padding;
        [&head[..], content, &vec![0; usize::from(padding)]].concat()
    }

    #[test]
    fn lengths_take_one_byte_or_four() {
        let mut out = Vec::new();
        for size in [0, 127, 128, 70_000] {
            length(&mut out, size);
        }
        assert_eq!(out, [0, 127, 0x80, 0, 0, 128, 0x80, 1, 0x11, 0x70]);
    }

    #[test]
    fn a_long_body_takes_several_records() {
        let pieces = stdin(Data::Bytes(vec![b'x'; CONTENT_MAX + 1].into()));
        let lengths: Vec<_> =
            pieces.iter().map(|piece| if let Data::Bytes(bytes) = piece { bytes.len() } else { 0 }).collect();
        assert_eq!(lengths, [8, CONTENT_MAX, 8, 1]);
    }

    #[test]
    fn a_body_is_as_long_as_the_head_said() {
        let body = |content: &[u8], left| {
            let all = [record(STDOUT, content, 0), record(STDOUT, b"", 0), record(END_REQUEST, &[0; 8], 0)].concat();
            let mut body = Stdout { decoder: Decoder::default(), left: Some(left), is_cut: false };
            let mut input = BytesMut::from(&all[..]);
            let first = body.take(&mut input).expect("a record");
            (first.unwrap_or_default(), body.is_ended(), body.take(&mut input).is_err())
        };
        assert_eq!(body(b"abc", 3), (Bytes::from_static(b"abc"), true, false));
        assert_eq!(body(b"abcd", 3), (Bytes::from_static(b"abc"), true, false));
        assert_eq!(body(b"ab", 3), (Bytes::from_static(b"ab"), false, true));
    }

    proptest! {
        #[test]
        fn cutting_the_input_changes_nothing(cut in 0usize..60) {
            let all = [
                record(STDOUT, b"abc", 5),
                record(STDERR, b"oh", 0),
                record(STDOUT, b"def", 1),
                record(STDOUT, b"", 0),
                record(END_REQUEST, &[0; 8], 0),
            ]
            .concat();
            let (first, second) = all.split_at(cut.min(all.len()));
            let mut body = Stdout { decoder: Decoder::default(), left: None, is_cut: false };
            let mut input = BytesMut::new();
            let mut got = Vec::new();
            for part in [first, second] {
                input.extend_from_slice(part);
                while let Ok(Some(part)) = body.take(&mut input) {
                    got.extend_from_slice(&part);
                }
            }
            prop_assert_eq!((&got[..], &body.decoder.errors[..], body.is_ended()), (&b"abcdef"[..], &b"oh"[..], true));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut input = BytesMut::from(&bytes[..]);
            let _ = Decoder::default().feed(&mut input);
        }
    }
}
