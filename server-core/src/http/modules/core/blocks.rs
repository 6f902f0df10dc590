//! `http`, `server`, `location` and `limit_except`: the blocks and how they nest.

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::listen;
use crate::conf::value;
use crate::conf::{Contexts, Directive, Word};
use crate::http::build;
use crate::http::conf::{LocConf, Scope, SrvConf};
use crate::http::location::{Child, Kind, LocRef};
use crate::http::method::Method;
use crate::http::regex::{Case, Regex};

pub(super) fn http(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    if std::mem::replace(&mut scope.main.core.present, true) {
        return Err(value::duplicate(directive));
    }
    let (mut srv, mut loc) = (SrvConf::default(), LocConf::default());
    scope.nested_server(Contexts::HTTP, &mut srv, &mut loc, directive)?;
    build::finish(scope, directive, srv, loc)
}

pub(super) fn server(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let (mut srv, mut loc) = (SrvConf::default(), LocConf::default());
    scope.nested_server(Contexts::SERVER, &mut srv, &mut loc, directive)?;
    if srv.core.listens.is_empty() {
        let mut inner =
            Scope { cycle: scope.cycle, main: scope.main, srv: &mut srv, loc: &mut loc, context: Contexts::SERVER };
        listen::add_default(&mut inner, directive)?;
    }
    scope.main.core.building.push((srv, loc));
    Ok(())
}

pub(super) fn location(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let mut loc = LocConf::default();
    let (kind, name) = match &directive.args[..] {
        [modifier, name] => match &*modifier.text {
            b"=" => (Kind::Exact, &*name.text),
            b"^~" => (Kind::Prefix { regexes: false }, &*name.text),
            b"~" => (regex(scope, directive, name, &name.text, Case::Sensitive)?, &*name.text),
            b"~*" => (regex(scope, directive, name, &name.text, Case::Insensitive)?, &*name.text),
            _ => {
                let message = format!("invalid location modifier \"{}\"", modifier.lossy());
                return Err(directive.error_at(modifier, "invalid_location_modifier", message));
            }
        },
        [name] => match &*name.text {
            [b'=', rest @ ..] => (Kind::Exact, rest),
            [b'^', b'~', rest @ ..] => (Kind::Prefix { regexes: false }, rest),
            [b'~', b'*', rest @ ..] => (regex(scope, directive, name, rest, Case::Insensitive)?, rest),
            [b'~', rest @ ..] => (regex(scope, directive, name, rest, Case::Sensitive)?, rest),
            text @ [b'@', ..] => (Kind::Named, text),
            text => (Kind::Prefix { regexes: true }, text),
        },
        _ => return Ok(()),
    };
    loc.core.kind = kind;
    loc.core.name = Bytes::copy_from_slice(name);
    if scope.context == Contexts::LOCATION {
        check_nesting(scope, directive, &loc)?;
    }
    scope.nested_location(Contexts::LOCATION, &mut loc, directive)?;
    scope.loc.core.children.push(Child { conf: loc, reference: LocRef::default() });
    Ok(())
}

fn regex(
    scope: &mut Scope<'_>,
    directive: &Directive,
    word: &Word,
    pattern: &[u8],
    case: Case,
) -> Result<Kind, Diagnostic> {
    Ok(Kind::Regex(Regex::of_word(scope, directive, word, pattern, case)?))
}

fn check_nesting(scope: &Scope<'_>, directive: &Directive, loc: &LocConf) -> Result<(), Diagnostic> {
    let (inner, outer) = (&loc.core, &scope.loc.core);
    let error = |problem: String| Err(directive.error("location_nesting", problem));
    let (name, around) = (String::from_utf8_lossy(&inner.name), String::from_utf8_lossy(&outer.name));
    if outer.kind == Kind::Exact {
        return error(format!("location \"{name}\" cannot be inside the exact location \"{around}\""));
    }
    if outer.kind == Kind::Named {
        return error(format!("location \"{name}\" cannot be inside the named location \"{around}\""));
    }
    if inner.kind == Kind::Named {
        return error(format!("named location \"{name}\" can be on the server level only"));
    }
    let is_prefix = matches!(inner.kind, Kind::Exact | Kind::Prefix { .. });
    if is_prefix && matches!(outer.kind, Kind::Prefix { .. }) && !inner.name.starts_with(&outer.name) {
        return error(format!("location \"{name}\" is outside location \"{around}\""));
    }
    Ok(())
}

pub(super) fn limit_except(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.loc.core.limit_except != 0 {
        return Err(value::duplicate(directive));
    }
    let mut allowed = 0;
    for word in &directive.args {
        let method = Method::of(&word.text.to_ascii_uppercase());
        if matches!(method, Method::UNKNOWN | Method::TRACE | Method::CONNECT) {
            let message = format!("invalid method \"{}\"", word.lossy());
            return Err(directive.error_at(word, "invalid_method", message));
        }
        allowed |= method.0;
    }
    if allowed & Method::GET.0 != 0 {
        allowed |= Method::HEAD.0;
    }
    let mut loc = LocConf::default();
    loc.core.kind = Kind::Unnamed;
    loc.core.name = scope.loc.core.name.clone();
    scope.nested_location(Contexts::LIMIT_EXCEPT, &mut loc, directive)?;
    let reference = LocRef::default();
    scope.loc.core.limit_except = !allowed;
    scope.loc.core.limit_except_loc = reference.clone();
    scope.loc.core.children.push(Child { conf: loc, reference });
    Ok(())
}
