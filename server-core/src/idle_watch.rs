//! One task that looks after the idle connections of a pool.
//!
//! Connections go to their pool and are taken out again with every request. A task or a timer for each stay would cost
//! more than the request; here they come and go without waking anybody.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::deadline::Deadline;

/// A pool of idle connections.
pub(crate) trait Watched: 'static {
    /// Its watcher.
    fn watcher(&self) -> &Watcher;

    /// Closes the connections whose time is over or on which something happened; `cx` is to be woken by what happens
    /// on the others. Says when the next one's time is over.
    fn sweep(self: &Rc<Self>, cx: &mut Context<'_>) -> Option<Instant>;
}

/// The task of a pool; it ends with it.
#[derive(Default)]
pub(crate) struct Watcher(RefCell<Option<State>>);

struct State {
    task: JoinHandle<()>,
    /// Known when the task has run.
    waker: Option<Waker>,
    /// When its timer fires.
    alarm: Option<Instant>,
}

impl Watcher {
    /// Looks after one more connection, until `until` if that is given. `register` asks for the connection's
    /// readiness to be read and says whether it is there already.
    pub(crate) fn add<P: Watched>(
        pool: &Rc<P>,
        until: Option<Instant>,
        register: impl FnOnce(&mut Context<'_>) -> bool,
    ) {
        let mut state = pool.watcher().0.borrow_mut();
        let state = state.get_or_insert_with(|| {
            let task = tokio::task::spawn_local(watch(Rc::downgrade(pool)));
            State { task, waker: None, alarm: None }
        });
        // A task that has not run yet will look at all connections.
        let Some(waker) = &state.waker else { return };
        let happened = register(&mut Context::from_waker(waker));
        if happened || until.is_some_and(|until| state.alarm.is_none_or(|alarm| until < alarm)) {
            waker.wake_by_ref();
        }
    }

    fn note(&self, waker: &Waker, alarm: Option<Instant>) {
        if let Some(state) = self.0.borrow_mut().as_mut() {
            state.waker = Some(waker.clone());
            state.alarm = alarm;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(state) = self.0.take() {
            state.task.abort();
        }
    }
}

async fn watch<P: Watched>(pool: Weak<P>) {
    let timer = Deadline::default();
    poll_fn(|cx| {
        loop {
            let Some(pool) = pool.upgrade() else { return Poll::Ready(()) };
            let alarm = pool.sweep(cx);
            pool.watcher().note(cx.waker(), alarm);
            if alarm.is_none_or(|alarm| !timer.poll(alarm, cx)) {
                return Poll::Pending;
            }
        }
    })
    .await;
}
