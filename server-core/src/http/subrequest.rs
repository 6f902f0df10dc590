//! Subrequests: requests that the server makes to itself on behalf of another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::body::RequestBody;
use super::code::Code;
use super::header::{Header, HeaderId};
use super::method::Method;
use super::postpone_filter::Postponed;
use super::request::{MAX_URI_CHANGES, Request, Restart};
use super::request_log::debug;
use super::run;
use super::variables::Slots;
use crate::log::Level;

/// Tells the waiting parent that a subrequest has ended.
#[derive(Default)]
pub struct Completion {
    code: Cell<Option<Code>>,
    waker: RefCell<Option<Waker>>,
}

impl Completion {
    /// Forgets everything.
    pub(crate) fn reset(&self) {
        self.code.set(None);
        self.waker.take();
    }

    /// Marks the request as ended.
    pub(crate) fn finish(&self, code: Code) {
        self.code.set(Some(code));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The code with which the request ended, if it did.
    pub fn code(&self) -> Option<Code> {
        self.code.get()
    }

    /// Waits for the end. One waiter at a time; dropping the future is fine.
    pub async fn wait(&self) -> Code {
        std::future::poll_fn(|cx| match self.code.get() {
            Some(code) => Poll::Ready(code),
            None => {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

/// How a subrequest is made (`NGX_HTTP_SUBREQUEST_*`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The response goes to memory (`r.captured`) and not to the client.
    pub in_memory: bool,
    /// The parent wants to know when it ends, and is not run before.
    pub waited: bool,
    /// The response goes nowhere.
    pub background: bool,
    /// It is the same request once more, in the same location.
    pub clone: bool,
}

/// Somebody who wants to know how a subrequest ended, and may change its code.
pub type PostHandler = Box<dyn FnOnce(&Rc<Request>, Code) -> Code>;

/// Why a subrequest can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubrequestError {
    /// Subrequests are nested too deeply.
    #[error("subrequests cycle")]
    Cycle,
}

/// Makes a subrequest, to be changed by the caller before [`start`].
pub fn create(
    parent: &Rc<Request>,
    uri: impl Into<Bytes>,
    args: Option<Bytes>,
    options: Options,
) -> Result<Rc<Request>, SubrequestError> {
    let uri = uri.into();
    if parent.subrequests.get() <= 1 {
        parent.log_bytes(Level::Error, &[b"subrequests cycle while processing \"", &uri, b"\""]);
        return Err(SubrequestError::Cycle);
    }
    let r = Request::child(parent);
    r.headers_in.copy_from(&parent.headers_in);
    r.method.set(Method::GET);
    r.method_name.set(Bytes::from_static(b"GET"));
    if options.clone {
        r.method.set(parent.method.get());
        r.method_name.set(parent.method_name.get());
        r.set_loc(parent.loc());
        r.left_location.set(parent.left_location.get());
        r.valid_unparsed_uri.set(parent.valid_unparsed_uri.get());
        r.content_handler.set(parent.content_handler.get());
        *r.captures.borrow_mut() = parent.captures.borrow().clone();
        r.restart.set(Some(Restart::Content));
    }
    r.body.replace(parent.body.borrow().clone());
    r.request_line.set(parent.request_line.get());
    r.unparsed_uri.set(parent.unparsed_uri.get());
    r.http_protocol.set(parent.http_protocol.get());
    r.http_version.set(parent.http_version.get());
    r.schema.set(parent.schema.get());
    r.uri.set(uri);
    if let Some(args) = args {
        r.args.set(args);
    }
    r.set_extension();
    r.internal.set(true);
    r.discard_body.set(parent.discard_body.get());
    r.expect_tested.set(true);
    r.subrequest_in_memory.set(options.in_memory);
    r.waited.set(options.waited);
    r.background.set(options.background);
    r.subrequests.set(parent.subrequests.get() - 1);
    r.uri_changes.set(MAX_URI_CHANGES + 1);
    debug!(r, "http subrequest \"{}?{}\"", r.uri.borrow().escape_ascii(), r.args.borrow().escape_ascii());
    Ok(r)
}

/// Gives a subrequest variables of its own: it computes its own values and shares none.
pub(crate) fn separate_variables(r: &Request) {
    r.set_slots(Rc::new(Slots::new(r.main_conf().core.variables.slots())));
}

/// Gives a subrequest a body, and the header that tells its length.
pub(crate) fn give_body(r: &Request, body: RequestBody) {
    let length = body.received.get();
    let mut list = r.headers_in.list.borrow_mut();
    list.remove_known(HeaderId::ContentLength);
    list.insert(0, Header::new("Content-Length", length.to_string()));
    drop(list);
    r.headers_in.content_length.set(length as i64);
    r.body.replace(Some(Rc::new(body)));
}

/// Lets a subrequest run. It begins when the parent waits for something.
pub fn start(r: &Rc<Request>, post_handler: Option<PostHandler>) {
    *r.post_handler.borrow_mut() = post_handler;
    if let Some(parent) = r.parent()
        && !r.subrequest_in_memory.get()
        && !r.background.get()
    {
        let first = parent.postponed.borrow().is_empty() && r.conn().is_active(parent);
        if first {
            r.conn().set_active(r);
        } else {
            parent.postponed.borrow_mut().push(Postponed::Request(Rc::clone(r)));
        }
    }
    r.main_ref().posted.borrow_mut().push(Box::pin(run::run_subrequest(Rc::clone(r))));
    r.conn().wake();
}
