//! The directives `memc_*`, and the variables that say what to do.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::MemcHandler;
use super::command::Command;
use crate::conf::value::{self, duplicate, invalid_value};
use crate::conf::{Contexts, Directive, Rule};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::date::http_time;
use crate::http::modules::memcached::conf::{self as memcached, assigned, pass_of, slash};
use crate::http::request::Request;
use crate::http::setting::Setting;
use crate::http::upstream::Conf;
use crate::http::upstream::rules::base_rules;
use crate::http::variables::{VarIndex, VariableDef};

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Where requests go.
pub(super) enum Pass {
    /// Always to the same servers.
    Fixed(memcached::Pass),
    /// To the group whose name variables say.
    Variable(ComplexValue),
}

/// The variables by which a request says what it wants.
#[derive(Clone, Copy)]
pub(super) struct Indexes {
    pub(super) cmd: VarIndex,
    pub(super) key: VarIndex,
    pub(super) value: VarIndex,
    pub(super) flags: VarIndex,
    pub(super) flags_as_http_time: VarIndex,
    pub(super) exptime: VarIndex,
}

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// What all protocols share.
    pub(super) upstream: Conf,
    /// `memc_pass`
    pub(super) pass: Option<Rc<Pass>>,
    /// `memc_cmds_allowed`; `None` is all.
    pub(super) allowed: Option<Vec<Command>>,
    /// `memc_flags_to_last_modified`
    pub(super) flags_to_last_modified: Setting<bool>,
    /// The variables.
    pub(super) indexes: Option<Indexes>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        memcached::unbuffered(&mut self.upstream);
        self.upstream.merge(&outer.upstream);
        self.flags_to_last_modified.merge(&outer.flags_to_last_modified, || false);
        if self.allowed.is_none() {
            self.allowed.clone_from(&outer.allowed);
        }
        if self.pass.is_none() {
            self.pass.clone_from(&outer.pass);
            self.indexes = outer.indexes;
        }
        Ok(())
    }
}

impl LocConf {
    /// Shows the flags that came with a value.
    pub(crate) fn show_flags(&self, r: &Request, flags: &Bytes) {
        let Some(indexes) = self.indexes else { return };
        r.set_variable(indexes.flags, Some(flags.clone()));
        if let Some(seconds) = value::number(flags) {
            r.set_variable(indexes.flags_as_http_time, Some(http_time(seconds).to_vec().into()));
        }
    }

    /// Whether the flags of a value are the time of its last change.
    pub(crate) fn dates_by_flags(&self) -> bool {
        *self.flags_to_last_modified
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = base_rules!("memc", memc;
    Rule {
        name: "memc_pass",
        contexts: Contexts::LOCATION.or(Contexts::IF_IN_LOCATION),
        args: ONE,
        apply: memc_pass,
    },
    rule("memc_cmds_allowed", SOME, |scope, directive| {
        let allowed = scope.loc.memc.allowed.get_or_insert_default();
        for word in &directive.args {
            let command = Command::named(&word.text).ok_or_else(|| {
                let message = format!("Unknown memcached command name: {}", word.lossy());
                directive.error_at(word, "unknown_command", message)
            })?;
            allowed.push(command);
        }
        Ok(())
    }),
    rule("memc_flags_to_last_modified", Arity::Flag, |scope, directive| {
        value::set_flag(scope.loc.memc.flags_to_last_modified.slot(), directive)
    }),
    setting!(memc, "memc_ignore_client_abort", Arity::Flag, set_flag, ignore_client_abort),
);

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    assigned("memc_cmd"),
    assigned("memc_key"),
    assigned("memc_value"),
    assigned("memc_exptime"),
    assigned("memc_flags"),
    assigned("memc_flags_as_http_time"),
];

fn memc_pass(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.loc.memc.pass.is_some() {
        return Err(duplicate(directive));
    }
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    let pass = if word.text.contains(&b'$') {
        Pass::Variable(ComplexValue::of_word(scope, directive, word)?)
    } else {
        Pass::Fixed(pass_of(scope, directive)?)
    };
    let variables = &mut scope.main.core.variables;
    scope.loc.memc.indexes = Some(Indexes {
        cmd: variables.index(b"memc_cmd"),
        key: variables.index(b"memc_key"),
        value: variables.index(b"memc_value"),
        flags: variables.index(b"memc_flags"),
        flags_as_http_time: variables.index(b"memc_flags_as_http_time"),
        exptime: variables.index(b"memc_exptime"),
    });
    scope.loc.memc.pass = Some(Rc::new(pass));
    scope.loc.core.handler = Some(&MemcHandler);
    slash(scope);
    Ok(())
}
