//! `ngx_http_scgi_module`: requests answered by SCGI servers.

use std::rc::Rc;

use rsty_diag::Diagnostic;

use super::cgi::{self, CgiConf, CgiReader, Schemes};
use crate::conf::{Contexts, Rule};
use crate::http::cache::conf::cache_rules;
use crate::http::code::Code;
use crate::http::conf::{LocConf as Loc, Merge};
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::rules::rules as table;
use crate::http::upstream::{self, Conf, Dialing, Outgoing, Protocol, Reader, Route};

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    pub(crate) upstream: Conf,
    cgi: CgiConf,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.upstream.merge(&outer.upstream);
        self.cgi.merge(&outer.cgi);
        Ok(())
    }
}

/// How addresses are written.
const SCHEMES: &Schemes = &Schemes { plain: "scgi://", written: true, tls: None };

/// The directive table.
pub(crate) const RULES: &[Rule] = table!("scgi", scgi;
    Rule {
        name: "scgi_pass",
        contexts: Contexts::LOCATION.or(Contexts::IF_IN_LOCATION),
        args: ONE,
        apply: |scope, directive| {
            let known = scope.loc.scgi.cgi.pass.is_some();
            scope.loc.scgi.cgi.pass = Some(cgi::pass(scope, directive, SCHEMES, known)?);
            scope.loc.core.handler = Some(&ScgiHandler);
            Ok(())
        },
    },
    rule("scgi_param", Arity::Words(2, 3), |scope, directive| {
        let param = cgi::add_param(scope, directive)?;
        scope.loc.scgi.cgi.push(param);
        Ok(())
    }),
);

/// The rules of `scgi_cache*`.
pub(crate) const CACHE_RULES: &[Rule] = cache_rules!("scgi", scgi);

/// `scgi_pass`
struct ScgiHandler;

impl Handler for ScgiHandler {
    fn asks_server(&self) -> bool {
        true
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        upstream::answer(r, &Scgi)
    }
}

struct Scgi;

impl Dialing for Scgi {
    fn conf(&self, loc: &'static Loc) -> &'static Conf {
        &loc.scgi.upstream
    }

    fn route(&self, r: &Rc<Request>) -> Result<Route, Code> {
        r.loc().scgi.cgi.route(r, SCHEMES)
    }

    fn request(&self, r: &Rc<Request>, _destination: &Destination) -> Result<Outgoing, Code> {
        let conf = &r.loc().scgi;
        let passes_body = *conf.upstream.pass_request_body;
        let length = if passes_body { r.headers_in.content_length.get().max(0) } else { 0 };
        // The length comes first, whatever else there is.
        let mut params = format!("CONTENT_LENGTH\0{length}\0").into_bytes();
        for (name, value) in cgi::pairs(r, &conf.cgi, *conf.upstream.pass_request_headers) {
            if &name[..] == b"CONTENT_LENGTH" {
                continue;
            }
            for part in [&name[..], b"\0", &value, b"\0"] {
                params.extend_from_slice(part);
            }
        }
        let mut outgoing = Outgoing::of([params.len().to_string().as_bytes(), b":", &params, b","].concat());
        if passes_body {
            outgoing.push_body(r);
        }
        Ok(outgoing)
    }
}

impl Protocol for Scgi {
    fn hidden(&self) -> &'static [&'static str] {
        cgi::HIDDEN
    }

    fn reader(&self, _outgoing: &Outgoing) -> Box<dyn Reader> {
        Box::new(CgiReader)
    }
}
