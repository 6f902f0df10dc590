//! The directives `fastcgi_*`.

use std::rc::Rc;

use rsty_diag::Diagnostic;

use super::FastcgiHandler;
use crate::conf::value::{duplicate, invalid_value};
use crate::conf::{Contexts, Directive, Rule};
use crate::http::cache::conf::cache_rules;
use crate::http::conf::{Merge, Scope};
use crate::http::modules::cgi::{self, CgiConf, Schemes};
use crate::http::regex::{Case, Regex};
use crate::http::setting::Setting;
use crate::http::upstream::Conf;
use crate::http::upstream::rules::rules as table;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// What all protocols share.
    pub(crate) upstream: Conf,
    /// What CGI-like protocols share.
    pub(super) cgi: CgiConf,
    /// `fastcgi_index`
    pub(super) index: Option<Box<[u8]>>,
    /// `fastcgi_split_path_info`
    pub(super) split: Option<Rc<Regex>>,
    /// `fastcgi_keep_conn`
    pub(super) keep_conn: Setting<bool>,
    /// `fastcgi_catch_stderr`
    pub(super) catch_stderr: Rc<Vec<Box<[u8]>>>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.upstream.merge(&outer.upstream);
        self.cgi.merge(&outer.cgi);
        self.keep_conn.merge(&outer.keep_conn, || false);
        if self.catch_stderr.is_empty() {
            self.catch_stderr = Rc::clone(&outer.catch_stderr);
        }
        if self.index.is_none() {
            self.index.clone_from(&outer.index);
        }
        if self.split.is_none() {
            self.split.clone_from(&outer.split);
        }
        Ok(())
    }
}

/// How addresses are written.
pub(super) const SCHEMES: &Schemes = &Schemes { plain: "fastcgi://", written: false, tls: None };

/// The directive table.
pub(crate) const RULES: &[Rule] = table!("fastcgi", fastcgi;
    Rule {
        name: "fastcgi_pass",
        contexts: Contexts::LOCATION.or(Contexts::IF_IN_LOCATION),
        args: ONE,
        apply: |scope, directive| {
            let known = scope.loc.fastcgi.cgi.pass.is_some();
            scope.loc.fastcgi.cgi.pass = Some(cgi::pass(scope, directive, SCHEMES, known)?);
            scope.loc.core.handler = Some(&FastcgiHandler);
            Ok(())
        },
    },
    rule("fastcgi_index", ONE, |scope, directive| {
        let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
        match scope.loc.fastcgi.index.replace(word.text.clone()) {
            None => Ok(()),
            Some(_) => Err(duplicate(directive)),
        }
    }),
    rule("fastcgi_split_path_info", ONE, split_path_info),
    rule("fastcgi_param", Arity::Words(2, 3), |scope, directive| {
        let param = cgi::add_param(scope, directive)?;
        scope.loc.fastcgi.cgi.push(param);
        Ok(())
    }),
    rule("fastcgi_catch_stderr", ONE, |scope, directive| {
        rules::push(&mut scope.loc.fastcgi.catch_stderr, directive)
    }),
    rule("fastcgi_keep_conn", Arity::Flag, |scope, directive| {
        crate::conf::value::set_flag(scope.loc.fastcgi.keep_conn.slot(), directive)
    }),
);

/// The rules of `fastcgi_cache*`.
pub(crate) const CACHE_RULES: &[Rule] = cache_rules!("fastcgi", fastcgi);

fn split_path_info(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    let regex = Regex::of_word(scope, directive, word, &word.text, Case::Sensitive)?;
    match scope.loc.fastcgi.split.replace(Rc::new(regex)) {
        None => Ok(()),
        Some(_) => Err(duplicate(directive)),
    }
}
