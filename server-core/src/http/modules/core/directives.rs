//! The directive table.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::settings::{BodyInFile, IfModifiedSince, KeepaliveDisable, LingeringClose, Satisfy, ServerTokens};
use super::{blocks, error_pages, listen, media_types, server_names};
use crate::conf::{Arity, Contexts, Directive, Rule, rule, value};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::http::location::Kind;
use crate::http::path::Alias;
use crate::http::setting::Setting;
use crate::log::Level;
use crate::upstream::resolver::ResolverConf;

type Applied = Result<(), Diagnostic>;

const MAIN: Contexts = Contexts::MAIN;
const HTTP: Contexts = Contexts::HTTP;
const SERVER: Contexts = Contexts::SERVER;
const LOCATION: Contexts = Contexts::LOCATION;
const SERVERS: Contexts = HTTP.or(SERVER);
const ALL: Contexts = Contexts::HTTP_SERVER_LOCATION;
const ALL_IF: Contexts = Contexts::HTTP_SERVER_LOCATION_IF;
const ONE: Arity = Arity::Words(1, 1);
const MANY: usize = Arity::MANY;

/// The directive table.
#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    rule("http", MAIN, Arity::Block(0, 0), blocks::http),
    rule("server", HTTP, Arity::Block(0, 0), blocks::server),
    rule("location", SERVER.or(LOCATION), Arity::Block(1, 2), blocks::location),
    rule("limit_except", LOCATION, Arity::Block(1, MANY), blocks::limit_except),
    rule("types", ALL, Arity::Block(0, 0), media_types::apply),
    rule("listen", SERVER, Arity::Words(1, MANY), listen::apply),
    rule("server_name", SERVER, Arity::Words(1, MANY), server_names::apply),
    rule("error_page", ALL_IF, Arity::Words(2, MANY), error_pages::apply),
    rule("error_log", ALL, Arity::Words(1, MANY), |s, d| s.loc.core.error_log.add(d, s.cycle)),
    rule("root", ALL_IF, ONE, root),
    rule("alias", LOCATION, ONE, root),
    rule("internal", LOCATION, Arity::Words(0, 0), |s, _| { s.loc.core.internal = true; Ok(()) }),
    rule("default_type", ALL, ONE, |s, d| value::set_with(s.loc.core.default_type.slot(), d, |word| Ok(Bytes::copy_from_slice(&word.text)))),
    rule("keepalive_timeout", ALL, Arity::Words(1, 2), keepalive_timeout),
    rule("keepalive_disable", ALL, Arity::Words(1, 2), keepalive_disable),
    rule("client_body_temp_path", ALL, Arity::Words(1, 4), client_body_temp_path),
    rule("resolver", ALL, Arity::Words(1, MANY), resolver),
    rule("limit_rate", ALL_IF, ONE, |s, d| rate(|loc| &mut loc.limit_rate, s, d)),
    rule("limit_rate_after", ALL_IF, ONE, |s, d| rate(|loc| &mut loc.limit_rate_after, s, d)),
    rule("aio", ALL, ONE, |s, d| value::set_with(s.loc.core.aio.slot(), d, |word| Ok(!word.is("off")))),
    rule("server_tokens", ALL, ONE, |s, d| value::set_enum(s.loc.core.server_tokens.slot(), d, &[("on", ServerTokens::On), ("off", ServerTokens::Off), ("build", ServerTokens::Build)])),
    rule("satisfy", ALL, ONE, |s, d| value::set_enum(s.loc.core.satisfy.slot(), d, &[("all", Satisfy::All), ("any", Satisfy::Any)])),
    rule("if_modified_since", ALL, ONE, |s, d| value::set_enum(s.loc.core.if_modified_since.slot(), d, &[("off", IfModifiedSince::Off), ("exact", IfModifiedSince::Exact), ("before", IfModifiedSince::Before)])),
    rule("client_body_in_file_only", ALL, ONE, |s, d| value::set_enum(s.loc.core.client_body_in_file_only.slot(), d, &[("off", BodyInFile::Off), ("on", BodyInFile::On), ("clean", BodyInFile::Clean)])),
    rule("lingering_close", ALL, ONE, |s, d| value::set_enum(s.loc.core.lingering_close.slot(), d, &[("off", LingeringClose::Off), ("on", LingeringClose::On), ("always", LingeringClose::Always)])),
    rule("connection_pool_size", SERVERS, ONE, |s, d| value::set_size(s.srv.core.connection_pool_size.slot(), d)),
    rule("request_pool_size", SERVERS, ONE, |s, d| value::set_size(s.srv.core.request_pool_size.slot(), d)),
    rule("client_header_buffer_size", SERVERS, ONE, |s, d| value::set_size(s.srv.core.client_header_buffer_size.slot(), d)),
    rule("client_header_timeout", SERVERS, ONE, |s, d| value::set_msec(s.srv.core.client_header_timeout.slot(), d)),
    rule("large_client_header_buffers", SERVERS, Arity::Words(2, 2), |s, d| value::set_buffers(s.srv.core.large_client_header_buffers.slot(), d)),
    rule("max_headers", SERVERS, ONE, |s, d| value::set_number(s.srv.core.max_headers.slot(), d)),
    rule("ignore_invalid_headers", SERVERS, Arity::Flag, |s, d| value::set_flag(s.srv.core.ignore_invalid_headers.slot(), d)),
    rule("merge_slashes", SERVERS, Arity::Flag, |s, d| value::set_flag(s.srv.core.merge_slashes.slot(), d)),
    rule("underscores_in_headers", SERVERS, Arity::Flag, |s, d| value::set_flag(s.srv.core.underscores_in_headers.slot(), d)),
    rule("client_body_in_single_buffer", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.client_body_in_single_buffer.slot(), d)),
    rule("aio_write", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.aio_write.slot(), d)),
    rule("tcp_nopush", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.tcp_nopush.slot(), d)),
    rule("tcp_nodelay", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.tcp_nodelay.slot(), d)),
    rule("reset_timedout_connection", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.reset_timedout_connection.slot(), d)),
    rule("absolute_redirect", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.absolute_redirect.slot(), d)),
    rule("server_name_in_redirect", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.server_name_in_redirect.slot(), d)),
    rule("port_in_redirect", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.port_in_redirect.slot(), d)),
    rule("msie_padding", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.msie_padding.slot(), d)),
    rule("msie_refresh", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.msie_refresh.slot(), d)),
    rule("log_not_found", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.log_not_found.slot(), d)),
    rule("post_action", ALL_IF, ONE, |s, d| value::set_with(s.loc.core.post_action.slot(), d, |word| Ok(Some(Bytes::copy_from_slice(&word.text))))),
    rule("log_subrequest", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.log_subrequest.slot(), d)),
    rule("recursive_error_pages", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.recursive_error_pages.slot(), d)),
    rule("chunked_transfer_encoding", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.chunked_transfer_encoding.slot(), d)),
    rule("etag", ALL, Arity::Flag, |s, d| value::set_flag(s.loc.core.etag.slot(), d)),
    rule("sendfile", ALL_IF, Arity::Flag, |s, d| value::set_flag(s.loc.core.sendfile.slot(), d)),
    rule("client_body_buffer_size", ALL, ONE, |s, d| value::set_size(s.loc.core.client_body_buffer_size.slot(), d)),
    rule("sendfile_max_chunk", ALL, ONE, |s, d| value::set_size(s.loc.core.sendfile_max_chunk.slot(), d)),
    rule("subrequest_output_buffer_size", ALL, ONE, |s, d| value::set_size(s.loc.core.subrequest_output_buffer_size.slot(), d)),
    rule("read_ahead", ALL, ONE, |s, d| value::set_size(s.loc.core.read_ahead.slot(), d)),
    rule("send_lowat", ALL, ONE, |s, d| value::set_size(s.loc.core.send_lowat.slot(), d)),
    rule("postpone_output", ALL, ONE, |s, d| value::set_size(s.loc.core.postpone_output.slot(), d)),
    rule("client_max_body_size", ALL, ONE, |s, d| value::set_offset(s.loc.core.client_max_body_size.slot(), d)),
    rule("directio_alignment", ALL, ONE, |s, d| value::set_offset(s.loc.core.directio_alignment.slot(), d)),
    rule("client_body_timeout", ALL, ONE, |s, d| value::set_msec(s.loc.core.client_body_timeout.slot(), d)),
    rule("send_timeout", ALL, ONE, |s, d| value::set_msec(s.loc.core.send_timeout.slot(), d)),
    rule("keepalive_time", ALL, ONE, |s, d| value::set_msec(s.loc.core.keepalive_time.slot(), d)),
    rule("keepalive_min_timeout", ALL, ONE, |s, d| value::set_msec(s.loc.core.keepalive_min_timeout.slot(), d)),
    rule("auth_delay", ALL, ONE, |s, d| value::set_msec(s.loc.core.auth_delay.slot(), d)),
    rule("lingering_time", ALL, ONE, |s, d| value::set_msec(s.loc.core.lingering_time.slot(), d)),
    rule("lingering_timeout", ALL, ONE, |s, d| value::set_msec(s.loc.core.lingering_timeout.slot(), d)),
    rule("resolver_timeout", ALL, ONE, |s, d| value::set_msec(s.loc.core.resolver_timeout.slot(), d)),
    rule("keepalive_requests", ALL, ONE, |s, d| value::set_number(s.loc.core.keepalive_requests.slot(), d)),
    rule("max_ranges", ALL, ONE, |s, d| value::set_number(s.loc.core.max_ranges.slot(), d)),
    rule("variables_hash_max_size", HTTP, ONE, accepted),
    rule("variables_hash_bucket_size", HTTP, ONE, accepted),
    rule("server_names_hash_max_size", HTTP, ONE, accepted),
    rule("server_names_hash_bucket_size", HTTP, ONE, accepted),
    rule("types_hash_max_size", ALL, ONE, accepted),
    rule("types_hash_bucket_size", ALL, ONE, accepted),
    rule("output_buffers", ALL, Arity::Words(2, 2), |_, d| value::set_buffers(&mut None, d)),
    rule("directio", ALL, ONE, accepted),
    rule("open_file_cache", ALL, Arity::Words(1, 2), accepted),
    rule("open_file_cache_valid", ALL, ONE, accepted),
    rule("open_file_cache_min_uses", ALL, ONE, accepted),
    rule("open_file_cache_errors", ALL, Arity::Flag, accepted),
    rule("open_file_cache_events", ALL, Arity::Flag, accepted),
    rule("early_hints", ALL, Arity::Words(1, MANY), early_hints),
    rule("client_body_early_read", SERVERS, Arity::Words(1, MANY), accepted),
];

/// A setting of nginx's internals that has no counterpart here.
fn accepted(_: &mut Scope<'_>, _: &Directive) -> Applied {
    Ok(())
}

fn early_hints(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let values: Result<Vec<_>, _> =
        directive.args.iter().map(|word| ComplexValue::of_word(scope, directive, word)).collect();
    Rc::make_mut(scope.loc.core.early_hints.slot().get_or_insert_default()).extend(values?);
    Ok(())
}

fn root(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let is_alias = directive.name.is("alias");
    if scope.loc.core.root.value().is_some() {
        if (scope.loc.core.alias != Alias::None) == is_alias {
            return Err(value::duplicate(directive));
        }
        let (first, second) = if is_alias { ("root", "alias") } else { ("alias", "root") };
        let message = format!("\"{second}\" directive is duplicate, \"{first}\" directive was specified earlier");
        return Err(directive.error("duplicate_directive", message));
    }
    let Some(word) = directive.arg(0) else { return Ok(()) };
    if memchr::memmem::find(&word.text, b"$document_root").is_some()
        || memchr::memmem::find(&word.text, b"${document_root}").is_some()
        || memchr::memmem::find(&word.text, b"$realpath_root").is_some()
        || memchr::memmem::find(&word.text, b"${realpath_root}").is_some()
    {
        let name = if memchr::memmem::find(&word.text, b"realpath_root").is_some() { "realpath" } else { "document" };
        let message = format!("the ${name}_root variable cannot be used in the \"{}\" directive", directive.name());
        return Err(directive.error("invalid_value", message));
    }
    let mut text = word.text.to_vec();
    if !is_alias && text.last() == Some(&b'/') {
        text.pop();
    }
    if text.first() != Some(&b'$') {
        let full = scope.cycle.full_path(&text);
        text = std::os::unix::ffi::OsStringExt::into_vec(full.into_os_string());
    }
    let compiled = ComplexValue::compile(&mut scope.main.core.variables, &text)
        .map_err(|error| directive.error_at(word, "invalid_variable", error.to_string()))?;
    let core = &mut scope.loc.core;
    core.alias = match core.kind {
        _ if !is_alias => Alias::None,
        Kind::Regex(_) => Alias::Whole,
        _ => Alias::Prefix(core.name.len()),
    };
    scope.loc.core.root.set(Rc::new(compiled));
    Ok(())
}

fn keepalive_timeout(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let loc = &mut scope.loc.core;
    value::set_msec(loc.keepalive_timeout.slot(), directive)?;
    let header = match directive.arg(1) {
        None => 0,
        Some(word) => value::time(&word.text, value::Resolution::Seconds)
            .ok_or_else(|| value::invalid_value(directive))?
            .as_secs(),
    };
    loc.keepalive_header.set(header);
    Ok(())
}

fn keepalive_disable(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let words =
        [("none", KeepaliveDisable::NONE), ("msie6", KeepaliveDisable::MSIE6), ("safari", KeepaliveDisable::SAFARI)];
    for warning in value::set_bits(scope.loc.core.keepalive_disable.slot(), directive, &words)? {
        scope.cycle.notice(Level::Warn, warning);
    }
    Ok(())
}

fn client_body_temp_path(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let cycle = &scope.cycle;
    value::set_with(scope.loc.core.client_body_temp_path.slot(), directive, |word| Ok(cycle.full_path(&word.text)))
}

fn resolver(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let slot = scope.loc.core.resolver.slot();
    if slot.is_some() {
        return Err(value::duplicate(directive));
    }
    let words: Vec<_> = directive.args.iter().map(|word| String::from_utf8_lossy(&word.text)).collect();
    let conf = ResolverConf::parse(words.iter().map(AsRef::as_ref))
        .map_err(|error| directive.error("invalid_value", error.to_string()))?;
    *slot = Some(Some(Rc::new(conf)));
    Ok(())
}

type Rate = Setting<Option<Rc<ComplexValue>>>;

fn rate(
    field: fn(&mut super::settings::LocConf) -> &mut Rate,
    scope: &mut Scope<'_>,
    directive: &Directive,
) -> Applied {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let compiled = ComplexValue::of_word(scope, directive, word)?;
    if compiled.constant().is_some_and(|text| value::size(text).is_none()) {
        return Err(value::invalid_value(directive));
    }
    let slot = field(&mut scope.loc.core).slot();
    if slot.is_some() {
        return Err(value::duplicate(directive));
    }
    *slot = Some(Some(Rc::new(compiled)));
    Ok(())
}
