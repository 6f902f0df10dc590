//! `ngx_http_addition_filter_module`: the responses of other locations before and after a body.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::content::MediaTypes;
use crate::conf::value::duplicate;
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::conf::Merge;
use crate::http::output::{BodyNext, Buf, Chain, HeaderNext, chain as single};
use crate::http::request::Request;
use crate::http::subrequest::{self, Options};

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    before: Option<Bytes>,
    after: Option<Bytes>,
    types: MediaTypes,
}

impl LocConf {
    /// Whether there is something around bodies.
    pub(crate) fn is_on(&self) -> bool {
        self.before.is_some() || self.after.is_some()
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.before.is_none() {
            self.before.clone_from(&outer.before);
        }
        if self.after.is_none() {
            self.after.clone_from(&outer.after);
        }
        self.types.merge(&outer.types);
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "add_before_body",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 1),
        apply: |scope, directive| set(&mut scope.loc.addition.before, directive),
    },
    Rule {
        name: "add_after_body",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 1),
        apply: |scope, directive| set(&mut scope.loc.addition.after, directive),
    },
    Rule {
        name: "addition_types",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, Arity::MANY),
        apply: |scope, directive| scope.loc.addition.types.add(directive, &["text/html"]),
    },
];

fn set(slot: &mut Option<Bytes>, directive: &Directive) -> Result<(), Diagnostic> {
    if slot.is_some() {
        return Err(duplicate(directive));
    }
    *slot = directive.arg(0).map(|word| Bytes::copy_from_slice(&word.text));
    Ok(())
}

/// Present in requests whose body gets additions.
#[derive(Default)]
struct State {
    before_sent: Cell<bool>,
}

/// Decides whether there will be additions; then the length is unknown.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().addition;
    if r.headers_out.status.get() != 200 || !r.is_main() || !conf.is_on() || !conf.types.accept(r, &["text/html"]) {
        return next.run(r);
    }
    r.set_ctx(Rc::new(State::default()));
    r.headers_out.clear_content_length();
    r.headers_out.clear_accept_ranges();
    r.headers_out.weaken_etag();
    next.run(r)
}

/// Asks for the additions; the postpone filter keeps everything in order.
pub(crate) fn body_filter(r: &Rc<Request>, mut chain: Chain, next: BodyNext) -> Code {
    if chain.is_empty() || r.header_only.get() {
        return next.run(r, chain);
    }
    let Some(state) = r.ctx::<State>() else { return next.run(r, chain) };
    let conf = &r.loc().addition;
    if !state.before_sent.replace(true)
        && let Some(before) = conf.before.as_ref().filter(|uri| !uri.is_empty())
        && ask(r, before).is_err()
    {
        return Code::ERROR;
    }
    let Some(after) = conf.after.as_ref().filter(|uri| !uri.is_empty()) else { return next.run(r, chain) };
    let mut ended = false;
    for buf in chain.iter_mut().filter(|buf| buf.last) {
        buf.last = false;
        buf.last_in_chain = true;
        buf.sync = true;
        ended = true;
    }
    let code = next.run(r, chain);
    if code == Code::ERROR || !ended {
        return code;
    }
    if ask(r, after).is_err() {
        return Code::ERROR;
    }
    next.run(r, single(Buf::end_of(r)))
}

fn ask(r: &Rc<Request>, uri: &Bytes) -> Result<(), Code> {
    let sub = subrequest::create(r, uri.clone(), None, Options::default()).map_err(|_| Code::ERROR)?;
    subrequest::start(&sub, None);
    Ok(())
}
