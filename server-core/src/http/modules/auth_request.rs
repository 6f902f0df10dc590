//! `ngx_http_auth_request_module`: a subrequest decides about access.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::rewrite::directives::target;
use crate::conf::value::duplicate;
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::body::RequestBody;
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{self, Merge, Scope};
use crate::http::header::HeaderId;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::subrequest::{self, Options};
use crate::http::variables::VarIndex;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    uri: Option<Uri>,
    sets: Rc<Vec<(VarIndex, ComplexValue)>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Uri {
    Ask(Bytes),
    Off,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.uri.is_none() {
            self.uri.clone_from(&outer.uri);
        }
        if self.sets.is_empty() {
            self.sets = Rc::clone(&outer.sets);
        }
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "auth_request",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 1),
        apply: auth_request,
    },
    Rule {
        name: "auth_request_set",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(2, 2),
        apply: auth_request_set,
    },
];

fn auth_request(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let uri = if word.is("off") { Uri::Off } else { Uri::Ask(Bytes::copy_from_slice(&word.text)) };
    if scope.loc.auth_request.uri.replace(uri).is_some() { Err(duplicate(directive)) } else { Ok(()) }
}

fn auth_request_set(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [name, value] = &directive.args[..] else { return Ok(()) };
    let variable = target(scope, directive, name)?;
    let value = ComplexValue::of_word(scope, directive, value)?;
    Rc::make_mut(&mut scope.loc.auth_request.sets).push((variable, value));
    Ok(())
}

/// Asks in the access phase.
pub(crate) struct AuthRequestHandler;

impl Handler for AuthRequestHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        matches!(loc.auth_request.uri, Some(Uri::Ask(_)))
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let r = Rc::clone(r);
        Outcome::wait(async move { ask(&r).await })
    }
}

async fn ask(r: &Rc<Request>) -> Code {
    let Some(Uri::Ask(uri)) = r.loc().auth_request.uri.clone() else { return Code::DECLINED };
    let options = Options { waited: true, ..Options::default() };
    let Ok(sub) = subrequest::create(r, uri, None, options) else { return Code::ERROR };
    // The body stays the main request's.
    sub.body.replace(Some(Rc::new(RequestBody::of(Bytes::new()))));
    sub.header_only.set(true);
    subrequest::start(&sub, None);
    sub.completion.wait().await;
    for (variable, value) in r.loc().auth_request.sets.iter() {
        r.assign_variable(*variable, Some(value.eval(&sub)));
    }
    match sub.headers_out.status.get() {
        403 => Code::FORBIDDEN,
        401 => {
            let list = sub.headers_out.list.borrow();
            for challenge in list.iter().filter(|header| header.id == HeaderId::WwwAuthenticate) {
                r.headers_out.list.borrow_mut().push(challenge.clone());
            }
            Code::UNAUTHORIZED
        }
        200..300 => Code::OK,
        status => {
            r.log(Level::Error, format_args!("auth request unexpected status: {status}"));
            Code::INTERNAL_SERVER_ERROR
        }
    }
}
