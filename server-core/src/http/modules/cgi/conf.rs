//! The settings that the CGI-like protocols share.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::value::{duplicate, invalid_value};
use crate::conf::{Directive, Word};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::http::modules::upstream::GroupRef;
use crate::http::request::Request;
use crate::http::upstream::Route;
use crate::log::Level;
use crate::upstream::address::Target;

/// A parameter of the configuration.
pub(crate) struct Param {
    pub(crate) name: Bytes,
    pub(crate) value: ComplexValue,
    /// Left out when it is empty.
    pub(crate) if_not_empty: bool,
}

/// Where requests go.
pub(crate) enum Pass {
    /// Always to the same servers, through TLS or not.
    Fixed(Target, GroupRef, bool),
    /// Where variables say.
    Variable(ComplexValue),
}

/// How addresses of a protocol are written.
pub(crate) struct Schemes {
    /// What stands before servers in messages; an address may begin so as well, unless it is not `written`.
    pub(crate) plain: &'static str,
    /// Whether addresses may have a scheme.
    pub(crate) written: bool,
    /// The scheme of the protocol inside TLS.
    pub(crate) tls: Option<&'static str>,
}

impl Schemes {
    /// An address without its scheme, and whether through TLS.
    fn split(&self, text: &Bytes) -> (Bytes, bool) {
        let behind = |scheme: &str| text.starts_with(scheme.as_bytes()).then(|| text.slice(scheme.len()..));
        if let Some(rest) = self.tls.and_then(behind) {
            return (rest, true);
        }
        let rest = if self.written { behind(self.plain) } else { None };
        (rest.unwrap_or_else(|| text.clone()), false)
    }
}

/// Settings of a location.
#[derive(Default)]
pub(crate) struct CgiConf {
    /// `…_pass`
    pub(crate) pass: Option<Rc<Pass>>,
    /// `…_param`
    pub(crate) params: Rc<Vec<Param>>,
}

impl CgiConf {
    /// Takes over what is unset here.
    pub(crate) fn merge(&mut self, outer: &Self) {
        if self.pass.is_none() {
            self.pass.clone_from(&outer.pass);
        }
        if self.params.is_empty() {
            self.params = Rc::clone(&outer.params);
        }
    }

    /// Whether requests may go through TLS.
    pub(crate) fn needs_tls(&self, schemes: &Schemes) -> bool {
        match self.pass.as_deref() {
            Some(Pass::Fixed(_, _, tls)) => *tls,
            Some(Pass::Variable(_)) => schemes.tls.is_some(),
            None => false,
        }
    }

    /// Where a request goes.
    pub(crate) fn route(&self, r: &Rc<Request>, schemes: &'static Schemes) -> Result<Route, Code> {
        let (target, group, tls) = match self.pass.as_deref() {
            None => return Err(Code::INTERNAL_SERVER_ERROR),
            Some(Pass::Fixed(target, group, tls)) => {
                (target.clone(), Some(group.get().cloned().ok_or(Code::INTERNAL_SERVER_ERROR)?), *tls)
            }
            Some(Pass::Variable(value)) => {
                let (text, tls) = schemes.split(&value.eval(r));
                let target = Target::parse(&text, 0).map_err(|error| {
                    let error = error.to_string();
                    r.log_bytes(Level::Error, &[error.as_bytes(), b" in upstream \"", &text, b"\""]);
                    Code::INTERNAL_SERVER_ERROR
                })?;
                (target, None, tls)
            }
        };
        let scheme = if tls { schemes.tls.unwrap_or(schemes.plain) } else { schemes.plain };
        Ok(Route { target, group, uri: Bytes::new(), scheme, tls, default_port: 0 })
    }
}

/// Reads the address of a `…_pass`.
pub(crate) fn pass(
    scope: &mut Scope<'_>,
    directive: &Directive,
    schemes: &Schemes,
    known: bool,
) -> Result<Rc<Pass>, Diagnostic> {
    if known {
        return Err(duplicate(directive));
    }
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    if scope.loc.core.name.ends_with(b"/") {
        scope.loc.core.auto_redirect = true;
    }
    if word.text.contains(&b'$') {
        return Ok(Rc::new(Pass::Variable(ComplexValue::of_word(scope, directive, word)?)));
    }
    let (text, tls) = schemes.split(&Bytes::copy_from_slice(&word.text));
    let target = Target::parse(&text, 0).map_err(|error| {
        directive.error_at(word, "invalid_address", format!("{error} in upstream \"{}\"", word.lossy()))
    })?;
    let group = scope.main.upstream.refer(&target, directive);
    Ok(Rc::new(Pass::Fixed(target, group, tls)))
}

/// Reads a `…_param NAME VALUE [if_not_empty]`.
pub(crate) fn add_param(scope: &mut Scope<'_>, directive: &Directive) -> Result<Param, Diagnostic> {
    let (Some(name), Some(value)) = (directive.arg(0), directive.arg(1)) else {
        return Err(invalid_value(directive));
    };
    let if_not_empty = match directive.arg(2) {
        None => false,
        Some(word) if word.is("if_not_empty") => true,
        Some(word) => return Err(invalid_parameter(directive, word)),
    };
    let value = ComplexValue::of_word(scope, directive, value)?;
    Ok(Param { name: Bytes::copy_from_slice(&name.text), value, if_not_empty })
}

fn invalid_parameter(directive: &Directive, word: &Word) -> Diagnostic {
    directive.error_at(word, "invalid_parameter", format!("invalid parameter \"{}\"", word.lossy()))
}

impl CgiConf {
    /// Appends a parameter to those of the level that is being read.
    pub(crate) fn push(&mut self, param: Param) {
        // A list that is being read belongs to its level alone.
        if let Some(params) = Rc::get_mut(&mut self.params) {
            params.push(param);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_whether_through_tls() {
        let schemes = Schemes { plain: "uwsgi://", written: true, tls: Some("suwsgi://") };
        let split = |text: &'static str| schemes.split(&Bytes::from_static(text.as_bytes()));
        assert_eq!(split("suwsgi://a:1"), (Bytes::from_static(b"a:1"), true));
        assert_eq!(split("uwsgi://a:1"), (Bytes::from_static(b"a:1"), false));
        assert_eq!(split("a:1"), (Bytes::from_static(b"a:1"), false));
    }
}
