//! The directives `memcached_*`.

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::MemcachedHandler;
use crate::conf::value::{self, duplicate};
use crate::conf::{Contexts, Directive, Rule};
use crate::http::conf::{Merge, Scope};
use crate::http::modules::upstream::GroupRef;
use crate::http::setting::Setting;
use crate::http::upstream::Conf;
use crate::http::upstream::rules::base_rules;
use crate::http::variables::{Flags, Source, VarIndex, VariableDef};
use crate::upstream::address::Target;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Pass {
    /// Host and port.
    pub(crate) target: Target,
    /// The servers.
    pub(crate) group: GroupRef,
}

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// What all protocols share.
    pub(super) upstream: Conf,
    /// `memcached_pass`
    pub(super) pass: Option<Pass>,
    /// `memcached_gzip_flag`
    pub(super) gzip_flag: Setting<u32>,
    /// `$memcached_key`
    pub(super) key: Option<VarIndex>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        unbuffered(&mut self.upstream);
        self.upstream.merge(&outer.upstream);
        self.gzip_flag.merge(&outer.gzip_flag, || 0);
        if self.pass.is_none() {
            self.pass.clone_from(&outer.pass);
            self.key = outer.key;
        }
        Ok(())
    }
}

/// What comes is passed on at once.
pub(crate) fn unbuffered(conf: &mut Conf) {
    conf.buffering.set(false);
    conf.intercept_errors.set(true);
}

/// The directive table.
pub(crate) const RULES: &[Rule] = base_rules!("memcached", memcached;
    Rule {
        name: "memcached_pass",
        contexts: Contexts::LOCATION.or(Contexts::IF_IN_LOCATION),
        args: ONE,
        apply: memcached_pass,
    },
    rule("memcached_gzip_flag", ONE, |scope, directive| {
        value::set_number(scope.loc.memcached.gzip_flag.slot(), directive)
    }),
);

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[assigned("memcached_key")];

/// A variable that only the configuration and scripts give a value.
pub(crate) const fn assigned(name: &'static str) -> VariableDef {
    VariableDef { name, source: Source::Assigned, set: None, flags: Flags::CHANGEABLE }
}

fn memcached_pass(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.loc.memcached.pass.is_some() {
        return Err(duplicate(directive));
    }
    let pass = pass_of(scope, directive)?;
    scope.loc.memcached.pass = Some(pass);
    scope.loc.memcached.key = Some(scope.main.core.variables.index(b"memcached_key"));
    scope.loc.core.handler = Some(&MemcachedHandler);
    slash(scope);
    Ok(())
}

/// A location that ends in a slash answers requests without it by a redirect.
pub(crate) fn slash(scope: &mut Scope<'_>) {
    if scope.loc.core.name.ends_with(b"/") {
        scope.loc.core.auto_redirect = true;
    }
}

/// The address or the group that a directive names.
pub(crate) fn pass_of(scope: &mut Scope<'_>, directive: &Directive) -> Result<Pass, Diagnostic> {
    let word = directive.arg(0).ok_or_else(|| value::invalid_value(directive))?;
    let text = Bytes::copy_from_slice(&word.text);
    let target = Target::parse(&text, 0).map_err(|error| {
        directive.error_at(word, "invalid_address", format!("{error} in upstream \"{}\"", word.lossy()))
    })?;
    let group = scope.main.upstream.refer(&target, directive);
    Ok(Pass { target, group })
}
