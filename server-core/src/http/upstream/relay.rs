//! The body of a response on its way to the client.
//!
//! With buffering, the server is read as fast as it sends, up to what the buffers and then a temporary file take;
//! without, never faster than the client takes it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::time::{Duration, Instant};

use super::body::{BodyError, Framing};
use super::conf::Conf;
use super::exchange::{Event, Exchange};
use super::proxied::Proxied;
use super::spool::Backlog;
use crate::conf::value;
use crate::http::cache::store::Writer;
use crate::http::code::Code;
use crate::http::header::HeaderList;
use crate::http::modules::upstream::Attempts;
use crate::http::output::{self, Buf, Chain};
use crate::http::request::Request;
use crate::log::Level;

/// A body on its way.
pub(super) struct Relay<'a> {
    r: &'a Rc<Request>,
    conf: &'static Conf,
    attempts: &'a Attempts,
    buffering: bool,
    /// Bytes that are gathered before they are passed on.
    step: usize,
    /// What could not be passed on yet.
    backlog: Backlog,
    /// Bytes a second that are read; 0 is no limit.
    rate: u64,
    began: Instant,
    received: u64,
    store: Option<Writer>,
}

/// How reading ended.
enum End {
    /// The body is complete.
    Complete,
    /// It never will be, which is logged; whether what waits still goes to the client.
    Broken { passes_rest: bool },
}

impl<'a> Relay<'a> {
    /// A body for the request of `proxied`; `buffering` overrules the configuration.
    /// The response is also written to a cache when there is a `store`.
    pub(super) fn new(proxied: &Proxied<'a>, buffering: Option<bool>, store: Option<Writer>) -> Self {
        let conf = proxied.conf;
        let buffering = buffering.unwrap_or(*conf.buffering);
        let rate = conf.limit_rate.as_ref().and_then(|rate| value::size(&rate.eval(proxied.r))).unwrap_or(0);
        Self {
            r: proxied.r,
            conf,
            attempts: proxied.attempts,
            buffering,
            step: if buffering { conf.buffers.size } else { conf.head_max() },
            backlog: Backlog::new(conf),
            rate: rate as u64,
            began: crate::clock::moment(),
            received: 0,
            store,
        }
    }

    /// Passes the body on. The code with which the request ends.
    pub(super) async fn run(mut self, exchange: &mut Exchange, framing: &mut Framing) -> Code {
        let r = self.r;
        r.conn().action.set(Some("reading upstream"));
        if !self.buffering && exchange.input.is_empty() && output::flush(r) == Code::ERROR {
            return Code::ERROR;
        }
        let end = loop {
            match self.unframe(exchange, framing) {
                Ok(()) => {}
                Err(end) => break end,
            }
            let ended = framing.is_ended();
            if ended || !self.buffering || self.backlog.len() >= self.step as u64 {
                let code = self.deliver(exchange, framing).await;
                match code {
                    Ok(None) => {}
                    Ok(Some(end)) => break end,
                    Err(code) => return code,
                }
            }
            if framing.is_ended() && self.backlog.is_empty() {
                if !exchange.input.is_empty() && !framing.goes_on() {
                    let message = "upstream sent more data than specified in \"Content-Length\" header";
                    r.log(Level::Warn, format_args!("{message}"));
                }
                break End::Complete;
            }
            if framing.is_ended() {
                continue;
            }
            self.pause().await;
            let event = exchange.next(self.read_size()).await;
            if let Some(end) = self.take(event, framing) {
                break end;
            }
        };
        self.finish(end, framing).await
    }

    /// What an event means for the body.
    fn take(&mut self, event: Event, framing: &Framing) -> Option<End> {
        match event {
            Event::Data(received) => {
                self.received += received as u64;
                self.attempts.last(|attempt| attempt.bytes_received += received as u64);
                None
            }
            Event::Sent => None,
            Event::End if framing.may_end() => Some(End::Complete),
            Event::End => {
                self.r.log(Level::Error, format_args!("upstream prematurely closed connection"));
                Some(End::Broken { passes_rest: true })
            }
            Event::Failed(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                self.r.log_errno(Level::Error, errno, format_args!("recv() failed"));
                Some(End::Broken { passes_rest: true })
            }
            Event::ClientFailed(_) => Some(End::Broken { passes_rest: true }),
            Event::TimedOut => {
                self.r.log_errno(Level::Error, libc::ETIMEDOUT, format_args!("upstream timed out"));
                // What was gathered for later stays behind, as a buffer that is not full does.
                Some(End::Broken { passes_rest: false })
            }
        }
    }

    /// Moves what has arrived into the backlog.
    fn unframe(&mut self, exchange: &mut Exchange, framing: &mut Framing) -> Result<(), End> {
        let mut parts: SmallVec<[Bytes; 4]> = SmallVec::new();
        let taken = loop {
            match framing.take(&mut exchange.input) {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => break Ok(()),
                Err(BodyError::Logged) => {
                    // What came together with nonsense is not trusted, either.
                    return Err(End::Broken { passes_rest: true });
                }
                Err(error) => {
                    self.r.log(Level::Error, format_args!("{error}"));
                    break Err(End::Broken { passes_rest: true });
                }
            }
        };
        for part in parts {
            self.attempts.last(|attempt| attempt.response_length += part.len() as u64);
            self.keep(&part);
            self.backlog.push(self.r, part).map_err(|()| End::Broken { passes_rest: false })?;
        }
        taken
    }

    /// Writes a part to the cache. What can't be written is not kept.
    fn keep(&mut self, part: &[u8]) {
        if let Some(store) = &mut self.store
            && let Err(error) = store.write(part)
        {
            self.not_kept(&error);
        }
    }

    fn not_kept(&mut self, error: &std::io::Error) {
        let errno = error.raw_os_error().unwrap_or(0);
        self.r.log_errno(Level::Crit, errno, format_args!("a response could not be written to the cache"));
        self.store = None;
    }

    /// Passes on what waits; meanwhile goes on reading, as far as there is room.
    async fn deliver(&mut self, exchange: &mut Exchange, framing: &mut Framing) -> Result<Option<End>, Code> {
        let r = self.r;
        let flush = !self.buffering;
        while let Some(chain) = self.backlog.pop(r, flush)? {
            if output::write(r, chain) == Code::ERROR {
                return Err(Code::ERROR);
            }
            if !self.must_wait() {
                continue;
            }
            let taken = client_takes(r);
            tokio::pin!(taken);
            let mut end = None;
            loop {
                let reads =
                    self.buffering && end.is_none() && self.rate == 0 && !framing.is_ended() && self.backlog.has_room();
                tokio::select! {
                    biased;
                    code = &mut taken => {
                        if code != Code::OK {
                            return Err(code);
                        }
                        break;
                    }
                    event = exchange.next(self.read_size()), if reads => {
                        end = self.take(event, framing);
                        if let Err(broken) = self.unframe(exchange, framing) {
                            end = Some(broken);
                        }
                    }
                }
            }
            if let Some(end) = end {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// How much is read at once: as much as the buffers take.
    fn read_size(&self) -> usize {
        let paced = !self.buffering || self.rate > 0;
        if paced { self.step.max(1) } else { self.backlog.room().max(self.step) }
    }

    /// Whether the client must take something before it gets more.
    fn must_wait(&self) -> bool {
        let r = self.r;
        if r.subrequest_in_memory.get() || r.background.get() {
            return false;
        }
        if !r.conn().is_active(r) {
            return waiting_bytes(r) > WAITING_MAX;
        }
        r.conn().output_len() > *self.conf.busy_buffers_size as u64
    }

    /// Waits when more was read than `limit_rate` allows.
    async fn pause(&self) {
        if self.rate == 0 {
            return;
        }
        let allowed = self.rate * (self.began.elapsed().as_secs() + 1);
        if self.received >= allowed {
            let msec = (self.received - allowed) * 1000 / self.rate + 1;
            tokio::time::sleep(Duration::from_millis(msec)).await;
        }
    }

    async fn finish(mut self, end: End, framing: &mut Framing) -> Code {
        let r = self.r;
        if matches!(end, End::Complete)
            && let Some(store) = self.store.take()
            && let Err(error) = store.finish()
        {
            self.not_kept(&error);
        }
        if matches!(end, End::Complete | End::Broken { passes_rest: true }) {
            while let Some(chain) = match self.backlog.pop(r, !self.buffering) {
                Ok(chain) => chain,
                Err(code) => return code,
            } {
                if output::write(r, chain) == Code::ERROR {
                    return Code::ERROR;
                }
                if self.must_wait() {
                    let code = client_takes(r).await;
                    if code != Code::OK {
                        return code;
                    }
                }
            }
        }
        if !matches!(end, End::Complete) {
            // The client must see that the rest will never come: its connection ends without a proper end of the
            // response.
            r.keepalive.set(false);
            return if output::flush(r) == Code::ERROR { Code::ERROR } else { Code::OK };
        }
        self.pass_trailers(&framing.take_trailers());
        if output::write_last(r) == Code::ERROR { Code::ERROR } else { Code::OK }
    }

    fn pass_trailers(&self, lines: &[u8]) {
        let trailers = trailers_of(lines);
        if *self.conf.pass_trailers {
            let mut out = self.r.headers_out.trailers.borrow_mut();
            for trailer in &trailers {
                out.push(trailer.clone());
            }
        }
        *self.attempts.trailers.borrow_mut() = trailers;
    }
}

/// What a subrequest may keep while it waits for its turn.
const WAITING_MAX: u64 = 1 << 20;

/// Waits until the client has taken what it was given, or it is our turn to give.
async fn client_takes(r: &Rc<Request>) -> Code {
    if !r.conn().is_active(r) {
        // Whoever comes before us wakes the connection's task when it is our turn.
        poll_fn(|_| if r.conn().is_active(r) { Poll::Ready(()) } else { Poll::Pending }).await;
        return Code::OK;
    }
    output::drained(r).await
}

fn waiting_bytes(r: &Request) -> u64 {
    use crate::http::postpone_filter::Postponed;
    let postponed = r.postponed.borrow();
    let outputs = postponed.iter().filter_map(|postponed| match postponed {
        Postponed::Output(chain) => Some(chain),
        Postponed::Request(_) => None,
    });
    outputs.flatten().map(Buf::len).sum()
}

/// The fields behind the last chunk. Lines that are none are left out, as are fields that frame messages.
fn trailers_of(lines: &[u8]) -> HeaderList {
    const FRAMING: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"connection", b"trailer"];
    let mut list = HeaderList::default();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line).filter(|colon| *colon > 0) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is_token = name.iter().all(u8::is_ascii_graphic);
        let is_text = !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'));
        if is_token && is_text && !FRAMING.contains(&&name.to_ascii_lowercase()[..]) {
            list.add(name.to_vec(), value.to_vec());
        }
    }
    list
}

/// One piece as a chain.
pub(super) fn chain_of(bytes: Bytes, flush: bool) -> Chain {
    output::chain(Buf { flush, ..Buf::bytes(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_fields_that_frame_nothing() {
        let list = trailers_of(b"X-Sum: 1 \r\nContent-Length: 9\r\nnone\r\n: empty\r\nA B: c\r\n\r");
        let fields: Vec<_> = list.iter().map(|field| (&*field.name, &*field.value)).collect();
        assert_eq!(fields, [(&b"X-Sum"[..], &b"1"[..])]);
    }
}
