//! `ngx_http_slice_module`: a large response fetched, and kept, in parts of the same size.
//!
//! The main request asks for the part in which what the client wants begins (`$slice_range`). When that part has been
//! passed on, a copy of the request asks for the next one. The range filter cuts what the client asked for out of all
//! of them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::value::set_size;
use crate::conf::{Arity, Contexts, Rule};
use crate::http::code::Code;
use crate::http::conf::Merge;
use crate::http::header::HeaderId;
use crate::http::output::{self, BodyNext, Chain, HeaderNext};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::setting::Setting;
use crate::http::subrequest::{self, Options};
use crate::http::variables::VariableDef;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// `slice`: bytes of a part; 0 is off.
    size: Setting<usize>,
}

impl LocConf {
    /// Whether responses may be fetched in parts.
    pub(crate) fn is_on(&self) -> bool {
        *self.size > 0
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.size.merge(&outer.size, || 0);
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[Rule {
    name: "slice",
    contexts: Contexts::HTTP_SERVER_LOCATION,
    args: Arity::Words(1, 1),
    apply: |scope, directive| set_size(scope.loc.slice.size.slot(), directive),
}];

/// What a request and its copies know of the parts.
struct State {
    /// Where the part begins that is fetched now, or next.
    start: Cell<u64>,
    /// Where what the client wants ends.
    end: Cell<u64>,
    /// The value of `$slice_range`.
    range: RefCell<Bytes>,
    etag: RefCell<Option<Bytes>>,
    /// All of the main request's own part has been written.
    last: Cell<bool>,
    /// The head of the current part was as expected.
    active: Cell<bool>,
    /// There is nothing more to do.
    ended: Cell<bool>,
    /// The copy of the request that fetches a part; it holds on to this state, so this does not to it.
    copy: RefCell<Weak<Request>>,
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[VariableDef::volatile("slice_range", |r, _| slice_range(r))];

fn slice_range(r: &Request) -> Option<Bytes> {
    if let Some(state) = r.ctx::<State>() {
        return Some(state.range.borrow().clone());
    }
    let size = *r.loc().slice.size as u64;
    if !r.is_main() || r.headers_out.status.get() != 0 || size == 0 {
        return None;
    }
    let start = wanted_start(r) / size * size;
    let range = range_text(start, size);
    r.set_ctx(Rc::new(State {
        start: Cell::new(start),
        end: Cell::new(0),
        range: RefCell::new(range.clone()),
        etag: RefCell::default(),
        last: Cell::new(false),
        active: Cell::new(false),
        ended: Cell::new(false),
        copy: RefCell::default(),
    }));
    Some(range)
}

fn range_text(start: u64, size: u64) -> Bytes {
    format!("bytes={start}-{}", start.saturating_add(size - 1)).into()
}

/// Where the range begins that the client asks for; several ranges, and those counted from the end, need everything.
fn wanted_start(r: &Request) -> u64 {
    if r.headers_in.contains(HeaderId::IfRange) {
        return 0;
    }
    r.headers_in.value(HeaderId::Range).map_or(0, |range| range_start(&range))
}

fn range_start(range: &[u8]) -> u64 {
    let Some((unit, rest)) = range.split_at_checked(6).filter(|(_, rest)| !rest.contains(&b',')) else { return 0 };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return 0;
    }
    take_number(&mut &rest[..]).unwrap_or(0)
}

/// What `Content-Range` says.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    start: u64,
    end: u64,
    /// The length of the whole, when it is known.
    whole: Option<u64>,
}

impl ContentRange {
    fn parse(value: &[u8]) -> Option<Self> {
        let mut rest = value.strip_prefix(b"bytes ")?;
        let start = take_number(&mut rest)?;
        take_byte(&mut rest, b'-')?;
        let end = take_number(&mut rest)?.checked_add(1)?;
        take_byte(&mut rest, b'/')?;
        let whole = if take_byte(&mut rest, b'*').is_some() { None } else { Some(take_number(&mut rest)?) };
        skip_spaces(rest).is_empty().then_some(Self { start, end, whole })
    }
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| **byte == b' ').count()..]
}

fn take_byte(text: &mut &[u8], byte: u8) -> Option<()> {
    *text = skip_spaces(text).strip_prefix(&[byte])?;
    Some(())
}

/// Takes a number, below 2^63, from the front.
fn take_number(text: &mut &[u8]) -> Option<u64> {
    let rest = skip_spaces(text);
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = crate::conf::value::number(&rest[..digits]).filter(|_| digits > 0)?;
    *text = &rest[digits..];
    u64::try_from(number).ok()
}

/// Makes the head of a part the head of the whole.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let Some(state) = r.ctx::<State>().filter(|state| !state.ended.get()) else { return next.run(r) };
    let out = &r.headers_out;
    let status = out.status.get();
    if status != 206 {
        if r.is_main() {
            state.ended.set(true);
            return next.run(r);
        }
        r.log(Level::Error, format_args!("unexpected status code {status} in slice response"));
        return Code::ERROR;
    }
    let etag = out.value(HeaderId::Etag);
    if state.etag.borrow().is_some() && *state.etag.borrow() != etag {
        r.log(Level::Error, format_args!("etag mismatch in slice response"));
        return Code::ERROR;
    }
    if etag.is_some() {
        state.etag.replace(etag);
    }
    let range = out.value(HeaderId::ContentRange).and_then(|value| ContentRange::parse(&value));
    let Some(range) = range else {
        r.log(Level::Error, format_args!("invalid range in slice response"));
        return Code::ERROR;
    };
    let Some(whole) = range.whole else {
        r.log(Level::Error, format_args!("no complete length in slice response"));
        return Code::ERROR;
    };
    debug!(r, "http slice response range: {}-{}/{whole}", range.start, range.end);
    let size = *r.loc().slice.size as u64;
    let (start, end) = (state.start.get(), range.start.saturating_add(size).min(whole));
    if range.start != start || range.end != end {
        let (from, to) = (range.start, range.end);
        let message = format_args!("unexpected range in slice response: {from}-{to}, expected: {start}-{end}");
        r.log(Level::Error, message);
        return Code::ERROR;
    }
    state.start.set(end);
    state.active.set(true);
    out.status.set(200);
    out.status_line.clear();
    out.list.borrow_mut().remove_known(HeaderId::ContentRange);
    out.clear_content_length();
    out.content_length.set(i64::try_from(whole).unwrap_or(i64::MAX));
    out.content_offset.set(i64::try_from(range.start).unwrap_or(i64::MAX));
    out.clear_accept_ranges();
    r.allow_ranges.set(true);
    r.subrequest_ranges.set(true);
    r.single_range.set(true);
    let code = next.run(r);
    if !r.is_main() {
        return code;
    }
    state.end.set(whole);
    if out.status.get() == 206 {
        // The range filter has found a part of the whole that the client asked for.
        let from = out.content_offset.get().unsigned_abs();
        if state.start.get().saturating_add(size) <= from {
            state.start.set(from / size * size);
        }
        state.end.set(from + out.content_length.get().unsigned_abs());
    }
    code
}

/// Asks for the next part when the one before has been passed on.
pub(crate) fn body_filter(r: &Rc<Request>, mut chain: Chain, next: BodyNext) -> Code {
    let state = r.ctx::<State>().filter(|state| r.is_main() && !state.ended.get());
    let Some(state) = state else { return next.run(r, chain) };
    for buf in chain.iter_mut().filter(|buf| buf.last) {
        buf.last = false;
        buf.last_in_chain = true;
        buf.sync = true;
        state.last.set(true);
    }
    let code = next.run(r, chain);
    if code == Code::ERROR || !state.last.get() {
        return code;
    }
    if state.copy.borrow().upgrade().is_some_and(|copy| !copy.done.get()) {
        return code;
    }
    if !state.active.get() {
        r.log(Level::Error, format_args!("missing slice response"));
        return Code::ERROR;
    }
    if state.start.get() >= state.end.get() {
        state.ended.set(true);
        r.held_back.set(false);
        return if output::write_last(r) == Code::ERROR { Code::ERROR } else { code };
    }
    match ask(r, &state) {
        Ok(()) => code,
        Err(_) => Code::ERROR,
    }
}

fn ask(r: &Rc<Request>, state: &Rc<State>) -> Result<(), subrequest::SubrequestError> {
    let options = Options { clone: true, ..Options::default() };
    // Parts follow one another; they are not nested.
    r.subrequests.set(r.subrequests.get().max(2));
    let copy = subrequest::create(r, r.uri.get(), Some(r.args.get()), options)?;
    let range = range_text(state.start.get(), *r.loc().slice.size as u64);
    debug!(r, "http slice subrequest: \"{}\"", range.escape_ascii());
    state.range.replace(range);
    state.active.set(false);
    copy.set_ctx(Rc::clone(state));
    state.copy.replace(Rc::downgrade(&copy));
    // Whoever ends the copy comes back here.
    r.held_back.set(true);
    subrequest::start(&copy, None);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_name_start_end_and_whole() {
        let range = |start, end, whole| Some(ContentRange { start, end, whole });
        assert_eq!(ContentRange::parse(b"bytes 0-9/100"), range(0, 10, Some(100)));
        assert_eq!(ContentRange::parse(b"bytes  5 - 9 / * "), range(5, 10, None));
        for wrong in ["bytes 0-9", "0-9/100", "bytes -9/100", "bytes 0-9/100x", "bytes 0-99999999999999999999/1"] {
            assert_eq!(ContentRange::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn one_range_from_the_front_tells_the_first_part() {
        for (range, start) in
            [("bytes=7-9", 7), ("BYTES= 8-", 8), ("bytes=-5", 0), ("bytes=3-4,6-7", 0), ("lines=3-", 0), ("b", 0)]
        {
            assert_eq!(range_start(range.as_bytes()), start, "{range}");
        }
    }
}
