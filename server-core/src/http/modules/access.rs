//! `ngx_http_access_module`: `allow` and `deny` by the client's address.

use std::rc::Rc;

use rsty_diag::Diagnostic;

use super::cidr::{Cidr, HostBits};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::conf::{self, Merge, Scope};
use crate::http::connection::Address;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    rules: Rc<Vec<(Subject, Verdict)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    All,
    Block(Cidr),
    Unix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Deny,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.rules.is_empty() {
            self.rules = Rc::clone(&outer.rules);
        }
        Ok(())
    }
}

const PLACES: Contexts = Contexts::HTTP_SERVER_LOCATION.or(Contexts::LIMIT_EXCEPT);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "allow",
        contexts: PLACES,
        args: Arity::Words(1, 1),
        apply: |scope, directive| add(scope, directive, Verdict::Allow),
    },
    Rule {
        name: "deny",
        contexts: PLACES,
        args: Arity::Words(1, 1),
        apply: |scope, directive| add(scope, directive, Verdict::Deny),
    },
];

fn add(scope: &mut Scope<'_>, directive: &Directive, verdict: Verdict) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let subject = match &*word.text {
        b"all" => Subject::All,
        b"unix:" => Subject::Unix,
        text => match Cidr::parse(text) {
            Some((block, host_bits)) => {
                if host_bits == HostBits::Ignored {
                    let message = format!("low address bits of {} are meaningless", word.lossy());
                    let warning = Diagnostic::warning("meaningless_bits", message);
                    scope.cycle.notice(Level::Warn, warning.at(&directive.source, word.span));
                }
                Subject::Block(block)
            }
            None => {
                let message = format!("invalid parameter \"{}\"", word.lossy());
                return Err(directive.error_at(word, "invalid_parameter", message));
            }
        },
    };
    Rc::make_mut(&mut scope.loc.access.rules).push((subject, verdict));
    Ok(())
}

impl LocConf {
    fn verdict(&self, address: &Address) -> Option<Verdict> {
        let matches = |subject: &Subject| match (subject, address) {
            (Subject::All, _) | (Subject::Unix, Address::Unix(_)) => true,
            (Subject::Block(block), Address::Ip(address)) => block.contains(address.ip()),
            _ => false,
        };
        self.rules.iter().find(|(subject, _)| matches(subject)).map(|(_, verdict)| *verdict)
    }
}

/// Decides in the access phase.
pub(crate) struct AccessHandler;

impl Handler for AccessHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        !loc.access.rules.is_empty()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let verdict = r.loc().access.verdict(&r.conn().peer.borrow());
        match verdict {
            None => Code::DECLINED,
            Some(Verdict::Allow) => Code::OK,
            Some(Verdict::Deny) => {
                if r.loc().core.satisfy_all() {
                    r.log(Level::Error, format_args!("access forbidden by rule"));
                }
                Code::FORBIDDEN
            }
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let block = |text: &str| Subject::Block(Cidr::parse(text.as_bytes()).expect("a valid block").0);
        let conf = LocConf {
            rules: Rc::new(vec![
                (block("127.0.0.1"), Verdict::Deny),
                (block("127.0.0.0/8"), Verdict::Allow),
                (Subject::Unix, Verdict::Allow),
                (Subject::All, Verdict::Deny),
            ]),
        };
        let client = |text: &str| Address::Ip(text.parse().expect("an address"));
        assert_eq!(conf.verdict(&client("127.0.0.1:1")), Some(Verdict::Deny));
        assert_eq!(conf.verdict(&client("127.0.0.2:1")), Some(Verdict::Allow));
        assert_eq!(conf.verdict(&client("[::1]:1")), Some(Verdict::Deny));
        assert_eq!(conf.verdict(&Address::Unix(bytes::Bytes::new())), Some(Verdict::Allow));
        assert_eq!(LocConf::default().verdict(&client("127.0.0.1:1")), None);
    }
}
