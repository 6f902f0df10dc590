//! What modules plug into the walk through the phases.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::code::Code;
use super::conf::LocConf;
use super::request::Request;

/// A future of a handler that has to wait.
pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a phase or content handler answers: at once, or later.
pub enum Outcome {
    /// At once.
    Done(Code),
    /// Later. The future is dropped when the request dies before it is ready.
    Wait(LocalBoxFuture<'static, Code>),
}

impl Outcome {
    /// A future as an outcome.
    pub fn wait(future: impl Future<Output = Code> + 'static) -> Self {
        Self::Wait(Box::pin(future))
    }

    /// The code, waiting for it if needed.
    pub async fn code(self) -> Code {
        self.await
    }
}

impl Future for Outcome {
    type Output = Code;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Code> {
        match &mut *self {
            Self::Done(code) => Poll::Ready(*code),
            Self::Wait(future) => future.as_mut().poll(cx),
        }
    }
}

impl From<Code> for Outcome {
    fn from(code: Code) -> Self {
        Self::Done(code)
    }
}

/// A phase handler or a content handler. Handlers have no state of their own: they read the
/// request's configuration (`r.loc()`), so one instance serves all requests.
pub trait Handler: Sync {
    /// Whether it asks a server behind us, whose settings blocks inside its location inherit.
    fn asks_server(&self) -> bool {
        false
    }

    /// Whether requests in this location need the handler at all; asked once, when the configuration is built.
    fn applies(&self, loc: &LocConf) -> bool {
        let _ = loc;
        true
    }

    /// Handles a request.
    fn handle(&self, r: &Rc<Request>) -> Outcome;
}

/// The phases in which modules may have handlers, in order. Location lookup, the restart after a rewrite
/// and the decision of the access phase happen between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before anything else (realip).
    PostRead,
    /// `rewrite` and friends of the server.
    ServerRewrite,
    /// `rewrite` and friends of the location.
    Rewrite,
    /// Limits.
    Preaccess,
    /// Allow, deny, passwords. Skipped by subrequests.
    Access,
    /// `try_files`, `mirror`.
    Precontent,
    /// The answer, when the location has no content handler of its own.
    Content,
    /// After the response.
    Log,
}

impl Phase {
    /// The number of phases.
    pub const COUNT: usize = 8;
}

/// The handlers of one location, by phase.
pub type HandlerLists = [Box<[&'static dyn Handler]>; Phase::COUNT];

/// Selects the handlers of one location from the server's table ([`super::order::HANDLERS`]).
pub fn handlers_of(loc: &LocConf) -> HandlerLists {
    let mut lists: [Vec<&'static dyn Handler>; Phase::COUNT] = Default::default();
    for &(phase, handler) in super::order::HANDLERS {
        if handler.applies(loc) {
            lists[phase as usize].push(handler);
        }
    }
    lists.map(Vec::into_boxed_slice)
}
