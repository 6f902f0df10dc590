//! `ngx_http_random_index_module`: any file of a folder answers for it.

use std::fs::DirEntry;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::disable_symlinks;
use super::file_status::{fault, number, path};
use crate::conf::value::set_flag;
use crate::conf::{Arity, Contexts, Rule};
use crate::http::code::Code;
use crate::http::conf::{self, Merge};
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
    on: Option<bool>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.on = self.on.or(outer.on);
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[Rule {
    name: "random_index",
    contexts: Contexts::LOCATION,
    args: Arity::Flag,
    apply: |scope, directive| set_flag(&mut scope.loc.random_index.on, directive),
}];

/// Chooses in the content phase.
pub(crate) struct RandomIndexHandler;

impl Handler for RandomIndexHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        loc.random_index.on.unwrap_or(false)
    }

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
    let folder = folder.strip_suffix(b"/").unwrap_or(&folder);
    r.log_bytes(Level::Debug, &[b"http random index: \"", folder, b"\""]);
    let opened = disable_symlinks::status(r, folder).map_err(io::Error::from_raw_os_error);
    let entries = match opened.and_then(|_| std::fs::read_dir(path(folder))) {
        Ok(entries) => entries,
        Err(error) => {
            let errno = number(&error);
            let (code, level) = fault(errno);
            r.log_errno(level, errno, format_args!("opendir() \"{}\" failed", path(folder).display()));
            return code;
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) if is_candidate(&entry) => names.push(entry.file_name()),
            Ok(_) => {}
            Err(error) => {
                let folder = path(folder).display();
                r.log_errno(Level::Crit, number(&error), format_args!("readdir() \"{folder}\" failed"));
                return Code::INTERNAL_SERVER_ERROR;
            }
        }
    }
    match choose(&names) {
        Some(name) => redirect::internal(r, Bytes::from([&uri[..], name.as_bytes()].concat()), Some(r.args.get())),
        None => Code::DECLINED,
    }
}

/// Files and links to files, unless their names begin with a dot.
fn is_candidate(entry: &DirEntry) -> bool {
    !entry.file_name().as_bytes().starts_with(b".")
        && std::fs::metadata(entry.path()).is_ok_and(|found| found.is_file())
}

fn choose<T>(names: &[T]) -> Option<&T> {
    let mut random = [0; 8];
    // Without randomness, the first one is as good as any.
    let _ = openssl::rand::rand_bytes(&mut random);
    let index = u64::from_ne_bytes(random).checked_rem(names.len() as u64)?;
    names.get(usize::try_from(index).ok()?)
}
