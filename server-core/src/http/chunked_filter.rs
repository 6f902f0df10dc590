//! Frames a body of unknown length in chunks.

use std::rc::Rc;

use super::code::Code;
use super::method::{Method, Version};
use super::output::{Buf, HeaderNext};
use super::request::Request;
use super::request_log::debug;

/// The header filter: decides whether the body is sent in chunks.
pub(crate) fn header(r: &Rc<Request>, next: HeaderNext) -> Code {
    let out = &r.headers_out;
    let status = out.status.get();
    // Frames of HTTP/2 need no others around them.
    let bodiless = r.conn().http2().is_some()
        || matches!(status, 304 | 204)
        || status < 200
        || !r.is_main()
        || r.method.get() == Method::HEAD;
    if !bodiless && (out.content_length.get() == -1 || r.expect_trailers.get()) {
        if r.http_version.get() >= Version::HTTP_11 && *r.loc().core.chunked_transfer_encoding {
            if r.expect_trailers.get() {
                out.clear_content_length();
            }
            r.chunked.set(true);
        } else if out.content_length.get() == -1 {
            r.keepalive.set(false);
        }
    }
    next.run(r)
}

/// The frame around the bytes of one chain.
pub(crate) struct Frame {
    size: u64,
    last: bool,
}

impl Frame {
    /// The frame of a chain; none where bodies are not sent in chunks.
    pub(crate) fn of(r: &Request, chain: &[Buf]) -> Option<Self> {
        if !r.chunked.get() || r.header_only.get() || chain.is_empty() {
            return None;
        }
        let size = chain.iter().map(Buf::len).sum();
        debug!(r, "http chunk: {size}");
        Some(Self { size, last: chain.iter().any(|buf| buf.last) })
    }

    /// Writes what stands before the bytes.
    pub(crate) fn open(&self, out: &mut Vec<u8>) {
        if self.size > 0 {
            push_hex(out, self.size);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Writes what stands behind them: the end of the chunk, then the empty chunk and the trailers if it was the last.
    pub(crate) fn close(&self, r: &Request, out: &mut Vec<u8>) {
        if self.size > 0 {
            out.extend_from_slice(b"\r\n");
        }
        if !self.last {
            return;
        }
        out.extend_from_slice(b"0\r\n");
        for field in r.headers_out.trailers.borrow().iter() {
            for piece in [&*field.name, b": ", &field.value, b"\r\n"] {
                out.extend_from_slice(piece);
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes a number that is not zero.
fn push_hex(out: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = number.ilog2() / 4;
    out.extend((0..=digits).rev().map(|digit| DIGITS[(number >> (4 * digit) & 15) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_without_leading_zeros() {
        for number in [1, 9, 15, 16, 255, 256, 0xabc_def0, u64::MAX] {
            let mut out = Vec::new();
            push_hex(&mut out, number);
            assert_eq!(String::from_utf8_lossy(&out), format!("{number:x}"));
        }
    }
}
