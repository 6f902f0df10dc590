//! Sending a request and waiting for the head of its response.

use std::rc::Rc;

use super::conf::Failure;
use super::exchange::{Event, Exchange};
use super::headers::drop_repeated;
use super::protocol::{Head, Reader};
use super::proxied::{Attempt, Proxied};
use crate::http::code::Code;
use crate::http::request_log::debug;
use crate::log::Level;

/// Interim responses before the one that counts may have so many times the size of a head.
const INTERIM_MAX: usize = 16;

/// Why there is no head.
pub(super) enum NoHead {
    /// Another server may be asked.
    Failed(Failure),
    /// The request can't go on.
    Ended(Code),
}

impl From<Failure> for NoHead {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<NoHead> for Attempt {
    fn from(none: NoHead) -> Self {
        match none {
            NoHead::Failed(failure) => Self::Failed(failure),
            NoHead::Ended(code) => Self::Ended(code),
        }
    }
}

impl Proxied<'_> {
    /// Sends the request and reads the head of the response.
    pub(super) async fn read_head(&mut self, exchange: &mut Exchange, reader: &mut dyn Reader) -> Result<Head, NoHead> {
        let r = self.r;
        let size = self.conf.head_max();
        let mut received = 0;
        self.timer_added(&exchange.connection, self.timeouts.send);
        loop {
            let event = exchange.next(size.saturating_sub(exchange.input.len())).await;
            if !matches!(event, Event::Sent) && (!exchange.is_sending() || !matches!(event, Event::TimedOut)) {
                r.conn().action.set(Some("reading response header from upstream"));
            }
            self.attempts.last(|attempt| attempt.bytes_sent = exchange.sender.sent);
            match event {
                Event::Sent => {
                    self.request_sent = true;
                    let limit = if exchange.is_sending() { self.timeouts.send } else { self.timeouts.read };
                    self.timer_added(&exchange.connection, limit);
                }
                Event::Data(length) => {
                    self.attempts.last(|attempt| attempt.bytes_received += length as u64);
                    received += length;
                    if let Some(mut head) = reader.head(r, &mut exchange.input)? {
                        drop_repeated(r, &mut head.fields);
                        self.note(&head);
                        return Ok(head);
                    }
                    if received > size.saturating_mul(INTERIM_MAX) && !reader.sets_limits() {
                        r.log(Level::Error, format_args!("upstream sent too many interim responses"));
                        return Err(Failure::INVALID_HEADER.into());
                    }
                    if exchange.input.len() >= size {
                        r.log(Level::Error, format_args!("upstream sent too big header"));
                        return Err(Failure::INVALID_HEADER.into());
                    }
                }
                Event::End => {
                    r.log(Level::Error, format_args!("upstream prematurely closed connection"));
                    return Err(Failure::ERROR.into());
                }
                Event::Failed(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    let call = if errno == libc::EPIPE { "writev() failed" } else { "recv() failed" };
                    r.log_errno(Level::Error, errno, format_args!("{call}"));
                    return Err(Failure::ERROR.into());
                }
                Event::ClientFailed(code) => {
                    if code == Code::REQUEST_TIME_OUT {
                        r.conn().timed_out.set(true);
                        r.log_errno(Level::Info, libc::ETIMEDOUT, format_args!("client timed out"));
                    }
                    return Err(NoHead::Ended(code));
                }
                Event::TimedOut => return Err(Failure::TIMEOUT.into()),
            }
        }
    }

    /// Keeps what variables tell about a head.
    fn note(&mut self, head: &Head) {
        let elapsed = self.attempts.elapsed();
        self.attempts.last(|attempt| {
            attempt.status = if head.missing { 200 } else { head.status };
            attempt.header_time = Some(elapsed);
        });
        self.selection.note(self.attempts.times());
        self.attempts.headers.replace(Rc::clone(&head.fields));
        debug!(self.r, "http upstream process header, status {}", head.status);
    }
}
