//! Subrequests: requests that the server makes to itself on behalf of another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::code::Code;

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
    /// The method and headers are the parent's, not a bare GET.
    pub clone: bool,
}

/// Somebody who wants to know how a subrequest ended, and may change its code.
pub type PostHandler = Rc<dyn Fn(&Rc<super::request::Request>, Code) -> Code>;
