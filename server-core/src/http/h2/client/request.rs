//! The block of header fields of a request.

use super::Broken;
use super::flow::Speaker;
use crate::http::h2::hpack::{self, index, name};

/// The longest text whose length our encoding of numbers takes, as in nginx.
const TEXT_MAX: usize = 127 + (1 << 21) - 1;

/// A block being made. What does not fit is logged, and the request fails.
pub(crate) struct RequestBlock<'a> {
    speaker: &'a dyn Speaker,
    block: Vec<u8>,
}

impl<'a> RequestBlock<'a> {
    /// Begins with what every request has: method, scheme and path; an authority as well, unless a `Host` follows.
    pub(crate) fn begin(
        speaker: &'a dyn Speaker,
        method: &[u8],
        tls: bool,
        path: &[u8],
        authority: Option<&[u8]>,
    ) -> Result<Self, Broken> {
        let mut begun = Self { speaker, block: Vec::with_capacity(256) };
        let block = &mut begun.block;
        if path.len() > TEXT_MAX {
            return begun.refuse(&[b"too long http2 URI"]);
        }
        if method.len() > TEXT_MAX {
            return begun.refuse(&[b"too long http2 method: \"", method, b"\""]);
        }
        if let Some(authority) = authority.filter(|authority| authority.len() > TEXT_MAX) {
            return begun.refuse(&[b"too long http2 host: \"", authority, b"\""]);
        }
        match method {
            b"GET" => hpack::push_indexed(block, index::METHOD_GET),
            b"POST" => hpack::push_indexed(block, index::METHOD_POST),
            _ => hpack::push_known(block, index::METHOD_GET, method),
        }
        hpack::push_indexed(block, if tls { index::SCHEME_HTTPS } else { index::SCHEME_HTTP });
        if path == b"/" {
            hpack::push_indexed(block, index::PATH_ROOT);
        } else {
            hpack::push_known(block, index::PATH_ROOT, path);
        }
        let scheme: &[u8] = if tls { b"https" } else { b"http" };
        for (name, value) in [("method", method), ("scheme", scheme), ("path", path)] {
            speaker.debug(format_args!("header: \":{name}: {}\"", value.escape_ascii()));
        }
        if let Some(authority) = authority {
            hpack::push_known(block, name::AUTHORITY, authority);
            speaker.debug(format_args!("header: \":authority: {}\"", authority.escape_ascii()));
        }
        Ok(begun)
    }

    /// Appends a field; its name is lowered.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Broken> {
        if name.len() > TEXT_MAX {
            return self.refuse(&[b"too long http2 header name: \"", name, b"\""]);
        }
        if value.len() > TEXT_MAX {
            return self.refuse(&[b"too long http2 header value: \"", name, b": ", value, b"\""]);
        }
        hpack::push_field(&mut self.block, name, value);
        if self.speaker.is_debug() {
            let name = name.to_ascii_lowercase();
            self.speaker.debug(format_args!("header: \"{}: {}\"", name.escape_ascii(), value.escape_ascii()));
        }
        Ok(())
    }

    /// The block.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.block
    }

    fn refuse<T>(&self, pieces: &[&[u8]]) -> Result<T, Broken> {
        self.speaker.error(pieces);
        Err(Broken)
    }
}
