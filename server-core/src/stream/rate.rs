//! How fast bytes may go one way: `proxy_upload_rate`, `proxy_download_rate`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::conf::value;
use crate::http::{ComplexValue, Request};

/// A limit in bytes a second; zero is none.
#[derive(Default)]
pub(super) struct Rate {
    per_second: u64,
    since: Option<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Rate {
    /// The limit that a setting means for a session. What is no size is no limit.
    pub(super) fn of(r: &Request, setting: Option<&ComplexValue>) -> Self {
        let per_second = setting.and_then(|setting| value::size(&setting.eval(r))).unwrap_or(0);
        Self { per_second: per_second as u64, since: Some(Instant::now()), pause: None }
    }

    /// How many bytes may be read now, when `moved` have gone so far. Waits until it is one at least.
    pub(super) fn poll_room(&mut self, moved: u64, cx: &mut Context<'_>) -> Poll<usize> {
        if self.per_second == 0 {
            return Poll::Ready(usize::MAX);
        }
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let seconds = self.since.map_or(0, |since| since.elapsed().as_secs());
            let allowed = self.per_second.saturating_mul(seconds + 1);
            if allowed > moved {
                return Poll::Ready(usize::try_from(allowed - moved).unwrap_or(usize::MAX));
            }
            self.rest((moved - allowed).saturating_mul(1000) / self.per_second + 1);
        }
    }

    /// Notes that bytes went through: for as long as they should take, nothing more does.
    pub(super) fn took(&mut self, count: usize) {
        let msec = (count as u64).saturating_mul(1000).checked_div(self.per_second);
        if let Some(msec @ 1..) = msec {
            self.rest(msec);
        }
    }

    fn rest(&mut self, msec: u64) {
        self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(msec))));
    }

    /// Whether bytes have to wait.
    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }
}
