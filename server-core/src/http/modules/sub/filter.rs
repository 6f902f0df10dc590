//! The directives and the filters.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use rsty_diag::Diagnostic;

use super::super::content::{MediaTypes, for_each_piece};
use super::replacer::{Piece, Repetition, Replacer};
use crate::conf::value::set_flag;
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::output::{BodyNext, Buf, Chain, HeaderNext};
use crate::http::request::Request;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    pairs: Rc<Vec<(ComplexValue, ComplexValue)>>,
    types: MediaTypes,
    once: Option<bool>,
    last_modified: Option<bool>,
}

impl LocConf {
    /// Whether there is something to replace.
    pub(crate) fn is_on(&self) -> bool {
        !self.pairs.is_empty()
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.pairs.is_empty() {
            self.pairs = Rc::clone(&outer.pairs);
        }
        self.types.merge(&outer.types);
        self.once = self.once.or(outer.once);
        self.last_modified = self.last_modified.or(outer.last_modified);
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "sub_filter", contexts: Contexts::HTTP_SERVER_LOCATION, args: Arity::Words(2, 2), apply: sub_filter },
    Rule {
        name: "sub_filter_types",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, Arity::MANY),
        apply: |scope, directive| scope.loc.sub.types.add(directive, &["text/html"]),
    },
    Rule {
        name: "sub_filter_once",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.sub.once, directive),
    },
    Rule {
        name: "sub_filter_last_modified",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.sub.last_modified, directive),
    },
];

fn sub_filter(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [needle, replacement] = &directive.args[..] else { return Ok(()) };
    if needle.text.is_empty() {
        return Err(directive.error_at(needle, "invalid_value", "empty search pattern"));
    }
    let needle = ComplexValue::of_word(scope, directive, needle)?;
    let replacement = ComplexValue::of_word(scope, directive, replacement)?;
    Rc::make_mut(&mut scope.loc.sub.pairs).push((needle, replacement));
    Ok(())
}

/// The search in a response.
struct State {
    replacer: RefCell<Replacer>,
    replacements: RefCell<Vec<Option<Bytes>>>,
}

/// Decides whether the body is searched.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().sub;
    if !conf.is_on() || r.headers_out.content_length.get() == 0 || !conf.types.accept(r, &["text/html"]) {
        return next.run(r);
    }
    let needles = conf.pairs.iter().map(|(needle, _)| needle.eval(r).to_vec());
    let repetition = if conf.once.unwrap_or(true) { Repetition::Once } else { Repetition::Always };
    r.set_ctx(Rc::new(State {
        replacer: RefCell::new(Replacer::new(needles, repetition)),
        replacements: RefCell::new(vec![None; conf.pairs.len()]),
    }));
    r.filter_need_in_memory.set(true);
    if r.is_main() {
        r.headers_out.clear_content_length();
        if conf.last_modified.unwrap_or(false) {
            r.headers_out.weaken_etag();
        } else {
            r.headers_out.clear_last_modified();
            r.headers_out.clear_etag();
        }
    }
    next.run(r)
}

/// Searches and replaces.
pub(crate) fn body_filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    if chain.is_empty() {
        return next.run(r, chain);
    }
    let Some(state) = r.ctx::<State>() else { return next.run(r, chain) };
    let mut out = Chain::new();
    for buf in chain {
        if buf.is_empty() && !buf.last && !buf.last_in_chain {
            out.push(buf);
            continue;
        }
        let mut text = BytesMut::new();
        let fed = for_each_piece(&buf, |piece| {
            let found = state.replacer.borrow_mut().feed(piece);
            write(r, &state, found, &mut text);
            Ok(())
        });
        if let Err(error) = fed {
            r.log(Level::Crit, format_args!("failed to read a file: {error}"));
            return Code::ERROR;
        }
        if buf.last || buf.last_in_chain || state.replacer.borrow().is_exhausted() {
            let found = state.replacer.borrow_mut().finish();
            write(r, &state, found, &mut text);
        }
        let marks = buf.last || buf.last_in_chain || buf.flush || buf.sync;
        if !text.is_empty() {
            out.push(Buf { data: Buf::bytes(text).data, ..buf });
        } else if marks {
            out.push(Buf { data: crate::http::output::Data::None, ..buf });
        }
    }
    if out.is_empty() { Code::OK } else { next.run(r, out) }
}

fn write(r: &Rc<Request>, state: &State, pieces: Vec<Piece>, out: &mut BytesMut) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(&text),
            Piece::Match(index) => {
                let known = state.replacements.borrow().get(index).cloned().flatten();
                let replacement = known.unwrap_or_else(|| {
                    let value = r.loc().sub.pairs.get(index).map(|(_, value)| value.eval(r)).unwrap_or_default();
                    if let Some(slot) = state.replacements.borrow_mut().get_mut(index) {
                        *slot = Some(value.clone());
                    }
                    value
                });
                out.extend_from_slice(&replacement);
            }
        }
    }
}
