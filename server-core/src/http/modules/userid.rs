//! `ngx_http_userid_module`: a cookie by which clients are known again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::value::{Resolution, duplicate, invalid_value, number, set_bits, set_enum, set_string, time};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::conf::{Merge, Scope};
use crate::http::connection::Address;
use crate::http::date;
use crate::http::output::HeaderNext;
use crate::http::request::Request;
use crate::http::variables::{Flags, Source, VariableDef};
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    mode: Option<Mode>,
    name: Option<Box<[u8]>>,
    domain: Option<Box<[u8]>>,
    path: Option<Box<[u8]>>,
    p3p: Option<Box<[u8]>>,
    expires: Option<Expires>,
    service: Option<u32>,
    /// A NUL is no mark.
    mark: Option<u8>,
    flags: Option<u32>,
}

/// What is done with the cookie. Both versions set one; they differ in the order of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Log,
    Off,
    Version1,
    Version2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expires {
    After(Duration),
    Max,
    WithSession,
}

const OFF: u32 = 1;
const SECURE: u32 = 1 << 1;
const HTTPONLY: u32 = 1 << 2;
const SAMESITE_STRICT: u32 = 1 << 3;
const SAMESITE_LAX: u32 = 1 << 4;
const SAMESITE_NONE: u32 = 1 << 5;

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        let texts = [
            (&mut self.name, &outer.name),
            (&mut self.domain, &outer.domain),
            (&mut self.path, &outer.path),
            (&mut self.p3p, &outer.p3p),
        ];
        for (own, outer) in texts {
            if own.is_none() {
                own.clone_from(outer);
            }
        }
        self.mode = self.mode.or(outer.mode);
        self.expires = self.expires.or(outer.expires);
        self.service = self.service.or(outer.service);
        self.mark = self.mark.or(outer.mark);
        self.flags = self.flags.or(outer.flags);
        Ok(())
    }
}

impl LocConf {
    fn mode(&self) -> Mode {
        self.mode.unwrap_or(Mode::Off)
    }

    fn name(&self) -> &[u8] {
        self.name.as_deref().unwrap_or(b"uid")
    }

    fn mark(&self) -> Option<u8> {
        self.mark.filter(|&mark| mark != 0)
    }

    pub(crate) fn sets(&self) -> bool {
        matches!(self.mode(), Mode::Version1 | Mode::Version2)
    }
}

macro_rules! rule {
    ($name:literal, $args:expr, $apply:expr) => {
        Rule { name: $name, contexts: Contexts::HTTP_SERVER_LOCATION, args: $args, apply: $apply }
    };
}

const ONE: Arity = Arity::Words(1, 1);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    rule!("userid", ONE, |scope, directive| {
        let words = [("off", Mode::Off), ("log", Mode::Log), ("v1", Mode::Version1), ("on", Mode::Version2)];
        set_enum(&mut scope.loc.userid.mode, directive, &words)
    }),
    rule!("userid_service", ONE, |scope, directive| {
        let parsed = directive.arg(0).and_then(|word| u32::try_from(number(&word.text)?).ok());
        scope.loc.userid.service = Some(parsed.ok_or_else(|| invalid_value(directive))?);
        Ok(())
    }),
    rule!("userid_name", ONE, |scope, directive| set_string(&mut scope.loc.userid.name, directive)),
    rule!("userid_domain", ONE, |scope, directive| set_text(&mut scope.loc.userid.domain, directive)),
    rule!("userid_path", ONE, |scope, directive| set_string(&mut scope.loc.userid.path, directive)),
    rule!("userid_p3p", ONE, |scope, directive| set_text(&mut scope.loc.userid.p3p, directive)),
    rule!("userid_expires", ONE, expires),
    rule!("userid_mark", ONE, mark),
    rule!("userid_flags", Arity::Words(1, 3), |scope, directive| {
        let words = [
            ("off", OFF),
            ("secure", SECURE),
            ("httponly", HTTPONLY),
            ("samesite=strict", SAMESITE_STRICT),
            ("samesite=lax", SAMESITE_LAX),
            ("samesite=none", SAMESITE_NONE),
        ];
        set_bits(&mut scope.loc.userid.flags, directive, &words).map(drop)
    }),
];

/// A text, of which `none` means none.
fn set_text(slot: &mut Option<Box<[u8]>>, directive: &Directive) -> Result<(), Diagnostic> {
    set_string(slot, directive)?;
    if slot.as_deref() == Some(b"none") {
        *slot = Some(Box::default());
    }
    Ok(())
}

fn expires(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let expires = match &*word.text {
        b"max" => Expires::Max,
        b"off" => Expires::WithSession,
        text => Expires::After(time(text, Resolution::Seconds).ok_or_else(|| invalid_value(directive))?),
    };
    if scope.loc.userid.expires.replace(expires).is_some() { Err(duplicate(directive)) } else { Ok(()) }
}

fn mark(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let mark = match &*word.text {
        b"off" => 0,
        [mark] if mark.is_ascii_alphanumeric() || *mark == b'=' => *mark,
        _ => {
            let message = "value must be \"off\" or a single letter, digit or \"=\"";
            return Err(directive.error_at(word, "invalid_value", message));
        }
    };
    if scope.loc.userid.mark.replace(mark).is_some() { Err(duplicate(directive)) } else { Ok(()) }
}

/// What a client's cookie said, and what it is told.
#[derive(Default)]
struct State {
    cookie: RefCell<Bytes>,
    got: Cell<Option<[u32; 4]>>,
    given: Cell<Option<[u32; 4]>>,
    reset: Cell<bool>,
}

/// The state of the client's request; reads the cookie at the first call.
fn state(r: &Request) -> Rc<State> {
    if let Some(state) = r.ctx::<State>() {
        return state;
    }
    let state = Rc::new(State::default());
    r.set_ctx(Rc::clone(&state));
    let name = [b"cookie_", r.loc().userid.name()].concat();
    let Some(cookie) = r.variable_named(&name.to_ascii_lowercase()) else { return state };
    // Behind the 22 characters of the identity may be a mark, or whatever stood there when it was given.
    match cookie.get(..22) {
        None => r.log_bytes(Level::Error, &[b"client sent too short userid cookie \"", &cookie, b"\""]),
        Some(identity) => match STANDARD_NO_PAD.decode(identity).ok().and_then(|bytes| words(&bytes)) {
            None => r.log_bytes(Level::Error, &[b"client sent invalid userid cookie \"", &cookie, b"\""]),
            Some(words) => state.got.set(Some(words).filter(|words| words[3] != 0)),
        },
    }
    *state.cookie.borrow_mut() = cookie;
    state
}

/// Sixteen bytes as four numbers, in the machine's order: they are opaque.
fn words(bytes: &[u8]) -> Option<[u32; 4]> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes(chunk.try_into().ok()?);
    }
    Some(words)
}

thread_local! {
    /// Counts identities of this process; the low byte tells the versions apart.
    static SEQUENCE: Cell<u32> = const { Cell::new(0x0303_0302) };
    static START: Cell<u32> = const { Cell::new(0) };
}

/// Decides about the identity: nothing to tell, the old one with another mark, or a new one.
fn decide(r: &Request, state: &State) {
    let conf = &r.loc().userid;
    if state.given.get().is_some() {
        return;
    }
    if let Some(got) = state.got.get() {
        let reset = r.variable_named(b"uid_reset").unwrap_or_default();
        if reset.is_empty() || reset == "0" {
            let cookie = state.cookie.borrow();
            let marked = |mark| cookie.get(22) == Some(&mark) && cookie.get(23) == Some(&b'=');
            if conf.mark().is_some_and(|mark| !marked(mark)) {
                state.given.set(Some(got));
            }
            return;
        }
        state.reset.set(true);
        if reset == "log" {
            let (name, id) = (conf.name().escape_ascii(), hexadecimal(got));
            r.log(Level::Notice, format_args!("userid cookie \"{name}={id}\" was reset"));
        }
    }
    if START.get() == 0 {
        let microseconds = crate::clock::now().epoch_msec().unsigned_abs() as u32;
        START.set((microseconds << 16 | crate::process::pid()).max(1));
    }
    let sequence = SEQUENCE.get();
    SEQUENCE.set(if sequence.wrapping_add(0x100) < 0x0303_0302 { 0x0303_0302 } else { sequence + 0x100 });
    let now = crate::clock::now().sec as u32;
    let old = conf.mode() == Mode::Version1;
    let place = conf.service.unwrap_or_else(|| if old { 0 } else { place(r) });
    let order = |word: u32| if old { word } else { word.to_be() };
    let last = if old { (sequence & !0xff) | 1 } else { sequence };
    state.given.set(Some([order(place), order(now), order(START.get()), order(last)]));
}

/// The server's address as a number.
fn place(r: &Request) -> u32 {
    match r.conn().local() {
        Address::Unix(_) => 0,
        Address::Ip(address) => match address.ip() {
            std::net::IpAddr::V4(ip) => u32::from(ip),
            std::net::IpAddr::V6(ip) => u128::from(ip) as u32,
        },
    }
}

/// Gives the client its cookie.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().userid;
    if !conf.sets() || !r.is_main() {
        return next.run(r);
    }
    let state = state(r);
    decide(r, &state);
    if let Some(given) = state.given.get() {
        r.headers_out.add("Set-Cookie", cookie(conf, &state, given));
        if let Some(p3p) = conf.p3p.as_ref().filter(|p3p| !p3p.is_empty()) {
            r.headers_out.add("P3P", Bytes::copy_from_slice(p3p));
        }
    }
    next.run(r)
}

fn cookie(conf: &LocConf, state: &State, given: [u32; 4]) -> Vec<u8> {
    let mark = conf.mark();
    let mut cookie = [conf.name(), b"="].concat();
    if state.got.get().is_none() || state.reset.get() {
        let bytes: Vec<u8> = given.iter().flat_map(|word| word.to_ne_bytes()).collect();
        cookie.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        if let (Some(mark), Some(at)) = (mark, cookie.len().checked_sub(2)) {
            cookie[at] = mark;
        }
    } else {
        cookie.extend_from_slice(state.cookie.borrow().get(..22).unwrap_or_default());
        cookie.extend([mark.unwrap_or(b'='), b'=']);
    }
    match conf.expires {
        None | Some(Expires::WithSession) => {}
        Some(Expires::Max) => cookie.extend_from_slice(b"; expires=Thu, 31-Dec-37 23:55:55 GMT"),
        Some(Expires::After(time)) => {
            cookie.extend_from_slice(b"; expires=");
            let end = crate::clock::now().sec.saturating_add_unsigned(time.as_secs());
            cookie.extend_from_slice(date::cookie_time(end).as_bytes());
        }
    }
    if let Some(domain) = conf.domain.as_ref().filter(|domain| !domain.is_empty()) {
        cookie.extend_from_slice(b"; domain=");
        cookie.extend_from_slice(domain);
    }
    cookie.extend_from_slice(b"; path=");
    cookie.extend_from_slice(conf.path.as_deref().unwrap_or(b"/"));
    let flags = conf.flags.unwrap_or(OFF);
    let words = [
        (SECURE, "; secure"),
        (HTTPONLY, "; httponly"),
        (SAMESITE_STRICT, "; samesite=strict"),
        (SAMESITE_LAX, "; samesite=lax"),
        (SAMESITE_NONE, "; samesite=none"),
    ];
    for (bit, word) in words {
        if flags & bit != 0 {
            cookie.extend_from_slice(word.as_bytes());
        }
    }
    cookie
}

fn hexadecimal(words: [u32; 4]) -> String {
    let [a, b, c, d] = words;
    format!("{a:08X}{b:08X}{c:08X}{d:08X}")
}

/// `name=` and the identity in hexadecimal.
fn told(r: &Request, words: [u32; 4]) -> Bytes {
    [r.loc().userid.name(), b"=", hexadecimal(words).as_bytes()].concat().into()
}

fn got(r: &Request, _: usize) -> Option<Bytes> {
    let r = r.main_ref();
    if r.loc().userid.mode() == Mode::Off {
        return None;
    }
    state(r).got.get().map(|words| told(r, words))
}

fn given(r: &Request, _: usize) -> Option<Bytes> {
    let r = r.main_ref();
    if !r.loc().userid.sets() {
        return None;
    }
    let state = state(r);
    decide(r, &state);
    state.given.get().map(|words| told(r, words))
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    VariableDef::new("uid_got", got),
    VariableDef::volatile("uid_set", given),
    VariableDef { name: "uid_reset", source: Source::Assigned, set: None, flags: Flags::CHANGEABLE },
];
