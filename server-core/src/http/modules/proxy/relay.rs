//! The body of a response on its way to the client, never faster than the client takes it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use tokio::time::Instant;

use super::body::Framing;
use super::exchange::{Event, Exchange};
use super::headers::Carriage;
use super::response::ResponseHead;
use crate::http::code::Code;
use crate::http::modules::upstream::Attempts;
use crate::http::output::{self, Buf, Chain, Data};
use crate::http::request::Request;
use crate::log::Level;

/// How the end of the body will be known.
pub(super) fn framing_of(head: &ResponseHead, carriage: &Carriage, is_head: bool) -> Framing {
    if is_head || matches!(head.status, 204 | 304) {
        Framing::Ended
    } else if carriage.chunked {
        Framing::Chunked(Box::default())
    } else {
        carriage.content_length.map_or(Framing::ToEnd, Framing::Length)
    }
}

/// Passes the body on. The code with which the request ends.
pub(super) async fn body(
    r: &Rc<Request>,
    exchange: &mut Exchange,
    framing: &mut Framing,
    buffering: Option<bool>,
    attempts: &Attempts,
) -> Code {
    let conf = &r.loc().proxy;
    let buffering = buffering.unwrap_or(*conf.buffering);
    let step = if buffering { conf.buffers.size } else { *conf.buffer_size };
    let mut gathered = Chain::new();
    let mut length = 0;
    r.conn().action.set(Some("reading upstream"));
    if !buffering && exchange.input.is_empty() && output::flush(r) == Code::ERROR {
        return Code::ERROR;
    }
    let complete = loop {
        loop {
            match framing.take(&mut exchange.input) {
                Ok(Some(part)) => {
                    attempts.last(|attempt| attempt.response_length += part.len() as u64);
                    length += part.len();
                    gathered.push(Buf { flush: !buffering, ..Buf::bytes(part) });
                }
                Ok(None) => break,
                Err(_) => {
                    r.log(Level::Error, format_args!("upstream sent invalid chunked response"));
                    return truncated(r, gathered);
                }
            }
        }
        let ended = framing.is_ended();
        if !gathered.is_empty() && (ended || !buffering || length >= step) {
            length = 0;
            if output::write(r, std::mem::take(&mut gathered)) == Code::ERROR {
                return Code::ERROR;
            }
            let code = taken(r, *conf.busy_buffers_size).await;
            if code != Code::OK {
                return code;
            }
        }
        if ended {
            if !exchange.input.is_empty() {
                r.log(Level::Warn, format_args!("upstream sent more data than specified in \"Content-Length\" header"));
            }
            break true;
        }
        match exchange.next(step.max(1)).await {
            Event::Data(received) => attempts.last(|attempt| attempt.bytes_received += received as u64),
            Event::Sent => {}
            Event::End => break matches!(framing, Framing::ToEnd),
            Event::Failed(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                r.log_errno(Level::Error, errno, format_args!("recv() failed"));
                return truncated(r, gathered);
            }
            Event::TimedOut => {
                r.log_errno(Level::Error, libc::ETIMEDOUT, format_args!("upstream timed out"));
                // What was gathered for later stays behind, as a buffer that is not full does.
                return truncated(r, Chain::new());
            }
        }
    };
    if !complete {
        r.log(Level::Error, format_args!("upstream prematurely closed connection"));
        return truncated(r, gathered);
    }
    if !gathered.is_empty() && output::write(r, gathered) == Code::ERROR {
        return Code::ERROR;
    }
    if output::write_last(r) == Code::ERROR { Code::ERROR } else { Code::OK }
}

/// The rest of the body will never come: the client must see that, so its connection ends without a proper end
/// of the response.
fn truncated(r: &Rc<Request>, gathered: Chain) -> Code {
    r.keepalive.set(false);
    if !gathered.is_empty() && output::write(r, gathered) == Code::ERROR {
        return Code::ERROR;
    }
    if output::flush(r) == Code::ERROR { Code::ERROR } else { Code::OK }
}

/// Waits until the client has taken enough that more may be read.
async fn taken(r: &Rc<Request>, busy: usize) -> Code {
    if r.subrequest_in_memory.get() || r.background.get() {
        return Code::OK;
    }
    if !r.conn().is_active(r) {
        let waiting: u64 = waiting_bytes(r);
        if waiting > WAITING_MAX {
            // Whoever comes before us wakes the connection's task when it is our turn.
            poll_fn(|_| if r.conn().is_active(r) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
        return Code::OK;
    }
    if r.conn().output_len() > busy as u64 {
        return output::drained(r).await;
    }
    Code::OK
}

/// What a subrequest may keep while it waits for its turn.
const WAITING_MAX: u64 = 1 << 20;

fn waiting_bytes(r: &Request) -> u64 {
    use crate::http::postpone_filter::Postponed;
    let postponed = r.postponed.borrow();
    let outputs = postponed.iter().filter_map(|postponed| match postponed {
        Postponed::Output(chain) => Some(chain),
        Postponed::Request(_) => None,
    });
    outputs.flatten().map(Buf::len).sum()
}

/// After a switch of protocols: bytes in both directions until one side ends.
pub(super) async fn tunnel(r: &Rc<Request>, exchange: &mut Exchange) -> Code {
    r.keepalive.set(false);
    r.conn().action.set(Some("proxying upgraded connection"));
    let conn = r.conn();
    if output::flush(r) == Code::ERROR {
        return Code::ERROR;
    }
    let timeout = *r.loc().proxy.read_timeout;
    loop {
        if !exchange.input.is_empty() {
            conn.append(Data::Bytes(exchange.input.split().freeze()));
            if conn.send(u64::MAX) == Code::ERROR {
                return Code::ERROR;
            }
            let code = output::drained(r).await;
            if code != Code::OK {
                return code;
            }
        }
        let received = conn.input.borrow_mut().split().freeze();
        if !received.is_empty() {
            exchange.sender.push(received);
        }
        tokio::select! {
            event = exchange.next(TUNNEL_STEP) => match event {
                Event::Data(_) | Event::Sent => {}
                Event::TimedOut => {
                    r.log_errno(Level::Error, libc::ETIMEDOUT, format_args!("upstream timed out"));
                    return Code::OK;
                }
                Event::End | Event::Failed(_) => return Code::OK,
            },
            read = conn.read(Instant::now() + timeout), if !exchange_is_full(&conn.input.borrow()) => match read {
                Ok(0) | Err(_) => return Code::OK,
                Ok(_) => {}
            },
        }
    }
}

const TUNNEL_STEP: usize = 16 * 1024;

/// Bytes of the client that wait are bounded.
fn exchange_is_full(input: &[u8]) -> bool {
    input.len() > TUNNEL_STEP
}
