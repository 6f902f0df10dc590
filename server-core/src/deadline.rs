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
    /// Gives up the timer until the next wait.
    pub(crate) fn clear(&self) {
        self.0.take();
    }

    /// Whether the moment has passed; otherwise the task is woken when it has.
    pub(crate) fn poll(&self, moment: Instant, cx: &mut Context<'_>) -> bool {
        let mut slot = self.0.borrow_mut();
        let sleep = slot.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(moment)));
        if sleep.deadline() > moment {
            sleep.as_mut().reset(moment);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= moment {
                *slot = None;
                return true;
            }
            sleep.as_mut().reset(moment);
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
}
