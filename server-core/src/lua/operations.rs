//! What the threads of a context wait for: mostly one thing.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::thread::{Completed, Waiting};

/// The operations under way. One is polled whenever its context is; many are polled when they have something to say.
#[derive(Default)]
pub(super) enum Operations {
    #[default]
    None,
    One(Waiting),
    Many(Box<FuturesUnordered<Waiting>>),
}

impl Operations {
    /// Adds an operation.
    pub(super) fn push(&mut self, waiting: Waiting) {
        *self = match std::mem::take(self) {
            Self::One(first) if !first.is_cancelled() => Self::Many(Box::new([first, waiting].into_iter().collect())),
            Self::None | Self::One(_) => Self::One(waiting),
            Self::Many(many) => {
                many.push(waiting);
                Self::Many(many)
            }
        };
    }

    /// The next operation that completes. `None` when there is none under way.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Completed>> {
        let next = match self {
            Self::None => return Poll::Ready(None),
            Self::One(waiting) => Pin::new(waiting).poll(cx).map(Some),
            Self::Many(many) => match many.poll_next_unpin(cx) {
                next if many.is_empty() => next,
                next => return next,
            },
        };
        if next.is_ready() {
            *self = Self::None;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::task::Waker;

    use super::super::thread::{Kind, Operation, Thread};
    use super::*;

    fn waiting(ready: bool) -> Waiting {
        let thread = Thread::new(std::ptr::null_mut(), 0, Kind::Light);
        let operation = Operation::new(Box::pin(async move {
            if !ready {
                std::future::pending::<()>().await;
            }
            let resume: super::super::thread::Resume = Box::new(|_| 0);
            resume
        }));
        thread.await_operation(&operation);
        Waiting { thread, operation }
    }

    fn poll(operations: &mut Operations) -> Poll<Option<bool>> {
        let next = operations.poll_next(&mut Context::from_waker(Waker::noop()));
        next.map(|next| next.map(|(_, _, resume)| resume.is_some()))
    }

    #[test]
    fn one_or_many_the_ready_ones_come_out() {
        for others in [0, 1, 2] {
            let mut operations = Operations::default();
            (0..others).for_each(|_| operations.push(waiting(false)));
            operations.push(waiting(true));
            assert_eq!(poll(&mut operations), Poll::Ready(Some(true)));
            assert_eq!(poll(&mut operations).is_pending(), others > 0);
        }
    }

    #[test]
    fn a_cancelled_operation_makes_room_for_the_next() {
        let mut operations = Operations::default();
        let first = waiting(false);
        let thread = Rc::clone(&first.thread);
        operations.push(first);
        thread.cancel();
        operations.push(waiting(true));
        assert!(matches!(operations, Operations::One(_)));
        assert_eq!(poll(&mut operations), Poll::Ready(Some(true)));
        assert_eq!(poll(&mut operations), Poll::Ready(None));
    }
}
