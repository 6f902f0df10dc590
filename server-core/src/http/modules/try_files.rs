//! `ngx_http_try_files_module`: the first file that exists, else a location or a status.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::disable_symlinks::status;
use super::file_status::{is_absent, path};
use crate::conf::value::{duplicate, number};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{self, Merge, Scope};
use crate::http::path::{self as mapping, Alias};
use crate::http::phases::{Handler, Outcome};
use crate::http::redirect;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location; they are not inherited.
#[derive(Default)]
pub struct LocConf {
    tries: Vec<Try>,
    fallback: Option<Fallback>,
}

struct Try {
    name: ComplexValue,
    /// What must be there: a folder, when the name was written with a slash at its end.
    folder: bool,
}

enum Fallback {
    Status(i32),
    Uri(ComplexValue),
}

impl Merge for LocConf {
    fn merge(&mut self, _outer: &Self) -> Result<(), Diagnostic> {
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[Rule {
    name: "try_files",
    contexts: Contexts::SERVER.or(Contexts::LOCATION),
    args: Arity::Words(2, Arity::MANY),
    apply: try_files,
}];

fn try_files(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.loc.try_files.fallback.is_some() {
        return Err(duplicate(directive));
    }
    let [names @ .., last] = &directive.args[..] else { return Ok(()) };
    let mut tries = Vec::new();
    for word in names {
        let (text, folder) = match word.text.strip_suffix(b"/") {
            Some(text) => (text, true),
            None => (&*word.text, false),
        };
        let name = ComplexValue::compile(&mut scope.main.core.variables, text)
            .map_err(|error| directive.error_at(word, "invalid_variable", error.to_string()))?;
        tries.push(Try { name, folder });
    }
    let fallback = match last.text.strip_prefix(b"=") {
        None => Fallback::Uri(ComplexValue::of_word(scope, directive, last)?),
        Some(digits) => match number(digits).filter(|&code| code <= 999) {
            Some(code) => Fallback::Status(code as i32),
            None => {
                let message = format!("invalid code \"{}\"", last.lossy());
                return Err(directive.error_at(last, "invalid_value", message));
            }
        },
    };
    let conf = &mut scope.loc.try_files;
    conf.tries = tries;
    conf.fallback = Some(fallback);
    Ok(())
}

/// Tries in the precontent phase.
pub(crate) struct TryFilesHandler;

impl Handler for TryFilesHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        loc.try_files.fallback.is_some()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        respond(r).into()
    }
}

fn respond(r: &Rc<Request>) -> Code {
    let conf = &r.loc().try_files;
    let alias = mapping::alias(r);
    let root = mapping::root(r);
    debug!(r, "try files handler");
    for attempt in &conf.tries {
        let mut name = attempt.name.eval(r);
        // Names written as paths of the request lose the part that `alias` replaces.
        if let (Alias::Prefix(length), None) = (alias, attempt.name.constant())
            && name.get(..length).is_some_and(|head| r.uri.get().starts_with(head))
        {
            name = name.slice(length..);
        }
        let full = [&root[..], &name].concat();
        let kind: &[u8] = if attempt.folder { b"dir" } else { b"file" };
        r.log_bytes(Level::Debug, &[b"trying to use ", kind, b": \"", &name, b"\" \"", &full, b"\""]);
        match status(r, &full) {
            Ok(found) if found.is_dir() == attempt.folder => {
                use_file(r, alias, &name, attempt.folder);
                return Code::DECLINED;
            }
            Ok(_) => {}
            Err(errno) if is_absent(errno) => {}
            Err(errno) => {
                let message = format!("stat() \"{}\" failed", path(&full).display());
                r.log_errno(Level::Crit, errno, format_args!("{message}"));
            }
        }
    }
    match &conf.fallback {
        None => Code::DECLINED,
        Some(Fallback::Status(status)) => Code(*status),
        Some(Fallback::Uri(target)) => {
            let target = target.eval(r);
            r.log_bytes(Level::Debug, &[b"trying to use file: \"", &target, b"\" \"", &root, &target, b"\""]);
            if target.starts_with(b"@") {
                return redirect::named(r, &target);
            }
            match memchr::memchr(b'?', &target) {
                Some(at) => redirect::internal(r, target.slice(..at), Some(target.slice(at + 1..))),
                None => redirect::internal(r, target, None),
            }
        }
    }
}

fn use_file(r: &Request, alias: Alias, name: &Bytes, folder: bool) {
    match alias {
        Alias::None => r.uri.set(name.clone()),
        Alias::Whole if folder => {}
        Alias::Whole => {
            r.uri.set(name.clone());
            r.add_uri_to_alias.set(true);
        }
        Alias::Prefix(length) => {
            let old = r.uri.get();
            r.uri.set([&old[..length.min(old.len())], name].concat());
        }
    }
    r.set_extension();
    r.log_bytes(Level::Debug, &[b"try file uri: \"", &r.uri.get(), b"\""]);
}
