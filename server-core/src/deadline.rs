//! One timer for all the waits of a connection.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep};

/// A timer that is only moved when it fires too early, so that a wait that ends in time costs nothing.
///
/// It serves one wait at a time.
#[derive(Default)]
pub(crate) struct Deadline(RefCell<Option<Pin<Box<Sleep>>>>);

impl Deadline {
    /// Whether the moment has passed; otherwise the task is woken when it has.
    pub(crate) fn poll(&self, moment: Instant, cx: &mut Context<'_>) -> bool {
        let mut slot = self.0.borrow_mut();
        let sleep = slot.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(moment)));
        if sleep.deadline() > moment {
            sleep.as_mut().reset(moment);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            let is_over = Instant::now() >= moment;
            if is_over && sleep.deadline() == moment {
                *slot = None;
                return true;
            }
            sleep.as_mut().reset(moment);
            if is_over {
                // The timer took its place for an earlier wait: whoever waits for this moment for longer goes first.
                cx.waker().wake_by_ref();
                return false;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    async fn wait(deadline: &Deadline, milliseconds: u64) -> Duration {
        let start = Instant::now();
        let moment = start + Duration::from_millis(milliseconds);
        poll_fn(|cx| if deadline.poll(moment, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        start.elapsed()
    }

    #[tokio::test]
    async fn waits_of_one_timer_end_at_their_own_moments() {
        let deadline = Deadline::default();
        for milliseconds in [5, 1, 9] {
            assert!(wait(&deadline, milliseconds).await >= Duration::from_millis(milliseconds));
        }
        // A long wait that was given up does not make the next one longer.
        let far = Instant::now() + Duration::from_mins(10);
        assert!(poll_fn(|cx| Poll::Ready(!deadline.poll(far, cx))).await);
        assert!(wait(&deadline, 1).await < Duration::from_mins(1));
    }

    #[tokio::test]
    async fn a_timer_that_was_moved_goes_behind_those_of_the_same_moment() {
        let order = RefCell::new(Vec::new());
        let start = Instant::now();
        let moved = async {
            let deadline = Deadline::default();
            // A wait that is given up, and one that begins when the other does already wait.
            let early = start + Duration::from_millis(5);
            assert!(poll_fn(|cx| Poll::Ready(!deadline.poll(early, cx))).await);
            tokio::task::yield_now().await;
            let moment = early + Duration::from_nanos(1);
            poll_fn(|cx| if deadline.poll(moment, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
            order.borrow_mut().push("moved");
        };
        let steady = async {
            tokio::time::sleep_until(start + Duration::from_millis(5)).await;
            order.borrow_mut().push("steady");
        };
        let mut both: futures_util::stream::FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>> =
            [Box::pin(moved) as Pin<Box<dyn Future<Output = ()>>>, Box::pin(steady)].into_iter().collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        while futures_util::StreamExt::next(&mut both).await.is_some() {}
        assert_eq!(*order.borrow(), ["steady", "moved"]);
    }
}
