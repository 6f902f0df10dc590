//! The settings that only `stream { }` has, and its directive table.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::blocks;
use crate::conf::{Arity, Contexts, Directive, Rule, rule, value};
use crate::http::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::modules::lua::LocConf as LuaConf;
use crate::http::modules::lua::directives::script_of;
use crate::http::modules::lua::script::Script;
use crate::http::modules::rewrite;
use crate::http::modules::upstream::GroupRef;
use crate::http::setting::Setting;
use crate::http::upstream::rules::{self, tls_rules};
use crate::http::upstream::{Conf, Failure};
use crate::http::variables::{Flags, Source, VarIndex};
use crate::upstream::address::Target;

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
    /// `set`: variables with their values, in order.
    pub(crate) sets: Vec<(VarIndex, ComplexValue)>,
    /// `return`: what is sent.
    pub response: Option<ComplexValue>,
    /// `proxy_pass`
    pub(crate) pass: Option<Rc<Pass>>,
    /// Settings of the way to other servers, `proxy_ssl_*` among them.
    pub(crate) upstream: Conf,
    /// `proxy_timeout`: how long neither side may say anything; 10 minutes by default.
    pub(crate) proxy_timeout: Setting<Duration>,
    /// `proxy_next_upstream`; on by default.
    pub(crate) next_upstream: Setting<bool>,
    /// `proxy_protocol`: servers are told about clients; off by default.
    pub(crate) proxy_protocol: Setting<bool>,
    /// `proxy_upload_rate`: bytes a second from the client.
    pub(crate) upload_rate: Option<Rc<ComplexValue>>,
    /// `proxy_download_rate`: bytes a second from the server.
    pub(crate) download_rate: Option<Rc<ComplexValue>>,
    /// `proxy_half_close`: a side that has said everything may still listen; off by default.
    pub(crate) half_close: Setting<bool>,
    /// `proxy_requests`: after so many datagrams the client begins another session; 0 is never.
    pub(crate) requests: Option<u64>,
    /// `proxy_responses`: so many datagrams answer one; without it, their number is not known.
    pub(crate) responses: Option<u64>,
    /// `proxy_ssl`; off by default.
    pub(crate) proxy_ssl: Setting<bool>,
    /// `ssl_handshake_timeout`; 60 s by default.
    pub(crate) handshake_timeout: Setting<Duration>,
    /// `ssl_preread`; off by default.
    pub(crate) ssl_preread: Setting<bool>,
}

/// Where sessions go.
pub(crate) enum Pass {
    /// A server or group that the configuration names.
    Fixed {
        /// Its name.
        target: Target,
        /// Its servers.
        group: GroupRef,
    },
    /// One that variables name.
    Variable(ComplexValue),
}

impl LocConf {
    /// Whether the server has something to do with its sessions.
    pub(super) fn has_handler(&self) -> bool {
        self.response.is_some() || self.pass.is_some()
    }

    /// Completes the settings of a server, when all of its directives are known.
    pub(crate) fn settle(&self, lua: &LuaConf) -> Result<(), String> {
        if *self.proxy_ssl && self.pass.is_some() {
            return self.upstream.tls.build("proxy", lua);
        }
        for (script, name) in
            [(&lua.proxy_ssl_certificate, "proxy_ssl_certificate"), (&lua.proxy_ssl_verify, "proxy_ssl_verify")]
        {
            if script.is_some() {
                return Err(format!("{name}_by_lua* should be used with proxy_ssl directive"));
            }
        }
        Ok(())
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
        self.proxy_timeout.merge(&outer.proxy_timeout, || Duration::from_mins(10));
        self.next_upstream.merge(&outer.next_upstream, || true);
        self.proxy_protocol.merge(&outer.proxy_protocol, || false);
        self.proxy_ssl.merge(&outer.proxy_ssl, || false);
        self.half_close.merge(&outer.half_close, || false);
        self.requests = self.requests.or(outer.requests);
        self.responses = self.responses.or(outer.responses);
        if self.upload_rate.is_none() {
            self.upload_rate.clone_from(&outer.upload_rate);
        }
        if self.download_rate.is_none() {
            self.download_rate.clone_from(&outer.download_rate);
        }
        self.handshake_timeout.merge(&outer.handshake_timeout, || Duration::from_mins(1));
        self.ssl_preread.merge(&outer.ssl_preread, || false);
        if self.upstream.buffer_size.value().is_none() && outer.upstream.buffer_size.value().is_none() {
            self.upstream.buffer_size.set(16 * 1024);
        }
        if !*self.next_upstream {
            self.upstream.next_upstream.set(Failure::OFF.0);
        }
        self.upstream.merge(&outer.upstream);
        Ok(())
    }
}

const STREAM: Contexts = Contexts::STREAM;
const SERVER: Contexts = Contexts::STREAM_SERVER;
const BOTH: Contexts = STREAM.or(SERVER);

const ONE: Arity = Arity::Words(1, 1);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    rule("stream", Contexts::MAIN, Arity::Block(0, 0), blocks::stream),
    rule("server", STREAM, Arity::Block(0, 0), blocks::server),
    rule("listen", SERVER, Arity::Words(1, Arity::MANY), blocks::listen),
    rule("return", SERVER, ONE, response),
    rule("set", SERVER, Arity::Words(2, 2), set),
    rule("preread_by_lua_block", BOTH, Arity::LuaBlock(0, 0), preread),
    rule("preread_by_lua_file", BOTH, ONE, preread),
    rule("preread_by_lua_no_postpone", STREAM, Arity::Flag, |_, d| value::set_flag(&mut None, d)),
    rule("lua_add_variable", STREAM, ONE, add_variable),
    rule("preread_buffer_size", BOTH, ONE, |s, d| value::set_size(s.loc.stream.preread_buffer_size.slot(), d)),
    rule("preread_timeout", BOTH, ONE, |s, d| value::set_msec(s.loc.stream.preread_timeout.slot(), d)),
    rule("proxy_protocol_timeout", BOTH, ONE, |s, d| value::set_msec(s.loc.stream.proxy_protocol_timeout.slot(), d)),
    rule("proxy_pass", SERVER, ONE, proxy_pass),
    rule("proxy_timeout", BOTH, ONE, |s, d| value::set_msec(s.loc.stream.proxy_timeout.slot(), d)),
    rule("proxy_protocol", BOTH, Arity::Flag, |s, d| value::set_flag(s.loc.stream.proxy_protocol.slot(), d)),
    rule("proxy_half_close", BOTH, Arity::Flag, |s, d| value::set_flag(s.loc.stream.half_close.slot(), d)),
    rule("proxy_requests", BOTH, ONE, |s, d| value::set_number(&mut s.loc.stream.requests, d)),
    rule("proxy_responses", BOTH, ONE, |s, d| value::set_number(&mut s.loc.stream.responses, d)),
    rule("proxy_upload_rate", BOTH, ONE, |s, d| set_rate(s, d, |conf| &mut conf.upload_rate)),
    rule("proxy_download_rate", BOTH, ONE, |s, d| set_rate(s, d, |conf| &mut conf.download_rate)),
    // Former names of `proxy_buffer_size`.
    rule("proxy_downstream_buffer", BOTH, ONE, |s, d| value::set_size(s.loc.stream.upstream.buffer_size.slot(), d)),
    rule("proxy_upstream_buffer", BOTH, ONE, |s, d| value::set_size(s.loc.stream.upstream.buffer_size.slot(), d)),
    rule("proxy_ssl", BOTH, Arity::Flag, |s, d| value::set_flag(s.loc.stream.proxy_ssl.slot(), d)),
    rule("proxy_next_upstream", BOTH, Arity::Flag, |s, d| value::set_flag(s.loc.stream.next_upstream.slot(), d)),
    rule("proxy_connect_timeout", BOTH, ONE, |s, d| value::set_msec(s.loc.stream.upstream.connect_timeout.slot(), d)),
    rule("proxy_next_upstream_timeout", BOTH, ONE, |s, d| {
        value::set_msec(s.loc.stream.upstream.next_upstream_timeout.slot(), d)
    }),
    rule("proxy_next_upstream_tries", BOTH, ONE, |s, d| {
        value::set_number(s.loc.stream.upstream.next_upstream_tries.slot(), d)
    }),
    rule("proxy_buffer_size", BOTH, ONE, |s, d| value::set_size(s.loc.stream.upstream.buffer_size.slot(), d)),
    rule("proxy_socket_keepalive", BOTH, Arity::Flag, |s, d| {
        value::set_flag(s.loc.stream.upstream.socket_keepalive.slot(), d)
    }),
    rule("proxy_socket_rcvbuf", BOTH, ONE, |s, d| value::set_size(s.loc.stream.upstream.socket_rcvbuf.slot(), d)),
    rule("proxy_socket_sndbuf", BOTH, ONE, |s, d| value::set_size(s.loc.stream.upstream.socket_sndbuf.slot(), d)),
    rule("proxy_bind", BOTH, Arity::Words(1, 2), |s, d| {
        let bind = rules::bind(s, d)?;
        rules::set(s.loc.stream.upstream.bind.slot(), d, bind)
    }),
    rule("ssl_handshake_timeout", BOTH, ONE, |s, d| value::set_msec(s.loc.stream.handshake_timeout.slot(), d)),
    rule("ssl_preread", BOTH, Arity::Flag, |s, d| value::set_flag(s.loc.stream.ssl_preread.slot(), d)),
];

/// The rules of `proxy_ssl_*`.
pub(crate) const TLS_RULES: &[Rule] = &within(BOTH, tls_rules!("proxy", stream));

/// The same rules in other blocks.
const fn within<const N: usize>(contexts: Contexts, rules: &[Rule; N]) -> [Rule; N] {
    let mut rules = *rules;
    let mut at = 0;
    while at < N {
        rules[at].contexts = contexts;
        at += 1;
    }
    rules
}

fn proxy_pass(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    if scope.loc.stream.pass.is_some() {
        return Err(value::duplicate(directive));
    }
    let pass = if word.text.contains(&b'$') {
        Pass::Variable(ComplexValue::of_word(scope, directive, word)?)
    } else {
        let url = Bytes::copy_from_slice(&word.text);
        let target = Target::parse(&url, 0).map_err(|error| {
            let message = format!("{error} in upstream \"{}\"", word.lossy());
            directive.error_at(word, "invalid_address", message)
        })?;
        let group = scope.main.upstream.refer(&target, directive);
        Pass::Fixed { target, group }
    };
    scope.loc.stream.pass = Some(Rc::new(pass));
    Ok(())
}

fn set_rate(
    scope: &mut Scope<'_>,
    directive: &Directive,
    slot: fn(&mut LocConf) -> &mut Option<Rc<ComplexValue>>,
) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    if !word.text.contains(&b'$') && value::size(&word.text).is_none() {
        return Err(value::invalid_value(directive));
    }
    let rate = Rc::new(ComplexValue::of_word(scope, directive, word)?);
    if slot(&mut scope.loc.stream).replace(rate).is_some() {
        return Err(value::duplicate(directive));
    }
    Ok(())
}

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

/// `set $name value`
fn set(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [name, value] = &directive.args[..] else { return Ok(()) };
    let target = rewrite::target(scope, directive, name)?;
    let value = ComplexValue::of_word(scope, directive, value)?;
    scope.loc.stream.sets.push((target, value));
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
