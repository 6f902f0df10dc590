//! The directives, and the way of a response through the filter.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::BytesMut;
use rsty_diag::Diagnostic;

use super::super::content::{MediaTypes, for_each_piece};
use super::commands::{self, Done, Page};
use super::parse::{Command, Step, step};
use crate::conf::value::{set_flag, set_size};
use crate::conf::{Arity, Contexts, Rule};
use crate::http::code::Code;
use crate::http::conf::Merge;
use crate::http::output::{BodyNext, Buf, Chain, Data, HeaderNext};
use crate::http::request::Request;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    on: Option<bool>,
    silent_errors: Option<bool>,
    last_modified: Option<bool>,
    value_length: Option<usize>,
    types: MediaTypes,
}

impl LocConf {
    /// Whether responses of the location may hold commands.
    pub(crate) fn is_on(&self) -> bool {
        self.on == Some(true)
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.on = self.on.or(outer.on);
        self.silent_errors = self.silent_errors.or(outer.silent_errors);
        self.last_modified = self.last_modified.or(outer.last_modified);
        self.value_length = self.value_length.or(outer.value_length);
        self.types.merge(&outer.types);
        Ok(())
    }
}

const USUAL: Contexts = Contexts::HTTP_SERVER_LOCATION;

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "ssi",
        contexts: Contexts::HTTP_SERVER_LOCATION_IF,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.ssi.on, directive),
    },
    Rule {
        name: "ssi_silent_errors",
        contexts: USUAL,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.ssi.silent_errors, directive),
    },
    Rule {
        name: "ssi_last_modified",
        contexts: USUAL,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.ssi.last_modified, directive),
    },
    Rule {
        name: "ssi_value_length",
        contexts: USUAL,
        args: Arity::Words(1, 1),
        apply: |scope, directive| set_size(&mut scope.loc.ssi.value_length, directive),
    },
    Rule {
        name: "ssi_types",
        contexts: USUAL,
        args: Arity::Words(1, Arity::MANY),
        apply: |scope, directive| scope.loc.ssi.types.add(directive, &["text/html"]),
    },
    // Parts of files are read in pieces in any case.
    Rule {
        name: "ssi_min_file_chunk",
        contexts: USUAL,
        args: Arity::Words(1, 1),
        apply: |_, directive| set_size(&mut None, directive),
    },
    // No buffer is taken back before it has been sent.
    Rule {
        name: "ssi_ignore_recycled_buffers",
        contexts: USUAL,
        args: Arity::Flag,
        apply: |_, directive| set_flag(&mut None, directive),
    },
];

/// A response in the filter.
#[derive(Default)]
pub(super) struct State {
    pub(super) page: Page,
    /// Text that has not been looked at, or the beginning of a command.
    pending: RefCell<BytesMut>,
    /// The marks that follow this text.
    marks: RefCell<Option<Buf>>,
    /// What comes behind them.
    input: RefCell<VecDeque<Buf>>,
    longest_value: Cell<usize>,
}

/// Longest text of a command that is still incomplete.
const LONGEST_COMMAND: usize = 64 * 1024;

/// Decides whether the response is a page with commands.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().ssi;
    let out = &r.headers_out;
    if !conf.on.unwrap_or(false) || out.content_length.get() == 0 || !conf.types.accept(r, &["text/html"]) {
        return next.run(r);
    }
    let state = State::default();
    state.longest_value.set(conf.value_length.unwrap_or(256));
    r.set_ctx(Rc::new(state));
    r.filter_need_in_memory.set(true);
    if r.is_main() {
        out.clear_content_length();
        out.clear_accept_ranges();
        if conf.last_modified.unwrap_or(false) {
            out.weaken_etag();
        } else {
            out.clear_last_modified();
            out.clear_etag();
        }
    }
    next.run(r)
}

/// Carries out the commands of a page.
pub(crate) fn body_filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    let Some(state) = r.ctx::<State>() else { return next.run(r, chain) };
    let waiting = state.page.wait.borrow().as_ref().map(|sub| sub.done.get());
    state.input.borrow_mut().extend(chain);
    match waiting {
        Some(false) => return next.run(r, Chain::new()),
        Some(true) => {
            state.page.wait.take();
            r.held_back.set(false);
        }
        None => {}
    }
    advance(r, &state, next)
}

/// Goes on with the page until its text ends or it waits for a subrequest.
fn advance(r: &Rc<Request>, state: &State, next: BodyNext) -> Code {
    let mut out = Chain::new();
    loop {
        let found = step(&state.pending.borrow(), state.longest_value.get());
        match found {
            Step::Text(length) => {
                let text = state.pending.borrow_mut().split_to(length);
                put(state, text, &mut out);
            }
            Step::Command(length, command) => {
                let raw = state.pending.borrow_mut().split_to(length);
                if state.page.block.borrow().is_some() {
                    keep(r, state, &command, raw);
                    continue;
                }
                match commands::run(r, &state.page, &command) {
                    Ok(Done::Nothing) => {}
                    Ok(Done::Text(text)) => {
                        if !text.is_empty() {
                            out.push(Buf::bytes(text));
                        }
                    }
                    Ok(Done::Include(include)) => {
                        // The text before the subrequest goes before it.
                        if next.run(r, std::mem::take(&mut out)) == Code::ERROR {
                            return Code::ERROR;
                        }
                        if include.start(r, &state.page).is_err() {
                            complain(r, state, &mut out);
                        }
                        if state.page.wait.borrow().is_some() {
                            r.held_back.set(true);
                            return Code::OK;
                        }
                    }
                    Err(_) => complain(r, state, &mut out),
                }
            }
            Step::Malformed(length, reason) => {
                let raw = state.pending.borrow_mut().split_to(length);
                if state.page.block.borrow().is_some() {
                    put(state, raw, &mut out);
                } else if state.page.output.get() {
                    r.log(Level::Error, format_args!("{reason}"));
                    complain(r, state, &mut out);
                }
            }
            Step::More => match load(r, state, &mut out) {
                Ok(true) => {}
                Ok(false) => return next.run(r, out),
                Err(code) => return code,
            },
        }
    }
}

/// Takes the next buffer's text in; false when there is none.
fn load(r: &Request, state: &State, out: &mut Chain) -> Result<bool, Code> {
    let marks = state.marks.borrow_mut().take();
    if let Some(marks) = marks {
        if marks.last || marks.last_in_chain {
            // A few characters that might have begun a command are text; a command without its end is nothing.
            let rest = std::mem::take(&mut *state.pending.borrow_mut());
            if rest.len() < 5 {
                put(state, rest, out);
            }
        }
        out.push(marks);
    }
    let Some(buf) = state.input.borrow_mut().pop_front() else { return Ok(false) };
    let mut pending = state.pending.borrow_mut();
    let before = pending.len();
    let read = for_each_piece(&buf, |piece| {
        pending.extend_from_slice(piece);
        Ok(())
    });
    if let Err(error) = read {
        r.log(Level::Crit, format_args!("failed to read a file: {error}"));
        return Err(Code::ERROR);
    }
    if before > LONGEST_COMMAND {
        r.log(Level::Error, format_args!("an SSI command is too long"));
        pending.clear();
    }
    if buf.last || buf.last_in_chain || buf.flush || buf.sync {
        *state.marks.borrow_mut() = Some(Buf { data: Data::None, ..buf });
    }
    Ok(true)
}

/// Text: put out, kept in a block, or in a branch that does not count.
fn put(state: &State, text: BytesMut, out: &mut Chain) {
    if text.is_empty() {
        return;
    }
    if let Some(block) = &mut *state.page.block.borrow_mut() {
        block.text.extend_from_slice(&text);
    } else if state.page.output.get() {
        out.push(Buf::bytes(text.freeze()));
    }
}

/// A command inside a block belongs to its text, but for the one that ends the block.
fn keep(r: &Rc<Request>, state: &State, command: &Command, raw: BytesMut) {
    if command.name == b"endblock" {
        commands::end_block(r, &state.page);
    } else if let Some(block) = &mut *state.page.block.borrow_mut() {
        block.text.extend_from_slice(&raw);
    }
}

/// Puts the error message in the place of a command that failed.
fn complain(r: &Request, state: &State, out: &mut Chain) {
    let message = state.page.error_message.borrow().clone();
    if !r.loc().ssi.silent_errors.unwrap_or(false) && !message.is_empty() {
        out.push(Buf::bytes(message));
    }
}
