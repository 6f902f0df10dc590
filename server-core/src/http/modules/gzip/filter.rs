//! The directives and the filters.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::rc::Rc;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use rsty_diag::Diagnostic;

use super::super::calendar::parse_http_date;
use super::super::content::{MediaTypes, for_each_piece};
use super::accept::accepts_gzip;
use crate::conf::value::{set_bits, set_enum, set_flag, set_number, set_size};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::conf::{Merge, Scope};
use crate::http::header::{Header, HeaderId};
use crate::http::method::Version;
use crate::http::output::{BodyNext, Buf, Chain, HeaderNext};
use crate::http::regex::{Case, Regex};
use crate::http::request::Request;
use crate::http::variables::VariableDef;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    on: Option<bool>,
    vary: Option<bool>,
    level: Option<u32>,
    min_length: Option<usize>,
    types: MediaTypes,
    http_version: Option<Version>,
    proxied: Option<u32>,
    disable: Option<Rc<Disable>>,
}

#[derive(Default)]
struct Disable {
    msie6: bool,
    agents: Vec<Regex>,
}

const PROXIED_OFF: u32 = 1 << 1;
const PROXIED_EXPIRED: u32 = 1 << 2;
const PROXIED_NO_CACHE: u32 = 1 << 3;
const PROXIED_NO_STORE: u32 = 1 << 4;
const PROXIED_PRIVATE: u32 = 1 << 5;
const PROXIED_NO_LAST_MODIFIED: u32 = 1 << 6;
const PROXIED_NO_ETAG: u32 = 1 << 7;
const PROXIED_AUTH: u32 = 1 << 8;
const PROXIED_ANY: u32 = 1 << 9;

impl LocConf {
    /// `gzip on`
    pub(crate) fn is_on(&self) -> bool {
        self.on.unwrap_or(false)
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.on = self.on.or(outer.on);
        self.vary = self.vary.or(outer.vary);
        self.level = self.level.or(outer.level);
        self.min_length = self.min_length.or(outer.min_length);
        self.types.merge(&outer.types);
        self.http_version = self.http_version.or(outer.http_version);
        self.proxied = self.proxied.or(outer.proxied);
        if self.disable.is_none() {
            self.disable.clone_from(&outer.disable);
        }
        Ok(())
    }
}

macro_rules! rule {
    ($name:literal, $contexts:expr, $args:expr, $apply:expr) => {
        Rule { name: $name, contexts: $contexts, args: $args, apply: $apply }
    };
}

const USUAL: Contexts = Contexts::HTTP_SERVER_LOCATION;
const ONE: Arity = Arity::Words(1, 1);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    rule!("gzip", Contexts::HTTP_SERVER_LOCATION_IF, Arity::Flag, |scope, directive| {
        set_flag(&mut scope.loc.gzip.on, directive)
    }),
    rule!("gzip_vary", USUAL, Arity::Flag, |scope, directive| set_flag(&mut scope.loc.gzip.vary, directive)),
    rule!("gzip_comp_level", USUAL, ONE, |scope, directive| {
        set_number(&mut scope.loc.gzip.level, directive)?;
        if scope.loc.gzip.level.is_some_and(|level| !(1..=9).contains(&level)) {
            return Err(directive.complaint("invalid_value", "value must be between 1 and 9"));
        }
        Ok(())
    }),
    rule!("gzip_min_length", USUAL, ONE, |scope, directive| set_size(&mut scope.loc.gzip.min_length, directive)),
    rule!("gzip_types", USUAL, Arity::Words(1, Arity::MANY), |scope, directive| {
        scope.loc.gzip.types.add(directive, &["text/html"])
    }),
    rule!("gzip_http_version", USUAL, ONE, |scope, directive| {
        let words = [("1.0", Version::HTTP_10), ("1.1", Version::HTTP_11)];
        set_enum(&mut scope.loc.gzip.http_version, directive, &words)
    }),
    rule!("gzip_proxied", USUAL, Arity::Words(1, Arity::MANY), |scope, directive| {
        let words = [
            ("off", PROXIED_OFF),
            ("expired", PROXIED_EXPIRED),
            ("no-cache", PROXIED_NO_CACHE),
            ("no-store", PROXIED_NO_STORE),
            ("private", PROXIED_PRIVATE),
            ("no_last_modified", PROXIED_NO_LAST_MODIFIED),
            ("no_etag", PROXIED_NO_ETAG),
            ("auth", PROXIED_AUTH),
            ("any", PROXIED_ANY),
        ];
        set_bits(&mut scope.loc.gzip.proxied, directive, &words).map(drop)
    }),
    rule!("gzip_disable", USUAL, Arity::Words(1, Arity::MANY), disable),
    // The compressor allocates what it needs.
    rule!("gzip_buffers", USUAL, Arity::Words(2, 2), |_, _| Ok(())),
    rule!("gzip_window", USUAL, ONE, |_, _| Ok(())),
    rule!("gzip_hash", USUAL, ONE, |_, _| Ok(())),
    rule!("postpone_gzipping", USUAL, ONE, |_, _| Ok(())),
    rule!("gzip_no_buffer", USUAL, Arity::Flag, |_, _| Ok(())),
];

fn disable(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let mut disable = Disable::default();
    for word in &directive.args {
        match &*word.text {
            b"msie6" => disable.msie6 = true,
            b"degradation" => {}
            pattern => disable.agents.push(Regex::of_word(scope, directive, word, pattern, Case::Insensitive)?),
        }
    }
    scope.loc.gzip.disable = Some(Rc::new(disable));
    Ok(())
}

/// Whether a response to this request may be compressed (`ngx_http_gzip_ok`).
pub(crate) fn client_accepts(r: &Request) -> bool {
    let conf = &r.loc().gzip;
    let Some(accepted) = r.headers_in.value(HeaderId::AcceptEncoding) else { return false };
    if !r.is_main() || !accepts_gzip(&accepted) || r.http_version.get() < conf.http_version.unwrap_or(Version::HTTP_11)
    {
        return false;
    }
    if let Some(disable) = &conf.disable {
        let agent = r.headers_in.value(HeaderId::UserAgent).unwrap_or_default();
        let disabled = |regex: &Regex| regex.is_match(&agent).unwrap_or(false);
        if disable.msie6 && r.headers_in.msie6.get() || disable.agents.iter().any(disabled) {
            return false;
        }
    }
    !r.headers_in.contains(HeaderId::Via) || proxied_allows(r, conf.proxied.unwrap_or(PROXIED_OFF))
}

/// Caches have been told that the response has several forms.
struct Announced;

/// Tells caches that there is another form of the response, when `gzip_vary` is on.
pub(crate) fn announce_variants(r: &Request) {
    if varies(r) && r.ctx::<Announced>().is_none() {
        r.set_ctx(Rc::new(Announced));
        r.headers_out.list.borrow_mut().insert(0, Header::new("Vary", "Accept-Encoding"));
    }
}

/// Whether `gzip_vary` is on.
pub(crate) fn varies(r: &Request) -> bool {
    r.loc().gzip.vary.unwrap_or(false)
}

fn proxied_allows(r: &Request, proxied: u32) -> bool {
    let has = |bit| proxied & bit != 0;
    if has(PROXIED_OFF) {
        return false;
    }
    if has(PROXIED_ANY) || has(PROXIED_AUTH) && r.headers_in.contains(HeaderId::Authorization) {
        return true;
    }
    let out = &r.headers_out;
    if let Some(expires) = out.value(HeaderId::Expires) {
        let now = crate::clock::now().sec;
        return has(PROXIED_EXPIRED) && parse_http_date(&expires).is_none_or(|expires| expires < now);
    }
    if let Some(control) = out.value(HeaderId::CacheControl) {
        let says = |word: &[u8]| memchr::memmem::find(&control.to_ascii_lowercase(), word).is_some();
        return has(PROXIED_NO_CACHE) && says(b"no-cache")
            || has(PROXIED_NO_STORE) && says(b"no-store")
            || has(PROXIED_PRIVATE) && says(b"private");
    }
    let modified = out.last_modified.get() != -1 || out.value(HeaderId::LastModified).is_some();
    if has(PROXIED_NO_LAST_MODIFIED) && modified || has(PROXIED_NO_ETAG) && out.value(HeaderId::Etag).is_some() {
        return false;
    }
    has(PROXIED_NO_LAST_MODIFIED) || has(PROXIED_NO_ETAG)
}

/// The compressor of a response.
struct State {
    encoder: RefCell<Option<GzEncoder<Vec<u8>>>>,
    taken: Cell<u64>,
    given: Cell<u64>,
}

/// Decides whether the response is compressed.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().gzip;
    let out = &r.headers_out;
    let length = out.content_length.get();
    if !conf.is_on()
        || !matches!(out.status.get(), 200 | 403 | 404)
        || out.value(HeaderId::ContentEncoding).is_some_and(|encoding| !encoding.is_empty())
        || length != -1 && length < conf.min_length.unwrap_or(20) as i64
        || !conf.types.accept(r, &["text/html"])
        || r.header_only.get()
    {
        return next.run(r);
    }
    announce_variants(r);
    if !client_accepts(r) {
        return next.run(r);
    }
    let level = Compression::new(conf.level.unwrap_or(1));
    // 3 is Unix.
    let encoder = GzBuilder::new().operating_system(3).write(Vec::new(), level);
    r.set_ctx(Rc::new(State { encoder: RefCell::new(Some(encoder)), taken: Cell::new(0), given: Cell::new(0) }));
    out.add("Content-Encoding", "gzip");
    r.filter_need_in_memory.set(true);
    out.clear_content_length();
    out.clear_accept_ranges();
    out.weaken_etag();
    next.run(r)
}

/// Compresses.
pub(crate) fn body_filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    if chain.is_empty() {
        return next.run(r, chain);
    }
    let Some(state) = r.ctx::<State>() else { return next.run(r, chain) };
    match compress(&state, chain) {
        Ok(chain) => next.run(r, chain),
        Err(error) => {
            r.log(Level::Alert, format_args!("deflate() failed: {error}"));
            Code::ERROR
        }
    }
}

fn compress(state: &State, chain: Chain) -> std::io::Result<Chain> {
    let mut slot = state.encoder.borrow_mut();
    let Some(encoder) = slot.as_mut() else { return Ok(chain) };
    let mut out = Chain::new();
    let mut ended = false;
    for buf in chain {
        state.taken.set(state.taken.get() + buf.len());
        for_each_piece(&buf, |piece| encoder.write_all(piece))?;
        if buf.flush {
            encoder.flush()?;
            let packed = std::mem::take(encoder.get_mut());
            state.given.set(state.given.get() + packed.len() as u64);
            out.push(Buf::bytes(packed));
            out.push(Buf::flush());
        }
        // Where a subrequest's part ends, the response goes on.
        ended |= buf.last;
    }
    let packed =
        if ended { slot.take().map_or(Ok(Vec::new()), GzEncoder::finish)? } else { std::mem::take(encoder.get_mut()) };
    state.given.set(state.given.get() + packed.len() as u64);
    if !packed.is_empty() || ended {
        out.push(Buf { last: ended, last_in_chain: ended, ..Buf::bytes(packed) });
    }
    Ok(out)
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[VariableDef::new("gzip_ratio", |r, _| {
    let state = r.ctx::<State>()?;
    let (taken, given) = (state.taken.get(), state.given.get());
    if given == 0 {
        return None;
    }
    let hundredths = (taken * 1000 / given + 5) / 10;
    Some(format!("{}.{:02}", hundredths / 100, hundredths % 100).into())
})];
