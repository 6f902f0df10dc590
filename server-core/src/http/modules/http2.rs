//! `ngx_http_v2_module`: the settings of HTTP/2 and the variable that says that it is spoken. What speaks it is in
//! [`crate::http`]'s room `h2`.

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::value::{set_flag, set_number, set_size};
use crate::conf::{Arity, Contexts, Directive, Rule, rule};
use crate::http::conf::{Merge, Scope};
use crate::http::request::Request;
use crate::http::setting::Setting;
use crate::http::variables::VariableDef;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();

/// Settings of a server.
#[derive(Default)]
pub struct SrvConf {
    /// `http2`
    pub enable: Setting<bool>,
    /// `http2_max_concurrent_streams`
    pub concurrent_streams: Setting<usize>,
    /// `http2_body_preread_size`: what a client may send of a body before somebody asks for it.
    pub preread_size: Setting<usize>,
}

impl Merge for SrvConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.enable.merge(&outer.enable, || false);
        self.concurrent_streams.merge(&outer.concurrent_streams, || 128);
        self.preread_size.merge(&outer.preread_size, || 65_536);
        Ok(())
    }
}

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// `http2_chunk_size`: the most that a frame of a response's body holds.
    pub chunk_size: Setting<usize>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.chunk_size.merge(&outer.chunk_size, || 8 * 1024);
        Ok(())
    }
}

/// The largest window of a stream.
const WINDOW_MAX: usize = 0x7fff_ffff;
/// The longest frame.
const FRAME_MAX: usize = (1 << 24) - 1;
/// What a receive buffer must be larger than.
const STATE_BUFFER: usize = 16;
/// The smallest pool, and what its size must be a multiple of.
const POOL_MIN: usize = 1024;
const POOL_STEP: usize = 16;

const HTTP: Contexts = Contexts::HTTP;
const SERVERS: Contexts = Contexts::HTTP.or(Contexts::SERVER);
const ALL: Contexts = Contexts::HTTP_SERVER_LOCATION;
const ONE: Arity = Arity::Words(1, 1);

type Applied = Result<(), Diagnostic>;

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    rule("http2", SERVERS, Arity::Flag, |scope, directive| set_flag(scope.srv.http2.enable.slot(), directive)),
    rule("http2_max_concurrent_streams", SERVERS, ONE, |scope, directive| {
        set_number(scope.srv.http2.concurrent_streams.slot(), directive)
    }),
    rule("http2_body_preread_size", SERVERS, ONE, |scope, directive| {
        let slot = scope.srv.http2.preread_size.slot();
        set_size(slot, directive)?;
        if slot.is_some_and(|size| size > WINDOW_MAX) {
            return Err(invalid(directive, format!("the maximum body preread buffer size is {WINDOW_MAX}")));
        }
        Ok(())
    }),
    rule("http2_chunk_size", ALL, ONE, |scope, directive| {
        let slot = scope.loc.http2.chunk_size.slot();
        set_size(slot, directive)?;
        if *slot == Some(0) {
            return Err(invalid(directive, "the http2 chunk size cannot be zero"));
        }
        *slot = slot.map(|size| size.min(FRAME_MAX));
        Ok(())
    }),
    // Sizes of nginx's own buffers and tables, checked as it does and of no consequence here.
    rule("http2_recv_buffer_size", HTTP, ONE, |_, directive| {
        let is_valid = size(directive)? > STATE_BUFFER;
        if is_valid { Ok(()) } else { Err(invalid(directive, "value is too small")) }
    }),
    rule("http2_pool_size", SERVERS, ONE, |_, directive| {
        let size = size(directive)?;
        if size < POOL_MIN {
            return Err(invalid(directive, format!("the pool size must be no less than {POOL_MIN}")));
        }
        if !size.is_multiple_of(POOL_STEP) {
            return Err(invalid(directive, format!("the pool size must be a multiple of {POOL_STEP}")));
        }
        Ok(())
    }),
    rule("http2_streams_index_size", SERVERS, ONE, |_, directive| {
        let mut count: Option<usize> = None;
        set_number(&mut count, directive)?;
        let is_valid = count.is_some_and(usize::is_power_of_two);
        if is_valid { Ok(()) } else { Err(invalid(directive, "must be a power of two")) }
    }),
    rule("http2_max_concurrent_pushes", SERVERS, ONE, ignored),
    rule("http2_push", ALL, ONE, ignored),
    rule("http2_push_preload", ALL, Arity::Flag, ignored),
    rule("http2_max_requests", SERVERS, ONE, |s, d| replaced(s, d, "keepalive_requests")),
    rule("http2_max_field_size", SERVERS, ONE, |s, d| replaced(s, d, "large_client_header_buffers")),
    rule("http2_max_header_size", SERVERS, ONE, |s, d| replaced(s, d, "large_client_header_buffers")),
    rule("http2_recv_timeout", SERVERS, ONE, |s, d| replaced(s, d, "client_header_timeout")),
    rule("http2_idle_timeout", SERVERS, ONE, |s, d| replaced(s, d, "keepalive_timeout")),
];

fn invalid(directive: &Directive, message: impl Into<String>) -> Diagnostic {
    directive.error("invalid_value", message.into())
}

fn size(directive: &Directive) -> Result<usize, Diagnostic> {
    let mut size = None;
    set_size(&mut size, directive)?;
    Ok(size.unwrap_or(0))
}

/// A directive that nginx once had.
fn ignored(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let message = format!("the \"{}\" directive is obsolete, ignored", directive.name.lossy());
    scope.cycle.notice(Level::Warn, directive.error("obsolete_directive", message));
    Ok(())
}

/// A directive in whose place there is another one.
fn replaced(scope: &mut Scope<'_>, directive: &Directive, by: &str) -> Applied {
    let name = directive.name.lossy();
    let message = format!("the \"{name}\" directive is obsolete, use the \"{by}\" directive instead");
    scope.cycle.notice(Level::Warn, directive.error("obsolete_directive", message));
    Ok(())
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[VariableDef::new("http2", spoken)];

fn spoken(r: &Request, _: usize) -> Option<Bytes> {
    let conn = r.conn();
    let word: &'static [u8] = match conn.http2() {
        Some(_) if conn.is_tls() => b"h2",
        Some(_) => b"h2c",
        None => b"",
    };
    Some(Bytes::from_static(word))
}
