//! Waiting for the next turn of the event loop: `ngx.sleep(0)` and timers without a delay.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::ffi::worker;

thread_local! {
    static WAITERS: RefCell<Vec<Rc<Waiter>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct Waiter {
    woken: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// Ends after the event loop has looked for events once more. Who waits first goes on first, which tokio's own
/// `yield_now` does not promise. Cancel-safe.
pub(crate) async fn next_turn() {
    let waiter = Rc::new(Waiter::default());
    let is_first = WAITERS.with_borrow_mut(|waiters| {
        waiters.push(Rc::clone(&waiter));
        waiters.len() == 1
    });
    if is_first {
        tokio::task::spawn_local(async {
            worker::debug(format_args!("worker cycle"));
            worker::debug(format_args!("epoll timer: 0"));
            tokio::task::yield_now().await;
            // The runtime says only when it wakes up; one that always has something to do never sleeps.
            crate::clock::update();
            for waiter in WAITERS.take() {
                waiter.woken.set(true);
                if let Some(waker) = waiter.waker.take() {
                    waker.wake();
                }
            }
        });
    }
    poll_fn(|cx| {
        if waiter.woken.get() {
            return Poll::Ready(());
        }
        waiter.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}
