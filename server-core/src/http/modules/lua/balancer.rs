//! `balancer_by_lua*`: code that chooses the server for each attempt of a proxied request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::filters;
use super::script::Script;
use super::session::ctx_of;
use crate::http::{Code, Request};
use crate::lua::{Phase, sched};
use crate::upstream::address::PeerAddress;
use crate::upstream::group::Keepalive;
use crate::upstream::selection::Verdict;

/// What the code has said, and what it may ask.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    /// `set_current_peer`: the server, and the host that separates pools.
    pub(crate) peer: RefCell<Option<(PeerAddress, Vec<u8>)>>,
    /// `set_more_tries`
    pub(crate) more_tries: Cell<u32>,
    /// `set_timeouts`: connect, send, read.
    pub(crate) timeouts: Cell<[Option<Duration>; 3]>,
    /// `enable_keepalive`: how long a connection may be idle, and how many requests it serves.
    pub(crate) keepalive: Cell<Option<(Duration, u32)>>,
    /// `recreate_request`
    pub(crate) recreate: Cell<bool>,
    /// `bind_to_local_addr`
    pub(crate) bind: Cell<Option<SocketAddr>>,
    /// `set_upstream_tls`
    pub(crate) tls: Cell<bool>,
    /// Attempts that are left.
    pub(crate) tries: Cell<u32>,
    /// Attempts so far, the current one included.
    pub(crate) total_tries: Cell<u32>,
    /// How the last attempt failed.
    pub(crate) last_failure: Cell<Option<(Verdict, u16)>>,
}

impl Balance {
    /// An attempt failed.
    pub(crate) fn failed(&self, verdict: Verdict, status: u16) {
        self.last_failure.set(Some((verdict, status)));
    }
}

/// What the code chose.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    /// The server; `None` leaves the choice to the group.
    pub(crate) peer: Option<PeerAddress>,
    /// The host that separates its idle connections from others to the same server.
    pub(crate) host: Vec<u8>,
    /// Whether and how its connection is kept.
    pub(crate) keepalive: Option<Keepalive>,
    /// Its own deadlines.
    pub(crate) connect_timeout: Option<Duration>,
    /// See `connect_timeout`.
    pub(crate) send_timeout: Option<Duration>,
    /// See `connect_timeout`.
    pub(crate) read_timeout: Option<Duration>,
    /// The request must be written anew.
    pub(crate) recreate: bool,
}

/// Connections that are kept for a group whose code enables that.
const IDLE_MAX: usize = 32;
/// How old a connection may become.
const AGE_MAX: Duration = Duration::from_hours(1);

/// Runs the code for one attempt. A code in place of a choice ends the request; [`Code::BUSY`] means that no server
/// is left, [`Code::DECLINED`] that this attempt failed.
pub(crate) fn choose(
    r: &Rc<Request>,
    script: &Script,
    balance: &Rc<Balance>,
    tries: &mut u32,
    idle_max: Option<usize>,
) -> Result<Chosen, Code> {
    r.debug(format_args!("lua balancer: get peer, tries: {tries}"));
    let ctx = ctx_of(r).ok_or(Code::INTERNAL_SERVER_ERROR)?;
    sched::reset(&ctx, &**r);
    ctx.phase.set(Phase::BALANCER);
    balance.peer.take();
    balance.more_tries.set(0);
    balance.keepalive.set(None);
    balance.recreate.set(false);
    balance.tries.set(*tries);
    balance.total_tries.set(balance.total_tries.get() + 1);
    r.set_ctx(Rc::clone(balance));
    filters::call(r, &ctx, script, "balancer_by_lua*").map_err(|_| Code::INTERNAL_SERVER_ERROR)?;
    if ctx.exited.get() {
        match Code(ctx.exit_code.get()) {
            Code::OK => {}
            code @ (Code::BUSY | Code::DECLINED) => return Err(code),
            code if code.is_special_response() => return Err(code),
            _ => return Err(Code::INTERNAL_SERVER_ERROR),
        }
    }
    let [connect_timeout, send_timeout, read_timeout] = balance.timeouts.get();
    let keepalive = balance.keepalive.get().map(|(timeout, requests)| Keepalive {
        max: idle_max.unwrap_or(IDLE_MAX),
        requests,
        time: AGE_MAX,
        timeout,
        local: false,
    });
    let mut chosen = Chosen { keepalive, connect_timeout, send_timeout, read_timeout, ..Chosen::default() };
    chosen.recreate = balance.recreate.get();
    if let Some((peer, host)) = balance.peer.borrow().clone() {
        *tries += balance.more_tries.get();
        chosen.peer = Some(peer);
        chosen.host = host;
    }
    Ok(chosen)
}
