//! `form_input`: fields of a form that was posted, as variables (`set_form_input`, `set_form_input_multi`).
//!
//! Values are as they came, with `%` and `+`. The body is read before the location's program runs, so that the
//! directives find it there. What went to a file (`client_body_buffer_size`) is not looked at.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::array_var;
use super::rewrite::{Argument, push_call};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::body;
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{self, Scope};
use crate::http::header::HeaderId;
use crate::http::method::Method;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::log::Level;

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    is_used: bool,
}

/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "set_form_input",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 2),
        apply: |scope, directive| {
            set(scope, directive, |body, name| fields(body, name).next().map(|value| body.slice_ref(value)))
        },
    },
    Rule {
        name: "set_form_input_multi",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 2),
        apply: |scope, directive| set(scope, directive, |body, name| Some(array_var::encode(fields(body, name)))),
    },
];

/// What a directive makes of a body and of a field's name.
type Find = fn(&Bytes, &[u8]) -> Option<Bytes>;

/// `set_form_input $field`, or `set_form_input $target field`.
fn set(scope: &mut Scope<'_>, directive: &Directive, find: Find) -> Result<(), Diagnostic> {
    let [target, ..] = &directive.args[..] else { return Ok(()) };
    scope.main.form_input.is_used = true;
    let name = match directive.arg(1) {
        Some(name) => ComplexValue::of_word(scope, directive, name)?,
        None => ComplexValue::literal(Bytes::copy_from_slice(target.text.get(1..).unwrap_or_default())),
    };
    let function = move |r: &Rc<Request>, args: &[Option<Bytes>]| {
        let name = args.first().cloned().flatten().unwrap_or_default();
        Ok(Some(form(r).and_then(|body| find(&body, &name)).unwrap_or_default()))
    };
    push_call(scope, directive, target, vec![Argument::Value(name)], Box::new(function))
}

/// The body of a form that was read by [`FormHandler`].
fn form(r: &Request) -> Option<Bytes> {
    r.ctx::<Read>()?;
    let Some(body) = r.request_body() else { return Some(Bytes::new()) };
    let form = body.in_memory();
    if form.is_none() {
        r.log(
            Level::Warn,
            format_args!("form-input: the body is in a file; consider increasing your client_body_buffer_size setting"),
        );
    }
    Some(form.unwrap_or_default())
}

/// The values of a field, whose name may be in any case.
fn fields<'a>(body: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    body.split(|byte| *byte == b'&').filter_map(move |field| {
        let (begin, rest) = field.split_at_checked(name.len())?;
        rest.strip_prefix(b"=").filter(|_| !name.is_empty() && begin.eq_ignore_ascii_case(name))
    })
}

/// Marks a request whose form was read.
struct Read;

/// Reads a form before the program of its location runs.
pub(crate) struct FormHandler;

impl Handler for FormHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        !loc.rewrite.ops.is_empty()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if !r.main_conf().form_input.is_used || !is_form(r) || r.ctx::<Read>().is_some() {
            return Code::DECLINED.into();
        }
        let r = Rc::clone(r);
        Outcome::wait(async move {
            let code = body::read(&r).code().await;
            if code.is_special_response() || code == Code::ERROR {
                return code;
            }
            r.set_ctx(Rc::new(Read));
            Code::DECLINED
        })
    }
}

fn is_form(r: &Request) -> bool {
    const TYPE: &[u8] = b"application/x-www-form-urlencoded";
    let method = r.method.get();
    (method == Method::POST || method == Method::PUT)
        && r.headers_in
            .value(HeaderId::ContentType)
            .is_some_and(|value| value.get(..TYPE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(TYPE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(body: &'static str, name: &'static str) -> Vec<&'static [u8]> {
        fields(body.as_bytes(), name.as_bytes()).collect()
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        assert_eq!(values("a=1&ab=2&xa=3&A=4&a", "a"), [b"1", b"4"]);
        assert_eq!(values("a=", "a"), [b""]);
        assert_eq!(values("a=b=c", "a"), [b"b=c"]);
        assert!(values("=1&&a", "").is_empty());
    }
}
