//! Frames (RFC 9113, section 4): their heads, and those that the server sends.

/// The length of a frame's head.
pub(crate) const HEAD_LEN: usize = 9;
/// The largest window of flow control.
pub(crate) const MAX_WINDOW: u32 = 0x7fff_ffff;
/// The window of connections and streams before anything is said about it.
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;
/// The longest frame that a peer takes before it says something else.
pub(crate) const DEFAULT_FRAME_SIZE: usize = 16_384;
/// The longest frame there is.
pub(crate) const MAX_FRAME_SIZE: usize = (1 << 24) - 1;
/// What a client sends first.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    Goaway,
    WindowUpdate,
    Continuation,
    /// A kind that nobody has to know.
    Unknown(u8),
}

impl Kind {
    fn of(number: u8) -> Self {
        use Kind::{
            Continuation, Data, Goaway, Headers, Ping, Priority, PushPromise, RstStream, Settings, Unknown,
            WindowUpdate,
        };
        const KINDS: [Kind; 10] =
            [Data, Headers, Priority, RstStream, Settings, PushPromise, Ping, Goaway, WindowUpdate, Continuation];
        KINDS.get(usize::from(number)).copied().unwrap_or(Unknown(number))
    }

    /// Its number in frames.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::RstStream => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::Goaway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Unknown(number) => number,
        }
    }
}

/// Flags of frames; what a bit means depends on the kind.
pub(crate) mod flags {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Settings (RFC 9113, section 6.5.2).
pub(crate) mod settings {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
}

/// Why a stream or a connection ends (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorCode(pub(crate) u32);

impl ErrorCode {
    pub(crate) const NO_ERROR: Self = Self(0);
    pub(crate) const PROTOCOL_ERROR: Self = Self(1);
    pub(crate) const INTERNAL_ERROR: Self = Self(2);
    pub(crate) const FLOW_CONTROL_ERROR: Self = Self(3);
    pub(crate) const STREAM_CLOSED: Self = Self(5);
    pub(crate) const FRAME_SIZE_ERROR: Self = Self(6);
    pub(crate) const REFUSED_STREAM: Self = Self(7);
    pub(crate) const CANCEL: Self = Self(8);
    pub(crate) const COMPRESSION_ERROR: Self = Self(9);
    pub(crate) const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The length of what follows.
    pub(crate) len: usize,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// The stream; 0 is the connection.
    pub(crate) stream: u32,
}

impl Head {
    /// Reads a head from the front of `input`, when it is there.
    pub(crate) fn parse(input: &[u8]) -> Option<Self> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = input.first_chunk::<HEAD_LEN>()?;
        Some(Self {
            len: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & MAX_WINDOW,
        })
    }

    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame's head.
pub(crate) fn push_head(out: &mut Vec<u8>, len: usize, kind: Kind, flags: u8, stream: u32) {
    let [_, l0, l1, l2] = (len.min(MAX_FRAME_SIZE) as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind.number(), flags, s0, s1, s2, s3]);
}

/// Appends the server's settings.
pub(crate) fn push_settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    push_head(out, values.len() * 6, Kind::Settings, 0, 0);
    for (id, value) in values {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the answer to settings.
pub(crate) fn push_settings_ack(out: &mut Vec<u8>) {
    push_head(out, 0, Kind::Settings, flags::ACK, 0);
}

/// Appends the answer to a ping.
pub(crate) fn push_ping_ack(out: &mut Vec<u8>, payload: [u8; 8]) {
    push_head(out, 8, Kind::Ping, flags::ACK, 0);
    out.extend_from_slice(&payload);
}

/// Appends more room for a stream, or for the connection.
pub(crate) fn push_window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    push_head(out, 4, Kind::WindowUpdate, 0, stream);
    out.extend_from_slice(&more.to_be_bytes());
}

/// Appends the end of a stream.
pub(crate) fn push_rst_stream(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    push_head(out, 4, Kind::RstStream, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends the announcement that streams behind `last` will not be served.
pub(crate) fn push_goaway(out: &mut Vec<u8>, last: u32, code: ErrorCode) {
    push_head(out, 8, Kind::Goaway, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends a block of header fields in as many frames as the peer's limit asks for.
pub(crate) fn push_headers(out: &mut Vec<u8>, stream: u32, block: &[u8], ends: bool, frame_size: usize) -> usize {
    let mut parts = block.chunks(frame_size.max(1)).peekable();
    let mut first = true;
    let before = out.len();
    while let Some(part) = parts.next() {
        let kind = if first { Kind::Headers } else { Kind::Continuation };
        let end_stream = if first && ends { flags::END_STREAM } else { 0 };
        let end_headers = if parts.peek().is_none() { flags::END_HEADERS } else { 0 };
        push_head(out, part.len(), kind, end_stream | end_headers, stream);
        out.extend_from_slice(part);
        first = false;
    }
    out.len() - before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives() {
        for kind in (0..=255).map(Kind::of) {
            let mut out = Vec::new();
            push_head(&mut out, 0x0001_0203, kind, flags::PADDED, 0x7fff_fffd);
            let head = Head { len: 0x0001_0203, kind, flags: flags::PADDED, stream: 0x7fff_fffd };
            assert_eq!(Head::parse(&out), Some(head));
            assert_eq!(Head::parse(&out[..8]), None);
        }
    }

    #[test]
    fn the_reserved_bit_of_a_stream_is_ignored() {
        assert_eq!(Head::parse(&[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).map(|head| head.stream), Some(MAX_WINDOW));
    }

    #[test]
    fn long_header_blocks_continue() {
        let mut out = Vec::new();
        push_headers(&mut out, 5, b"abcde", true, 2);
        let kinds: Vec<_> = [0, 11, 22].iter().filter_map(|&at| Head::parse(&out[at..])).collect();
        assert_eq!(kinds[0], Head { len: 2, kind: Kind::Headers, flags: flags::END_STREAM, stream: 5 });
        assert_eq!(kinds[1], Head { len: 2, kind: Kind::Continuation, flags: 0, stream: 5 });
        assert_eq!(kinds[2], Head { len: 1, kind: Kind::Continuation, flags: flags::END_HEADERS, stream: 5 });
    }
}
