//! `echo_location` and `echo_subrequest`: what to ask for, and asking.

use std::rc::Rc;

use bytes::Bytes;

use super::directives::Waiting;
use crate::http::body::{BodyFile, RequestBody};
use crate::http::code::Code;
use crate::http::h1::uri;
use crate::http::method::Method;
use crate::http::path::absolute_path;
use crate::http::request::Request;
use crate::http::subrequest::{self, Options};
use crate::log::Level;

/// A subrequest to be made.
pub(super) struct Target {
    directive: &'static str,
    method_name: Bytes,
    uri: Bytes,
    args: Option<Bytes>,
    body: Option<RequestBody>,
}

impl Target {
    /// `echo_location uri [args]`
    pub(super) fn get(waiting: Waiting, uri: Bytes, args: Option<Bytes>) -> Self {
        let directive = if waiting == Waiting::Sync { "echo_location" } else { "echo_location_async" };
        Self { directive, method_name: Bytes::from_static(b"GET"), uri, args, body: None }
    }

    /// `echo_subrequest METHOD uri [-q args] [-b body] [-f file]`; says in the log why it can't be.
    pub(super) fn parse(r: &Request, waiting: Waiting, args: &[Bytes]) -> Option<Self> {
        let [method, uri, options @ ..] = args else { return None };
        let (mut query, mut body, mut file) = (None, None, None);
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let slot = match &**option {
                b"-q" => &mut query,
                b"-b" => &mut body,
                b"-f" => &mut file,
                _ => {
                    r.log_bytes(Level::Error, &[b"unknown option for echo_subrequest*: ", option]);
                    return None;
                }
            };
            *slot = options.next().cloned();
        }
        let body = match (body.filter(|body| !body.is_empty()), file.filter(|path| !path.is_empty())) {
            (Some(body), _) => Some(RequestBody::of(body)),
            (None, Some(path)) => Some(file_body(r, &path)?),
            (None, None) => None,
        };
        let directive = if waiting == Waiting::Sync { "echo_subrequest" } else { "echo_subrequest_async" };
        Some(Self { directive, method_name: method.clone(), uri: uri.clone(), args: query, body })
    }

    /// Starts the subrequest.
    pub(super) fn start(self, r: &Rc<Request>) -> Result<Rc<Request>, Code> {
        if self.uri.is_empty() {
            return Err(Code::ERROR);
        }
        let Some((uri, args)) = split_uri(r, self.directive, &self.uri, self.args) else { return Err(Code::ERROR) };
        let sub =
            subrequest::create(r, uri, Some(args.unwrap_or_default()), Options::default()).map_err(|_| Code::ERROR)?;
        let method = Method::of(&self.method_name);
        sub.method.set(method);
        sub.method_name.set(self.method_name);
        if method == Method::HEAD {
            sub.header_only.set(true);
        }
        subrequest::separate_variables(&sub);
        if let Some(body) = self.body {
            subrequest::give_body(&sub, body);
        }
        subrequest::start(&sub, None);
        Ok(sub)
    }
}

fn file_body(r: &Request, path: &[u8]) -> Option<RequestBody> {
    let path = absolute_path(r, path);
    let opened = std::fs::File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
    match opened {
        Ok((len, file)) => {
            let body = RequestBody::default();
            body.received.set(len);
            body.complete.set(true);
            body.file.replace(Some(BodyFile { file: Rc::new(file), path, len }));
            Some(body)
        }
        Err(error) => {
            let message = format!("open() \"{}\" failed", path.display());
            r.log_errno(Level::Error, error.raw_os_error().unwrap_or(0), format_args!("{message}"));
            None
        }
    }
}

/// Splits a URI into its path and arguments; arguments given on their own win. `None` for an unsafe path.
pub(super) fn split_uri(
    r: &Request,
    directive: &str,
    target: &Bytes,
    args: Option<Bytes>,
) -> Option<(Bytes, Option<Bytes>)> {
    let Some((path, query)) = uri::parse_unsafe(target) else {
        r.log_bytes(Level::Debug, &[directive.as_bytes(), b" sees unsafe uri: \"", target, b"\""]);
        return None;
    };
    let query = query.filter(|query| !query.is_empty()).map(Bytes::copy_from_slice);
    Some((path.into(), args.or(query)))
}
