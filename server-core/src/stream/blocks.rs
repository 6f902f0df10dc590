//! `stream`, its `server` and `listen`.

use rsty_diag::Diagnostic;

use super::variables;
use crate::conf::value;
use crate::conf::{Contexts, Directive};
use crate::cycle::Subsystem;
use crate::http::build;
use crate::http::conf::{LocConf, MainConf, Scope, SrvConf};
use crate::http::modules::core::listen as addresses;
use crate::http::variables::Variables;

pub(super) fn stream(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.cycle.stream.is_some() {
        return Err(value::duplicate(directive));
    }
    let mut main = Box::new(MainConf::default());
    main.core.subsystem = Subsystem::Stream;
    main.core.variables = Variables::of(variables::all());
    let (mut srv, mut loc) = (SrvConf::default(), LocConf::default());
    // The outer levels of this scope are never used: `stream { }` inherits nothing from the top level.
    let (mut no_srv, mut no_loc) = (SrvConf::default(), LocConf::default());
    let mut inner =
        Scope { cycle: scope.cycle, main: &mut main, srv: &mut no_srv, loc: &mut no_loc, context: Contexts::MAIN };
    inner.nested_server(Contexts::STREAM, &mut srv, &mut loc, directive)?;
    build::finish(&mut inner, directive, srv, loc)?;
    scope.cycle.stream = Some(main);
    Ok(())
}

pub(super) fn server(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let (mut srv, mut loc) = (SrvConf::default(), LocConf::default());
    scope.nested_server(Contexts::STREAM_SERVER, &mut srv, &mut loc, directive)?;
    let place = || format!("{}:{}", directive.source.name(), directive.head_line());
    if srv.core.listens.is_empty() {
        return Err(directive.error("missing_listen", format!("no \"listen\" is defined for server in {}", place())));
    }
    if loc.core.handler.is_none() && !loc.stream.has_handler() {
        return Err(directive.error("missing_handler", format!("no handler for server in {}", place())));
    }
    scope.main.core.building.push((srv, loc));
    Ok(())
}

pub(super) fn listen(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    addresses::apply(scope, directive)
}
