//! The directives of the Lua module.

use std::rc::Rc;

use rsty_diag::Diagnostic;

use super::conf::StartScript;
use super::script::{FileScript, Script};
use super::{filters, handlers};
use crate::conf::{Arity, Block, Contexts, Directive, Rule, Word, rule, value};
use crate::cycle::Subsystem;
use crate::http::ComplexValue;
use crate::http::conf::Scope;
use crate::http::modules::rewrite::{self, Argument};
use crate::log::Level;
use crate::lua::code::{self, Inline};

/// What a rule does.
type Apply = fn(&mut Scope<'_>, &Directive) -> Result<(), Diagnostic>;

const HSL_IF: Contexts = Contexts::HTTP_SERVER_LOCATION_IF;
const HSL: Contexts = Contexts::HTTP_SERVER_LOCATION;
const LOC_IF: Contexts = Contexts::LOCATION.or(Contexts::IF_IN_LOCATION);
const SET: Contexts = Contexts::SERVER.or(Contexts::IF_IN_SERVER).or(LOC_IF);
const HTTP_SERVER: Contexts = Contexts::HTTP.or(Contexts::SERVER);

const fn main(name: &'static str, apply: Apply) -> Rule {
    rule(name, Contexts::HTTP, Arity::Words(1, 1), apply)
}

const fn flag(name: &'static str, contexts: Contexts, apply: Apply) -> Rule {
    rule(name, contexts, Arity::Flag, apply)
}

const fn one(name: &'static str, contexts: Contexts, apply: Apply) -> Rule {
    rule(name, contexts, Arity::Words(1, 1), apply)
}

const fn block(name: &'static str, contexts: Contexts, apply: Apply) -> Rule {
    rule(name, contexts, Arity::LuaBlock(0, 0), apply)
}

/// A rule's function that fills a setting with `value::$set`.
macro_rules! set {
    ($set:ident, $level:ident . $($field:ident).+) => {
        |scope, directive| value::$set(&mut scope.$level.lua.$($field).+, directive)
    };
}

/// A rule's function for a file beside the configuration.
macro_rules! conf_file {
    ($level:ident . $($field:ident).+) => {
        |scope, directive| {
            value::set_string(&mut scope.$level.lua.$($field).+, directive)?;
            scope.$level.lua.$($field).+ = conf_path(scope, directive);
            Ok(())
        }
    };
}

/// A rule's function for a script of a phase.
macro_rules! script {
    ($level:ident . $field:ident, $tag:literal) => {
        |scope, directive| {
            let script = script_of(scope, directive, $tag)?;
            if scope.$level.lua.$field.replace(script).is_some() {
                return Err(value::duplicate(directive));
            }
            Ok(())
        }
    };
}

/// A rule's function for a script without a request.
macro_rules! start_script {
    ($field:ident, $tag:literal) => {
        |scope, directive| {
            let script = start_script_of(scope, directive, $tag)?;
            if scope.main.lua.$field.replace(script).is_some() {
                return Err(value::duplicate(directive));
            }
            Ok(())
        }
    };
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    flag("lua_load_resty_core", Contexts::HTTP, load_resty_core),
    main("lua_thread_cache_max_entries", set!(set_number, main.thread_cache)),
    main("lua_max_running_timers", set!(set_number, main.max_running_timers)),
    main("lua_max_pending_timers", set!(set_number, main.max_pending_timers)),
    main("lua_max_memory", max_memory),
    main("lua_watchdog", set!(set_msec, main.watchdog)),
    rule("lua_shared_dict", Contexts::HTTP, Arity::Words(2, 2), shared_dict),
    main("lua_capture_error_log", capture_error_log),
    flag("lua_sa_restart", Contexts::HTTP, set!(set_flag, main.sa_restart)),
    main("lua_regex_cache_max_entries", set!(set_number, main.regex_cache_max_entries)),
    main("lua_regex_match_limit", set!(set_number, main.regex_match_limit)),
    main("lua_package_cpath", set!(set_string, main.package_cpath)),
    main("lua_package_path", set!(set_string, main.package_path)),
    main("lua_malloc_trim", malloc_trim),
    main("lua_worker_thread_vm_pool_size", set!(set_number, main.worker_thread_vm_pool_size)),
    flag("lua_code_cache", HSL_IF, code_cache),
    flag("lua_need_request_body", HSL_IF, set!(set_flag, loc.need_request_body)),
    flag("lua_transform_underscores_in_response_headers", HSL_IF, set!(set_flag, loc.transform_underscores)),
    flag("lua_http10_buffering", HSL_IF, set!(set_flag, loc.http10_buffering)),
    flag("lua_check_client_abort", HSL_IF, set!(set_flag, loc.check_client_abort)),
    flag("lua_use_default_type", HSL_IF, set!(set_flag, loc.use_default_type)),
    flag("lua_socket_log_errors", HSL_IF, set!(set_flag, loc.socket.log_errors)),
    one("lua_socket_keepalive_timeout", HSL_IF, set!(set_msec, loc.socket.keepalive_timeout)),
    one("lua_socket_connect_timeout", HSL_IF, set!(set_msec, loc.socket.connect_timeout)),
    one("lua_socket_send_timeout", HSL_IF, set!(set_msec, loc.socket.send_timeout)),
    one("lua_socket_read_timeout", HSL_IF, set!(set_msec, loc.socket.read_timeout)),
    one("lua_socket_send_lowat", HSL_IF, set!(set_size, loc.socket.send_lowat)),
    one("lua_socket_buffer_size", HSL_IF, set!(set_size, loc.socket.buffer_size)),
    one("lua_socket_pool_size", HSL_IF, set!(set_number, loc.socket.pool_size)),
    rule("lua_ssl_protocols", HSL, Arity::Words(1, Arity::MANY), ssl_protocols),
    one("lua_ssl_ciphers", HSL, set!(set_string, loc.ssl.ciphers)),
    one("lua_ssl_verify_depth", HSL, set!(set_number, loc.ssl.verify_depth)),
    one("lua_ssl_certificate", HSL, |scope, directive| {
        if let Some(path) = conf_path(scope, directive) {
            scope.loc.lua.ssl.certificates.get_or_insert_default().push(path);
        }
        Ok(())
    }),
    one("lua_ssl_certificate_key", HSL, |scope, directive| {
        if let Some(path) = conf_path(scope, directive) {
            scope.loc.lua.ssl.certificate_keys.get_or_insert_default().push(path);
        }
        Ok(())
    }),
    one("lua_ssl_trusted_certificate", HSL, conf_file!(loc.ssl.trusted_certificate)),
    one("lua_ssl_crl", HSL, conf_file!(loc.ssl.crl)),
    one("lua_ssl_key_log", HSL, conf_file!(loc.ssl.key_log)),
    rule("lua_ssl_conf_command", HSL, Arity::Words(2, 2), set!(push_key_value, loc.ssl.conf_commands)),
    flag("lua_upstream_skip_openssl_default_verify", LOC_IF, set!(set_flag, loc.ssl.skip_default_verify)),
    flag("rewrite_by_lua_no_postpone", Contexts::HTTP, set!(set_flag, main.rewrite_no_postpone)),
    flag("access_by_lua_no_postpone", Contexts::HTTP, set!(set_flag, main.access_no_postpone)),
    flag("precontent_by_lua_no_postpone", Contexts::HTTP, set!(set_flag, main.precontent_no_postpone)),
    block("init_by_lua_block", Contexts::HTTP, start_script!(init, "init_by_lua")),
    main("init_by_lua", start_script!(init, "init_by_lua")),
    main("init_by_lua_file", start_script!(init, "init_by_lua")),
    block("init_worker_by_lua_block", Contexts::HTTP, start_script!(init_worker, "init_worker_by_lua")),
    main("init_worker_by_lua", start_script!(init_worker, "init_worker_by_lua")),
    main("init_worker_by_lua_file", start_script!(init_worker, "init_worker_by_lua")),
    block("exit_worker_by_lua_block", Contexts::HTTP, start_script!(exit_worker, "exit_worker_by_lua")),
    main("exit_worker_by_lua_file", start_script!(exit_worker, "exit_worker_by_lua")),
    rule("set_by_lua_block", SET, Arity::LuaBlock(1, 1), set_by_lua),
    rule("set_by_lua", SET, Arity::Words(2, Arity::MANY), set_by_lua),
    rule("set_by_lua_file", SET, Arity::Words(2, Arity::MANY), set_by_lua),
    block("server_rewrite_by_lua_block", HTTP_SERVER, script!(srv.server_rewrite, "server_rewrite_by_lua")),
    one("server_rewrite_by_lua_file", HTTP_SERVER, script!(srv.server_rewrite, "server_rewrite_by_lua")),
    block("rewrite_by_lua_block", HSL_IF, script!(loc.rewrite, "rewrite_by_lua")),
    one("rewrite_by_lua", HSL_IF, script!(loc.rewrite, "rewrite_by_lua")),
    one("rewrite_by_lua_file", HSL_IF, script!(loc.rewrite, "rewrite_by_lua")),
    block("access_by_lua_block", HSL_IF, script!(loc.access, "access_by_lua")),
    one("access_by_lua", HSL_IF, script!(loc.access, "access_by_lua")),
    one("access_by_lua_file", HSL_IF, script!(loc.access, "access_by_lua")),
    block("precontent_by_lua_block", HSL_IF, script!(loc.precontent, "precontent_by_lua")),
    one("precontent_by_lua_file", HSL_IF, script!(loc.precontent, "precontent_by_lua")),
    block("content_by_lua_block", LOC_IF, content),
    one("content_by_lua", LOC_IF, content),
    one("content_by_lua_file", LOC_IF, content),
    block("log_by_lua_block", HSL_IF, script!(loc.log, "log_by_lua")),
    one("log_by_lua", HSL_IF, script!(loc.log, "log_by_lua")),
    one("log_by_lua_file", HSL_IF, script!(loc.log, "log_by_lua")),
    block("header_filter_by_lua_block", HSL_IF, script!(loc.header_filter, "header_filter_by_lua")),
    one("header_filter_by_lua", HSL_IF, script!(loc.header_filter, "header_filter_by_lua")),
    one("header_filter_by_lua_file", HSL_IF, script!(loc.header_filter, "header_filter_by_lua")),
    block("body_filter_by_lua_block", HSL_IF, script!(loc.body_filter, "body_filter_by_lua")),
    one("body_filter_by_lua", HSL_IF, script!(loc.body_filter, "body_filter_by_lua")),
    one("body_filter_by_lua_file", HSL_IF, script!(loc.body_filter, "body_filter_by_lua")),
    block("ssl_client_hello_by_lua_block", HTTP_SERVER, script!(srv.ssl_client_hello, "ssl_client_hello_by_lua")),
    one("ssl_client_hello_by_lua_file", HTTP_SERVER, script!(srv.ssl_client_hello, "ssl_client_hello_by_lua")),
    block("ssl_certificate_by_lua_block", HTTP_SERVER, script!(srv.ssl_certificate, "ssl_certificate_by_lua")),
    one("ssl_certificate_by_lua_file", HTTP_SERVER, script!(srv.ssl_certificate, "ssl_certificate_by_lua")),
    block("ssl_session_store_by_lua_block", Contexts::HTTP, script!(srv.ssl_session_store, "ssl_session_store_by_lua")),
    one("ssl_session_store_by_lua_file", Contexts::HTTP, script!(srv.ssl_session_store, "ssl_session_store_by_lua")),
    block("ssl_session_fetch_by_lua_block", Contexts::HTTP, script!(srv.ssl_session_fetch, "ssl_session_fetch_by_lua")),
    one("ssl_session_fetch_by_lua_file", Contexts::HTTP, script!(srv.ssl_session_fetch, "ssl_session_fetch_by_lua")),
    block(
        "proxy_ssl_certificate_by_lua_block",
        LOC_IF,
        script!(loc.proxy_ssl_certificate, "proxy_ssl_certificate_by_lua"),
    ),
    one(
        "proxy_ssl_certificate_by_lua_file",
        LOC_IF,
        script!(loc.proxy_ssl_certificate, "proxy_ssl_certificate_by_lua"),
    ),
    block("proxy_ssl_verify_by_lua_block", LOC_IF, script!(loc.proxy_ssl_verify, "proxy_ssl_verify_by_lua")),
    one("proxy_ssl_verify_by_lua_file", LOC_IF, script!(loc.proxy_ssl_verify, "proxy_ssl_verify_by_lua")),
];

fn load_resty_core(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let since = match scope.main.core.subsystem {
        Subsystem::Http => "ngx_lua v0.10.16",
        Subsystem::Stream => "ngx_stream_lua v0.0.8",
    };
    let message = format!("lua_load_resty_core is deprecated (the lua-resty-core library is required since {since})");
    scope.cycle.notice(Level::Warn, directive.error("deprecated_directive", message));
    Ok(())
}

fn code_cache(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let slot = &mut scope.loc.lua.code_cache;
    value::set_flag(slot, directive)?;
    if *slot == Some(false) {
        let mark = scope.main.core.subsystem.mark();
        let message = format!("{mark}lua_code_cache is off; this will hurt performance");
        scope.cycle.notice(Level::Alert, directive.error("lua_code_cache_off", message));
    }
    Ok(())
}

fn shared_dict(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [name, size] = &directive.args[..] else { return Ok(()) };
    if name.text.is_empty() {
        let message = format!("invalid lua shared dict name \"{}\"", name.lossy());
        return Err(directive.error_at(name, "invalid_value", message));
    }
    let bytes = value::size(&size.text).filter(|&bytes| bytes > 8191);
    let Some(bytes) = bytes else {
        let message = format!("invalid lua shared dict size \"{}\"", size.lossy());
        return Err(directive.error_at(size, "invalid_value", message));
    };
    scope.declare_zone(directive, "lua_shared_dict", &name.text)?;
    let dicts = &mut scope.main.lua.shared_dicts;
    if let Some((_, before)) = dicts.iter().find(|(known, _)| *known == name.text) {
        let name_text = name.lossy();
        let message = if *before == bytes {
            format!("lua_shared_dict \"{name_text}\" is already defined as \"{name_text}\"")
        } else {
            format!(
                "the size {bytes} of shared memory zone \"{name_text}\" conflicts with already declared size {before}"
            )
        };
        return Err(directive.error_at(name, "duplicate_directive", message));
    }
    dicts.push((name.text.clone(), bytes));
    scope.main.lua.used = true;
    Ok(())
}

fn malloc_trim(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    value::set_number(&mut scope.main.lua.malloc_trim, directive)?;
    scope.loc.lua.trims_memory = scope.main.lua.malloc_trim != Some(0);
    Ok(())
}

fn max_memory(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    value::set_size(&mut scope.main.lua.max_memory, directive)?;
    // The libraries that every interpreter has need two.
    const LEAST: usize = 8 << 20;
    match directive.arg(0) {
        Some(word) if scope.main.lua.max_memory < Some(LEAST) => {
            Err(directive.error_at(word, "invalid_value", "\"lua_max_memory\" must be at least 8m"))
        }
        _ => Ok(()),
    }
}

fn capture_error_log(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let Some(size) = value::size(&word.text).filter(|&size| size >= 4096) else {
        let message = format!("invalid capture error log size \"{}\", minimum size is 4096", word.lossy());
        return Err(directive.error_at(word, "invalid_value", message));
    };
    if scope.main.lua.capture_error_log.replace(size).is_some() {
        return Err(value::duplicate(directive));
    }
    scope.main.lua.used = true;
    Ok(())
}

/// The file that a directive names, beside the configuration; an empty name is none.
fn conf_path(scope: &Scope<'_>, directive: &Directive) -> Option<Box<[u8]>> {
    let word = directive.arg(0).filter(|word| !word.text.is_empty())?;
    Some(scope.cycle.full_conf_path(&word.text).into_os_string().into_encoded_bytes().into())
}

fn ssl_protocols(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    const NAMES: &[(&str, u32)] =
        &[("SSLv2", 0x2), ("SSLv3", 0x4), ("TLSv1", 0x8), ("TLSv1.1", 0x10), ("TLSv1.2", 0x20), ("TLSv1.3", 0x40)];
    for warning in value::set_bits(&mut scope.loc.lua.ssl.protocols, directive, NAMES)? {
        scope.cycle.notice(Level::Warn, warning);
    }
    Ok(())
}

fn content(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let script = script_of(scope, directive, "content_by_lua")?;
    if scope.loc.lua.content.replace(script).is_some() {
        return Err(value::duplicate(directive));
    }
    scope.loc.core.handler = Some(&handlers::Content);
    Ok(())
}

fn set_by_lua(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(target) = directive.arg(0) else { return Err(value::invalid_value(directive)) };
    let source = match &directive.block {
        Block::Lua { .. } => None,
        _ => directive.arg(1),
    };
    let script = match source {
        Some(word) => script_of_word(scope, directive, "set_by_lua", word)?,
        None => script_of(scope, directive, "set_by_lua")?,
    };
    let mut args = Vec::new();
    for word in directive.args.iter().skip(2) {
        args.push(Argument::Value(ComplexValue::of_word(scope, directive, word)?));
    }
    rewrite::push_call(scope, directive, target, args, Box::new(move |r, args| filters::set(r, &script, args)))
}

/// Notes what a script of a phase needs.
fn note(scope: &mut Scope<'_>, tag: &str) {
    let conf = &mut scope.main.lua;
    conf.used = true;
    match tag {
        "rewrite_by_lua" | "access_by_lua" | "content_by_lua" => conf.needed.capture = true,
        "header_filter_by_lua" => conf.needed.header_filter = true,
        "body_filter_by_lua" => {
            conf.needed.header_filter = true;
            conf.needed.body_filter = true;
        }
        _ => {}
    }
}

/// As [`script_of`], with the code or the path in a certain word.
fn script_of_word(
    scope: &mut Scope<'_>,
    directive: &Directive,
    tag: &str,
    word: &Word,
) -> Result<Rc<Script>, Diagnostic> {
    note(scope, tag);
    if word.text.is_empty() {
        return Err(directive.error("empty_script", "invalid location config: no runnable Lua code"));
    }
    if is_file(directive) {
        let path = ComplexValue::of_word(scope, directive, word)?;
        return Ok(Rc::new(Script::File(FileScript::new(path, scope.cycle.prefix.clone()))));
    }
    Ok(Rc::new(Script::Inline(inline(scope, directive, tag, word.text.clone()))))
}

/// The script that a directive of any form holds. `tag` is the name in chunk names.
pub(crate) fn script_of(scope: &mut Scope<'_>, directive: &Directive, tag: &str) -> Result<Rc<Script>, Diagnostic> {
    if let Block::Lua { code, .. } = &directive.block {
        note(scope, tag);
        let source = code.clone();
        return Ok(Rc::new(Script::Inline(inline(scope, directive, tag, source))));
    }
    let Some(word) = directive.args.last() else { return Err(value::invalid_value(directive)) };
    script_of_word(scope, directive, tag, word)
}

pub(super) fn start_script_of(
    scope: &mut Scope<'_>,
    directive: &Directive,
    tag: &str,
) -> Result<StartScript, Diagnostic> {
    scope.main.lua.used = true;
    let source = source_of(directive)?;
    if is_file(directive) {
        let path = scope.cycle.full_path(source);
        return Ok(StartScript::File(path.into_os_string().into_encoded_bytes().into()));
    }
    Ok(StartScript::Inline(inline(scope, directive, tag, source)))
}

/// Code that stands in the configuration, by the names that it has in the log.
fn inline(scope: &Scope<'_>, directive: &Directive, tag: &str, source: impl Into<Box<[u8]>>) -> Inline {
    let name = chunk_name(scope, directive, tag);
    match scope.main.core.subsystem {
        Subsystem::Http => Inline::new(&format!("{tag}_"), source, name),
        Subsystem::Stream => Inline::new(&name.to_string_lossy(), source, name.clone()),
    }
}

fn is_file(directive: &Directive) -> bool {
    directive.name.text.ends_with(b"_file")
}

/// The code, or the path, that stands in the directive.
fn source_of(directive: &Directive) -> Result<&[u8], Diagnostic> {
    let source = match &directive.block {
        Block::Lua { code, .. } => code,
        _ => match directive.args.last() {
            Some(word) => &word.text,
            None => return Err(value::invalid_value(directive)),
        },
    };
    if source.is_empty() {
        return Err(directive.error("empty_script", "invalid location config: no runnable Lua code"));
    }
    Ok(source)
}

/// Scripts of the stream subsystem whose chunks are named by the directive alone.
const BARE_IN_STREAM: [&str; 7] = [
    "balancer_by_lua",
    "init_by_lua",
    "init_worker_by_lua",
    "proxy_ssl_certificate_by_lua",
    "proxy_ssl_verify_by_lua",
    "ssl_certificate_by_lua",
    "ssl_client_hello_by_lua",
];

pub(crate) fn chunk_name(scope: &Scope<'_>, directive: &Directive, tag: &str) -> std::ffi::CString {
    let stream = Contexts::STREAM.or(Contexts::STREAM_SERVER).or(Contexts::STREAM_UPSTREAM);
    if scope.context.intersects(stream) && BARE_IN_STREAM.contains(&tag) {
        return std::ffi::CString::new(format!("={tag}")).unwrap_or_default();
    }
    if scope.context.intersects(stream) {
        let name = directive.source.name();
        let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
        return std::ffi::CString::new(format!("={tag}({file}:{})", directive.head_line())).unwrap_or_default();
    }
    let conf_prefix = scope.cycle.conf_prefix.to_string_lossy();
    code::chunk_name(tag, &directive.source.name(), &conf_prefix, directive.head_line())
}
