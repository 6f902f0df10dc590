//! Completes a configuration: merges the levels, settles locations, handlers, addresses and variables.

use rsty_diag::Diagnostic;

use super::conf::{LocConf, Merge, Scope, SrvConf};
use super::location::{Child, Kind};
use super::modules::access_log;
use super::modules::core::PortServers;
use super::output::Filters;
use super::phases;
use crate::conf::Directive;
use crate::cycle::Subsystem;
use crate::log::Level;
use crate::process::keep::keep;

/// Turns what `http { }` held into what requests use. The result lives as long as the cycle.
pub(crate) fn finish(
    scope: &mut Scope<'_>,
    directive: &Directive,
    mut srv: SrvConf,
    mut loc: LocConf,
) -> Result<(), Diagnostic> {
    srv.merge(&SrvConf::default())?;
    let prefix = scope.cycle.prefix.clone();
    let charsets = std::mem::take(&mut scope.main.charset);
    let subsystem = scope.main.core.subsystem;
    let place = Place { directive, prefix: &prefix, subsystem, charsets: &charsets };
    anchor_defaults(&mut loc, scope, directive)?;
    loc.merge(&LocConf::default())?;
    let servers = std::mem::take(&mut scope.main.core.building);
    let has_default_log = subsystem == Subsystem::Http;
    if has_default_log && loc.access_log.is_unset() && servers.iter().any(|(_, inner)| inner.access_log.is_unset()) {
        access_log::default_log(scope, &mut loc.access_log, directive)?;
    }
    let mut ports: Vec<PortServers> = Vec::new();
    ports.resize_with(scope.cycle.listen.len(), PortServers::default);
    for (mut inner_srv, inner_loc) in servers {
        inner_srv.merge(&srv)?;
        inner_srv.ssl.build().map_err(|problem| directive.error("tls", problem))?;
        let inner_loc = settle(inner_loc, &loc, &place)?;
        let server: &'static SrvConf = keep(inner_srv);
        // A fresh cell: nobody has set it.
        let _ = server.core.loc.set(inner_loc);
        scope.main.core.servers.push(server);
        for listen in &server.core.listens {
            ports[listen.spec].add(server, listen.options).map_err(|problem| {
                let message = format!("{problem} for {}", scope.cycle.listen[listen.spec].address);
                directive.error("duplicate_default_server", message)
            })?;
        }
    }
    for (spec, port) in ports.iter().enumerate() {
        for name in port.conflicts() {
            let message =
                format!("conflicting server name \"{name}\" on {}, ignored", scope.cycle.listen[spec].address);
            scope.cycle.notice(Level::Warn, Diagnostic::warning("conflicting_server_name", message));
        }
    }
    scope.main.upstream.finish()?;
    scope.main.lua.apps.finish()?;
    scope.main.limit_req.zones.check(directive)?;
    scope.main.limit_conn.zones.check(directive)?;
    // Other servers of an address do with the certificate of its default one.
    let lacks = |port: &PortServers| port.options.ssl && port.default.is_some_and(|srv| srv.ssl.context().is_none());
    if ports.iter().any(lacks) {
        let message = "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive";
        return Err(directive.error("tls", message));
    }
    // Lua timers and worker hooks run with the settings of the `http` level.
    let fallback = settle(loc, &LocConf::default(), &place)?;
    let _ = srv.core.loc.set(fallback);
    scope.main.charset = charsets;
    scope.main.core.fallback = Some(keep(srv));
    scope.main.core.ports = ports;
    scope.main.core.variables.finish().map_err(|error| directive.error("unknown_variable", error.to_string()))
}

/// Defaults that depend on the prefix.
fn anchor_defaults(loc: &mut LocConf, scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let core = &mut loc.core;
    if core.client_body_temp_path.value().is_none() {
        core.client_body_temp_path.set(scope.cycle.full_path(b"client_body_temp"));
    }
    for (conf, folder) in [
        (&mut loc.fastcgi.upstream, "fastcgi_temp"),
        (&mut loc.proxy.upstream, "proxy_temp"),
        (&mut loc.scgi.upstream, "scgi_temp"),
        (&mut loc.uwsgi.upstream, "uwsgi_temp"),
    ] {
        conf.anchor(scope.cycle.full_path(folder.as_bytes()));
    }
    if core.root.value().is_none() {
        let html = scope.cycle.full_path(b"html");
        let html = std::os::unix::ffi::OsStrExt::as_bytes(html.as_os_str()).to_vec();
        let compiled = super::complex_value::ComplexValue::compile(&mut scope.main.core.variables, &html)
            .map_err(|error| directive.error("invalid_variable", error.to_string()))?;
        core.root.set(std::rc::Rc::new(compiled));
    }
    Ok(())
}

/// What settling a location looks at besides its settings.
struct Place<'a> {
    directive: &'a Directive,
    prefix: &'a std::path::Path,
    subsystem: Subsystem,
    charsets: &'a super::modules::charset::MainConf,
}

/// Merges a location and everything inside it, and makes it permanent.
fn settle(mut loc: LocConf, outer: &LocConf, place: &Place<'_>) -> Result<&'static LocConf, Diagnostic> {
    loc.merge(outer)?;
    loc.lua.ssl.check().map_err(|problem| place.directive.error("tls", problem))?;
    place.charsets.check(&loc.charset).map_err(|problem| place.directive.error("unknown_charset_map", problem))?;
    loc.core.prefix = place.prefix.to_path_buf();
    for Child { conf, reference } in std::mem::take(&mut loc.core.children) {
        let inner = settle(conf, &loc, place)?;
        // A fresh cell: nobody has set it.
        let _ = reference.set(inner);
        loc.core.locations.add(inner);
    }
    if let Err(twice) = loc.core.locations.finish() {
        let message = format!("duplicate location \"{}\"", String::from_utf8_lossy(&twice.core.name));
        return Err(place.directive.error("duplicate_location", message));
    }
    let settled = match place.subsystem {
        Subsystem::Http => {
            // Blocks without a name of their own ask the servers of the location around them.
            let asks = loc.core.handler.is_some() || loc.core.kind == Kind::Unnamed;
            let others = || loc.grpc.settle(&loc.lua).and_then(|()| loc.uwsgi.settle(&loc.lua));
            loc.proxy.settle(&loc.lua, asks).and_then(|()| if asks { others() } else { Ok(()) })
        }
        Subsystem::Stream => loc.stream.settle(&loc.lua),
    };
    settled.map_err(|problem| place.directive.error("tls", problem))?;
    loc.core.handlers = phases::handlers_of(&loc);
    loc.core.filters = Filters::of(&loc);
    Ok(keep(loc))
}
