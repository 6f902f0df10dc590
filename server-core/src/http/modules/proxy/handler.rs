//! The content handler: attempts with servers until one answers.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::conf::{Failure, local_address};
use super::exchange::{Event, Exchange, Timeouts};
use super::headers::{self, Carriage};
use super::relay;
use super::request::Outgoing;
use super::response::{self, InvalidField, Parsed, ResponseHead};
use super::target::{Destination, ProxyVars};
use crate::http::body;
use crate::http::code::Code;
use crate::http::header::HeaderId;
use crate::http::method::{Method, Version};
use crate::http::modules::lua::balancer::{self, Balance};
use crate::http::modules::upstream::Attempts;
use crate::http::output;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::log::Level;
use crate::upstream::address::PeerAddress;
use crate::upstream::connection::Connection;
use crate::upstream::group::{Keepalive, Selection, Verdict};
use crate::upstream::idle::Key;

/// `proxy_pass`
pub(super) struct ProxyHandler;

impl Handler for ProxyHandler {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let r = Rc::clone(r);
        Outcome::wait(async move { serve(&r).await })
    }
}

async fn serve(r: &Rc<Request>) -> Code {
    let code = body::read(r).code().await;
    if code == Code::ERROR || code.is_special_response() {
        return code;
    }
    let attempts = Attempts::begin(r);
    let proxied = Proxied::answer(r, &attempts);
    let watched = r.is_main() && !r.conn().is_fake() && !*r.loc().proxy.ignore_client_abort;
    let code = if watched {
        tokio::select! {
            biased;
            code = proxied => code,
            () = r.conn().client_gone() => {
                let message = "epoll_wait() reported that client prematurely closed connection, \
                               so upstream connection is closed too";
                r.log(Level::Info, format_args!("{message}"));
                Code::CLIENT_CLOSED_REQUEST
            }
        }
    } else {
        proxied.await
    };
    debug!(r, "finalize http upstream request: {}", code.0);
    r.conn().action.set(Some("sending to client"));
    code
}

/// A request on its way through the servers of a group.
pub(super) struct Proxied<'a> {
    r: &'a Rc<Request>,
    attempts: &'a Attempts,
    destination: Destination,
    outgoing: Outgoing,
    selection: Selection,
    started: Instant,
    /// When the current attempt began.
    began: Instant,
    /// Whether some server has got something of the request.
    request_sent: bool,
    timeouts: Timeouts,
    keepalive: Option<(Keepalive, Key)>,
    balance: Rc<Balance>,
    /// The current server was named by Lua code; the group knows nothing of it.
    chosen_by_lua: bool,
}

/// How an attempt went on.
enum Attempt {
    Answered(Exchange, ResponseHead),
    Failed(Failure),
}

impl<'a> Proxied<'a> {
    async fn answer(r: &'a Rc<Request>, attempts: &'a Attempts) -> Code {
        let destination = match Destination::of(r).await {
            Ok(destination) => destination,
            Err(code) => return code,
        };
        r.set_ctx(Rc::new(ProxyVars { host: destination.host.clone(), port: destination.port.clone() }));
        let outgoing = Outgoing::of(r, &destination);
        let conf = &r.loc().proxy;
        let mut selection = Selection::new(Rc::clone(&destination.group));
        if destination.group.balancer.is_some() {
            selection.tries = selection.tries.max(1);
        }
        if *conf.next_upstream_tries > 0 {
            selection.tries = selection.tries.min(*conf.next_upstream_tries);
        }
        let mut proxied = Self {
            r,
            attempts,
            destination,
            outgoing,
            selection,
            started: Instant::now(),
            began: Instant::now(),
            request_sent: false,
            timeouts: Timeouts { connect: *conf.connect_timeout, send: *conf.send_timeout, read: *conf.read_timeout },
            keepalive: None,
            balance: Rc::default(),
            chosen_by_lua: false,
        };
        let code = proxied.run().await;
        proxied.selection.release(Verdict::Served, crate::clock::now().sec);
        proxied.end_attempt();
        code
    }

    fn end_attempt(&self) {
        let elapsed = self.began.elapsed();
        self.attempts.last(|attempt| {
            attempt.response_time.get_or_insert(msec(elapsed));
        });
    }

    async fn run(&mut self) -> Code {
        loop {
            self.r.conn().action.set(Some("connecting to upstream"));
            self.began = Instant::now();
            let attempt = match self.choose() {
                Ok(Some(address)) => self.attempt(&address).await,
                Ok(None) => {
                    self.r.log(Level::Error, format_args!("no live upstreams"));
                    Attempt::Failed(Failure::NO_LIVE)
                }
                Err(code) => return code,
            };
            let failure = match attempt {
                Attempt::Failed(failure) => failure,
                Attempt::Answered(exchange, head) => match self.next_for(&head) {
                    Some(failure) => failure,
                    None => return self.respond(exchange, head).await,
                },
            };
            if let Some(code) = self.next(failure) {
                return code;
            }
        }
    }

    /// The server to ask now; `None` when none is left.
    fn choose(&mut self) -> Result<Option<PeerAddress>, Code> {
        let group = Rc::clone(self.selection.group());
        self.keepalive = None;
        let conf = self.r.loc();
        let local_tag = std::ptr::from_ref(conf).addr().to_ne_bytes();
        let (address, name) = if let Some(script) = &group.balancer {
            self.name_peer(&group.name);
            let tries = &mut self.selection.tries;
            let chosen = match balancer::choose(self.r, script, &self.balance, tries, group.balancer_keepalive) {
                Err(Code::BUSY) => return Ok(None),
                chosen => chosen?,
            };
            self.chosen_by_lua = chosen.peer.is_some();
            self.timeouts.connect = chosen.connect_timeout.unwrap_or(*conf.proxy.connect_timeout);
            self.timeouts.send = chosen.send_timeout.unwrap_or(*conf.proxy.send_timeout);
            self.timeouts.read = chosen.read_timeout.unwrap_or(*conf.proxy.read_timeout);
            if chosen.recreate {
                self.outgoing = Outgoing::of(self.r, &self.destination);
            }
            match chosen.peer {
                Some(address) => {
                    let name = Bytes::from(address.to_string());
                    self.keepalive = chosen
                        .keepalive
                        .map(|keepalive| (keepalive, Key { address: address.clone(), tag: chosen.pool.clone() }));
                    if self.keepalive.is_none() {
                        self.keepalive = self.group_keepalive(&address, &local_tag);
                    }
                    (address, name)
                }
                None if group.primary.is_empty() => {
                    self.r.log(Level::Error, format_args!("lua balancer: no peer set"));
                    return Err(Code::INTERNAL_SERVER_ERROR);
                }
                None => match self.selection.next(crate::clock::now().sec) {
                    Some(peer) => (peer.address.clone(), peer.name.clone()),
                    None => return Ok(None),
                },
            }
        } else {
            match self.selection.next(crate::clock::now().sec) {
                Some(peer) => {
                    self.keepalive = self.group_keepalive(&peer.address, &local_tag);
                    (peer.address.clone(), peer.name.clone())
                }
                None => {
                    self.name_peer(&group.name);
                    return Ok(None);
                }
            }
        };
        self.attempts.push(name.clone());
        self.name_for_log(&name, matches!(address, PeerAddress::Unix(_)));
        Ok(Some(address))
    }

    fn group_keepalive(&self, address: &PeerAddress, local_tag: &[u8]) -> Option<(Keepalive, Key)> {
        let keepalive = self.selection.group().keepalive?;
        let tag = if keepalive.local { local_tag.to_vec() } else { Vec::new() };
        Some((keepalive, Key { address: address.clone(), tag }))
    }

    /// No server is asked: the group stands for it.
    fn name_peer(&self, group: &Bytes) {
        if self.selection.group().balancer.is_none() {
            self.attempts.push(group.clone());
        }
        self.name_for_log(group, self.destination.is_unix);
    }

    fn name_for_log(&self, name: &[u8], is_unix: bool) {
        let separator: &[u8] = if is_unix { b":" } else { b"" };
        self.r.log_upstream.set([b"http://", name, separator, &self.destination.uri].concat());
    }

    async fn attempt(&mut self, address: &PeerAddress) -> Attempt {
        let kept = self.keepalive.as_ref().and_then(|(_, key)| self.selection.group().idle.take(key));
        let is_kept = kept.is_some();
        let connection = match kept {
            Some(connection) => {
                debug!(self.r, "get keepalive peer: using connection {:p}", Rc::as_ptr(&connection));
                connection
            }
            None => match self.connect(address).await {
                Ok(connection) => connection,
                Err(failure) => return Attempt::Failed(failure),
            },
        };
        self.attempts.last(|attempt| attempt.connect_time = Some(msec(self.began.elapsed())));
        self.r.conn().action.set(Some("sending request to upstream"));
        let mut exchange = Exchange::new(connection, self.outgoing.sender(), self.timeouts);
        match self.read_head(&mut exchange).await {
            Ok(head) => Attempt::Answered(exchange, head),
            Err(failure) => {
                if is_kept && failure == Failure::ERROR {
                    // The server closed a connection that was kept too long: not its fault.
                    self.selection.tries += 1;
                    self.selection.release(Verdict::Next, crate::clock::now().sec);
                    self.selection.tries = self.selection.tries.max(1);
                }
                Attempt::Failed(failure)
            }
        }
    }

    async fn connect(&self, address: &PeerAddress) -> Result<Rc<Connection>, Failure> {
        let r = self.r;
        let bind = r.loc().proxy.bind.as_ref().map(|bind| bind.eval(r));
        let local = match bind {
            _ if self.balance.bind.get().is_some() => self.balance.bind.get(),
            Some(text) if !text.is_empty() => {
                let local = local_address(&text);
                if local.is_none() {
                    r.log_bytes(Level::Error, &[b"invalid local address \"", &text, b"\""]);
                }
                local
            }
            _ => None,
        };
        let connection = match Connection::start(address, local) {
            Ok(connection) => connection,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let expected = [
                    libc::ECONNREFUSED,
                    libc::EAGAIN,
                    libc::ECONNRESET,
                    libc::ENETDOWN,
                    libc::ENETUNREACH,
                    libc::EHOSTDOWN,
                    libc::EHOSTUNREACH,
                ];
                let level = if expected.contains(&errno) { Level::Error } else { Level::Crit };
                r.log_errno(level, errno, format_args!("connect() to {address} failed"));
                return Err(Failure::ERROR);
            }
        };
        timer_added(r, &connection, self.timeouts.connect);
        match tokio::time::timeout(self.timeouts.connect, connection.connected()).await {
            Ok(Ok(())) => Ok(Rc::new(connection)),
            Ok(Err(error)) => {
                let errno = error.raw_os_error().unwrap_or(0);
                r.log_errno(Level::Error, errno, format_args!("connect() failed"));
                Err(Failure::ERROR)
            }
            Err(_) => Err(Failure::TIMEOUT),
        }
    }

    /// Sends the request and reads the head of the response.
    async fn read_head(&mut self, exchange: &mut Exchange) -> Result<ResponseHead, Failure> {
        let r = self.r;
        let size = *r.loc().proxy.buffer_size;
        timer_added(r, &exchange.connection, self.timeouts.send);
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
                    timer_added(r, &exchange.connection, limit);
                }
                Event::Data(length) => {
                    self.attempts.last(|attempt| attempt.bytes_received += length as u64);
                    if let Some(head) = self.parse(exchange)? {
                        return Ok(head);
                    }
                    if exchange.input.len() >= size {
                        r.log(Level::Error, format_args!("upstream sent too big header"));
                        return Err(Failure::INVALID_HEADER);
                    }
                }
                Event::End => {
                    r.log(Level::Error, format_args!("upstream prematurely closed connection"));
                    return Err(Failure::ERROR);
                }
                Event::Failed(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    let call = if errno == libc::EPIPE { "writev() failed" } else { "recv() failed" };
                    r.log_errno(Level::Error, errno, format_args!("{call}"));
                    return Err(Failure::ERROR);
                }
                Event::TimedOut => return Err(Failure::TIMEOUT),
            }
        }
    }

    fn parse(&self, exchange: &mut Exchange) -> Result<Option<ResponseHead>, Failure> {
        let r = self.r;
        loop {
            let input = std::mem::take(&mut exchange.input).freeze();
            match response::parse(&input) {
                Ok(Parsed::More) => {
                    exchange.input = input.try_into_mut().unwrap_or_else(|input| BytesMut::from(&input[..]));
                    return Ok(None);
                }
                Ok(Parsed::NoHead) => {
                    r.log(Level::Error, format_args!("upstream sent no valid HTTP/1.0 header"));
                    r.http_version.set(Version::HTTP_09);
                    exchange.input = BytesMut::from(&input[..]);
                    self.attempts.last(|attempt| attempt.status = 200);
                    return Ok(Some(ResponseHead { status: 0, ..ResponseHead::default() }));
                }
                Ok(Parsed::Head(head, length)) => {
                    exchange.input = BytesMut::from(&input[length..]);
                    // Interim responses are for us alone.
                    if (100..200).contains(&head.status) && head.status != 101 {
                        continue;
                    }
                    debug!(r, "http proxy status {} \"{}\"", head.status, head.status_line.escape_ascii());
                    for field in &head.fields {
                        let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
                        debug!(r, "http proxy header: \"{name}: {value}\"");
                    }
                    debug!(r, "http proxy header done");
                    let elapsed = msec(self.began.elapsed());
                    self.attempts.last(|attempt| {
                        attempt.status = head.status;
                        attempt.header_time = Some(elapsed);
                    });
                    self.attempts.headers.borrow_mut().clone_from(&head.fields);
                    return Ok(Some(head));
                }
                Err(InvalidField(shown, byte)) => {
                    let code = format!("\\x{byte:02x}...\"");
                    r.log_bytes(Level::Error, &[b"upstream sent invalid header: \"", &shown, code.as_bytes()]);
                    return Err(Failure::INVALID_HEADER);
                }
            }
        }
    }

    /// Whether this answer means that another server is asked.
    fn next_for(&self, head: &ResponseHead) -> Option<Failure> {
        let failure = match head.status {
            500 => Failure::HTTP_500,
            502 => Failure::HTTP_502,
            503 => Failure::HTTP_503,
            504 => Failure::HTTP_504,
            403 => Failure::HTTP_403,
            404 => Failure::HTTP_404,
            429 => Failure::HTTP_429,
            _ => return None,
        };
        (self.selection.tries > 1 && self.may_repeat(failure)).then_some(failure)
    }

    fn may_repeat(&self, failure: Failure) -> bool {
        let conf = &self.r.loc().proxy;
        let changes = Method::POST.0 | Method::LOCK.0 | Method::PATCH.0;
        let failure = if self.request_sent && self.r.method.get().is_one_of(changes) {
            failure.or(Failure::NON_IDEMPOTENT)
        } else {
            failure
        };
        let limit = *conf.next_upstream_timeout;
        failure.is_in(*conf.next_upstream) && (limit.is_zero() || self.started.elapsed() < limit)
    }

    /// An attempt failed: the code with which the request ends, unless another one follows.
    fn next(&mut self, failure: Failure) -> Option<Code> {
        let r = self.r;
        debug!(r, "http next upstream, {:x}", failure.0);
        let now = crate::clock::now().sec;
        let verdict =
            if matches!(failure, Failure::HTTP_403 | Failure::HTTP_404) { Verdict::Next } else { Verdict::Failed };
        if self.chosen_by_lua {
            self.balance.failed(verdict, failure.status());
            self.selection.tries = self.selection.tries.saturating_sub(1);
        } else if self.selection.release(verdict, now) {
            r.log(Level::Warn, format_args!("upstream server temporarily disabled"));
        }
        if failure == Failure::TIMEOUT {
            r.log_errno(Level::Error, libc::ETIMEDOUT, format_args!("upstream timed out"));
        }
        if r.conn().error.get() {
            return Some(Code::CLIENT_CLOSED_REQUEST);
        }
        let status = failure.status();
        self.attempts.last(|attempt| attempt.status = status);
        if self.selection.tries == 0 || !self.may_repeat(failure) {
            return Some(Code(i32::from(status)));
        }
        self.end_attempt();
        None
    }

    /// Passes an answer on.
    async fn respond(&mut self, mut exchange: Exchange, head: ResponseHead) -> Code {
        let r = self.r;
        if let Some(code) = intercepted(r, &head) {
            return code;
        }
        let Ok(carriage) = Carriage::of(r, &head) else {
            return self.next(Failure::INVALID_HEADER).unwrap_or(Code::BAD_GATEWAY);
        };
        if let Some(code) = headers::accel_redirect(r, &head) {
            return code;
        }
        headers::pass_on(r, &head, &carriage);
        let code = output::send_header(r);
        if code == Code::ERROR || code.0 > 0 {
            return code;
        }
        if head.status == 101 && r.is_main() {
            return relay::tunnel(r, &mut exchange).await;
        }
        let mut framing = relay::framing_of(&head, &carriage, self.outgoing.is_head);
        let code = if r.header_only.get() {
            Code::OK
        } else {
            relay::body(r, &mut exchange, &mut framing, carriage.buffering, self.attempts).await
        };
        self.attempts.last(|attempt| attempt.bytes_sent = exchange.sender.sent);
        let reusable = framing.is_ended() && !carriage.closes && exchange.sender.is_done() && exchange.input.is_empty();
        if reusable {
            self.keep(exchange);
        }
        code
    }

    fn keep(&self, exchange: Exchange) {
        let Some((keepalive, key)) = &self.keepalive else { return };
        let connection = exchange.connection;
        if connection.requests.get() >= keepalive.requests || connection.opened.elapsed() > keepalive.time {
            return;
        }
        debug!(self.r, "free keepalive peer: saving connection {:p}", Rc::as_ptr(&connection));
        self.selection.group().idle.keep(key.clone(), connection, keepalive.max, keepalive.timeout);
    }
}

/// The code of an error that `proxy_intercept_errors` leaves to an error page.
fn intercepted(r: &Rc<Request>, head: &ResponseHead) -> Option<Code> {
    let loc = r.loc();
    let wanted = head.status >= 300
        && *loc.proxy.intercept_errors
        && loc.core.error_pages.iter().any(|page| page.status == head.status);
    if !wanted {
        return None;
    }
    if head.status == 401 {
        for challenge in head.fields.iter().filter(|field| field.id == HeaderId::WwwAuthenticate) {
            r.headers_out.list.borrow_mut().push(challenge.clone());
        }
    }
    Some(Code(i32::from(head.status)))
}

fn timer_added(r: &Request, connection: &Connection, limit: Duration) {
    let limit = limit.as_millis();
    let until = crate::clock::now().monotonic_msec as u128 + limit;
    debug!(r, "event timer add: {}: {limit}:{until}", connection.fd());
}

fn msec(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
