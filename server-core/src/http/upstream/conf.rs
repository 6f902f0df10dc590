//! The settings that all protocols to servers behind us share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::tls_conf::TlsConf;
use crate::conf::value::Buffers;
use crate::http::cache::CacheConf;
use crate::http::complex_value::ComplexValue;
use crate::http::setting::Setting;

/// What happened, as `proxy_next_upstream` names it: a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) u32);

impl Failure {
    pub(crate) const ERROR: Self = Self(0x2);
    pub(crate) const TIMEOUT: Self = Self(0x4);
    pub(crate) const INVALID_HEADER: Self = Self(0x8);
    pub(crate) const HTTP_500: Self = Self(0x10);
    pub(crate) const HTTP_502: Self = Self(0x20);
    pub(crate) const HTTP_503: Self = Self(0x40);
    pub(crate) const HTTP_504: Self = Self(0x80);
    pub(crate) const HTTP_403: Self = Self(0x100);
    pub(crate) const HTTP_404: Self = Self(0x200);
    pub(crate) const HTTP_429: Self = Self(0x400);
    pub(crate) const UPDATING: Self = Self(0x800);
    pub(crate) const NON_IDEMPOTENT: Self = Self(0x4000);
    pub(crate) const NO_LIVE: Self = Self(0x4000_0000);
    pub(crate) const OFF: Self = Self(0x8000_0000);

    /// Both.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits are in `set`.
    pub(crate) const fn is_in(self, set: u32) -> bool {
        self.0 & set == self.0
    }

    /// What an answer with this status counts as; `None` when it is an answer like any other.
    pub(crate) const fn of_status(status: u16) -> Option<Self> {
        Some(match status {
            500 => Self::HTTP_500,
            502 => Self::HTTP_502,
            503 => Self::HTTP_503,
            504 => Self::HTTP_504,
            403 => Self::HTTP_403,
            404 => Self::HTTP_404,
            429 => Self::HTTP_429,
            _ => return None,
        })
    }

    /// The status that a client gets for it.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::TIMEOUT | Self::HTTP_504 => 504,
            Self::HTTP_500 => 500,
            Self::HTTP_503 => 503,
            Self::HTTP_403 => 403,
            Self::HTTP_404 => 404,
            Self::HTTP_429 => 429,
            _ => 502,
        }
    }
}

/// What `proxy_ignore_headers` names: a set of bits.
pub(crate) struct Ignored;

impl Ignored {
    pub(crate) const ACCEL_REDIRECT: u32 = 1;
    pub(crate) const ACCEL_LIMIT_RATE: u32 = 2;
    pub(crate) const ACCEL_BUFFERING: u32 = 4;
    pub(crate) const ACCEL_CHARSET: u32 = 8;
    pub(crate) const ACCEL_EXPIRES: u32 = 16;
    pub(crate) const EXPIRES: u32 = 32;
    pub(crate) const CACHE_CONTROL: u32 = 64;
    pub(crate) const SET_COOKIE: u32 = 128;
    pub(crate) const VARY: u32 = 256;
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $default:expr;)+) => {
        /// Settings of a location for one protocol. The names are those of the directives, without their prefix.
        #[derive(Default)]
        pub(crate) struct Conf {
            /// `hide_header`
            pub(crate) hide_headers: Rc<Vec<Box<[u8]>>>,
            /// `pass_header`
            pub(crate) pass_headers: Rc<Vec<Box<[u8]>>>,
            /// `ssl_*`
            pub(crate) tls: TlsConf,
            /// `cache_*`
            pub(crate) cache: CacheConf,
            $($(#[$doc])* pub(crate) $name: Setting<$ty>,)+
        }

        impl Conf {
            fn merge_settings(&mut self, outer: &Self) {
                $(self.$name.merge(&outer.$name, || $default);)+
            }
        }
    };
}

settings! {
    /// Where to connect from, and whether that address need not be ours.
    bind: Option<Bind> = None;
    /// Whether the response is read as fast as the server sends it.
    buffering: bool = true;
    /// Whether the request's body is read before a server is asked.
    request_buffering: bool = true;
    buffer_size: usize = 4096;
    buffers: Buffers = Buffers { count: 8, size: 4096 };
    busy_buffers_size: usize = 8192;
    max_temp_file_size: usize = 1 << 30;
    temp_file_write_size: usize = 8192;
    /// The folder for responses that don't fit into the buffers, and the lengths of its sub-folders' names.
    temp_path: Option<TempPath> = None;
    /// Where whole responses are kept as plain files.
    store: Option<Store> = None;
    store_access: u32 = 0o600;
    /// Bytes a second that are read from a server; 0 is no limit.
    limit_rate: Option<Rc<ComplexValue>> = None;
    ignore_client_abort: bool = false;
    intercept_errors: bool = false;
    force_ranges: bool = false;
    pass_request_headers: bool = true;
    pass_request_body: bool = true;
    pass_trailers: bool = false;
    socket_keepalive: bool = false;
    /// Bytes of the system's buffers; 0 leaves that to the system.
    socket_rcvbuf: usize = 0;
    socket_sndbuf: usize = 0;
    send_lowat: usize = 0;
    connect_timeout: Duration = Duration::from_mins(1);
    send_timeout: Duration = Duration::from_mins(1);
    read_timeout: Duration = Duration::from_mins(1);
    next_upstream: u32 = Failure::ERROR.or(Failure::TIMEOUT).0;
    next_upstream_tries: u32 = 0;
    next_upstream_timeout: Duration = Duration::ZERO;
    ignore_headers: u32 = 0;
}

impl Conf {
    /// Takes over what is unset here.
    pub(crate) fn merge(&mut self, outer: &Self) {
        self.merge_settings(outer);
        self.tls.merge(&outer.tls);
        self.cache.merge(&outer.cache);
        for (list, outer) in
            [(&mut self.hide_headers, &outer.hide_headers), (&mut self.pass_headers, &outer.pass_headers)]
        {
            if list.is_empty() {
                *list = Rc::clone(outer);
            }
        }
    }

    /// Names the folder for temporary files when the configuration does not.
    pub(crate) fn anchor(&mut self, folder: PathBuf) {
        if self.temp_path.value().is_none() {
            self.temp_path.set(Some(TempPath { folder, levels: [1, 2, 0] }));
        }
    }

    /// Whether a header of the response stays with us; `by_default` lists those that do unless told otherwise.
    pub(crate) fn hides(&self, name: &[u8], by_default: &[&str]) -> bool {
        let is = |list: &[Box<[u8]>]| list.iter().any(|known| known.eq_ignore_ascii_case(name));
        let by_default = by_default.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        is(&self.hide_headers) || (by_default && !is(&self.pass_headers))
    }

    /// The longest response head that is taken.
    pub(crate) fn head_max(&self) -> usize {
        (*self.buffer_size).max(1)
    }
}

/// `store`
#[derive(Clone)]
pub(crate) enum Store {
    /// Under the path that `root` or `alias` gives.
    Mapped,
    /// Under this path.
    Path(Rc<ComplexValue>),
}

/// `bind`
#[derive(Clone)]
pub(crate) struct Bind {
    /// The address, with or without port.
    pub(crate) address: Rc<ComplexValue>,
    /// Whether it need not be one of ours.
    pub(crate) transparent: bool,
}

/// `temp_path`
#[derive(Clone, Debug)]
pub(crate) struct TempPath {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// How many digits of a file's number name each folder below it; 0 ends the list.
    pub(crate) levels: [usize; 3],
}

/// Reads an address for `bind`.
pub(crate) fn local_address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    text.parse().ok().or_else(|| bare.parse().ok().map(|address| SocketAddr::new(address, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_may_have_a_port() {
        assert_eq!(local_address(b"127.0.0.1"), Some(([127, 0, 0, 1], 0).into()));
        assert_eq!(local_address(b"127.0.0.1:8080"), Some(([127, 0, 0, 1], 8080).into()));
        assert_eq!(local_address(b"[::1]").map(|address| address.port()), Some(0));
        assert_eq!(local_address(b"localhost"), None);
    }

    #[test]
    fn a_header_is_shown_when_asked_for() {
        let mut conf = Conf::default();
        assert!(conf.hides(b"date", &["Date"]) && !conf.hides(b"etag", &["Date"]));
        Rc::make_mut(&mut conf.pass_headers).push(b"Date"[..].into());
        assert!(!conf.hides(b"date", &["Date"]));
        Rc::make_mut(&mut conf.hide_headers).push(b"Date"[..].into());
        assert!(conf.hides(b"date", &["Date"]));
    }
}
