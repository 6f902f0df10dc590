//! `ngx_http_uwsgi_module`: requests answered by uwsgi servers.

use std::rc::Rc;

use rsty_diag::Diagnostic;

use super::cgi::{self, CgiConf, CgiReader, Schemes};
use super::lua::LocConf as LuaConf;
use crate::conf::{Contexts, Rule, value};
use crate::http::cache::conf::cache_rules;
use crate::http::code::Code;
use crate::http::conf::{LocConf as Loc, Merge};
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::setting::Setting;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::rules::{rules as table, tls_rules};
use crate::http::upstream::{self, Conf, Dialing, Outgoing, Protocol, Reader, Route};
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    pub(crate) upstream: Conf,
    cgi: CgiConf,
    modifier1: Setting<u8>,
    modifier2: Setting<u8>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.upstream.merge(&outer.upstream);
        self.cgi.merge(&outer.cgi);
        self.modifier1.merge(&outer.modifier1, || 0);
        self.modifier2.merge(&outer.modifier2, || 0);
        Ok(())
    }
}

impl LocConf {
    /// Completes the settings of a location, when all of its directives are known.
    pub(crate) fn settle(&self, lua: &LuaConf) -> Result<(), String> {
        if self.cgi.needs_tls(SCHEMES) { self.upstream.tls.build("uwsgi", lua) } else { Ok(()) }
    }
}

/// How addresses are written.
const SCHEMES: &Schemes = &Schemes { plain: "uwsgi://", written: true, tls: Some("suwsgi://") };

/// The directive table.
pub(crate) const RULES: &[Rule] = table!("uwsgi", uwsgi;
    Rule {
        name: "uwsgi_pass",
        contexts: Contexts::LOCATION.or(Contexts::IF_IN_LOCATION),
        args: ONE,
        apply: |scope, directive| {
            let known = scope.loc.uwsgi.cgi.pass.is_some();
            scope.loc.uwsgi.cgi.pass = Some(cgi::pass(scope, directive, SCHEMES, known)?);
            scope.loc.core.handler = Some(&UwsgiHandler);
            Ok(())
        },
    },
    rule("uwsgi_param", Arity::Words(2, 3), |scope, directive| {
        let param = cgi::add_param(scope, directive)?;
        scope.loc.uwsgi.cgi.push(param);
        Ok(())
    }),
    rule("uwsgi_modifier1", ONE, |scope, directive| {
        value::set_number(scope.loc.uwsgi.modifier1.slot(), directive)
    }),
    rule("uwsgi_modifier2", ONE, |scope, directive| {
        value::set_number(scope.loc.uwsgi.modifier2.slot(), directive)
    }),
);

/// The rules of `uwsgi_cache*`.
pub(crate) const CACHE_RULES: &[Rule] = cache_rules!("uwsgi", uwsgi);

/// The rules of `uwsgi_ssl_*`.
pub(crate) const TLS_RULES: &[Rule] = tls_rules!("uwsgi", uwsgi);

/// `uwsgi_pass`
struct UwsgiHandler;

impl Handler for UwsgiHandler {
    fn asks_server(&self) -> bool {
        true
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        upstream::answer(r, &Uwsgi)
    }
}

struct Uwsgi;

impl Dialing for Uwsgi {
    fn conf(&self, loc: &'static Loc) -> &'static Conf {
        &loc.uwsgi.upstream
    }

    fn route(&self, r: &Rc<Request>) -> Result<Route, Code> {
        r.loc().uwsgi.cgi.route(r, SCHEMES)
    }

    fn request(&self, r: &Rc<Request>, _destination: &Destination) -> Result<Outgoing, Code> {
        let conf = &r.loc().uwsgi;
        let mut params = Vec::new();
        for (name, value) in cgi::pairs(r, &conf.cgi, *conf.upstream.pass_request_headers) {
            for part in [&name[..], &value] {
                let length = u16::try_from(part.len()).map_err(|_| too_long(r))?;
                params.extend_from_slice(&length.to_le_bytes());
                params.extend_from_slice(part);
            }
        }
        let [low, high] = u16::try_from(params.len()).map_err(|_| too_long(r))?.to_le_bytes();
        let head = [*conf.modifier1, low, high, *conf.modifier2];
        let mut outgoing = Outgoing::of([&head[..], &params].concat());
        if *conf.upstream.pass_request_body {
            outgoing.push_body(r);
        }
        Ok(outgoing)
    }
}

impl Protocol for Uwsgi {
    fn hidden(&self) -> &'static [&'static str] {
        cgi::HIDDEN
    }

    fn reader(&self, _outgoing: &Outgoing) -> Box<dyn Reader> {
        Box::new(CgiReader)
    }
}

fn too_long(r: &Request) -> Code {
    r.log(Level::Alert, format_args!("uwsgi request is too long"));
    Code::INTERNAL_SERVER_ERROR
}
