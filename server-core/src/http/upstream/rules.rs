//! The directives that all protocols to servers behind us share, for any prefix.

use std::rc::Rc;

use rsty_diag::Diagnostic;

use super::conf::{Bind, Conf, Failure, Ignored, Store, TempPath, local_address};
use crate::conf::value::{self, duplicate, invalid_value};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::log::Level;

pub(crate) type Applied = Result<(), Diagnostic>;

/// One word.
pub(crate) const ONE: Arity = Arity::Words(1, 1);
/// One word or more.
pub(crate) const SOME: Arity = Arity::Words(1, Arity::MANY);

/// A rule of a directive that may stand in `http`, `server` and `location`.
pub(crate) const fn rule(name: &'static str, args: Arity, apply: fn(&mut Scope<'_>, &Directive) -> Applied) -> Rule {
    Rule { name, contexts: Contexts::HTTP_SERVER_LOCATION, args, apply }
}

/// A rule that fills a setting of `scope.loc.$module.upstream` with `value::$set`.
macro_rules! setting {
    ($module:ident, $name:expr, $args:expr, $set:ident, $($field:ident).+) => {
        $crate::http::upstream::rules::rule($name, $args, |scope, directive| {
            $crate::conf::value::$set(scope.loc.$module.upstream.$($field).+.slot(), directive)
        })
    };
}
pub(crate) use setting;

/// The table of a module: its own rules, then those of connecting, sending and choosing.
macro_rules! base_rules {
    ($prefix:literal, $module:ident; $($own:expr),* $(,)?) => {{
        use $crate::http::upstream::rules::{self, ONE, SOME, rule, setting};
        use $crate::conf::Arity;
        &[
            $($own,)*
            rule(concat!($prefix, "_bind"), Arity::Words(1, 2), |scope, directive| {
                let bind = rules::bind(scope, directive)?;
                rules::set(scope.loc.$module.upstream.bind.slot(), directive, bind)
            }),
            rule(concat!($prefix, "_next_upstream"), SOME, |scope, directive| {
                let warnings = rules::next_upstream(&mut scope.loc.$module.upstream, directive)?;
                rules::warn(scope, warnings);
                Ok(())
            }),
            setting!($module, concat!($prefix, "_buffer_size"), ONE, set_size, buffer_size),
            setting!($module, concat!($prefix, "_socket_keepalive"), Arity::Flag, set_flag, socket_keepalive),
            setting!($module, concat!($prefix, "_socket_rcvbuf"), ONE, set_size, socket_rcvbuf),
            setting!($module, concat!($prefix, "_socket_sndbuf"), ONE, set_size, socket_sndbuf),
            setting!($module, concat!($prefix, "_connect_timeout"), ONE, set_msec, connect_timeout),
            setting!($module, concat!($prefix, "_send_timeout"), ONE, set_msec, send_timeout),
            setting!($module, concat!($prefix, "_read_timeout"), ONE, set_msec, read_timeout),
            setting!($module, concat!($prefix, "_next_upstream_timeout"), ONE, set_msec, next_upstream_timeout),
            setting!($module, concat!($prefix, "_next_upstream_tries"), ONE, set_number, next_upstream_tries),
        ]
    }};
}
pub(crate) use base_rules;

/// As [`base_rules`], with those about the head and the body of responses, and about what is passed on of requests.
macro_rules! rules {
    ($prefix:literal, $module:ident; $($own:expr),* $(,)?) => {{
        use $crate::http::upstream::rules::base_rules;
        base_rules!($prefix, $module;
            $($own,)*
            setting!($module, concat!($prefix, "_buffering"), Arity::Flag, set_flag, buffering),
            setting!($module, concat!($prefix, "_request_buffering"), Arity::Flag, set_flag, request_buffering),
            setting!($module, concat!($prefix, "_ignore_client_abort"), Arity::Flag, set_flag, ignore_client_abort),
            setting!($module, concat!($prefix, "_intercept_errors"), Arity::Flag, set_flag, intercept_errors),
            setting!($module, concat!($prefix, "_force_ranges"), Arity::Flag, set_flag, force_ranges),
            setting!($module, concat!($prefix, "_pass_request_headers"), Arity::Flag, set_flag, pass_request_headers),
            setting!($module, concat!($prefix, "_pass_request_body"), Arity::Flag, set_flag, pass_request_body),
            setting!($module, concat!($prefix, "_busy_buffers_size"), ONE, set_size, busy_buffers_size),
            setting!($module, concat!($prefix, "_max_temp_file_size"), ONE, set_size, max_temp_file_size),
            setting!($module, concat!($prefix, "_temp_file_write_size"), ONE, set_size, temp_file_write_size),
            setting!($module, concat!($prefix, "_send_lowat"), ONE, set_size, send_lowat),
            setting!($module, concat!($prefix, "_buffers"), Arity::Words(2, 2), set_buffers, buffers),
            rule(concat!($prefix, "_temp_path"), Arity::Words(1, 4), |scope, directive| {
                let path = rules::temp_path(scope, directive)?;
                rules::set(scope.loc.$module.upstream.temp_path.slot(), directive, Some(path))
            }),
            rule(concat!($prefix, "_limit_rate"), ONE, |scope, directive| {
                let rate = rules::compile(scope, directive)?;
                rules::set(scope.loc.$module.upstream.limit_rate.slot(), directive, Some(rate))
            }),
            rule(concat!($prefix, "_store"), ONE, |scope, directive| {
                let store = rules::store(scope, directive)?;
                rules::set(scope.loc.$module.upstream.store.slot(), directive, store)
            }),
            rule(concat!($prefix, "_store_access"), Arity::Words(1, 3), |scope, directive| {
                let access = $crate::conf::value::access(directive)?;
                rules::set(scope.loc.$module.upstream.store_access.slot(), directive, access)
            }),
            rule(concat!($prefix, "_hide_header"), ONE, |scope, directive| {
                rules::push(&mut scope.loc.$module.upstream.hide_headers, directive)
            }),
            rule(concat!($prefix, "_pass_header"), ONE, |scope, directive| {
                rules::push(&mut scope.loc.$module.upstream.pass_headers, directive)
            }),
            rule(concat!($prefix, "_ignore_headers"), SOME, |scope, directive| {
                rules::ignore_headers(&mut scope.loc.$module.upstream, directive)
            }),
        )
    }};
}
pub(crate) use rules;

/// The rules of TLS, as an array to stand beside a module's table.
macro_rules! tls_rules {
    ($prefix:literal, $module:ident) => {{
        use $crate::conf::Arity;
        use $crate::http::upstream::rules::{self, ONE, SOME, rule, setting};
        &[
            setting!($module, concat!($prefix, "_ssl_session_reuse"), Arity::Flag, set_flag, tls.session_reuse),
            setting!($module, concat!($prefix, "_ssl_server_name"), Arity::Flag, set_flag, tls.server_name),
            setting!($module, concat!($prefix, "_ssl_verify"), Arity::Flag, set_flag, tls.verify),
            setting!($module, concat!($prefix, "_ssl_verify_depth"), ONE, set_number, tls.verify_depth),
            setting!($module, concat!($prefix, "_ssl_ciphers"), ONE, set_string, tls.ciphers),
            rule(concat!($prefix, "_ssl_conf_command"), Arity::Words(2, 2), |scope, directive| {
                let commands = scope.loc.$module.upstream.tls.commands.slot();
                $crate::tls::context::push_command(scope.cycle, commands, directive)
            }),
            rule(concat!($prefix, "_ssl_protocols"), SOME, |scope, directive| {
                let warnings = rules::protocols(scope.loc.$module.upstream.tls.protocols.slot(), directive)?;
                rules::warn(scope, warnings);
                Ok(())
            }),
            rule(concat!($prefix, "_ssl_name"), ONE, |scope, directive| {
                let name = rules::compile(scope, directive)?;
                rules::set(scope.loc.$module.upstream.tls.name.slot(), directive, Some(name))
            }),
            rule(concat!($prefix, "_ssl_certificate"), ONE, |scope, directive| {
                let name = rules::compile(scope, directive)?;
                rules::anchor(scope.cycle, &mut scope.loc.$module.upstream.tls);
                let name = rules::unless_empty(name);
                rules::set(scope.loc.$module.upstream.tls.certificate.slot(), directive, name)
            }),
            rule(concat!($prefix, "_ssl_certificate_key"), ONE, |scope, directive| {
                let name = rules::compile(scope, directive)?;
                rules::anchor(scope.cycle, &mut scope.loc.$module.upstream.tls);
                let name = rules::unless_empty(name);
                rules::set(scope.loc.$module.upstream.tls.certificate_key.slot(), directive, name)
            }),
            rule(concat!($prefix, "_ssl_trusted_certificate"), ONE, |scope, directive| {
                let path = rules::conf_path(scope, directive);
                rules::set(scope.loc.$module.upstream.tls.trusted_certificate.slot(), directive, path)
            }),
            rule(concat!($prefix, "_ssl_crl"), ONE, |scope, directive| {
                let path = rules::conf_path(scope, directive);
                rules::set(scope.loc.$module.upstream.tls.crl.slot(), directive, path)
            }),
            rule(concat!($prefix, "_ssl_password_file"), ONE, |scope, directive| {
                let path = rules::conf_path(scope, directive);
                rules::set(scope.loc.$module.upstream.tls.password_file.slot(), directive, path)
            }),
            rule(concat!($prefix, "_ssl_key_log"), ONE, |scope, directive| {
                let path = rules::conf_path(scope, directive);
                rules::set(scope.loc.$module.upstream.tls.key_log.slot(), directive, path)
            }),
        ]
    }};
}
pub(crate) use tls_rules;

/// Sets what has been read already.
pub(crate) fn set<T>(slot: &mut Option<T>, directive: &Directive, read: T) -> Applied {
    if slot.replace(read).is_some() { Err(duplicate(directive)) } else { Ok(()) }
}

/// The first argument as a value with variables.
pub(crate) fn compile(scope: &mut Scope<'_>, directive: &Directive) -> Result<Rc<ComplexValue>, Diagnostic> {
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    ComplexValue::of_word(scope, directive, word).map(Rc::new)
}

/// An empty constant stands for nothing.
pub(crate) fn unless_empty(value: Rc<ComplexValue>) -> Option<Rc<ComplexValue>> {
    (!value.source().is_empty()).then_some(value)
}

/// The file beside the configuration that the first argument names; an empty name is none.
pub(crate) fn conf_path(scope: &Scope<'_>, directive: &Directive) -> Option<std::path::PathBuf> {
    let word = directive.arg(0).filter(|word| !word.text.is_empty())?;
    Some(scope.cycle.full_conf_path(&word.text))
}

/// Notes where files of certificates are looked for.
pub(crate) fn anchor(cycle: &crate::cycle::CycleConf, tls: &mut super::tls_conf::TlsConf) {
    tls.conf_prefix.set(cycle.conf_prefix.clone());
}

/// Passes warnings on.
pub(crate) fn warn(scope: &mut Scope<'_>, warnings: Vec<Diagnostic>) {
    for warning in warnings {
        scope.cycle.notice(Level::Warn, warning);
    }
}

/// One more name in a list.
#[expect(clippy::unnecessary_wraps, reason = "it has the shape of the setters")]
pub(crate) fn push(list: &mut Rc<Vec<Box<[u8]>>>, directive: &Directive) -> Applied {
    if let Some(word) = directive.arg(0) {
        Rc::make_mut(list).push(word.text.clone());
    }
    Ok(())
}

/// `bind ADDRESS [transparent] | off`
pub(crate) fn bind(scope: &mut Scope<'_>, directive: &Directive) -> Result<Option<Bind>, Diagnostic> {
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    if word.is("off") && directive.arg(1).is_none() {
        return Ok(None);
    }
    let transparent = match directive.arg(1) {
        None => false,
        Some(option) if option.is("transparent") => true,
        Some(option) => {
            let message = format!("invalid parameter \"{}\"", option.lossy());
            return Err(directive.error_at(option, "invalid_parameter", message));
        }
    };
    let address = ComplexValue::of_word(scope, directive, word).map(Rc::new)?;
    if address.constant().is_some_and(|text| local_address(text).is_none()) {
        return Err(directive.error_at(word, "invalid_address", format!("invalid address \"{}\"", word.lossy())));
    }
    Ok(Some(Bind { address, transparent }))
}

/// `store on | off | PATH`
pub(crate) fn store(scope: &mut Scope<'_>, directive: &Directive) -> Result<Option<Store>, Diagnostic> {
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    if word.is("off") {
        return Ok(None);
    }
    if word.is("on") {
        return Ok(Some(Store::Mapped));
    }
    Ok(Some(Store::Path(compile(scope, directive)?)))
}

/// `next_upstream`
pub(crate) fn next_upstream(conf: &mut Conf, directive: &Directive) -> Result<Vec<Diagnostic>, Diagnostic> {
    const WORDS: &[(&str, u32)] = &[
        ("error", Failure::ERROR.0),
        ("timeout", Failure::TIMEOUT.0),
        ("invalid_header", Failure::INVALID_HEADER.0),
        ("invalid_response", Failure::INVALID_HEADER.0),
        ("not_found", Failure::HTTP_404.0),
        ("non_idempotent", Failure::NON_IDEMPOTENT.0),
        ("http_500", Failure::HTTP_500.0),
        ("http_502", Failure::HTTP_502.0),
        ("http_503", Failure::HTTP_503.0),
        ("http_504", Failure::HTTP_504.0),
        ("http_403", Failure::HTTP_403.0),
        ("http_404", Failure::HTTP_404.0),
        ("http_429", Failure::HTTP_429.0),
        ("updating", Failure::UPDATING.0),
        ("off", Failure::OFF.0),
    ];
    let slot = conf.next_upstream.slot();
    let warnings = value::set_bits(slot, directive, WORDS)?;
    if let Some(bits) = slot
        && *bits & Failure::OFF.0 != 0
    {
        *bits = Failure::OFF.0;
    }
    Ok(warnings)
}

/// `ignore_headers`
pub(crate) fn ignore_headers(conf: &mut Conf, directive: &Directive) -> Applied {
    const WORDS: &[(&str, u32)] = &[
        ("X-Accel-Redirect", Ignored::ACCEL_REDIRECT),
        ("X-Accel-Expires", Ignored::ACCEL_EXPIRES),
        ("X-Accel-Limit-Rate", Ignored::ACCEL_LIMIT_RATE),
        ("X-Accel-Buffering", Ignored::ACCEL_BUFFERING),
        ("X-Accel-Charset", Ignored::ACCEL_CHARSET),
        ("Expires", Ignored::EXPIRES),
        ("Cache-Control", Ignored::CACHE_CONTROL),
        ("Set-Cookie", Ignored::SET_COOKIE),
        ("Vary", Ignored::VARY),
    ];
    // A name that is said twice is no reason to warn.
    value::set_bits(conf.ignore_headers.slot(), directive, WORDS).map(drop)
}

/// `ssl_protocols`
pub(crate) fn protocols(slot: &mut Option<u32>, directive: &Directive) -> Result<Vec<Diagnostic>, Diagnostic> {
    const NAMES: &[(&str, u32)] =
        &[("SSLv2", 0x2), ("SSLv3", 0x4), ("TLSv1", 0x8), ("TLSv1.1", 0x10), ("TLSv1.2", 0x20), ("TLSv1.3", 0x40)];
    value::set_bits(slot, directive, NAMES)
}

/// `temp_path FOLDER [LEVEL [LEVEL [LEVEL]]]`
pub(crate) fn temp_path(scope: &Scope<'_>, directive: &Directive) -> Result<TempPath, Diagnostic> {
    let (folder, rest) = directive.args.split_first().ok_or_else(|| invalid_value(directive))?;
    let mut levels = [0; 3];
    for (level, word) in levels.iter_mut().zip(rest) {
        let number = value::number(&word.text).filter(|number| (1..=3).contains(number));
        let number = number.and_then(|number| usize::try_from(number).ok());
        *level = number.ok_or_else(|| value::invalid_word(directive, word))?;
    }
    Ok(TempPath { folder: scope.cycle.full_path(&folder.text), levels })
}
