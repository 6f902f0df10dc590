//! The directives, and the handler of the access phase.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::super::file_status::number;
use super::password::{Verdict, verify, verify_by_system};
use crate::conf::value::duplicate;
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{self, Merge, Scope};
use crate::http::header::HeaderId;
use crate::http::path::absolute_path;
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
    realm: Option<ComplexValue>,
    file: Option<ComplexValue>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.realm.is_none() {
            self.realm.clone_from(&outer.realm);
        }
        if self.file.is_none() {
            self.file.clone_from(&outer.file);
        }
        Ok(())
    }
}

const PLACES: Contexts = Contexts::HTTP_SERVER_LOCATION.or(Contexts::LIMIT_EXCEPT);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "auth_basic", contexts: PLACES, args: Arity::Words(1, 1), apply: auth_basic },
    Rule { name: "auth_basic_user_file", contexts: PLACES, args: Arity::Words(1, 1), apply: user_file },
];

fn auth_basic(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let value = ComplexValue::of_word(scope, directive, word)?;
    if scope.loc.auth_basic.realm.replace(value).is_some() { Err(duplicate(directive)) } else { Ok(()) }
}

fn user_file(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let mut value = ComplexValue::of_word(scope, directive, word)?;
    if value.constant().is_some() {
        let full = scope.cycle.full_conf_path(&word.text);
        value = ComplexValue::literal(std::os::unix::ffi::OsStringExt::into_vec(full.into_os_string()));
    }
    if scope.loc.auth_basic.file.replace(value).is_some() { Err(duplicate(directive)) } else { Ok(()) }
}

/// Asks for a password.
pub(crate) struct AuthBasicHandler;

impl Handler for AuthBasicHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        loc.auth_basic.realm.is_some() && loc.auth_basic.file.is_some()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        check(r)
    }
}

fn check(r: &Rc<Request>) -> Outcome {
    match look_up(r) {
        Err(code) => code.into(),
        Ok(found) => match verify(&found.password, &found.entry) {
            Verdict::Match => Code::OK.into(),
            Verdict::Mismatch => mismatch(r, &found).into(),
            Verdict::AskSystem => {
                let r = Rc::clone(r);
                Outcome::wait(async move { ask_system(&r, &found).await })
            }
        },
    }
}

/// A user's entry and what the client says the password is.
struct Found {
    realm: Bytes,
    user: Bytes,
    password: Bytes,
    entry: Vec<u8>,
}

fn mismatch(r: &Request, found: &Found) -> Code {
    r.log_bytes(Level::Error, &[b"user \"", &found.user, b"\": password mismatch"]);
    demand(r, &found.realm)
}

/// The schemes of the system's `crypt` are slow by design, so they are computed beside the event loop.
async fn ask_system(r: &Request, found: &Found) -> Code {
    let (password, entry) = (found.password.clone(), found.entry.clone());
    let answer = tokio::task::spawn_blocking(move || verify_by_system(&password, &entry)).await;
    match answer {
        Ok(Ok(true)) => Code::OK,
        Ok(Ok(false)) => mismatch(r, found),
        Ok(Err(errno)) => {
            r.log_errno(Level::Crit, errno, format_args!("crypt_r() failed"));
            Code::INTERNAL_SERVER_ERROR
        }
        Err(error) => {
            r.log(Level::Crit, format_args!("a password could not be compared: {error}"));
            Code::INTERNAL_SERVER_ERROR
        }
    }
}

/// Finds the user's entry, or the code that ends the matter.
fn look_up(r: &Request) -> Result<Found, Code> {
    let conf = &r.loc().auth_basic;
    let (Some(realm), Some(file)) = (&conf.realm, &conf.file) else { return Err(Code::DECLINED) };
    let realm = realm.eval(r);
    if realm == "off" {
        return Err(Code::DECLINED);
    }
    let Some((user, password)) = credentials(r) else {
        r.log(Level::Info, format_args!("no user/password was provided for basic authentication"));
        return Err(demand(r, &realm));
    };
    let path = absolute_path(r, &file.eval(r));
    let content = match std::fs::read(&path) {
        Ok(content) => content,
        Err(error) => {
            let errno = number(&error);
            let level = if errno == libc::ENOENT { Level::Error } else { Level::Crit };
            r.log_errno(level, errno, format_args!("open() \"{}\" failed", path.display()));
            return Err(if errno == libc::ENOENT { Code::FORBIDDEN } else { Code::INTERNAL_SERVER_ERROR });
        }
    };
    let entry = content.split(|&byte| byte == b'\n').find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let rest = line.strip_prefix(&*user)?.strip_prefix(b":")?;
        rest.split(|&byte| byte == b':').next()
    });
    let Some(entry) = entry else {
        let name = path.display();
        let user = String::from_utf8_lossy(&user);
        r.log(Level::Error, format_args!("user \"{user}\" was not found in \"{name}\""));
        return Err(demand(r, &realm));
    };
    Ok(Found { realm, user, password, entry: entry.to_vec() })
}

/// User and password of `Authorization: Basic`, kept in the request.
pub(crate) fn credentials(r: &Request) -> Option<(Bytes, Bytes)> {
    if let Some(known) = r.headers_in.basic.borrow().clone() {
        return Some(known);
    }
    let header = r.headers_in.value(HeaderId::Authorization)?;
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = Bytes::from(STANDARD.decode(encoded.trim_ascii()).ok()?);
    let colon = memchr::memchr(b':', &decoded)?;
    let parsed = (decoded.slice(..colon), decoded.slice(colon + 1..));
    r.headers_in.basic.replace(Some(parsed.clone()));
    Some(parsed)
}

fn demand(r: &Request, realm: &[u8]) -> Code {
    let value = [b"Basic realm=\"", realm, b"\""].concat();
    r.headers_out.set("WWW-Authenticate", value);
    Code::UNAUTHORIZED
}
