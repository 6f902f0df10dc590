//! `ngx_http_secure_link_module`: links that carry a digest and may expire.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use openssl::hash::{MessageDigest, hash};
use rsty_diag::Diagnostic;

use crate::conf::value::{duplicate, number};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::request::Request;
use crate::http::variables::VariableDef;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    link: Option<ComplexValue>,
    md5: Option<ComplexValue>,
    secret: Option<Bytes>,
}

/// When the link of a request expires.
struct Expires(Bytes);

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.secret.is_some() {
            return Ok(());
        }
        if self.link.is_none() {
            self.link.clone_from(&outer.link);
        }
        if self.md5.is_none() {
            self.md5.clone_from(&outer.md5);
        }
        if self.link.is_none() && self.md5.is_none() {
            self.secret.clone_from(&outer.secret);
        }
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "secure_link",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 1),
        apply: |scope, directive| {
            let value = value(scope, directive)?;
            set(&mut scope.loc.secure_link.link, directive, value)
        },
    },
    Rule {
        name: "secure_link_md5",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 1),
        apply: |scope, directive| {
            let value = value(scope, directive)?;
            set(&mut scope.loc.secure_link.md5, directive, value)
        },
    },
    Rule {
        name: "secure_link_secret",
        contexts: Contexts::LOCATION,
        args: Arity::Words(1, 1),
        apply: |scope, directive| {
            let secret = directive.arg(0).map(|word| Bytes::copy_from_slice(&word.text));
            set(&mut scope.loc.secure_link.secret, directive, secret)
        },
    },
];

fn value(scope: &mut Scope<'_>, directive: &Directive) -> Result<Option<ComplexValue>, Diagnostic> {
    directive.arg(0).map(|word| ComplexValue::of_word(scope, directive, word)).transpose()
}

fn set<T>(slot: &mut Option<T>, directive: &Directive, value: Option<T>) -> Result<(), Diagnostic> {
    if slot.is_some() {
        return Err(duplicate(directive));
    }
    *slot = value;
    Ok(())
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    VariableDef::new("secure_link", |r, _| check(r)),
    VariableDef::new("secure_link_expires", |r, _| r.ctx::<Expires>().map(|expires| expires.0.clone())),
];

/// `1` for a good link, `0` for one that expired, nothing for a bad one.
fn check(r: &Request) -> Option<Bytes> {
    let conf = &r.loc().secure_link;
    if let Some(secret) = &conf.secret {
        return check_path(r, secret);
    }
    let (link, expression) = (conf.link.as_ref()?.eval(r), conf.md5.as_ref()?);
    let (digest, expires) = match memchr::memchr(b',', &link) {
        Some(comma) => (link.slice(..comma), Some(link.slice(comma + 1..))),
        None => (link.clone(), None),
    };
    let mut expired = false;
    if let Some(expires) = expires {
        let time = number(&expires).filter(|&time| time > 0)?;
        r.set_ctx(Rc::new(Expires(expires)));
        expired = time < crate::clock::now().sec;
    }
    // Padding, and what may be behind it, makes no difference.
    let bare = memchr::memchr(b'=', &digest).map_or(&digest[..], |end| &digest[..end]);
    let given = URL_SAFE_NO_PAD.decode(bare).ok()?;
    let computed = hash(MessageDigest::md5(), &expression.eval(r)).ok()?;
    let matches = given.len() == computed.len() && openssl::memcmp::eq(&given, &computed);
    matches.then_some(Bytes::from_static(if expired { b"0" } else { b"1" }))
}

/// `/prefix/DIGEST/link`: the digest is that of the link and the secret, the value is the link.
fn check_path(r: &Request, secret: &[u8]) -> Option<Bytes> {
    let uri = r.uri.get();
    let slash = 1 + memchr::memchr(b'/', uri.get(1..)?)?;
    let rest = uri.slice(slash + 1..);
    let end = memchr::memchr(b'/', &rest)?;
    let (digest, link) = (rest.slice(..end), rest.slice(end + 1..));
    if digest.len() != 32 || link.is_empty() {
        return None;
    }
    let computed = hash(MessageDigest::md5(), &[&link, secret].concat()).ok()?;
    let hex: Vec<u8> = computed.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
    (hex == digest.to_ascii_lowercase()).then_some(link)
}
