//! After a switch of protocols: bytes in both directions until one side ends.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::{Event, Exchange};
use crate::http::code::Code;
use crate::http::output::{self, Data};
use crate::http::request::Request;
use crate::log::Level;

/// Bytes that are read at once, and that may wait in either direction.
const STEP: usize = 16 * 1024;

/// Carries bytes until one side ends, or neither has said anything for `timeout`.
pub(super) async fn run(r: &Rc<Request>, exchange: &mut Exchange, timeout: Duration) -> Code {
    r.keepalive.set(false);
    r.conn().action.set(Some("proxying upgraded connection"));
    let conn = r.conn();
    if output::flush(r) == Code::ERROR {
        return Code::ERROR;
    }
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
            event = exchange.next(STEP) => match event {
                Event::Data(_) | Event::Sent => {}
                Event::TimedOut => {
                    r.log_errno(Level::Error, libc::ETIMEDOUT, format_args!("upstream timed out"));
                    return Code::OK;
                }
                Event::ClientFailed(_) | Event::End | Event::Failed(_) => return Code::OK,
            },
            read = conn.read(Instant::now() + timeout), if exchange.sender.is_done() => match read {
                Ok(0) | Err(_) => return Code::OK,
                Ok(_) => {}
            },
        }
    }
}
