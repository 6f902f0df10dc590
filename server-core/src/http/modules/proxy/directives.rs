//! The directives `proxy_*`.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::conf::{LocConf, Pass, Redirect};
use super::cookies::{CookieName, FlagRule, Rewrite};
use super::http::ProxyHandler;
use super::target::scheme_of;
use crate::conf::value::{self, duplicate};
use crate::conf::{Contexts, Directive, Rule, Word};
use crate::http::cache::conf::cache_rules;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::http::location::Kind;
use crate::http::method::Version;
use crate::http::regex::{Case, Regex};
use crate::http::upstream::rules::{Applied, rules as table, tls_rules};
use crate::upstream::address::Target;

/// The directive table.
pub(crate) const RULES: &[Rule] = table!("proxy", proxy;
    Rule {
        name: "proxy_pass",
        contexts: Contexts::LOCATION.or(Contexts::IF_IN_LOCATION).or(Contexts::LIMIT_EXCEPT),
        args: ONE,
        apply: proxy_pass,
    },
    rule("proxy_redirect", Arity::Words(1, 2), proxy_redirect),
    rule("proxy_cookie_domain", Arity::Words(1, 2), |scope, directive| {
        let rule = cookie_rule(scope, directive, Fold::Case)?;
        add_rule(&mut scope.loc.proxy.cookie_domains, directive, rule)
    }),
    rule("proxy_cookie_path", Arity::Words(1, 2), |scope, directive| {
        let rule = cookie_rule(scope, directive, Fold::Nothing)?;
        add_rule(&mut scope.loc.proxy.cookie_paths, directive, rule)
    }),
    rule("proxy_cookie_flags", Arity::Words(1, 4), proxy_cookie_flags),
    setting!(proxy, "proxy_pass_trailers", Arity::Flag, set_flag, pass_trailers),
    rule("proxy_headers_hash_max_size", ONE, |scope, directive| {
        value::set_number(scope.loc.proxy.headers_hash_max_size.slot(), directive)
    }),
    rule("proxy_headers_hash_bucket_size", ONE, |scope, directive| {
        value::set_number(scope.loc.proxy.headers_hash_bucket_size.slot(), directive)
    }),
    rule("proxy_http_version", ONE, |scope, directive| {
        let words = [("1.0", Version::HTTP_10), ("1.1", Version::HTTP_11), ("2", Version::HTTP_20)];
        value::set_enum(scope.loc.proxy.http_version.slot(), directive, &words)
    }),
    rule("proxy_method", ONE, |scope, directive| {
        let compiled = rules::compile(scope, directive)?;
        rules::set(scope.loc.proxy.method.slot(), directive, Some(compiled))
    }),
    rule("proxy_set_body", ONE, |scope, directive| {
        let compiled = rules::compile(scope, directive)?;
        rules::set(scope.loc.proxy.set_body.slot(), directive, Some(compiled))
    }),
    setting!(proxy, "proxy_cache_convert_head", Arity::Flag, set_flag, cache.convert_head),
    rule("proxy_set_header", Arity::Words(2, 2), proxy_set_header),
);

/// The rules of `proxy_cache*`.
pub(crate) const CACHE_RULES: &[Rule] = cache_rules!("proxy", proxy);

/// The rules of `proxy_ssl_*`.
pub(crate) const TLS_RULES: &[Rule] = tls_rules!("proxy", proxy);

fn proxy_pass(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    if scope.loc.proxy.pass.is_some() {
        return Err(duplicate(directive));
    }
    let core = &mut scope.loc.core;
    core.handler = Some(&ProxyHandler);
    if core.name.ends_with(b"/") {
        core.auto_redirect = true;
    }
    if word.text.contains(&b'$') {
        let url = ComplexValue::of_word(scope, directive, word)?;
        scope.loc.proxy.pass = Some(Rc::new(Pass::Variable(url)));
        return Ok(());
    }
    let url = Bytes::copy_from_slice(&word.text);
    let Some((rest, tls, port)) = scheme_of(&url) else {
        return Err(directive.error_at(word, "invalid_url_prefix", "invalid URL prefix"));
    };
    let target = Target::parse(&rest, port).map_err(|error| {
        let rest = String::from_utf8_lossy(&rest).into_owned();
        directive.error_at(word, "invalid_address", format!("{error} in upstream \"{rest}\""))
    })?;
    let group = scope.main.upstream.refer(&target, directive);
    let core = &scope.loc.core;
    let by_name = matches!(core.kind, Kind::Exact | Kind::Prefix { .. });
    if !by_name && !target.uri.is_empty() {
        let message = "\"proxy_pass\" cannot have URI part in location given by regular expression, \
                       or inside named location, or inside \"if\" statement, or inside \"limit_except\" block";
        return Err(directive.error_at(word, "proxy_uri", message));
    }
    let location = if by_name { core.name.clone() } else { Bytes::new() };
    scope.loc.proxy.pass = Some(Rc::new(Pass::Fixed { url, tls, target, group, location }));
    Ok(())
}

fn proxy_redirect(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let off = scope.loc.proxy.redirect_off;
    if off == Some(true) {
        return Err(duplicate(directive));
    }
    let (pattern, replacement) = match &directive.args[..] {
        [word] if word.is("off") => {
            if scope.loc.proxy.redirects.is_some() {
                return Err(duplicate(directive));
            }
            scope.loc.proxy.redirect_off = Some(true);
            return Ok(());
        }
        [word] if word.is("default") => {
            scope.loc.proxy.redirect_off = Some(false);
            return default_redirect(scope, directive);
        }
        [pattern, replacement] => (pattern, replacement),
        _ => {
            let message = format!("invalid parameter \"{}\"", directive.args[0].lossy());
            return Err(directive.error("invalid_parameter", message));
        }
    };
    scope.loc.proxy.redirect_off = Some(false);
    let to = ComplexValue::of_word(scope, directive, replacement)?;
    let redirect = match pattern.text.strip_prefix(b"~") {
        Some(text) => {
            let (text, case) = match text.strip_prefix(b"*") {
                Some(text) => (text, Case::Insensitive),
                None => (text, Case::Sensitive),
            };
            Redirect::Regex(Regex::of_word(scope, directive, pattern, text, case)?, to)
        }
        None => Redirect::Prefix(ComplexValue::of_word(scope, directive, pattern)?, to),
    };
    add_redirect(&mut scope.loc.proxy, redirect);
    Ok(())
}

fn add_redirect(conf: &mut LocConf, redirect: Redirect) {
    let list = conf.redirects.get_or_insert_default();
    if let Some(list) = Rc::get_mut(list) {
        list.push(redirect);
    }
}

fn default_redirect(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let redirect = match scope.loc.proxy.pass.as_deref() {
        None => {
            let message = "\"proxy_redirect default\" should be placed after the \"proxy_pass\" directive";
            return Err(directive.error("proxy_redirect", message));
        }
        Some(Pass::Variable(_)) => {
            let message = "\"proxy_redirect default\" cannot be used with \"proxy_pass\" directive with variables";
            return Err(directive.error("proxy_redirect", message));
        }
        Some(Pass::Fixed { url, target, location, .. }) => default_rule(url, target, location),
    };
    add_redirect(&mut scope.loc.proxy, redirect);
    Ok(())
}

/// The rule of `proxy_redirect default`: what `proxy_pass` put in front is taken off again.
pub(super) fn default_rule(url: &Bytes, target: &Target, location: &Bytes) -> Redirect {
    if target.uri.is_empty() {
        let mut prefix = url.to_vec();
        prefix.push(b'/');
        return Redirect::Prefix(ComplexValue::literal(prefix), ComplexValue::literal("/"));
    }
    Redirect::Prefix(ComplexValue::literal(url.clone()), ComplexValue::literal(location.clone()))
}

fn proxy_set_header(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let [name, value] = &directive.args[..] else { return Ok(()) };
    let compiled = |scope: &mut Scope<'_>, word: &Word| ComplexValue::of_word(scope, directive, word);
    let pair = (compiled(scope, name)?, compiled(scope, value)?);
    Rc::make_mut(&mut scope.loc.proxy.set_headers).push(pair);
    Ok(())
}

/// Whether upper and lower case are the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fold {
    Case,
    Nothing,
}

/// A rule of `proxy_cookie_domain` or `proxy_cookie_path`; `None` is `off`.
fn cookie_rule(scope: &mut Scope<'_>, directive: &Directive, fold: Fold) -> Result<Option<Rewrite>, Diagnostic> {
    let (pattern, replacement) = match &directive.args[..] {
        [word] if word.is("off") => return Ok(None),
        [pattern, replacement] => (pattern, replacement),
        _ => return Err(invalid_parameter(directive, &directive.args[0])),
    };
    // Domains are written with a dot in front or without.
    let bare = |word: &Word| match word.text.strip_prefix(b".") {
        Some(text) if fold == Fold::Case => Word { text: text.into(), ..word.clone() },
        _ => word.clone(),
    };
    let (pattern, replacement) = match pattern.text.first() {
        Some(b'~') => (pattern.clone(), replacement.clone()),
        _ => (bare(pattern), bare(replacement)),
    };
    let (pattern, replacement) = (&pattern, &replacement);
    let to = ComplexValue::of_word(scope, directive, replacement)?;
    Ok(Some(match pattern.text.strip_prefix(b"~") {
        Some(text) => {
            let (text, case) = match text.strip_prefix(b"*") {
                Some(text) => (text, Case::Insensitive),
                // Domains have no case.
                None if fold == Fold::Case => (text, Case::Insensitive),
                None => (text, Case::Sensitive),
            };
            Rewrite::Regex(Regex::of_word(scope, directive, pattern, text, case)?, to)
        }
        None => Rewrite::Plain(ComplexValue::of_word(scope, directive, pattern)?, to),
    }))
}

fn invalid_parameter(directive: &Directive, word: &Word) -> Diagnostic {
    directive.error_at(word, "invalid_parameter", format!("invalid parameter \"{}\"", word.lossy()))
}

/// Adds a rule to a list; `off` stands alone and makes the list an empty one, which is inherited by nobody.
fn add_rule<T>(list: &mut Option<Rc<Vec<T>>>, directive: &Directive, rule: Option<T>) -> Applied {
    match (list.as_mut(), rule) {
        (Some(known), Some(rule)) if !known.is_empty() => {
            if let Some(known) = Rc::get_mut(known) {
                known.push(rule);
            }
        }
        (Some(_), _) => return Err(duplicate(directive)),
        (None, rule) => *list = Some(Rc::new(rule.into_iter().collect())),
    }
    Ok(())
}

fn proxy_cookie_flags(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    const FLAGS: [&str; 8] = [
        "httponly",
        "nohttponly",
        "nosamesite",
        "nosecure",
        "samesite=lax",
        "samesite=none",
        "samesite=strict",
        "secure",
    ];
    let Some((name, words)) = directive.args.split_first() else { return Ok(()) };
    if words.is_empty() {
        return if name.is("off") {
            add_rule(&mut scope.loc.proxy.cookie_flags, directive, None)
        } else {
            Err(invalid_parameter(directive, name))
        };
    }
    let mut flags = Vec::new();
    for word in words {
        let known = FLAGS.iter().any(|flag| word.text.eq_ignore_ascii_case(flag.as_bytes()));
        if !known && !word.text.contains(&b'$') {
            return Err(invalid_parameter(directive, word));
        }
        flags.push(ComplexValue::of_word(scope, directive, word)?);
    }
    let name = match name.text.strip_prefix(b"~") {
        Some(text) => CookieName::Regex(Regex::of_word(scope, directive, name, text, Case::Insensitive)?),
        None => CookieName::Plain(ComplexValue::of_word(scope, directive, name)?),
    };
    add_rule(&mut scope.loc.proxy.cookie_flags, directive, Some(FlagRule { name, flags }))
}
