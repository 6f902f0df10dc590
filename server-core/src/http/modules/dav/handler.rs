//! Requests: what is asked, what may be, what is answered.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::super::calendar::parse_http_date;
use super::super::file_status::{is_absent, number, path};
use super::files::{self, Failure, Put};
use super::target::{Depth, depth, destination, overwrite};
use crate::http::body;
use crate::http::code::Code;
use crate::http::conf;
use crate::http::h1::uri;
use crate::http::header::HeaderId;
use crate::http::method::Method;
use crate::http::output;
use crate::http::path::{Alias, alias, map_uri};
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::log::Level;

/// Changes files in the content phase.
pub(crate) struct DavHandler;

impl Handler for DavHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        loc.dav.methods() != 0
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let method = r.method.get();
        if !method.is_one_of(r.loc().dav.methods()) {
            return Code::DECLINED.into();
        }
        let r = Rc::clone(r);
        match method {
            Method::PUT => Outcome::wait(async move { put(&r).await }),
            Method::DELETE => Outcome::wait(async move { delete(&r).await }),
            Method::MKCOL => Outcome::wait(async move { make_collection(&r).await }),
            Method::COPY | Method::MOVE => Outcome::wait(async move { copy_or_move(&r).await }),
            _ => Code::DECLINED.into(),
        }
    }
}

/// Runs blocking work beside the event loop. A failure is logged and becomes a status, `absent` when a file is missing.
async fn beside<T: Send + 'static>(
    r: &Request,
    absent: Code,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Code> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|failure| blame(r, &failure, absent)),
        Err(error) => {
            r.log(Level::Alert, format_args!("work on files failed: {error}"));
            Err(Code::INTERNAL_SERVER_ERROR)
        }
    }
}

fn blame(r: &Request, failure: &Failure, absent: Code) -> Code {
    let errno = number(&failure.error);
    let (level, code) = match errno {
        errno if is_absent(errno) => (Level::Error, absent),
        libc::EACCES | libc::EPERM => (Level::Error, Code::FORBIDDEN),
        libc::EEXIST => (Level::Error, Code::NOT_ALLOWED),
        libc::ENOSPC => (Level::Crit, Code::INSUFFICIENT_STORAGE),
        _ => (Level::Crit, Code::INTERNAL_SERVER_ERROR),
    };
    r.log_errno(level, errno, format_args!("{} \"{}\" failed", failure.call, failure.path.display()));
    code
}

fn refuse<T>(r: &Request, code: Code, message: &str) -> Result<T, Code> {
    r.log(Level::Error, format_args!("{message}"));
    Err(code)
}

/// An answer, whether it went well or not.
fn answer(result: Result<Code, Code>) -> Code {
    match result {
        Ok(code) | Err(code) => code,
    }
}

const CONFLICT: Code = Code(409);
const UNSUPPORTED_MEDIA_TYPE: Code = Code(415);

fn is_collection(path: &[u8]) -> bool {
    path.ends_with(b"/")
}

fn has_body(r: &Request) -> bool {
    r.headers_in.content_length.get() > 0 || r.headers_in.chunked.get()
}

/// The file that a path names, without a slash at its end.
fn file_of(r: &Request, uri: Option<&[u8]>) -> PathBuf {
    let own = uri.map(|uri| r.uri.replace(Bytes::copy_from_slice(uri)));
    let mut mapped = map_uri(r).path;
    if let Some(own) = own {
        r.uri.set(own);
    }
    mapped.dedup_by(|next, before| *next == b'/' && *before == b'/');
    if mapped.len() > 1 && mapped.ends_with(b"/") {
        mapped.pop();
    }
    path(&mapped).to_owned()
}

async fn put(r: &Rc<Request>) -> Code {
    if is_collection(&r.uri.get()) {
        return answer(refuse(r, CONFLICT, "cannot PUT to a collection"));
    }
    if r.headers_in.contains(HeaderId::ContentRange) {
        return answer(refuse(r, Code::NOT_IMPLEMENTED, "PUT with range is unsupported"));
    }
    r.request_body_in_file_only.set(true);
    r.request_body_in_persistent_file.set(true);
    r.request_body_in_clean_file.set(true);
    let code = body::read(r).await;
    if code != Code::OK {
        return code;
    }
    match store(r).await {
        Ok(status) => {
            if status == Code::CREATED {
                r.headers_out.redirect_to(uri::escape(&r.uri.get()));
                r.headers_out.content_length.set(0);
            }
            r.headers_out.status.set(status.0 as u16);
            r.header_only.set(true);
            output::send_header(r)
        }
        Err(code) => code,
    }
}

/// Puts the body where the path says. CREATED, or `NO_CONTENT` when there was a file before.
async fn store(r: &Rc<Request>) -> Result<Code, Code> {
    let received = r.request_body().and_then(|body| body.file.borrow().as_ref().map(|file| file.path.clone()));
    let Some(temporary) = received else {
        return refuse(r, Code::INTERNAL_SERVER_ERROR, "PUT request body must be in a file");
    };
    let target = file_of(r, None);
    debug!(r, "http put filename: \"{}\"", target.display());
    let conf = &r.loc().dav;
    let date = r.headers_in.value(HeaderId::Date).and_then(|date| parse_http_date(&date));
    let seconds = date.and_then(|seconds| u64::try_from(seconds).ok());
    let how = Put {
        mode: Some(conf.file_mode()),
        parents: conf.create_full_put_path.unwrap_or(false).then(|| conf.folder_mode()),
        modified: seconds.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
    };
    let shown = target.clone();
    let put = beside(r, Code::INTERNAL_SERVER_ERROR, move || {
        let before = std::fs::metadata(&target).ok();
        if before.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            return Ok(None);
        }
        files::put(&temporary, &target, &how)?;
        Ok(Some(if before.is_some() { Code::NO_CONTENT } else { Code::CREATED }))
    });
    put.await?.ok_or_else(|| {
        r.log_errno(Level::Error, libc::EISDIR, format_args!("\"{}\" could not be created", shown.display()));
        CONFLICT
    })
}

async fn delete(r: &Rc<Request>) -> Code {
    answer(try_delete(r).await)
}

async fn try_delete(r: &Rc<Request>) -> Result<Code, Code> {
    if has_body(r) {
        return refuse(r, UNSUPPORTED_MEDIA_TYPE, "DELETE with body is unsupported");
    }
    let uri = r.uri.get();
    let least = r.loc().dav.min_delete_depth.unwrap_or(0);
    let reached = memchr::memchr_iter(b'/', &uri).filter(|at| at + 1 < uri.len()).count();
    if reached < least {
        let message = format!("insufficient URI depth:{} to DELETE", memchr::memchr_iter(b'/', &uri).count());
        return refuse(r, CONFLICT, &message);
    }
    let target = file_of(r, None);
    debug!(r, "http delete filename: \"{}\"", target.display());
    // A slash behind a file's name is a conflict, not an absence.
    let mut asked = target.as_os_str().as_bytes().to_vec();
    if is_collection(&uri) {
        asked.push(b'/');
    }
    let metadata = files::status(path(&asked)).map_err(|failure| {
        let absent = if number(&failure.error) == libc::ENOTDIR { CONFLICT } else { Code::NOT_FOUND };
        blame(r, &failure, absent)
    })?;
    let folder = metadata.is_dir();
    if folder && !is_collection(&uri) {
        r.log_errno(Level::Error, libc::EISDIR, format_args!("DELETE \"{}\" failed", target.display()));
        return Err(CONFLICT);
    }
    let depth = depth(r, if folder { Depth::Infinity } else { Depth::Zero });
    match (folder, depth) {
        (_, Some(Depth::Infinity)) | (false, Some(Depth::Zero)) => {}
        (true, _) => return refuse(r, Code::BAD_REQUEST, "\"Depth\" header must be infinity"),
        (false, _) => return refuse(r, Code::BAD_REQUEST, "\"Depth\" header must be 0 or infinity"),
    }
    beside(r, Code::NOT_FOUND, move || files::remove(&target, folder)).await?;
    Ok(Code::NO_CONTENT)
}

async fn make_collection(r: &Rc<Request>) -> Code {
    answer(try_make_collection(r).await)
}

async fn try_make_collection(r: &Rc<Request>) -> Result<Code, Code> {
    if has_body(r) {
        return refuse(r, UNSUPPORTED_MEDIA_TYPE, "MKCOL with body is unsupported");
    }
    if !is_collection(&r.uri.get()) {
        return refuse(r, CONFLICT, "MKCOL can create a collection only");
    }
    let (target, mode) = (file_of(r, None), r.loc().dav.folder_mode());
    debug!(r, "http mkcol path: \"{}\"", target.display());
    beside(r, CONFLICT, move || files::make_folder(&target, mode)).await?;
    r.headers_out.redirect_to(uri::escape(&r.uri.get()));
    Ok(Code::CREATED)
}

async fn copy_or_move(r: &Rc<Request>) -> Code {
    answer(try_copy_or_move(r).await)
}

async fn try_copy_or_move(r: &Rc<Request>) -> Result<Code, Code> {
    let moves = r.method.get() == Method::MOVE;
    if has_body(r) {
        return refuse(r, UNSUPPORTED_MEDIA_TYPE, "COPY and MOVE with body are unsupported");
    }
    let destination = destination(r)?;
    let (uri, written) = (r.uri.get(), &destination.written);
    if is_collection(&uri) != is_collection(written) {
        let end = b"\" should be either collections or non-collections";
        r.log_bytes(Level::Error, &[b"both URI \"", &uri, b"\" and \"Destination\" URI \"", written, end]);
        return Err(CONFLICT);
    }
    if let Alias::Prefix(length) = alias(r)
        && destination.path.len() < length
    {
        r.log_bytes(Level::Error, &[b"client sent invalid \"Destination\" header: \"", written, b"\""]);
        return Err(Code::BAD_REQUEST);
    }
    match (moves, depth(r, Depth::Infinity)) {
        (_, Some(Depth::Infinity)) | (false, Some(Depth::Zero)) => {}
        (false, _) => return refuse(r, Code::BAD_REQUEST, "\"Depth\" header must be 0 or infinity"),
        (true, _) => return refuse(r, Code::BAD_REQUEST, "\"Depth\" header must be infinity"),
    }
    let overwrite = overwrite(r)?;
    let (from, to) = (file_of(r, None), file_of(r, Some(&destination.path)));
    debug!(r, "http copy from: \"{}\"", from.display());
    debug!(r, "http copy to: \"{}\"", to.display());
    check_distinct(r, &from, &to, written)?;
    let there = match files::status(&to) {
        Ok(there) => Some(there),
        Err(failure) if number(&failure.error) == libc::ENOENT => None,
        Err(failure) => return Err(blame(r, &failure, Code::NOT_FOUND)),
    };
    if let Some(there) = &there {
        if there.is_dir() && !is_collection(written) {
            return Err(into_itself(r, written, CONFLICT));
        }
        if !overwrite {
            r.log_errno(Level::Error, libc::EEXIST, format_args!("\"{}\" could not be created", to.display()));
            return Err(Code::PRECONDITION_FAILED);
        }
    }
    let metadata = files::status(&from).map_err(|failure| blame(r, &failure, Code::NOT_FOUND))?;
    if metadata.is_dir() && !is_collection(&uri) {
        r.log_bytes(Level::Error, &[b"\"", &uri, b"\" is collection"]);
        return Err(Code::BAD_REQUEST);
    }
    let folder_mode = r.loc().dav.folder_mode();
    let folder = metadata.is_dir();
    let work = move || {
        if folder {
            if let Some(there) = there {
                files::remove(&to, there.is_dir())?;
            }
            return if moves {
                files::move_folder(&from, &to, &metadata)
            } else {
                files::copy_folder(&from, &to, &metadata)
            };
        }
        if moves {
            return files::put(&from, &to, &Put { mode: None, parents: Some(folder_mode), modified: None });
        }
        files::copy_file(&from, &to, &metadata)
    };
    beside(r, if folder { Code::NOT_FOUND } else { Code::INTERNAL_SERVER_ERROR }, work).await?;
    Ok(if folder { Code::CREATED } else { Code::NO_CONTENT })
}

/// Nothing is copied onto itself or into itself.
fn check_distinct(r: &Request, from: &Path, to: &Path, written: &[u8]) -> Result<(), Code> {
    if from == to {
        let end = b"\" point to the same location";
        r.log_bytes(Level::Error, &[b"both URI \"", &r.uri.get(), b"\" and \"Destination\" URI \"", written, end]);
        return Err(Code::FORBIDDEN);
    }
    if is_collection(written) && (from.starts_with(to) || to.starts_with(from)) {
        return Err(into_itself(r, written, Code::FORBIDDEN));
    }
    Ok(())
}

fn into_itself(r: &Request, written: &[u8], code: Code) -> Code {
    let method = r.method_name.get();
    r.log_bytes(
        Level::Error,
        &[b"\"", &r.uri.get(), b"\" could not be ", &method, b"ed to collection \"", written, b"\""],
    );
    code
}
