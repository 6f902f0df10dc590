//! What memcached answers a `get` with: `VALUE key flags length`, the value, `END`.

use std::rc::Rc;

use bytes::{Buf as _, Bytes, BytesMut};

use super::Key;
use crate::conf::value::number;
use crate::http::date::http_time;
use crate::http::header::HeaderList;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::upstream::body::{BodyError, Framing, Unframe};
use crate::http::upstream::{Failure, Head, Reader};
use crate::log::Level;

/// What flags say about the coding of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gzip {
    /// The bits of `memcached_gzip_flag` do.
    ByFlag,
    /// Nothing.
    Never,
}

/// Reads the answer to a `get`.
pub(crate) struct ValueReader {
    gzip: Gzip,
    length: u64,
}

impl ValueReader {
    /// A reader of one answer.
    pub(crate) fn new(gzip: Gzip) -> Self {
        Self { gzip, length: 0 }
    }

    fn value(&mut self, r: &Rc<Request>, line: &Bytes, key: &[u8]) -> Result<Head, Failure> {
        let invalid = |what: &str| {
            let what = format!("memcached sent invalid {what} in response \"");
            r.log_bytes(Level::Error, &[what.as_bytes(), line, b"\" for key \"", key, b"\""]);
            Failure::INVALID_HEADER
        };
        let rest = line.slice(6..);
        let mut words = rest.split(|byte| *byte == b' ');
        if words.next() != Some(key) {
            return Err(invalid("key"));
        }
        let flags = words.next().filter(|flags| number(flags).is_some()).ok_or_else(|| invalid("flags"))?;
        let length = words.next().and_then(number).ok_or_else(|| invalid("length"))?;
        self.length = u64::try_from(length).map_err(|_| invalid("length"))?;
        let flags = rest.slice_ref(flags);
        let mut fields = HeaderList::default();
        fields.add("Content-Length", self.length.to_string());
        let gzip_flag = i64::from(*r.loc().memcached.gzip_flag);
        if self.gzip == Gzip::ByFlag && number(&flags).unwrap_or(0) & gzip_flag != 0 {
            fields.add("Content-Encoding", "gzip");
        }
        if self.gzip == Gzip::Never && r.loc().memc.dates_by_flags() {
            fields.add("Last-Modified", http_time(number(&flags).unwrap_or(0)).to_vec());
        }
        if self.gzip == Gzip::Never {
            r.loc().memc.show_flags(r, &flags);
        }
        Ok(Head { status: 200, keeps: true, fields: fields.into(), ..Head::default() })
    }
}

impl Reader for ValueReader {
    fn head(&mut self, r: &Rc<Request>, input: &mut BytesMut) -> Result<Option<Head>, Failure> {
        let Some(end) = memchr::memchr(b'\n', input) else { return Ok(None) };
        let line = input.split_to(end + 1).freeze();
        let line = line.slice(..line.len() - 1);
        let line = if line.ends_with(b"\r") { line.slice(..line.len() - 1) } else { line };
        debug!(r, "memcached: \"{}\"", String::from_utf8_lossy(&line));
        let key = r.ctx::<Key>().map(|key| key.0.clone()).unwrap_or_default();
        if line.starts_with(b"VALUE ") {
            return self.value(r, &line, &key).map(Some);
        }
        if &line[..] == b"END" {
            r.log_bytes(Level::Info, &[b"key: \"", &key, b"\" was not found by memcached"]);
            return Ok(Some(Head { status: 404, keeps: true, ..Head::default() }));
        }
        r.log_bytes(Level::Error, &[b"memcached sent invalid response: \"", &line, b"\""]);
        Err(Failure::INVALID_HEADER)
    }

    fn framing(&mut self, head: &Head, _length: Option<u64>, _chunked: bool) -> Framing {
        if head.status == 200 { Framing::Custom(Box::new(Value::new(self.length))) } else { Framing::Ended }
    }
}

/// What follows a value.
const END: &[u8] = b"\r\nEND\r\n";

/// A value with its end.
struct Value {
    left: u64,
    /// How much of [`END`] has come.
    end: usize,
}

impl Value {
    fn new(length: u64) -> Self {
        Self { left: length, end: 0 }
    }
}

impl Unframe for Value {
    fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        if self.left > 0 {
            if input.is_empty() {
                return Ok(None);
            }
            let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
            self.left -= length as u64;
            return Ok(Some(input.split_to(length).freeze()));
        }
        let rest = &END[self.end..];
        let length = rest.len().min(input.len());
        if rest[..length] != input[..length] {
            return Err(BodyError::Protocol("memcached sent invalid trailer".to_owned()));
        }
        self.end += length;
        input.advance(length);
        Ok(None)
    }

    fn is_ended(&self) -> bool {
        self.left == 0 && self.end == END.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_with_its_trailer_however_it_is_cut() {
        for cut in 0..12 {
            let mut value = Value::new(3);
            let mut input = BytesMut::new();
            let mut got = Vec::new();
            let all = b"a\r\n\r\nEND\r\nmore";
            for part in [&all[..cut], &all[cut..]] {
                input.extend_from_slice(part);
                while let Some(part) = value.take(&mut input).expect("well framed") {
                    got.extend_from_slice(&part);
                }
            }
            assert_eq!((&got[..], value.is_ended(), &input[..]), (&b"a\r\n"[..], true, &b"more"[..]));
        }
    }

    #[test]
    fn another_trailer_is_an_error() {
        let mut value = Value::new(0);
        assert!(value.take(&mut BytesMut::from(&b"\r\nENX"[..])).is_err());
    }
}
