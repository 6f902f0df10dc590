//! `ngx.sleep`.

use std::time::Duration;

use crate::lua::next_turn::next_turn;
use crate::lua::phase::Phase;
use crate::lua::session::{Notice, session_debug};
use crate::lua::sys::{self, Reply, State, c_function};
use crate::lua::thread::Resume;

use super::running;

pub(super) fn inject(state: State) {
    sys::set_function(state, c"sleep", sleep);
}

c_function! {
    /// Suspends the thread for some seconds, in whole milliseconds.
    fn sleep(state) {
        let count = sys::top(state);
        if count != 1 {
            return Err(format!("attempt to pass {count} arguments, but accepted 1").into());
        }
        let (ctx, session) = running()?;
        let milliseconds = sys::integer(sys::check_number(state, 1)? * 1000.0);
        if milliseconds < 0 {
            // nginx shows as much of the number as an `int` holds.
            return Err(format!("invalid sleep duration \"{}\"", milliseconds as i32).into());
        }
        ctx.phase.get().require(Phase::YIELDABLE)?;
        session_debug!(session, "lua ready to sleep for {milliseconds} ms");
        if !sys::is_yieldable(state) {
            let kind = if milliseconds == 0 { "posted event" } else { "timer" };
            session_debug!(session, "lua clean up the {kind} for pending ngx.sleep");
            sys::check_yieldable(state)?;
        }
        let duration = Duration::from_millis(milliseconds.unsigned_abs());
        let mut pending = Pending { kind: if milliseconds == 0 { "posted event" } else { "timer" }, notice: session.notice() };
        let uri = pending.notice.as_ref().map(|_| session.uri()).unwrap_or_default();
        ctx.suspend(async move {
            if duration.is_zero() {
                next_turn().await;
            } else {
                tokio::time::sleep(duration).await;
            }
            if let Some(notice) = pending.notice.take() {
                notice(format_args!("lua sleep timer expired: \"{uri}\""));
            }
            Box::new(|_| 0) as Resume
        })?;
        Ok(Reply::Yield(0))
    }
}

/// Tells a cancelled sleep from one that came to its end.
struct Pending {
    kind: &'static str,
    notice: Option<Notice>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(notice) = self.notice.take() {
            notice(format_args!("lua clean up the {} for pending ngx.sleep", self.kind));
        }
    }
}
