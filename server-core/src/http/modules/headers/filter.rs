//! `add_header`, `add_trailer` and `expires`: directives and filters.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::super::calendar::{self, Moment};
use super::expiry::{self, Base, Expiry};
use crate::conf::{Arity, Contexts, Directive, Rule, Word};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::header::{Header, HeaderId};
use crate::http::output::{BodyNext, Chain, HeaderNext};
use crate::http::request::Request;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    headers: Rc<Vec<Field>>,
    trailers: Rc<Vec<Field>>,
    expires: Option<Rc<Expires>>,
    headers_inherit: Option<Inherit>,
    trailers_inherit: Option<Inherit>,
}

#[derive(Clone)]
struct Field {
    name: Bytes,
    id: HeaderId,
    value: ComplexValue,
    always: bool,
}

enum Expires {
    Constant(Expiry),
    Computed(ComplexValue, Base),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inherit {
    Merge,
    Off,
    On,
}

impl LocConf {
    /// Whether there is something to add to heads.
    pub(crate) fn changes_output(&self) -> bool {
        !self.headers.is_empty() || self.expires.is_some() || self.adds_trailers()
    }

    /// Whether there is something to add behind bodies.
    pub(crate) fn adds_trailers(&self) -> bool {
        !self.trailers.is_empty()
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.headers_inherit = self.headers_inherit.or(outer.headers_inherit);
        self.trailers_inherit = self.trailers_inherit.or(outer.trailers_inherit);
        inherit(&mut self.headers, &outer.headers, self.headers_inherit);
        inherit(&mut self.trailers, &outer.trailers, self.trailers_inherit);
        if self.expires.is_none() {
            self.expires.clone_from(&outer.expires);
        }
        Ok(())
    }
}

fn inherit(own: &mut Rc<Vec<Field>>, outer: &Rc<Vec<Field>>, how: Option<Inherit>) {
    match how.unwrap_or(Inherit::On) {
        Inherit::Off => {}
        _ if own.is_empty() => *own = Rc::clone(outer),
        Inherit::Merge => Rc::make_mut(own).extend(outer.iter().cloned()),
        Inherit::On => {}
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "expires", contexts: Contexts::HTTP_SERVER_LOCATION_IF, args: Arity::Words(1, 2), apply: expires },
    Rule {
        name: "add_header",
        contexts: Contexts::HTTP_SERVER_LOCATION_IF,
        args: Arity::Words(2, 3),
        apply: |scope, directive| {
            let field = field(scope, directive)?;
            Rc::make_mut(&mut scope.loc.headers.headers).extend(field);
            Ok(())
        },
    },
    Rule {
        name: "add_trailer",
        contexts: Contexts::HTTP_SERVER_LOCATION_IF,
        args: Arity::Words(2, 3),
        apply: |scope, directive| {
            let field = field(scope, directive)?;
            Rc::make_mut(&mut scope.loc.headers.trailers).extend(field);
            Ok(())
        },
    },
    Rule {
        name: "add_header_inherit",
        contexts: Contexts::HTTP_SERVER_LOCATION_IF,
        args: Arity::Words(1, 1),
        apply: |scope, directive| inheritance(&mut scope.loc.headers.headers_inherit, directive),
    },
    Rule {
        name: "add_trailer_inherit",
        contexts: Contexts::HTTP_SERVER_LOCATION_IF,
        args: Arity::Words(1, 1),
        apply: |scope, directive| inheritance(&mut scope.loc.headers.trailers_inherit, directive),
    },
];

fn inheritance(slot: &mut Option<Inherit>, directive: &Directive) -> Result<(), Diagnostic> {
    let words = [("on", Inherit::On), ("off", Inherit::Off), ("merge", Inherit::Merge)];
    crate::conf::value::set_enum(slot, directive, &words)
}

fn field(scope: &mut Scope<'_>, directive: &Directive) -> Result<Option<Field>, Diagnostic> {
    let [name, value, rest @ ..] = &directive.args[..] else { return Ok(None) };
    let value = ComplexValue::of_word(scope, directive, value)?;
    if let Some(word) = rest.first().filter(|word| !word.is("always")) {
        let message = format!("invalid parameter \"{}\"", word.lossy());
        return Err(directive.error_at(word, "invalid_parameter", message));
    }
    let name = Bytes::copy_from_slice(&name.text);
    Ok(Some(Field { id: HeaderId::of(&name), name, value, always: !rest.is_empty() }))
}

fn expires(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.loc.headers.expires.is_some() {
        return Err(crate::conf::value::duplicate(directive));
    }
    let (base, word): (Base, &Word) = match &directive.args[..] {
        [time] => (Base::Access, time),
        [modified, time] if modified.is("modified") => (Base::Modified, time),
        _ => return Err(crate::conf::value::invalid_value(directive)),
    };
    let value = ComplexValue::of_word(scope, directive, word)?;
    let expires = match value.constant() {
        None => Expires::Computed(value, base),
        Some(text) => {
            let expiry = expiry::parse(text, base);
            Expires::Constant(expiry.map_err(|phrase| directive.complaint_at(word, "invalid_value", phrase))?)
        }
    };
    scope.loc.headers.expires = Some(Rc::new(expires));
    Ok(())
}

fn is_safe_status(status: u16) -> bool {
    matches!(status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308)
}

/// Adds headers and says when the response expires.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().headers;
    if r.is_main() && (!conf.headers.is_empty() || !conf.trailers.is_empty() || conf.expires.is_some()) {
        let safe = is_safe_status(r.headers_out.status.get());
        if safe && let Some(expires) = &conf.expires {
            let expiry = match &**expires {
                Expires::Constant(expiry) => Some(*expiry),
                Expires::Computed(value, base) => expiry::parse(&value.eval(r), *base).ok(),
            };
            if let Some(expiry) = expiry {
                set_expires(r, expiry);
            }
        }
        for field in conf.headers.iter().filter(|field| safe || field.always) {
            add(r, field);
        }
        if conf.trailers.iter().any(|field| safe || field.always) {
            r.expect_trailers.set(true);
        }
    }
    next.run(r)
}

/// Adds the trailers when the body ends.
pub(crate) fn trailers_filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    let conf = &r.loc().headers;
    if !conf.trailers.is_empty() && r.expect_trailers.get() && !r.header_only.get() && chain.iter().any(|buf| buf.last)
    {
        let safe = is_safe_status(r.headers_out.status.get());
        for field in conf.trailers.iter().filter(|field| safe || field.always) {
            let value = field.value.eval(r);
            if !value.is_empty() {
                r.headers_out.trailers.borrow_mut().push(Header { id: field.id, name: field.name.clone(), value });
            }
        }
    }
    next.run(r, chain)
}

fn add(r: &Rc<Request>, field: &Field) {
    let value = field.value.eval(r);
    let out = &r.headers_out;
    match field.id {
        HeaderId::LastModified => {
            out.clear_last_modified();
            if value.is_empty() {
                return;
            }
            out.last_modified.set(calendar::parse_http_date(&value).unwrap_or(-1));
            out.add(field.name.clone(), value);
        }
        HeaderId::Etag => {
            out.clear_etag();
            if !value.is_empty() {
                out.add(field.name.clone(), value);
            }
        }
        _ if value.is_empty() => {}
        id => out.list.borrow_mut().push(Header { id, name: field.name.clone(), value }),
    }
}

fn set_expires(r: &Rc<Request>, expiry: Expiry) {
    let now = crate::clock::now().sec;
    let modified = r.headers_out.last_modified.get();
    let (expires, max_age): (i64, Option<i64>) = match expiry {
        Expiry::Off => return,
        Expiry::Epoch => (1, None),
        Expiry::Max => (2_145_916_555, Some(315_360_000)),
        Expiry::Access(0) | Expiry::Modified(0) => (now, Some(0)),
        Expiry::Modified(seconds) if modified != -1 => {
            let at = modified + seconds;
            (at, (seconds >= 0).then_some(at - now))
        }
        Expiry::Access(seconds) | Expiry::Modified(seconds) => (now + seconds, Some(seconds)),
        Expiry::Daily(second_of_day) => {
            let at = next_time_of_day(now, second_of_day);
            (at, Some(at - now))
        }
    };
    let date = Moment::new(expires, 0).strftime("%a, %d %b %Y %H:%M:%S GMT", "GMT");
    let cache_control = match max_age {
        Some(age) if age >= 0 => format!("max-age={age}"),
        _ => "no-cache".to_owned(),
    };
    r.headers_out.set("Expires", date);
    r.headers_out.set("Cache-Control", cache_control);
}

/// The next moment at which local clocks show `second_of_day`.
fn next_time_of_day(now: i64, second_of_day: i64) -> i64 {
    let offset = crate::process::local_time(now).offset_minutes;
    let offset = i64::from(offset) * 60;
    let midnight = (now + offset).div_euclid(86_400) * 86_400 - offset;
    let at = midnight + second_of_day;
    if at > now { at } else { at + 86_400 }
}
