//! The directives and the filters.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use rsty_diag::Diagnostic;

use super::super::content::{MediaTypes, for_each_piece};
use super::table::{Builder, Converter, Table};
use crate::conf::value::{duplicate, set_flag};
use crate::conf::{Arity, Block, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::header::HeaderId;
use crate::http::output::{BodyNext, Buf, Chain, HeaderNext};
use crate::http::request::Request;
use crate::log::Level;

/// Settings of `http { }`: the `charset_map` blocks, there and back.
#[derive(Default)]
pub struct MainConf {
    maps: Vec<Map>,
}

impl MainConf {
    /// Every conversion that the settings of a location ask for must have a map.
    pub(crate) fn check(&self, loc: &LocConf) -> Result<(), String> {
        let constant = |name: &Option<ComplexValue>| name.as_ref().and_then(|name| name.constant().cloned());
        let (Some(from), Some(to)) = (constant(&loc.source), constant(&loc.charset)) else { return Ok(()) };
        if from == "off" || to == "off" || from.eq_ignore_ascii_case(&to) || self.map(&from, &to).is_some() {
            return Ok(());
        }
        let (from, to) = (from.escape_ascii(), to.escape_ascii());
        Err(format!("no \"charset_map\" between the charsets \"{from}\" and \"{to}\""))
    }

    fn map(&self, from: &[u8], to: &[u8]) -> Option<&Map> {
        self.maps.iter().find(|map| map.from.eq_ignore_ascii_case(from) && map.to.eq_ignore_ascii_case(to))
    }
}

struct Map {
    from: Bytes,
    to: Bytes,
    table: Table,
}

/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    charset: Option<ComplexValue>,
    source: Option<ComplexValue>,
    override_charset: Option<bool>,
    types: MediaTypes,
}

impl LocConf {
    /// Whether responses of the location name a character set, or say which one they are in: as part of another
    /// response they may have to be converted.
    pub(crate) fn is_on(&self) -> bool {
        self.charset.is_some() || self.source.is_some()
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.charset.is_none() {
            self.charset.clone_from(&outer.charset);
        }
        if self.source.is_none() {
            self.source.clone_from(&outer.source);
        }
        self.override_charset = self.override_charset.or(outer.override_charset);
        self.types.merge(&outer.types);
        Ok(())
    }
}

const DEFAULT_TYPES: &[&str] =
    &["text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript", "application/rss+xml"];

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "charset",
        contexts: Contexts::HTTP_SERVER_LOCATION_IF,
        args: Arity::Words(1, 1),
        apply: |scope, directive| {
            let value = name(scope, directive)?;
            set(&mut scope.loc.charset.charset, directive, value)
        },
    },
    Rule {
        name: "source_charset",
        contexts: Contexts::HTTP_SERVER_LOCATION_IF,
        args: Arity::Words(1, 1),
        apply: |scope, directive| {
            let value = name(scope, directive)?;
            set(&mut scope.loc.charset.source, directive, value)
        },
    },
    Rule {
        name: "override_charset",
        contexts: Contexts::HTTP_SERVER_LOCATION_IF,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.charset.override_charset, directive),
    },
    Rule {
        name: "charset_types",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, Arity::MANY),
        apply: |scope, directive| scope.loc.charset.types.add(directive, &["text/html"]),
    },
    Rule { name: "charset_map", contexts: Contexts::HTTP, args: Arity::Block(2, 2), apply: charset_map },
];

fn name(scope: &mut Scope<'_>, directive: &Directive) -> Result<ComplexValue, Diagnostic> {
    directive.arg(0).map_or(Ok(ComplexValue::default()), |word| ComplexValue::of_word(scope, directive, word))
}

fn set(slot: &mut Option<ComplexValue>, directive: &Directive, value: ComplexValue) -> Result<(), Diagnostic> {
    if slot.replace(value).is_some() { Err(duplicate(directive)) } else { Ok(()) }
}

fn charset_map(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let ([from, to], Block::Directives(rows)) = (&directive.args[..], &directive.block) else { return Ok(()) };
    let same = |a: &[u8], b: &[u8]| a.eq_ignore_ascii_case(b);
    let both = format!("\"{}\" and \"{}\"", from.lossy(), to.lossy());
    if same(&from.text, &to.text) {
        let message = format!("\"charset_map\" between the same charsets {both}");
        return Err(directive.error("invalid_charset_map", message));
    }
    if same(&from.text, b"utf-8") {
        let message = "\"charset_map\" with \"utf-8\" charset should be given in the second column";
        return Err(directive.error("invalid_charset_map", message));
    }
    let maps = &mut scope.main.charset.maps;
    if maps.iter().any(|map| same(&map.from, &from.text) && same(&map.to, &to.text)) {
        let message = format!("duplicate \"charset_map\" between {both}");
        return Err(directive.error("duplicate_charset_map", message));
    }
    let mut builder = Builder::new(same(&to.text, b"utf-8"));
    for row in rows {
        let [value] = &row.args[..] else { return Err(row.error("invalid_row", "invalid parameters number")) };
        builder.row(&row.name.text, &value.text).map_err(|column| {
            let word = if column == 0 { &row.name } else { value };
            row.error_at(word, "invalid_value", format!("invalid value \"{}\"", word.lossy()))
        })?;
    }
    let (there, back) = builder.finish();
    let (from, to) = (Bytes::copy_from_slice(&from.text), Bytes::copy_from_slice(&to.text));
    maps.push(Map { from: from.clone(), to: to.clone(), table: there });
    maps.push(Map { from: to, to: from, table: back });
    Ok(())
}

/// A body that is being converted.
struct State {
    table: &'static Table,
    converter: RefCell<Converter>,
}

/// Names the charset, and decides whether the body has to be converted into it.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let Some(wanted) = wanted(r) else { return next.run(r) };
    let out = &r.headers_out;
    let declared = out.charset.get();
    let source = if declared.is_empty() {
        r.loc().charset.source.as_ref().map(|source| source.eval(r)).unwrap_or_default()
    } else {
        declared
    };
    r.log_bytes(Level::Debug, &[b"charset: \"", &source, b"\" > \"", &wanted, b"\""]);
    if source.is_empty() || source == "off" || source.eq_ignore_ascii_case(&wanted) {
        announce(r, wanted);
        return next.run(r);
    }
    if out.value(HeaderId::ContentEncoding).is_some_and(|encoding| !encoding.is_empty()) {
        return next.run(r);
    }
    let Some(map) = r.main_conf().charset.map(&source, &wanted) else {
        let text = [&b"no \"charset_map\" between the charsets \""[..], &source, b"\" and \"", &wanted, b"\""];
        r.log_bytes(Level::Error, &text);
        return next.run(r);
    };
    announce(r, wanted);
    r.set_ctx(Rc::new(State { table: &map.table, converter: RefCell::default() }));
    r.filter_need_in_memory.set(true);
    if map.table.changes_length() && r.is_main() {
        out.clear_content_length();
    }
    next.run(r)
}

/// The charset that the response shall have: what the location says, and for a subrequest what the main request has.
fn wanted(r: &Request) -> Option<Bytes> {
    if !r.is_main() {
        return Some(r.main_ref().headers_out.charset.get()).filter(|charset| !charset.is_empty());
    }
    let conf = &r.loc().charset;
    let charset = conf.charset.as_ref()?.eval(r);
    let out = &r.headers_out;
    if charset.is_empty() || charset == "off" || out.content_type.is_empty() {
        return None;
    }
    let allowed = if out.charset.is_empty() {
        conf.types.accept(r, DEFAULT_TYPES)
    } else {
        conf.override_charset.unwrap_or(false)
    };
    allowed.then_some(charset)
}

/// Redirects carry no charset.
fn announce(r: &Request, charset: Bytes) {
    if !r.is_main() {
        return;
    }
    let out = &r.headers_out;
    let content_type = out.content_type.get();
    if !out.charset.is_empty()
        && let Some(end) = memchr::memchr(b';', &content_type)
    {
        // The type came with the charset that is replaced.
        out.content_type.set(content_type.slice(..end));
    }
    out.charset.set(if matches!(out.status.get(), 301 | 302) { Bytes::new() } else { charset });
}

/// Converts.
pub(crate) fn body_filter(r: &Rc<Request>, mut chain: Chain, next: BodyNext) -> Code {
    if chain.is_empty() {
        return next.run(r, chain);
    }
    let Some(state) = r.ctx::<State>() else { return next.run(r, chain) };
    for buf in chain.iter_mut().filter(|buf| !buf.is_empty()) {
        let mut text = BytesMut::with_capacity(usize::try_from(buf.len()).unwrap_or(0));
        let converted = for_each_piece(buf, |piece| {
            state.table.convert(&mut state.converter.borrow_mut(), piece, &mut text);
            Ok(())
        });
        if let Err(error) = converted {
            r.log(Level::Crit, format_args!("failed to read a file: {error}"));
            return Code::ERROR;
        }
        buf.data = Buf::bytes(text).data;
    }
    next.run(r, chain)
}
