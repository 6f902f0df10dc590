//! The settings that only `stream { }` has, and its directive table.

use std::rc::Rc;
use std::time::Duration;

use rsty_diag::Diagnostic;

use super::blocks;
use crate::conf::{Arity, Contexts, Directive, Rule, value};
use crate::http::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::modules::lua::directives::script_of;
use crate::http::modules::lua::script::Script;
use crate::http::setting::Setting;
use crate::http::variables::{Flags, Source};

/// Settings of `stream { }` as a whole: none of its own.
pub type MainConf = ();
/// Settings of a server: none that its location level does not have.
pub type SrvConf = ();

/// Settings of a server, or of `stream { }` for all its servers.
#[derive(Default)]
pub struct LocConf {
    /// `preread_by_lua*`
    pub preread: Option<Rc<Script>>,
    /// `preread_buffer_size`; 16 kB by default.
    pub preread_buffer_size: Setting<usize>,
    /// `preread_timeout`; 30 s by default.
    pub preread_timeout: Setting<Duration>,
    /// `proxy_protocol_timeout`; 30 s by default.
    pub proxy_protocol_timeout: Setting<Duration>,
    /// `return`: what is sent.
    pub response: Option<ComplexValue>,
}

impl LocConf {
    /// Whether the server has something to do with its sessions.
    pub(super) fn has_handler(&self) -> bool {
        self.response.is_some()
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.preread.is_none() {
            self.preread.clone_from(&outer.preread);
        }
        self.preread_buffer_size.merge(&outer.preread_buffer_size, || 16 * 1024);
        self.preread_timeout.merge(&outer.preread_timeout, || Duration::from_secs(30));
        self.proxy_protocol_timeout.merge(&outer.proxy_protocol_timeout, || Duration::from_secs(30));
        Ok(())
    }
}

const STREAM: Contexts = Contexts::STREAM;
const SERVER: Contexts = Contexts::STREAM_SERVER;
const BOTH: Contexts = STREAM.or(SERVER);

const fn rule(
    name: &'static str,
    contexts: Contexts,
    args: Arity,
    apply: fn(&mut Scope<'_>, &Directive) -> Result<(), Diagnostic>,
) -> Rule {
    Rule { name, contexts, args, apply }
}

const ONE: Arity = Arity::Words(1, 1);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    rule("stream", Contexts::MAIN, Arity::Block(0, 0), blocks::stream),
    rule("server", STREAM, Arity::Block(0, 0), blocks::server),
    rule("listen", SERVER, Arity::Words(1, Arity::MANY), blocks::listen),
    rule("return", SERVER, ONE, response),
    rule("preread_by_lua_block", BOTH, Arity::LuaBlock(0, 0), preread),
    rule("preread_by_lua_file", BOTH, ONE, preread),
    rule("preread_by_lua_no_postpone", STREAM, Arity::Flag, |_, d| value::set_flag(&mut None, d)),
    rule("lua_add_variable", STREAM, ONE, add_variable),
    rule("preread_buffer_size", BOTH, ONE, |s, d| value::set_size(s.loc.stream.preread_buffer_size.slot(), d)),
    rule("preread_timeout", BOTH, ONE, |s, d| value::set_msec(s.loc.stream.preread_timeout.slot(), d)),
    rule("proxy_protocol_timeout", BOTH, ONE, |s, d| value::set_msec(s.loc.stream.proxy_protocol_timeout.slot(), d)),
];

fn preread(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let script = script_of(scope, directive, "preread_by_lua")?;
    if scope.loc.stream.preread.replace(script).is_some() {
        return Err(value::duplicate(directive));
    }
    Ok(())
}

fn response(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let text = ComplexValue::of_word(scope, directive, word)?;
    if scope.loc.stream.response.replace(text).is_some() {
        return Err(value::duplicate(directive));
    }
    Ok(())
}

/// `lua_add_variable $name`: a variable for scripts to assign to.
fn add_variable(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let Some(name) = word.text.strip_prefix(b"$").filter(|name| !name.is_empty()) else {
        let message = format!("invalid variable name \"{}\"", word.lossy());
        return Err(directive.error_at(word, "invalid_variable", message));
    };
    let variables = &mut scope.main.core.variables;
    let flags = Flags::CHANGEABLE.or(Flags::WEAK);
    let defined = variables.define(name, Source::Assigned, None, flags);
    defined.map_err(|error| directive.error_at(word, "invalid_variable", error.to_string()))?;
    variables.index(name);
    Ok(())
}
