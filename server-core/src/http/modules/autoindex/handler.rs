//! The directives, and the handler that reads a folder.

use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::super::file_status::{fault, number, path};
use super::page::{self, Entry, EntryKind, Sizes};
use crate::conf::value::{set_enum, set_flag};
use crate::conf::{Arity, Contexts, Rule};
use crate::http::body;
use crate::http::code::Code;
use crate::http::conf::{self, Merge};
use crate::http::method::Method;
use crate::http::output::{self, Buf, chain};
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
    on: Option<bool>,
    exact_size: Option<bool>,
    localtime: Option<bool>,
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Html,
    Json,
    Jsonp,
    Xml,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.on = self.on.or(outer.on);
        self.exact_size = self.exact_size.or(outer.exact_size);
        self.localtime = self.localtime.or(outer.localtime);
        self.format = self.format.or(outer.format);
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "autoindex",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.autoindex.on, directive),
    },
    Rule {
        name: "autoindex_exact_size",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.autoindex.exact_size, directive),
    },
    Rule {
        name: "autoindex_localtime",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.autoindex.localtime, directive),
    },
    Rule {
        name: "autoindex_format",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 1),
        apply: |scope, directive| {
            let words =
                [("html", Format::Html), ("json", Format::Json), ("jsonp", Format::Jsonp), ("xml", Format::Xml)];
            set_enum(&mut scope.loc.autoindex.format, directive, &words)
        },
    },
];

/// Lists folders in the content phase.
pub(crate) struct AutoindexHandler;

impl Handler for AutoindexHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        loc.autoindex.on.unwrap_or(false)
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        respond(r).into()
    }
}

fn respond(r: &Rc<Request>) -> Code {
    let uri = r.uri.get();
    if !uri.ends_with(b"/") || !r.method.get().is_one_of(Method::GET.0 | Method::HEAD.0) {
        return Code::DECLINED;
    }
    body::discard(r);
    let mut folder = map_uri(r).path;
    if folder.len() > 1 {
        folder.pop();
    }
    r.log_bytes(Level::Debug, &[b"http autoindex: \"", &folder, b"\""]);
    let conf = &r.loc().autoindex;
    let mut format = conf.format.unwrap_or_default();
    let callback = r.variable_named(b"arg_callback").unwrap_or_default();
    if format == Format::Jsonp && callback.is_empty() {
        format = Format::Json;
    }
    if format == Format::Jsonp && !page::callback_is_safe(&callback) {
        let what: &[u8] = if callback.len() > 128 { b"too long" } else { b"invalid" };
        r.log_bytes(Level::Info, &[b"client sent ", what, b" callback name: \"", &callback, b"\""]);
        return Code::BAD_REQUEST;
    }
    let entries = match read(&folder) {
        Ok(entries) => entries,
        Err(error) => {
            let errno = number(&error);
            let (code, level) = fault(errno);
            r.log_errno(level, errno, format_args!("opendir() \"{}\" failed", path(&folder).display()));
            return code;
        }
    };
    r.headers_out.status.set(200);
    r.headers_out.content_type.set(match format {
        Format::Html => "text/html",
        Format::Json => "application/json",
        Format::Jsonp => "application/javascript",
        Format::Xml => "text/xml",
    });
    if format == Format::Xml {
        r.headers_out.charset.set("utf-8");
    }
    let code = output::send_header(r);
    if code == Code::ERROR || code.0 > 0 || r.header_only.get() {
        return code;
    }
    let page: Bytes = match format {
        Format::Json => page::json(&entries, None),
        Format::Jsonp => page::json(&entries, Some(&callback)),
        Format::Xml => page::xml(&entries),
        Format::Html => {
            let sizes = if conf.exact_size.unwrap_or(true) { Sizes::Exact } else { Sizes::Rounded };
            let local = || crate::process::local_time(crate::clock::now().sec).offset_minutes;
            let offset = if conf.localtime.unwrap_or(false) { i64::from(local()) * 60 } else { 0 };
            let utf8 = r.headers_out.charset.get().eq_ignore_ascii_case(b"utf-8");
            page::html(&uri, &entries, sizes, offset, utf8)
        }
    }
    .into();
    output::write(r, chain(Buf::bytes(page).ending(r)))
}

fn read(folder: &[u8]) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path(folder))? {
        let entry = entry?;
        let name = entry.file_name().into_vec();
        if name.starts_with(b".") {
            continue;
        }
        // A dangling link is described by itself.
        let Ok(metadata) = std::fs::metadata(entry.path()).or_else(|_| entry.metadata()) else { continue };
        let kind = if metadata.is_dir() {
            EntryKind::Directory
        } else if metadata.is_file() {
            EntryKind::File
        } else {
            EntryKind::Other
        };
        entries.push(Entry { name, kind, modified: metadata.mtime(), size: metadata.len() });
    }
    page::sort(&mut entries);
    Ok(entries)
}
