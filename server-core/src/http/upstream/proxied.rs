//! A request on its way through the servers of a group: attempts until one answers.

use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use super::conf::{Conf, Failure};
use super::destination::{Destination, ProxyVars};
use super::exchange::{Exchange, Timeouts};
use super::headers::{self, Caching, Carriage};
use super::outgoing::Outgoing;
use super::protocol::{Dialing, Head, Protocol, Reader};
use super::{choose, relay, tunnel};
use crate::http::cache::{CacheUse, Status, Told};
use crate::http::code::Code;
use crate::http::header::HeaderId;
use crate::http::method::Method;
use crate::http::modules::lua::balancer::Balance;
use crate::http::modules::upstream::Attempts;
use crate::http::output;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::log::Level;
use crate::upstream::address::PeerAddress;
use crate::upstream::connection::Connection;
use crate::upstream::group::Keepalive;
use crate::upstream::idle::{Closing, Key};
use crate::upstream::selection::{Selection, Verdict};

/// A request on its way through the servers of a group.
pub(super) struct Proxied<'a, P: Dialing + ?Sized + 'static = dyn Protocol> {
    pub(super) r: &'a Rc<Request>,
    pub(super) protocol: &'static P,
    pub(super) conf: &'static Conf,
    pub(super) attempts: &'a Attempts,
    pub(super) destination: Destination,
    pub(super) outgoing: Outgoing,
    pub(super) selection: Selection,
    started: Instant,
    /// Whether some server has got something of the request.
    pub(super) request_sent: bool,
    pub(super) timeouts: Timeouts,
    pub(super) keepalive: Option<(Keepalive, Key)>,
    pub(super) balance: Rc<Balance>,
    /// The current server was named by Lua code; the group knows nothing of it.
    pub(super) chosen_by_lua: bool,
    /// The cache, if one is used.
    pub(super) cache: Option<Rc<CacheUse>>,
    /// The host that the script named for the current server.
    pub(super) lua_host: Bytes,
    /// What messages say about the connection that a script wants kept.
    pub(super) lua_keepalive: Option<String>,
    /// Whether through TLS.
    pub(super) tls: bool,
}

/// How an attempt went on.
#[expect(clippy::large_enum_variant, reason = "it is moved once; a box would cost every request an allocation")]
pub(super) enum Attempt {
    Answered(Exchange, Head, Box<dyn Reader>),
    Failed(Failure),
    /// The request can't go on.
    Ended(Code),
}

/// What needs no requests: choosing a server, and what follows when one is of no use.
impl<'a, P: Dialing + ?Sized + 'static> Proxied<'a, P> {
    pub(super) async fn begin(
        r: &'a Rc<Request>,
        attempts: &'a Attempts,
        protocol: &'static P,
        streams: bool,
    ) -> Result<Self, Code> {
        let destination = Destination::of(r, protocol.route(r)?).await?;
        r.set_ctx(Rc::new(ProxyVars { host: destination.host.clone(), port: destination.port.clone() }));
        *attempts.group.borrow_mut() = Some(Rc::clone(&destination.group));
        let conf = protocol.conf(r.loc());
        let cache = CacheUse::open(r, &conf.cache, || destination.cache_key()).await?;
        let is_answered = cache.as_ref().is_some_and(|used| used.answers() || used.error.get().is_some());
        let outgoing = if is_answered { Outgoing::default() } else { protocol.request(r, &destination)? };
        debug_assert!(streams || outgoing.stream.is_none(), "only what is streamed is left to be read");
        let mut selection = Selection::new(Rc::clone(&destination.group), choose::key_of(r, &destination.group));
        if destination.group.balancer.is_some() {
            selection.tries = selection.tries.max(1);
        }
        if *conf.next_upstream_tries > 0 {
            selection.tries = selection.tries.min(*conf.next_upstream_tries);
        }
        let timeouts = Timeouts {
            connect: *conf.connect_timeout,
            send: *conf.send_timeout,
            read: *conf.read_timeout,
            client: *r.loc().core.client_body_timeout,
        };
        Ok(Self {
            r,
            protocol,
            conf,
            attempts,
            tls: destination.tls,
            destination,
            outgoing,
            selection,
            started: crate::clock::moment(),
            request_sent: false,
            timeouts,
            keepalive: None,
            balance: Rc::default(),
            chosen_by_lua: false,
            cache,
            lua_host: Bytes::new(),
            lua_keepalive: None,
        })
    }

    /// The server has done its work.
    pub(super) fn finish(&mut self) {
        self.attempts.end();
        self.selection.note(self.attempts.times());
        self.selection.release(Verdict::Served, crate::clock::now().sec);
    }

    /// An attempt failed: the code with which the request ends, unless another one follows.
    pub(super) fn next(&mut self, failure: Failure) -> Option<Code> {
        let r = self.r;
        if r.conn().is_stream() {
            r.debug(format_args!("stream proxy next upstream"));
        } else {
            debug!(r, "http next upstream, {:x}", failure.0);
        }
        let now = crate::clock::now().sec;
        let verdict =
            if matches!(failure, Failure::HTTP_403 | Failure::HTTP_404) { Verdict::Next } else { Verdict::Failed };
        if failure != Failure::NO_LIVE {
            self.drop_connection(self.attempts.connection().as_ref());
        }
        if self.chosen_by_lua {
            debug!(r, "lua balancer: free peer, tries: {}", self.selection.tries);
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
        self.attempts.end();
        None
    }

    fn may_repeat(&self, failure: Failure) -> bool {
        let changes = Method::POST.0 | Method::LOCK.0 | Method::PATCH.0;
        let failure = if self.request_sent && self.r.method.get().is_one_of(changes) {
            failure.or(Failure::NON_IDEMPOTENT)
        } else {
            failure
        };
        // What went through to a server can't be sent again.
        let gone = self.request_sent && self.outgoing.stream.is_some();
        let limit = *self.conf.next_upstream_timeout;
        !gone && failure.is_in(*self.conf.next_upstream) && (limit.is_zero() || self.started.elapsed() < limit)
    }

    /// Says that a connection is not kept.
    fn drop_connection(&self, connection: Option<&Rc<Connection>>) {
        if self.selection.group().keepalive.is_some() {
            debug!(self.r, "free keepalive peer");
        }
        if self.lua_keepalive.is_some() {
            let pointer = connection.map_or(0, |connection| Rc::as_ptr(connection).addr());
            debug!(self.r, "lua balancer: keepalive not saving connection {pointer:016X}");
        }
    }
}

/// Requests.
impl<'a> Proxied<'a> {
    pub(super) async fn answer(
        r: &'a Rc<Request>,
        attempts: &'a Attempts,
        protocol: &'static dyn Protocol,
        streams: bool,
    ) -> Code {
        match Self::begin(r, attempts, protocol, streams).await {
            Err(code) => code,
            Ok(mut proxied) => {
                let code = match proxied.cache.clone() {
                    Some(used) if used.error.get().is_some() => return used.error.get().unwrap_or(Code::ERROR),
                    Some(used) if used.answers() => return proxied.send_cached(&used),
                    _ => proxied.run().await,
                };
                proxied.finish();
                code
            }
        }
    }

    async fn run(&mut self) -> Code {
        loop {
            self.r.conn().action.set(Some("connecting to upstream"));
            self.attempts.start();
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
                Attempt::Ended(code) => return code,
                Attempt::Answered(exchange, head, reader) => match self.next_for(&head) {
                    Some(failure) => failure,
                    None => return self.respond(exchange, head, reader).await,
                },
            };
            if let Some(code) = self.next(failure) {
                return self.stale_for(failure, Told::Nothing).unwrap_or_else(|| self.keep_failure(code));
            }
        }
    }

    /// A kept response in place of a failure.
    fn stale_for(&self, failure: Failure, told: Told) -> Option<Code> {
        let used = self.cache.as_ref().filter(|used| used.covers(&self.conf.cache, failure, told))?;
        used.status.set(Status::Stale);
        used.release();
        Some(self.send_cached(used))
    }

    async fn attempt(&mut self, address: &PeerAddress) -> Attempt {
        let reached = match self.reach(address).await {
            Ok(reached) => reached,
            Err(none) => return none.into(),
        };
        self.r.conn().action.set(Some("sending request to upstream"));
        let mut exchange = Exchange::new(reached.connection, self.outgoing.sender(self.r), self.timeouts);
        let mut reader = self.protocol.reader(&self.outgoing);
        match self.read_head(&mut exchange, &mut *reader).await {
            Ok(head) => Attempt::Answered(exchange, head, reader),
            Err(none) => {
                let attempt = Attempt::from(none);
                let broke = matches!(attempt, Attempt::Failed(Failure::ERROR));
                if reached.is_kept && broke && !self.chosen_by_lua {
                    // The server closed a connection that was kept too long: not its fault.
                    self.selection.tries += 1;
                    self.selection.release(Verdict::Next, crate::clock::now().sec);
                    self.selection.tries = self.selection.tries.max(1);
                }
                attempt
            }
        }
    }

    /// Whether this answer means that another server is asked.
    fn next_for(&self, head: &Head) -> Option<Failure> {
        let failure = Failure::of_status(head.status)?;
        (self.selection.tries > 1 && self.may_repeat(failure)).then_some(failure)
    }

    /// Passes an answer on.
    async fn respond(&mut self, mut exchange: Exchange, head: Head, mut reader: Box<dyn Reader>) -> Code {
        let r = self.r;
        if let Some(code) = Failure::of_status(head.status).and_then(|failure| self.stale_for(failure, Told::Status)) {
            return code;
        }
        if let Some(code) = self.revalidated(&head) {
            self.attempts.last(|attempt| attempt.bytes_sent = exchange.sender.sent);
            let framing = reader.framing(&head, None, false);
            if framing.keeps() && head.keeps && exchange.input.is_empty() {
                self.keep(&exchange);
            }
            return code;
        }
        if let Some(code) = self.intercepted(&head) {
            self.keep_intercepted(&head);
            return code;
        }
        let Ok(carriage) = Carriage::of(r, self.conf, &head) else {
            return self.next(Failure::INVALID_HEADER).unwrap_or(Code::BAD_GATEWAY);
        };
        let store = self.begin_store(&head, &carriage);
        let is_cached = store.is_some();
        let store = store.or_else(|| self.begin_plain_store(&head));
        let caching = if is_cached { Caching::Stored } else { Caching::None };
        let passing = headers::Passing { r, conf: self.conf, protocol: self.protocol, caching };
        if let Some(code) = passing.accel_redirect(&head) {
            return code;
        }
        let switches = head.status == 101 && r.is_main() && self.outgoing.upgrades;
        if head.status == 101 && !switches {
            r.log(Level::Error, format_args!("upstream switched protocols though nobody asked for it"));
            return self.next(Failure::INVALID_HEADER).unwrap_or(Code::BAD_GATEWAY);
        }
        passing.pass_on(&head, &carriage);
        let code = output::send_header(r);
        if code == Code::ERROR || code.0 > 0 {
            return code;
        }
        if switches {
            return tunnel::run(r, &mut exchange, *self.conf.read_timeout).await;
        }
        let mut framing = reader.framing(&head, carriage.content_length, carriage.chunked);
        let code = if r.header_only.get() && store.is_none() {
            Code::OK
        } else {
            relay::Relay::new(self, carriage.buffering, store).run(&mut exchange, &mut framing).await
        };
        if let Some(used) = &self.cache {
            used.release();
        }
        self.attempts.last(|attempt| attempt.bytes_sent = exchange.sender.sent);
        let reusable = framing.keeps() && !carriage.closes && exchange.sender.is_done() && exchange.input.is_empty();
        if reusable {
            self.keep(&exchange);
        } else {
            self.drop_connection(Some(&exchange.connection));
        }
        code
    }

    /// The code of an error that `intercept_errors` leaves to an error page.
    fn intercepted(&self, head: &Head) -> Option<Code> {
        let r = self.r;
        if head.status == 404 && self.protocol.intercepts_404() {
            return Some(Code::NOT_FOUND);
        }
        let wanted = head.status >= 300
            && *self.conf.intercept_errors
            && r.loc().core.error_pages.iter().any(|page| page.status == head.status);
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

    fn keep(&self, exchange: &Exchange) {
        let Some((keepalive, key)) = &self.keepalive else { return };
        let connection = Rc::clone(&exchange.connection);
        if connection.requests.get() >= keepalive.requests
            || crate::clock::moment() - connection.opened > keepalive.time
        {
            return self.drop_connection(Some(&connection));
        }
        let pointer = Rc::as_ptr(&connection).addr();
        let by_group = self.selection.group().keepalive.is_some();
        self.selection.group().idle.make_room(keepalive.max);
        match &self.lua_keepalive {
            Some(whose) if !by_group => {
                debug!(self.r, "lua balancer: keepalive saving connection {pointer:016X}{whose}");
            }
            _ => {
                debug!(self.r, "free keepalive peer");
                debug!(self.r, "free keepalive peer: saving connection {pointer:016X}");
                if self.lua_keepalive.is_some() {
                    debug!(self.r, "lua balancer: keepalive not saving connection {:016X}", 0);
                }
            }
        }
        let closing = if by_group { Closing::Silent } else { Closing::Told };
        self.selection.group().idle.keep(key.clone(), connection, keepalive.max, keepalive.timeout, closing);
    }
}
