//! The directives `grpc_*`.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::{GrpcHandler, request};
use crate::conf::value::duplicate;
use crate::conf::{Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::modules::lua::LocConf as LuaConf;
use crate::http::modules::upstream::GroupRef;
use crate::http::request::Request;
use crate::http::upstream::rules::{Applied, base_rules, tls_rules};
use crate::http::upstream::{Conf, Route};
use crate::log::Level;
use crate::upstream::address::Target;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Where requests go.
enum Pass {
    /// Always to the same servers, through TLS or not.
    Fixed(Target, GroupRef, bool),
    /// Where variables say.
    Variable(ComplexValue),
}

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// What all protocols share.
    pub(crate) upstream: Conf,
    /// `grpc_pass`
    pass: Option<Rc<Pass>>,
    /// `grpc_set_header`
    pub(super) set_headers: Rc<Vec<(ComplexValue, ComplexValue)>>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        // Messages go on as they come, and what follows them tells how the call ended.
        self.upstream.buffering.set(false);
        self.upstream.request_buffering.set(false);
        self.upstream.pass_trailers.set(true);
        self.upstream.merge(&outer.upstream);
        if self.pass.is_none() {
            self.pass.clone_from(&outer.pass);
        }
        if self.set_headers.is_empty() {
            self.set_headers = Rc::clone(&outer.set_headers);
        }
        Ok(())
    }
}

impl LocConf {
    /// Completes the settings of a location, when all of its directives are known.
    pub(crate) fn settle(&self, lua: &LuaConf) -> Result<(), String> {
        match self.pass.as_deref() {
            Some(Pass::Fixed(_, _, true) | Pass::Variable(_)) => self.upstream.tls.build("grpc", lua),
            Some(Pass::Fixed(_, _, false)) | None => Ok(()),
        }
    }
}

/// Headers that are passed on only when `grpc_pass_header` says so.
pub(super) const HIDDEN: &[&str] = &[
    "Date",
    "Server",
    "X-Accel-Expires",
    "X-Accel-Redirect",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
];

/// The directive table.
pub(crate) const RULES: &[Rule] = base_rules!("grpc", grpc;
    Rule {
        name: "grpc_pass",
        contexts: Contexts::LOCATION.or(Contexts::IF_IN_LOCATION).or(Contexts::LIMIT_EXCEPT),
        args: ONE,
        apply: grpc_pass,
    },
    rule("grpc_set_header", Arity::Words(2, 2), |scope, directive| {
        let [name, value] = &directive.args[..] else { return Ok(()) };
        let name = ComplexValue::of_word(scope, directive, name)?;
        let value = ComplexValue::of_word(scope, directive, value)?;
        Rc::make_mut(&mut scope.loc.grpc.set_headers).push((name, value));
        Ok(())
    }),
    setting!(grpc, "grpc_intercept_errors", Arity::Flag, set_flag, intercept_errors),
    rule("grpc_hide_header", ONE, |scope, directive| {
        rules::push(&mut scope.loc.grpc.upstream.hide_headers, directive)
    }),
    rule("grpc_pass_header", ONE, |scope, directive| {
        rules::push(&mut scope.loc.grpc.upstream.pass_headers, directive)
    }),
    rule("grpc_ignore_headers", SOME, |scope, directive| {
        rules::ignore_headers(&mut scope.loc.grpc.upstream, directive)
    }),
);

/// The rules of `grpc_ssl_*`.
pub(crate) const TLS_RULES: &[Rule] = tls_rules!("grpc", grpc);

fn grpc_pass(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    if scope.loc.grpc.pass.is_some() {
        return Err(duplicate(directive));
    }
    let core = &mut scope.loc.core;
    core.handler = Some(&GrpcHandler);
    if core.name.ends_with(b"/") {
        core.auto_redirect = true;
    }
    if word.text.contains(&b'$') {
        let address = ComplexValue::of_word(scope, directive, word)?;
        scope.loc.grpc.pass = Some(Rc::new(Pass::Variable(address)));
        return Ok(());
    }
    let (rest, tls) = without_scheme(&Bytes::copy_from_slice(&word.text));
    let target = Target::parse(&rest, default_port(tls)).map_err(|error| {
        let rest = String::from_utf8_lossy(&rest).into_owned();
        directive.error_at(word, "invalid_address", format!("{error} in upstream \"{rest}\""))
    })?;
    if !target.uri.is_empty() {
        return Err(directive.error_at(word, "grpc_uri", "\"grpc_pass\" cannot have URI part"));
    }
    let group = scope.main.upstream.refer(&target, directive);
    scope.loc.grpc.pass = Some(Rc::new(Pass::Fixed(target, group, tls)));
    Ok(())
}

/// An address without `grpc://` or `grpcs://`, and whether through TLS.
fn without_scheme(text: &Bytes) -> (Bytes, bool) {
    let begins = |scheme: &[u8]| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if begins(b"grpcs://") {
        (text.slice(8..), true)
    } else if begins(b"grpc://") {
        (text.slice(7..), false)
    } else {
        (text.clone(), false)
    }
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Where a request goes.
pub(super) fn route(r: &Rc<Request>) -> Result<Route, Code> {
    let Some(pass) = r.loc().grpc.pass.clone() else { return Err(Code::INTERNAL_SERVER_ERROR) };
    let (target, group, tls) = match &*pass {
        Pass::Fixed(target, group, tls) => {
            (target.clone(), Some(group.get().cloned().ok_or(Code::INTERNAL_SERVER_ERROR)?), *tls)
        }
        Pass::Variable(address) => {
            let (rest, tls) = without_scheme(&address.eval(r));
            let target = Target::parse(&rest, default_port(tls)).map_err(|error| {
                let text = error.to_string();
                r.log_bytes(Level::Error, &[text.as_bytes(), b" in upstream \"", &rest, b"\""]);
                Code::INTERNAL_SERVER_ERROR
            })?;
            (target, None, tls)
        }
    };
    let scheme = if tls { "grpcs://" } else { "grpc://" };
    Ok(Route { target, group, uri: request::path(r), scheme, tls, default_port: default_port(tls) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_whether_through_tls() {
        for (text, rest, tls) in [("grpc://a:1", "a:1", false), ("GRPCS://a", "a", true), ("a:1", "a:1", false)] {
            assert_eq!(
                without_scheme(&Bytes::from_static(text.as_bytes())),
                (Bytes::from_static(rest.as_bytes()), tls)
            );
        }
    }
}
