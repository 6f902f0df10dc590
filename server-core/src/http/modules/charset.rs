//! `ngx_http_charset_filter_module`: the charset that the `Content-Type` header names.
//!
//! Bodies are not converted: `source_charset` is read, and a response whose source charset differs keeps it.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::content::MediaTypes;
use crate::conf::value::{duplicate, set_flag};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::output::HeaderNext;
use crate::http::request::Request;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    charset: Option<ComplexValue>,
    override_charset: Option<bool>,
    types: MediaTypes,
}

impl LocConf {
    /// Whether a charset is named.
    pub(crate) fn is_on(&self) -> bool {
        self.charset.is_some()
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.charset.is_none() {
            self.charset.clone_from(&outer.charset);
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
    Rule { name: "charset", contexts: Contexts::HTTP_SERVER_LOCATION_IF, args: Arity::Words(1, 1), apply: charset },
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
];

fn charset(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let value = ComplexValue::of_word(scope, directive, word)?;
    if scope.loc.charset.charset.replace(value).is_some() { Err(duplicate(directive)) } else { Ok(()) }
}

/// Names the charset.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    if let Some(charset) = charset_for(r) {
        r.headers_out.charset.set(charset);
    }
    next.run(r)
}

fn charset_for(r: &Request) -> Option<Bytes> {
    let conf = &r.loc().charset;
    let charset = conf.charset.as_ref()?.eval(r);
    let out = &r.headers_out;
    if charset.is_empty() || charset == "off" || !r.is_main() || out.content_type.is_empty() {
        return None;
    }
    let allowed = if out.charset.is_empty() {
        conf.types.accept(r, DEFAULT_TYPES)
    } else {
        conf.override_charset.unwrap_or(false)
    };
    if !allowed {
        return None;
    }
    // Redirects carry no charset.
    Some(if matches!(out.status.get(), 301 | 302) { Bytes::new() } else { charset })
}
