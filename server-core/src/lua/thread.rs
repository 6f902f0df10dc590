//! One coroutine that the scheduler knows: an entry thread, a light thread, or a user coroutine.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::future::LocalBoxFuture;

use super::sys::State;
use super::sys::raw::LUA_NOREF;

/// Pushes the results of a finished operation onto the coroutine and says how many there are.
pub type Resume = Box<dyn FnOnce(State) -> c_int>;

/// What a coroutine is doing; the names are what `coroutine.status` returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// On the processor, or waiting for an operation.
    Running,
    /// Created, or yielded to its parent.
    #[default]
    Suspended,
    /// Waiting for a coroutine it resumed.
    Normal,
    /// Through.
    Dead,
    /// Through, with results that its parent has not taken yet.
    Zombie,
}

impl Status {
    /// The name scripts see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Normal => "normal",
            Self::Dead => "dead",
            Self::Zombie => "zombie",
        }
    }
}

/// What sort of coroutine it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The phase handler's own.
    Entry,
    /// Made by `ngx.thread.spawn` (or `ngx.on_abort`).
    Light,
    /// Made by `coroutine.create`.
    #[default]
    User,
    /// Made by `coroutine.wrap`: errors go on to the parent.
    Wrap,
}

/// One coroutine with its place among the others.
#[derive(Debug)]
pub struct Thread {
    /// The coroutine.
    pub co: State,
    /// Its anchor in the VM's table of coroutines, or `LUA_NOREF`.
    pub reference: Cell<c_int>,
    /// What sort it is.
    pub kind: Kind,
    /// What it is doing.
    pub status: Cell<Status>,
    /// Who resumed or spawned it.
    pub parent: RefCell<Option<Rc<Thread>>>,
    /// Its finished light threads nobody has waited for.
    pub zombies: RefCell<Vec<Rc<Thread>>>,
    /// The ticket of the parent's `ngx.thread.wait` that waits for it.
    waited: Cell<u32>,
    /// The ticket of the `ngx.thread.wait` it is inside, or 0.
    waiting: Cell<u32>,
    /// Tickets given out.
    tickets: Cell<u32>,
    /// It has just spawned a thread, which is on its stack and will be the result.
    pub spawning: Cell<bool>,
    /// A wrapped child failed: fail with the same error instead of resuming.
    pub propagates: Cell<bool>,
    /// The traceback of a wrapped child that failed.
    pub(super) wrapped_trace: RefCell<Option<Vec<u8>>>,
    /// Subrequests it waits for.
    pub pending_subrequests: Cell<u32>,
    /// The operation it waits for.
    operation: RefCell<Option<Rc<Operation>>>,
}

impl Thread {
    /// A suspended coroutine without a parent.
    pub fn new(co: State, reference: c_int, kind: Kind) -> Rc<Self> {
        Rc::new(Self {
            co,
            reference: Cell::new(reference),
            kind,
            status: Cell::new(Status::Suspended),
            parent: RefCell::new(None),
            zombies: RefCell::new(Vec::new()),
            waited: Cell::new(0),
            waiting: Cell::new(0),
            tickets: Cell::new(0),
            spawning: Cell::new(false),
            propagates: Cell::new(false),
            wrapped_trace: RefCell::new(None),
            pending_subrequests: Cell::new(0),
            operation: RefCell::new(None),
        })
    }

    /// Whether it is a light thread.
    pub fn is_light(&self) -> bool {
        self.kind == Kind::Light
    }

    /// Whether it can still run.
    pub fn is_alive(&self) -> bool {
        !matches!(self.status.get(), Status::Dead | Status::Zombie)
    }

    /// Whether it is anchored: an entry or light thread not yet released.
    pub fn is_anchored(&self) -> bool {
        self.reference.get() != LUA_NOREF
    }

    /// Its parent, if any.
    pub fn parent(&self) -> Option<Rc<Thread>> {
        self.parent.borrow().clone()
    }

    /// Makes this thread wait for the first of `children` to end.
    pub fn wait_for(&self, children: &[Rc<Thread>]) {
        let ticket = self.tickets.get().wrapping_add(1).max(1);
        self.tickets.set(ticket);
        self.waiting.set(ticket);
        for child in children {
            child.waited.set(ticket);
        }
    }

    /// Whether `parent` is inside a wait for this thread at the moment.
    pub fn is_waited_by(&self, parent: &Thread) -> bool {
        self.waited.get() != 0 && self.waited.get() == parent.waiting.get()
    }

    /// One of those it waited for has ended.
    pub fn stop_waiting(&self) {
        self.waiting.set(0);
    }

    /// Drops the operation it waits for, if any: the way to cancel.
    pub fn cancel(&self) {
        let operation = self.operation.borrow_mut().take();
        if let Some(operation) = operation {
            operation.cancel();
        }
    }

    /// Forgets the operation that has just completed; false when another one or none is awaited.
    pub(super) fn complete(&self, operation: &Rc<Operation>) -> bool {
        let mut slot = self.operation.borrow_mut();
        if slot.as_ref().is_some_and(|mine| Rc::ptr_eq(mine, operation)) {
            slot.take();
            return true;
        }
        false
    }

    pub(super) fn await_operation(&self, operation: &Rc<Operation>) {
        self.cancel();
        self.operation.replace(Some(operation.clone()));
    }
}

/// A future that a thread waits for, and that may be dropped from outside.
pub(super) struct Operation {
    future: RefCell<Option<LocalBoxFuture<'static, Resume>>>,
    waker: Cell<Option<Waker>>,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation").finish_non_exhaustive()
    }
}

impl Operation {
    pub(super) fn new(future: LocalBoxFuture<'static, Resume>) -> Rc<Self> {
        Rc::new(Self { future: RefCell::new(Some(future)), waker: Cell::new(None) })
    }

    fn cancel(&self) {
        let future = self.future.borrow_mut().take();
        drop(future);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// An operation with its thread, as the scheduler's set of futures holds it.
pub(super) struct Waiting {
    pub(super) thread: Rc<Thread>,
    pub(super) operation: Rc<Operation>,
}

/// A thread, the operation that it waited for, and how to resume it; `None` when the operation was cancelled.
pub(super) type Completed = (Rc<Thread>, Rc<Operation>, Option<Resume>);

impl Waiting {
    /// Whether nobody waits for it any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.operation.future.borrow().is_none()
    }
}

impl Future for Waiting {
    type Output = Completed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.operation.future.borrow_mut();
        let Some(future) = slot.as_mut() else {
            return Poll::Ready((self.thread.clone(), self.operation.clone(), None));
        };
        match future.as_mut().poll(cx) {
            Poll::Ready(resume) => {
                let finished = slot.take();
                drop(slot);
                drop(finished);
                Poll::Ready((self.thread.clone(), self.operation.clone(), Some(resume)))
            }
            Poll::Pending => {
                let known = self.operation.waker.take().filter(|known| known.will_wake(cx.waker()));
                self.operation.waker.set(known.or_else(|| Some(cx.waker().clone())));
                Poll::Pending
            }
        }
    }
}
