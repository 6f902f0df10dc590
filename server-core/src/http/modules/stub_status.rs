//! `ngx_http_stub_status_module`: how many connections and requests there are, and were.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::conf::Scope;
use crate::http::method::Method;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::special_response;
use crate::http::variables::VariableDef;
use crate::process::counters::{Totals, totals};

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

/// The directive table.
pub(crate) const RULES: &[Rule] = &[Rule {
    name: "stub_status",
    contexts: Contexts::SERVER.or(Contexts::LOCATION),
    args: Arity::Words(0, 1),
    apply: stub_status,
}];

fn stub_status(scope: &mut Scope<'_>, _directive: &Directive) -> Result<(), Diagnostic> {
    scope.loc.core.handler = Some(&StubStatusHandler);
    Ok(())
}

struct StubStatusHandler;

impl Handler for StubStatusHandler {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if !r.method.get().is_one_of(Method::GET.0 | Method::HEAD.0) {
            return Code::NOT_ALLOWED.into();
        }
        special_response::send(r, 200, Some(Bytes::from_static(b"text/plain")), page(&totals()).into()).into()
    }
}

fn page(totals: &Totals) -> String {
    let Totals { accepted, requests, active, reading, writing } = totals;
    let waiting = totals.waiting();
    format!(
        "Active connections: {active} \nserver accepts handled requests\n {accepted} {accepted} {requests} \n\
         Reading: {reading} Writing: {writing} Waiting: {waiting} \n"
    )
}

const fn count(name: &'static str, which: usize) -> VariableDef {
    VariableDef::volatile(name, value).data(which)
}

fn value(_r: &Request, which: usize) -> Option<Bytes> {
    let totals = totals();
    let number = match which {
        0 => totals.active,
        1 => totals.reading,
        2 => totals.writing,
        _ => totals.waiting(),
    };
    Some(number.to_string().into())
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    count("connections_active", 0),
    count("connections_reading", 1),
    count("connections_writing", 2),
    count("connections_waiting", 3),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_nginx_s() {
        let totals = Totals { accepted: 7, requests: 9, active: 3, reading: 0, writing: 1 };
        assert_eq!(
            page(&totals),
            "Active connections: 3 \nserver accepts handled requests\n 7 7 9 \nReading: 0 Writing: 1 Waiting: 2 \n"
        );
    }
}
