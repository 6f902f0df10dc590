//! `ngx_http_index_module`: the file that answers for a folder.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::disable_symlinks::status;
use super::file_status::{is_absent, path};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::method::Method;
use crate::http::path::map_uri;
use crate::http::phases::{Handler, Outcome};
use crate::http::redirect;
use crate::http::request::Request;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    files: Rc<Vec<ComplexValue>>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.files.is_empty() {
            self.files = Rc::clone(&outer.files);
        }
        if self.files.is_empty() {
            self.files = Rc::new(vec![ComplexValue::literal("index.html")]);
        }
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[Rule {
    name: "index",
    contexts: Contexts::HTTP_SERVER_LOCATION,
    args: Arity::Words(1, Arity::MANY),
    apply: index,
}];

fn index(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    for word in &directive.args {
        if word.text.is_empty() {
            return Err(directive.error_at(word, "invalid_value", "index \"\" in \"index\" directive is invalid"));
        }
        let value = ComplexValue::of_word(scope, directive, word)?;
        Rc::make_mut(&mut scope.loc.index.files).push(value);
    }
    Ok(())
}

/// Looks for an index file in the content phase.
pub(crate) struct IndexHandler;

impl Handler for IndexHandler {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        respond(r).into()
    }
}

fn respond(r: &Rc<Request>) -> Code {
    let uri = r.uri.get();
    if !uri.ends_with(b"/") || !r.method.get().is_one_of(Method::GET.0 | Method::HEAD.0 | Method::POST.0) {
        return Code::DECLINED;
    }
    let folder = map_uri(r).path;
    let mut folder_tested = false;
    for file in r.loc().index.files.iter() {
        let name = file.eval(r);
        if name.starts_with(b"/") {
            return redirect::internal(r, name, Some(r.args.get()));
        }
        let full = [&folder[..], &name].concat();
        r.log_bytes(Level::Debug, &[b"open index \"", &full, b"\""]);
        match status(r, &full) {
            Ok(_) => {
                let target = Bytes::from([&uri[..], &name].concat());
                return redirect::internal(r, target, Some(r.args.get()));
            }
            Err(libc::EMLINK | libc::ELOOP) => return Code::FORBIDDEN,
            Err(errno @ (libc::ENOTDIR | libc::ENAMETOOLONG | libc::EACCES)) => {
                let code = if errno == libc::EACCES { Code::FORBIDDEN } else { Code::NOT_FOUND };
                return not_accessible(r, &full, errno, code);
            }
            Err(errno) => {
                if !folder_tested && let Err(code) = test_folder(r, &folder, &full) {
                    return code;
                }
                folder_tested = true;
                if errno != libc::ENOENT {
                    let message = format!("stat() \"{}\" failed", path(&full).display());
                    r.log_errno(Level::Crit, errno, format_args!("{message}"));
                    return Code::INTERNAL_SERVER_ERROR;
                }
            }
        }
    }
    Code::DECLINED
}

/// Says «is not found» or «is forbidden» about an index file or its folder.
fn not_accessible(r: &Request, name: &[u8], errno: i32, code: Code) -> Code {
    let shown = path(name).display();
    if code == Code::FORBIDDEN {
        r.log_errno(Level::Error, errno, format_args!("\"{shown}\" is forbidden"));
    } else if *r.loc().core.log_not_found {
        r.log_errno(Level::Error, errno, format_args!("\"{shown}\" is not found"));
    }
    code
}

/// Whether the folder exists: without it, a missing index file means 404 and not 403.
fn test_folder(r: &Request, folder: &[u8], index: &[u8]) -> Result<(), Code> {
    let name = match folder.strip_suffix(b"/") {
        Some(name) if !name.is_empty() => name,
        _ => folder,
    };
    r.log_bytes(Level::Debug, &[b"http index check dir: \"", name, b"\""]);
    match status(r, name) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => {
            r.log(Level::Alert, format_args!("\"{}\" is not a directory", path(name).display()));
            Err(Code::INTERNAL_SERVER_ERROR)
        }
        Err(libc::EMLINK | libc::ELOOP) => Err(Code::FORBIDDEN),
        // The index file could be looked for, so the folder can be searched.
        Err(libc::EACCES) => Ok(()),
        Err(errno) if is_absent(errno) => Err(not_accessible(r, index, errno, Code::NOT_FOUND)),
        Err(errno) => {
            let message = format!("stat() \"{}\" failed", path(name).display());
            r.log_errno(Level::Crit, errno, format_args!("{message}"));
            Err(Code::INTERNAL_SERVER_ERROR)
        }
    }
}
