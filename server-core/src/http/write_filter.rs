//! The last body filter: appends to the connection's output, in chunks if need be, and sends when it is worth it.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::chunked_filter::Frame;
use super::code::Code;
use super::h2;
use super::output::{BodyNext, Chain};
use super::request::Request;
use crate::conf::value;
use crate::log::Level;

/// The body filter.
pub(crate) fn filter(r: &Rc<Request>, chain: Chain, _next: BodyNext) -> Code {
    let conn = r.conn();
    if conn.error.get() {
        return Code::ERROR;
    }
    let (mut flush, mut last) = (false, false);
    let frame = Frame::of(r, &chain);
    if let Some(frame) = &frame {
        conn.append_with(|out| frame.open(out));
    }
    for buf in chain {
        flush |= buf.flush;
        last |= buf.last;
        // A response without body stays one, whatever its handler writes.
        if !r.header_only.get() {
            conn.append(buf.data);
        }
    }
    if let Some(frame) = &frame {
        conn.append_with(|out| frame.close(r, out));
    }
    if last && let Some(stream) = conn.http2() {
        h2::response::end(r, stream);
    }
    send_when_worth(r, flush, last)
}

/// Sends unless so little waits that more is worth waiting for.
pub(crate) fn send_when_worth(r: &Rc<Request>, flush: bool, last: bool) -> Code {
    let conn = r.conn();
    let waiting = conn.output_len();
    // What a session says goes out as it is said.
    let postponed = !flush && !last && !conn.is_stream();
    let must_end = conn.http2().is_some_and(|stream| stream.must_end());
    if (waiting == 0 && !must_end) || (postponed && waiting < *r.loc().core.postpone_output as u64) {
        return Code::OK;
    }
    if conn.delayed_until.get().is_some() {
        return Code::AGAIN;
    }
    // Whoever ends a response waits until all of it is sent; in the middle, nobody may come back to the rest soon.
    let most = if last { turn(r) } else { u64::MAX };
    let code = conn.send(allowance(r).min(most));
    log_failure(r);
    code
}

/// Logs why the connection could not be written to.
pub(crate) fn log_failure(r: &Request) {
    if let Some(errno) = r.conn().write_errno.take() {
        r.log_errno(Level::Info, errno, format_args!("writev() failed"));
    }
}

/// Bytes that a response may send before others have their turn (`sendfile_max_chunk`). A client that takes as fast as we
/// can send would have a worker to itself else.
pub(crate) fn turn(r: &Request) -> u64 {
    match *r.loc().core.sendfile_max_chunk {
        0 => u64::MAX,
        most => most as u64,
    }
}

/// Bytes that `limit_rate` lets go now; sets the moment to go on when there are none.
pub(crate) fn allowance(r: &Rc<Request>) -> u64 {
    let r = r.main_ref();
    if !r.limit_rate_set.replace(true) {
        let rate = r.loc().core.limit_rate.as_ref().map(|rate| rate.eval(r));
        r.limit_rate.set(rate.and_then(|text| value::size(&text)).unwrap_or(0) as u64);
    }
    let rate = r.limit_rate.get();
    if rate == 0 {
        return u64::MAX;
    }
    if !r.limit_rate_after_set.replace(true) {
        let after = r.loc().core.limit_rate_after.as_ref().map(|after| after.eval(r));
        r.limit_rate_after.set(after.and_then(|text| value::size(&text)).unwrap_or(0) as u64);
    }
    let seconds = (crate::clock::now().sec - r.started.get().sec + 1).max(1) as u64;
    let allowed = rate.saturating_mul(seconds).saturating_add(r.limit_rate_after.get());
    let left = allowed.saturating_sub(r.bytes_sent());
    if left == 0 {
        let over = r.bytes_sent() - allowed;
        let wait = Duration::from_millis(over.saturating_mul(1000) / rate + 1);
        r.conn().delayed_until.set(Some(Instant::now() + wait));
    } else if r.conn().output_len() > left {
        let wait = Duration::from_millis(left.saturating_mul(1000) / rate + 1);
        r.conn().delayed_until.set(Some(Instant::now() + wait));
    }
    left
}
