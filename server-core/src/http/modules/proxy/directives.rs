//! The directives `proxy_*`.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::conf::{Failure, Ignored, LocConf, Pass, Redirect, local_address};
use super::handler::ProxyHandler;
use crate::conf::value::{self, duplicate, invalid_value};
use crate::conf::{Arity, Contexts, Directive, Rule, Word};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::http::location::Kind;
use crate::http::method::Version;
use crate::http::regex::{Case, Regex};
use crate::upstream::address::Target;

type Applied = Result<(), Diagnostic>;

const HSL: Contexts = Contexts::HTTP_SERVER_LOCATION;
const ONE: Arity = Arity::Words(1, 1);

const fn rule(name: &'static str, args: Arity, apply: fn(&mut Scope<'_>, &Directive) -> Applied) -> Rule {
    Rule { name, contexts: HSL, args, apply }
}

const fn tls(name: &'static str, args: Arity) -> Rule {
    rule(name, args, |_, _| Ok(()))
}

macro_rules! set {
    ($name:literal, $args:expr, $set:ident, $field:ident) => {
        rule($name, $args, |scope, directive| value::$set(scope.loc.proxy.$field.slot(), directive))
    };
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "proxy_pass",
        contexts: Contexts::LOCATION.or(Contexts::IF_IN_LOCATION).or(Contexts::LIMIT_EXCEPT),
        args: ONE,
        apply: proxy_pass,
    },
    rule("proxy_redirect", Arity::Words(1, 2), proxy_redirect),
    set!("proxy_buffering", Arity::Flag, set_flag, buffering),
    set!("proxy_request_buffering", Arity::Flag, set_flag, request_buffering),
    set!("proxy_ignore_client_abort", Arity::Flag, set_flag, ignore_client_abort),
    set!("proxy_intercept_errors", Arity::Flag, set_flag, intercept_errors),
    set!("proxy_force_ranges", Arity::Flag, set_flag, force_ranges),
    set!("proxy_pass_request_headers", Arity::Flag, set_flag, pass_request_headers),
    set!("proxy_pass_request_body", Arity::Flag, set_flag, pass_request_body),
    set!("proxy_pass_trailers", Arity::Flag, set_flag, pass_trailers),
    set!("proxy_socket_keepalive", Arity::Flag, set_flag, socket_keepalive),
    set!("proxy_connect_timeout", ONE, set_msec, connect_timeout),
    set!("proxy_send_timeout", ONE, set_msec, send_timeout),
    set!("proxy_read_timeout", ONE, set_msec, read_timeout),
    set!("proxy_next_upstream_timeout", ONE, set_msec, next_upstream_timeout),
    set!("proxy_next_upstream_tries", ONE, set_number, next_upstream_tries),
    set!("proxy_buffer_size", ONE, set_size, buffer_size),
    set!("proxy_busy_buffers_size", ONE, set_size, busy_buffers_size),
    set!("proxy_max_temp_file_size", ONE, set_size, max_temp_file_size),
    set!("proxy_temp_file_write_size", ONE, set_size, temp_file_write_size),
    set!("proxy_send_lowat", ONE, set_size, send_lowat),
    set!("proxy_headers_hash_max_size", ONE, set_number, headers_hash_max_size),
    set!("proxy_headers_hash_bucket_size", ONE, set_number, headers_hash_bucket_size),
    set!("proxy_buffers", Arity::Words(2, 2), set_buffers, buffers),
    // Nothing is spooled to files.
    rule("proxy_temp_path", Arity::Words(1, 4), |_, _| Ok(())),
    // Without TLS to servers (`https://` is refused), there is nothing that these could change.
    tls("proxy_ssl_certificate", Arity::Words(1, 1)),
    tls("proxy_ssl_certificate_key", Arity::Words(1, 1)),
    tls("proxy_ssl_ciphers", Arity::Words(1, 1)),
    tls("proxy_ssl_conf_command", Arity::Words(2, 2)),
    tls("proxy_ssl_crl", Arity::Words(1, 1)),
    tls("proxy_ssl_name", Arity::Words(1, 1)),
    tls("proxy_ssl_password_file", Arity::Words(1, 1)),
    tls("proxy_ssl_protocols", Arity::Words(1, Arity::MANY)),
    tls("proxy_ssl_server_name", Arity::Flag),
    tls("proxy_ssl_session_reuse", Arity::Flag),
    tls("proxy_ssl_trusted_certificate", Arity::Words(1, 1)),
    tls("proxy_ssl_verify", Arity::Flag),
    tls("proxy_ssl_verify_depth", Arity::Words(1, 1)),
    rule("proxy_http_version", ONE, |scope, directive| {
        let words = [("1.0", Version::HTTP_10), ("1.1", Version::HTTP_11)];
        value::set_enum(scope.loc.proxy.http_version.slot(), directive, &words)
    }),
    rule("proxy_method", ONE, |scope, directive| {
        let compiled = compile(scope, directive)?;
        value::set_with(scope.loc.proxy.method.slot(), directive, |_| Ok(Some(compiled)))
    }),
    rule("proxy_set_body", ONE, |scope, directive| {
        let compiled = compile(scope, directive)?;
        value::set_with(scope.loc.proxy.set_body.slot(), directive, |_| Ok(Some(compiled)))
    }),
    rule("proxy_bind", Arity::Words(1, 2), proxy_bind),
    rule("proxy_set_header", Arity::Words(2, 2), proxy_set_header),
    rule("proxy_hide_header", ONE, |scope, directive| push(&mut scope.loc.proxy.hide_headers, directive)),
    rule("proxy_pass_header", ONE, |scope, directive| push(&mut scope.loc.proxy.pass_headers, directive)),
    rule("proxy_next_upstream", Arity::Words(1, Arity::MANY), proxy_next_upstream),
    rule("proxy_ignore_headers", Arity::Words(1, Arity::MANY), proxy_ignore_headers),
];

fn compile(scope: &mut Scope<'_>, directive: &Directive) -> Result<Rc<ComplexValue>, Diagnostic> {
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    ComplexValue::of_word(scope, directive, word).map(Rc::new)
}

#[expect(clippy::unnecessary_wraps, reason = "it has the shape of the setters")]
fn push(list: &mut Rc<Vec<Box<[u8]>>>, directive: &Directive) -> Applied {
    if let Some(word) = directive.arg(0) {
        Rc::make_mut(list).push(word.text.clone());
    }
    Ok(())
}

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
    if url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"https://")) {
        return Err(directive.error_at(word, "https_unsupported", "https protocol requires SSL support"));
    }
    if !url.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"http://")) {
        return Err(directive.error_at(word, "invalid_url_prefix", "invalid URL prefix"));
    }
    let target = Target::parse(&url.slice(7..), 80).map_err(|error| {
        let rest = String::from_utf8_lossy(&url[7..]).into_owned();
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
    scope.loc.proxy.pass = Some(Rc::new(Pass::Fixed { url, target, group, location }));
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

fn proxy_bind(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    if let Some(option) = directive.arg(1) {
        let message = format!("parameter \"{}\" is not supported", option.lossy());
        return Err(directive.error_at(option, "unsupported_parameter", message));
    }
    let compiled = if word.is("off") { None } else { Some(compile(scope, directive)?) };
    let constant = compiled.as_ref().and_then(|compiled| compiled.constant().cloned());
    if constant.is_some_and(|text| local_address(&text).is_none()) {
        return Err(directive.error_at(word, "invalid_address", format!("invalid address \"{}\"", word.lossy())));
    }
    value::set_with(scope.loc.proxy.bind.slot(), directive, |_| Ok(compiled))
}

fn proxy_set_header(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let [name, value] = &directive.args[..] else { return Ok(()) };
    let compiled = |scope: &mut Scope<'_>, word: &Word| ComplexValue::of_word(scope, directive, word);
    let pair = (compiled(scope, name)?, compiled(scope, value)?);
    Rc::make_mut(&mut scope.loc.proxy.set_headers).push(pair);
    Ok(())
}

fn proxy_next_upstream(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let words = [
        ("error", Failure::ERROR.0),
        ("timeout", Failure::TIMEOUT.0),
        ("invalid_header", Failure::INVALID_HEADER.0),
        ("non_idempotent", Failure::NON_IDEMPOTENT.0),
        ("http_500", Failure::HTTP_500.0),
        ("http_502", Failure::HTTP_502.0),
        ("http_503", Failure::HTTP_503.0),
        ("http_504", Failure::HTTP_504.0),
        ("http_403", Failure::HTTP_403.0),
        ("http_404", Failure::HTTP_404.0),
        ("http_429", Failure::HTTP_429.0),
        // There is no cache whose stale entries might be used.
        ("updating", 0x800),
        ("off", Failure::OFF.0),
    ];
    for warning in value::set_bits(scope.loc.proxy.next_upstream.slot(), directive, &words)? {
        scope.cycle.notice(crate::log::Level::Warn, warning);
    }
    if let Some(bits) = scope.loc.proxy.next_upstream.slot()
        && *bits & Failure::OFF.0 != 0
    {
        *bits = Failure::OFF.0;
    }
    Ok(())
}

fn proxy_ignore_headers(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    const CACHING: [&str; 5] = ["X-Accel-Expires", "Expires", "Cache-Control", "Set-Cookie", "Vary"];
    let mut bits = 0;
    for word in &directive.args {
        bits |= match &*word.text {
            name if name.eq_ignore_ascii_case(b"X-Accel-Redirect") => Ignored::ACCEL_REDIRECT,
            name if name.eq_ignore_ascii_case(b"X-Accel-Limit-Rate") => Ignored::ACCEL_LIMIT_RATE,
            name if name.eq_ignore_ascii_case(b"X-Accel-Buffering") => Ignored::ACCEL_BUFFERING,
            name if name.eq_ignore_ascii_case(b"X-Accel-Charset") => Ignored::ACCEL_CHARSET,
            name if CACHING.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name)) => Ignored::CACHING,
            _ => return Err(value::invalid_word(directive, word)),
        };
    }
    scope.loc.proxy.ignore_headers.slot().replace(bits).map_or(Ok(()), |_| Err(duplicate(directive)))
}
