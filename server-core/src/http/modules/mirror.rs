//! `ngx_http_mirror_module`: copies of a request whose answers nobody sees.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::value::set_flag;
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::body;
use crate::http::code::Code;
use crate::http::conf::{self, Merge, Scope};
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::subrequest::{self, Options};

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// Where copies go; empty for `mirror off`.
    uris: Option<Rc<Vec<Bytes>>>,
    request_body: Option<bool>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.uris.is_none() {
            self.uris.clone_from(&outer.uris);
        }
        self.request_body = self.request_body.or(outer.request_body);
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "mirror", contexts: Contexts::HTTP_SERVER_LOCATION, args: Arity::Words(1, 1), apply: mirror },
    Rule {
        name: "mirror_request_body",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.mirror.request_body, directive),
    },
];

fn mirror(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let uris = scope.loc.mirror.uris.get_or_insert_default();
    if !word.is("off") {
        Rc::make_mut(uris).push(Bytes::copy_from_slice(&word.text));
    }
    Ok(())
}

/// Marks a request whose copies were sent.
#[derive(Default)]
struct State {
    sent: Cell<bool>,
}

/// Sends copies in the precontent phase.
pub(crate) struct MirrorHandler;

impl Handler for MirrorHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        loc.mirror.uris.as_ref().is_some_and(|uris| !uris.is_empty())
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if !r.is_main() || r.ctx_or_default::<State>().sent.replace(true) {
            return Code::DECLINED.into();
        }
        if !r.loc().mirror.request_body.unwrap_or(true) {
            return send(r).into();
        }
        let r = Rc::clone(r);
        Outcome::wait(async move {
            let code = body::read(&r).code().await;
            if code.is_special_response() || code == Code::ERROR { code } else { send(&r) }
        })
    }
}

fn send(r: &Rc<Request>) -> Code {
    let Some(uris) = &r.loc().mirror.uris else { return Code::DECLINED };
    let options = Options { background: true, ..Options::default() };
    for uri in uris.iter() {
        let Ok(copy) = subrequest::create(r, uri.clone(), Some(r.args.get()), options) else {
            return Code::INTERNAL_SERVER_ERROR;
        };
        copy.header_only.set(true);
        copy.method.set(r.method.get());
        copy.method_name.set(r.method_name.get());
        subrequest::start(&copy, None);
    }
    Code::DECLINED
}
