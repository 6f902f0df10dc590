//! `ngx_http_gzip_static_module`: sends `FILE.gz` in place of `FILE` to those who take it.

use std::rc::Rc;

use rsty_diag::Diagnostic;

use super::disable_symlinks::open;
use super::file_status::{is_absent, number, path};
use super::{gzip, static_file};
use crate::conf::value::set_enum;
use crate::conf::{Arity, Contexts, Rule};
use crate::http::code::Code;
use crate::http::conf::{self, Merge};
use crate::http::method::Method;
use crate::http::path::map_uri;
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
    when: Option<When>,
}

/// Who gets the packed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Off,
    On,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.when = self.when.or(outer.when);
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[Rule {
    name: "gzip_static",
    contexts: Contexts::HTTP_SERVER_LOCATION,
    args: Arity::Words(1, 1),
    apply: |scope, directive| {
        let words = [("off", When::Off), ("on", When::On), ("always", When::Always)];
        set_enum(&mut scope.loc.gzip_static.when, directive, &words)
    },
}];

/// Looks for the packed file in the content phase.
pub(crate) struct GzipStaticHandler;

impl Handler for GzipStaticHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        loc.gzip_static.when.is_some_and(|when| when != When::Off)
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        respond(r).into()
    }
}

fn respond(r: &Rc<Request>) -> Code {
    if !r.method.get().is_one_of(Method::GET.0 | Method::HEAD.0) || r.uri.get().ends_with(b"/") {
        return Code::DECLINED;
    }
    let asks = r.loc().gzip_static.when == Some(When::On);
    let accepts = !asks || gzip::client_accepts(r);
    if !accepts && !gzip::varies(r) {
        return Code::DECLINED;
    }
    let mut name = map_uri(r).path;
    name.extend_from_slice(b".gz");
    r.log_bytes(Level::Debug, &[b"http filename: \"", &name, b"\""]);
    let opened = open(r, &name).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let errno = number(&error);
            if !is_absent(errno) {
                let level = if errno == libc::EACCES { Level::Error } else { Level::Crit };
                r.log_errno(level, errno, format_args!("open() \"{}\" failed", path(&name).display()));
            }
            return Code::DECLINED;
        }
    };
    if asks {
        gzip::announce_variants(r);
    }
    if !accepts || metadata.is_dir() {
        return Code::DECLINED;
    }
    if !metadata.is_file() {
        r.log(Level::Crit, format_args!("\"{}\" is not a regular file", path(&name).display()));
        return Code::NOT_FOUND;
    }
    r.root_tested.set(!r.error_page.get());
    r.headers_out.add("Content-Encoding", "gzip");
    static_file::send(r, file, &metadata)
}
