//! The settings of `proxy_*`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::value::Buffers;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Merge;
use crate::http::method::Version;
use crate::http::modules::upstream::GroupRef;
use crate::http::regex::Regex;
use crate::http::setting::Setting;
use crate::upstream::address::Target;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Where requests go.
pub(super) enum Pass {
    /// Always to the same group.
    Fixed {
        /// The URL as written.
        url: Bytes,
        /// Host, port and URI of the URL.
        target: Target,
        /// The servers.
        group: GroupRef,
        /// The prefix of the location that the URL's URI replaces.
        location: Bytes,
    },
    /// Where variables say.
    Variable(ComplexValue),
}

/// One rule of `proxy_redirect`.
pub(super) enum Redirect {
    /// A prefix and what it becomes.
    Prefix(ComplexValue, ComplexValue),
    /// A pattern and what the whole becomes.
    Regex(Regex, ComplexValue),
}

/// What happened, as `proxy_next_upstream` names it: a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure(pub(super) u32);

impl Failure {
    pub(super) const ERROR: Self = Self(0x2);
    pub(super) const TIMEOUT: Self = Self(0x4);
    pub(super) const INVALID_HEADER: Self = Self(0x8);
    pub(super) const HTTP_500: Self = Self(0x10);
    pub(super) const HTTP_502: Self = Self(0x20);
    pub(super) const HTTP_503: Self = Self(0x40);
    pub(super) const HTTP_504: Self = Self(0x80);
    pub(super) const HTTP_403: Self = Self(0x100);
    pub(super) const HTTP_404: Self = Self(0x200);
    pub(super) const HTTP_429: Self = Self(0x400);
    pub(super) const NON_IDEMPOTENT: Self = Self(0x4000);
    pub(super) const NO_LIVE: Self = Self(0x4000_0000);
    pub(super) const OFF: Self = Self(0x8000_0000);

    /// Both.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits are in `set`.
    pub(super) const fn is_in(self, set: u32) -> bool {
        self.0 & set == self.0
    }

    /// The status that a client gets for it.
    pub(super) const fn status(self) -> u16 {
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
pub(super) struct Ignored;

impl Ignored {
    pub(super) const ACCEL_REDIRECT: u32 = 1;
    pub(super) const ACCEL_LIMIT_RATE: u32 = 2;
    pub(super) const ACCEL_BUFFERING: u32 = 4;
    pub(super) const ACCEL_CHARSET: u32 = 8;
    /// Headers that only a cache would look at.
    pub(super) const CACHING: u32 = 16;
}

/// A header for the server: its name and its value.
pub(super) type SetHeader = (ComplexValue, ComplexValue);

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $default:expr;)+) => {
        /// Settings of a location.
        #[derive(Default)]
        pub struct LocConf {
            /// `proxy_pass`
            pub(super) pass: Option<Rc<Pass>>,
            /// `proxy_redirect`, as long as it isn't the default.
            pub(super) redirects: Option<Rc<Vec<Redirect>>>,
            /// `proxy_redirect off`
            pub(super) redirect_off: Option<bool>,
            /// `proxy_set_header`
            pub(super) set_headers: Rc<Vec<SetHeader>>,
            /// `proxy_hide_header`
            pub(super) hide_headers: Rc<Vec<Box<[u8]>>>,
            /// `proxy_pass_header`
            pub(super) pass_headers: Rc<Vec<Box<[u8]>>>,
            $($(#[$doc])* pub(super) $name: Setting<$ty>,)+
        }

        impl LocConf {
            fn merge_settings(&mut self, outer: &Self) {
                $(self.$name.merge(&outer.$name, || $default);)+
            }
        }
    };
}

settings! {
    /// `proxy_method`
    method: Option<Rc<ComplexValue>> = None;
    /// `proxy_set_body`
    set_body: Option<Rc<ComplexValue>> = None;
    /// `proxy_bind`
    bind: Option<Rc<ComplexValue>> = None;
    /// `proxy_http_version`
    http_version: Version = Version::HTTP_11;
    /// `proxy_buffering`
    buffering: bool = true;
    /// `proxy_request_buffering`
    request_buffering: bool = true;
    /// `proxy_buffer_size`
    buffer_size: usize = 4096;
    /// `proxy_buffers`
    buffers: Buffers = Buffers { count: 8, size: 4096 };
    /// `proxy_busy_buffers_size`
    busy_buffers_size: usize = 8192;
    /// `proxy_max_temp_file_size`
    max_temp_file_size: usize = 1 << 30;
    /// `proxy_temp_file_write_size`
    temp_file_write_size: usize = 8192;
    /// `proxy_ignore_client_abort`
    ignore_client_abort: bool = false;
    /// `proxy_intercept_errors`
    intercept_errors: bool = false;
    /// `proxy_force_ranges`
    force_ranges: bool = false;
    /// `proxy_pass_request_headers`
    pass_request_headers: bool = true;
    /// `proxy_pass_request_body`
    pass_request_body: bool = true;
    /// `proxy_pass_trailers`
    pass_trailers: bool = false;
    /// `proxy_socket_keepalive`
    socket_keepalive: bool = false;
    /// `proxy_send_lowat`
    send_lowat: usize = 0;
    /// `proxy_headers_hash_max_size`
    headers_hash_max_size: usize = 512;
    /// `proxy_headers_hash_bucket_size`
    headers_hash_bucket_size: usize = 64;
    /// `proxy_connect_timeout`
    connect_timeout: Duration = Duration::from_mins(1);
    /// `proxy_send_timeout`
    send_timeout: Duration = Duration::from_mins(1);
    /// `proxy_read_timeout`
    read_timeout: Duration = Duration::from_mins(1);
    /// `proxy_next_upstream`
    next_upstream: u32 = Failure::ERROR.or(Failure::TIMEOUT).0;
    /// `proxy_next_upstream_tries`
    next_upstream_tries: u32 = 0;
    /// `proxy_next_upstream_timeout`
    next_upstream_timeout: Duration = Duration::ZERO;
    /// `proxy_ignore_headers`
    ignore_headers: u32 = 0;
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.merge_settings(outer);
        for (list, outer) in
            [(&mut self.hide_headers, &outer.hide_headers), (&mut self.pass_headers, &outer.pass_headers)]
        {
            if list.is_empty() {
                *list = Rc::clone(outer);
            }
        }
        if self.set_headers.is_empty() {
            self.set_headers = Rc::clone(&outer.set_headers);
        }
        self.redirect_off = self.redirect_off.or(outer.redirect_off);
        if self.redirects.is_none() {
            self.redirects.clone_from(&outer.redirects);
        }
        if self.pass.is_none() {
            // For `if` blocks; in locations it needs the handler, which isn't inherited.
            self.pass.clone_from(&outer.pass);
        }
        Ok(())
    }
}

impl LocConf {
    /// `proxy_next_upstream_tries`; 0 is no limit.
    pub(crate) fn tries_limit(&self) -> u32 {
        *self.next_upstream_tries
    }

    /// Whether a header of the response stays with us.
    pub(super) fn hides(&self, name: &[u8]) -> bool {
        let is = |list: &[Box<[u8]>]| list.iter().any(|known| known.eq_ignore_ascii_case(name));
        let by_default = HIDDEN.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        is(&self.hide_headers) || (by_default && !is(&self.pass_headers))
    }
}

/// Headers that are passed on only when `proxy_pass_header` says so.
const HIDDEN: &[&str] = &[
    "Date",
    "Server",
    "X-Pad",
    "X-Accel-Expires",
    "X-Accel-Redirect",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
];

/// Reads an address for `proxy_bind`.
pub(crate) fn local_address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    text.parse().ok().or_else(|| bare.parse().ok().map(|address| SocketAddr::new(address, 0)))
}
