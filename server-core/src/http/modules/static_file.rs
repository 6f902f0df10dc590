//! `ngx_http_static_module`: answers with files.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;

use super::disable_symlinks::open;
use super::file_status::{fault, number};
use crate::http::body;
use crate::http::code::Code;
use crate::http::h1::uri;
use crate::http::method::Method;
use crate::http::output::{self, Buf, chain};
use crate::http::path::map_uri;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::log::Level;

/// Opens the file in the content phase.
pub(crate) struct StaticHandler;

impl Handler for StaticHandler {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        respond(r).into()
    }
}

fn respond(r: &Rc<Request>) -> Code {
    let method = r.method.get();
    if !method.is_one_of(Method::GET.0 | Method::HEAD.0 | Method::POST.0) {
        return Code::NOT_ALLOWED;
    }
    if r.uri.get().ends_with(b"/") {
        return Code::DECLINED;
    }
    let mapped = map_uri(r);
    r.log_bytes(Level::Debug, &[b"http filename: \"", &mapped.path, b"\""]);
    let opened = open(r, &mapped.path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let errno = number(&error);
            let (code, level) = fault(errno);
            if code != Code::NOT_FOUND || *r.loc().core.log_not_found {
                let path = mapped.as_path().display();
                r.log_errno(level, errno, format_args!("open() \"{path}\" failed"));
            }
            return code;
        }
    };
    r.root_tested.set(!r.error_page.get());
    if metadata.is_dir() {
        return redirect_to_folder(r);
    }
    if !metadata.is_file() {
        r.log(Level::Crit, format_args!("\"{}\" is not a regular file", mapped.as_path().display()));
        return Code::NOT_FOUND;
    }
    if method == Method::POST {
        return Code::NOT_ALLOWED;
    }
    send(r, file, &metadata)
}

/// Sends an open file.
pub(super) fn send(r: &Rc<Request>, file: File, metadata: &Metadata) -> Code {
    body::discard(r);
    let size = metadata.len();
    r.headers_out.status.set(200);
    r.headers_out.content_length.set(size as i64);
    r.headers_out.last_modified.set(metadata.mtime());
    set_etag(r);
    r.set_content_type();
    r.allow_ranges.set(true);
    let code = output::send_header(r);
    if code == Code::ERROR || code.0 > 0 || r.header_only.get() {
        return code;
    }
    let body = if size > 0 { Buf::file(Rc::new(file), 0, size) } else { Buf::default() };
    let mut body = body.ending(r);
    body.sync = size == 0 && !r.is_main();
    output::write(r, chain(body))
}

/// `ETag: "modified-length"`, unless `etag` is off.
pub(super) fn set_etag(r: &Request) {
    if *r.loc().core.etag {
        let (modified, length) = (r.headers_out.last_modified.get(), r.headers_out.content_length.get());
        r.headers_out.set("ETag", format!("\"{modified:x}-{length:x}\""));
    }
}

fn redirect_to_folder(r: &Request) -> Code {
    let mut location = uri::escape(&r.uri.get());
    location.push(b'/');
    let args = r.args.get();
    if !args.is_empty() {
        location.push(b'?');
        location.extend_from_slice(&args);
    }
    r.headers_out.clear_location();
    r.headers_out.redirect_to(location);
    Code::MOVED_PERMANENTLY
}
