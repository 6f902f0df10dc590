//! `ngx_http_referer_module`: `$invalid_referer`.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::conf::{Merge, Scope};
use crate::http::header::HeaderId;
use crate::http::regex::{Case, Regex};
use crate::http::request::Request;
use crate::http::variables::VariableDef;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    valid: Option<Rc<Valid>>,
}

/// What `valid_referers` accepts.
#[derive(Default)]
struct Valid {
    none: bool,
    blocked: bool,
    server_names: bool,
    names: Vec<Name>,
    regexes: Vec<Regex>,
}

/// A host name, perhaps with a wildcard and the beginning of a path.
struct Name {
    kind: Kind,
    host: Vec<u8>,
    path: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exact,
    /// `*.example.com`; the host begins with a dot.
    Head,
    /// `.example.com`: both of the above.
    HeadOrExact,
    /// `www.example.*`; the host ends with a dot.
    Tail,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.valid.is_none() {
            self.valid.clone_from(&outer.valid);
        }
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "valid_referers",
        contexts: Contexts::SERVER.or(Contexts::LOCATION),
        args: Arity::Words(1, Arity::MANY),
        apply: valid_referers,
    },
    Rule {
        name: "referer_hash_max_size",
        contexts: Contexts::SERVER.or(Contexts::LOCATION),
        args: Arity::Words(1, 1),
        apply: |_, _| Ok(()),
    },
    Rule {
        name: "referer_hash_bucket_size",
        contexts: Contexts::SERVER.or(Contexts::LOCATION),
        args: Arity::Words(1, 1),
        apply: |_, _| Ok(()),
    },
];

fn valid_referers(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let mut valid = Valid::default();
    for word in &directive.args {
        match &*word.text {
            b"" => {
                let message = format!("invalid referer \"{}\"", word.lossy());
                return Err(directive.error_at(word, "invalid_value", message));
            }
            b"none" => valid.none = true,
            b"blocked" => valid.blocked = true,
            b"server_names" => valid.server_names = true,
            [b'~', pattern @ ..] => {
                valid.regexes.push(Regex::of_word(scope, directive, word, pattern, Case::Insensitive)?);
            }
            text => {
                let slash = memchr::memchr(b'/', text).unwrap_or(text.len());
                let host = text[..slash].to_ascii_lowercase();
                let (kind, host) = if let Some(rest) = host.strip_prefix(b"*") {
                    (Kind::Head, rest.to_vec())
                } else if host.starts_with(b".") {
                    (Kind::HeadOrExact, host)
                } else if let Some(rest) = host.strip_suffix(b"*") {
                    (Kind::Tail, rest.to_vec())
                } else {
                    (Kind::Exact, host)
                };
                valid.names.push(Name { kind, host, path: text[slash..].to_vec() });
            }
        }
    }
    scope.loc.referer.valid = Some(Rc::new(valid));
    Ok(())
}

impl Name {
    fn matches(&self, host: &[u8], path: &[u8]) -> bool {
        let names_host = match self.kind {
            Kind::Exact => host == self.host,
            Kind::Head => host.len() > self.host.len() && host.ends_with(&self.host),
            Kind::HeadOrExact => host.ends_with(&self.host) || self.host.get(1..) == Some(host),
            Kind::Tail => host.len() > self.host.len() && host.starts_with(&self.host),
        };
        names_host && path.starts_with(&self.path)
    }
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[VariableDef::volatile("invalid_referer", |r, _| {
    let valid = r.loc().referer.valid.as_ref()?;
    Some(if accepts(r, valid) { Bytes::new() } else { Bytes::from_static(b"1") })
})];

fn accepts(r: &Request, valid: &Valid) -> bool {
    /// No address of a host is shorter with its scheme.
    const SHORTEST: usize = b"http://i.ru".len();
    /// The longest host that is looked at.
    const HOST_MAX: usize = 256;
    if valid.names.is_empty() && valid.regexes.is_empty() && !valid.server_names {
        return true;
    }
    let Some(referer) = r.headers_in.value(HeaderId::Referer) else { return valid.none };
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| referer.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)));
    let Some(scheme) = scheme.filter(|_| referer.len() >= SHORTEST) else { return valid.blocked };
    let rest = referer.slice(scheme.len()..);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b':')).unwrap_or(rest.len());
    if end > HOST_MAX {
        return false;
    }
    let host = rest[..end].to_ascii_lowercase();
    let path_start = memchr::memchr(b'/', &rest).unwrap_or(rest.len());
    let path = &rest[path_start..];
    valid.names.iter().any(|name| name.matches(&host, path))
        || valid.regexes.iter().any(|regex| regex.exec(r, &rest).unwrap_or(false))
        || valid.server_names && r.srv().serves(&host)
}
