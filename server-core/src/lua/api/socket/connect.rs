//! `connect` and `bind`.

use std::cell::Cell;
use std::ffi::c_int;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::address::{self, Parsed};
use super::object::{self, Uses};
use crate::cycle::Subsystem;
use crate::lua::api::running;
use crate::lua::ctx::Ctx;
use crate::lua::ffi::worker;
use crate::lua::phase::Phase;
use crate::lua::session::{Notice, Session, level, session_debug, session_log};
use crate::lua::socket::pool::{Admission, Kept, Pool};
use crate::lua::socket::tcp::{Failure, Kind, TcpSocket, Timeouts, errno_text};
use crate::lua::socket::transport::{Connecting, StartError};
use crate::lua::socket::{Origin, SocketConf};
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Error, Reply, State, c_function};
use crate::lua::thread::Resume;
use crate::upstream::resolver::ResolveError;

/// `ngx.socket.connect`: a new socket, connected.
pub(crate) const LAYER: &str = "
local tcp = ngx.socket.tcp
function ngx.socket.connect(...)
    local sock = tcp()
    local ok, err = sock:connect(...)
    if not ok then
        return nil, err
    end
    return sock
end
";

c_function! {
    /// `sock:connect(host, port?, options?)`
    pub(super) fn connect(state) {
        begin(state)
    }
}

c_function! {
    /// `sock:bind(address)`
    pub(super) fn bind(state) {
        let count = sys::top(state);
        if count != 2 && count != 3 {
            return Err(format!("expecting 2 or 3 arguments, but got {count}").into());
        }
        let (ctx, session) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        object::check_table(state)?;
        let port = match count {
            3 => match sys::check_integer(state, 3) {
                Ok(port) => port,
                Err(_) => {
                    let kind = sys::type_name(state, 3);
                    return sys::fail(state, &format!("expecting port to be anumber but got type: {kind}"));
                }
            },
            _ => 0,
        };
        let Ok(port) = u16::try_from(port) else { return sys::fail(state, &format!("bad port number: {port}")) };
        let text = sys::check_bytes(state, 2)?;
        let address: Option<IpAddr> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let Some(address) = address else { return sys::fail(state, "bad address") };
        session_debug!(session, "lua tcp socket bind ip: {address}");
        sys::push(state, SocketAddr::new(address, port).to_string().as_bytes());
        // SAFETY: argument 1 is a table.
        unsafe {
            lua_rawseti_(state, 1, object::BIND);
            lua_pushboolean(state, 1);
        }
        Ok(Reply::Return(1))
    }
}

/// Where to connect, out of the arguments.
struct Target {
    host: Vec<u8>,
    port: u16,
    key: Vec<u8>,
    /// The size and the backlog of a pool, when the options give a size.
    pool: Option<(usize, Option<usize>)>,
}

fn begin(state: State) -> Answer {
    let count = sys::top(state);
    if !(2..=4).contains(&count) {
        let message =
            format!("ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen {count}");
        return Err(message.into());
    }
    let (ctx, session) = running()?;
    ctx.phase.get().require(Phase::YIELDABLE)?;
    object::check_table(state)?;
    let conf = session.socket_conf();
    let target = match target(state, count, &conf, session.subsystem())? {
        Ok(target) => target,
        Err(reason) => return sys::fail(state, &reason),
    };
    sys::push(state, &target.key);
    // SAFETY: argument 1 is a table.
    unsafe { lua_rawseti_(state, 1, object::KEY) };
    let timeouts = Timeouts::new(
        object::integer_slot(state, 1, object::CONNECT_TIMEOUT),
        object::integer_slot(state, 1, object::SEND_TIMEOUT),
        object::integer_slot(state, 1, object::READ_TIMEOUT),
        &conf,
    );
    if let Some(former) = object::socket_of(state, 1) {
        if let Some(reason) = object::busy(&former, session, Uses::BOTH)? {
            return sys::fail(state, reason);
        }
        if former.kind != Kind::Peer {
            return Err("attempt to re-connect a request socket".into());
        }
        if former.is_connected() {
            session_debug!(session, "lua tcp socket reconnect without shutting down");
            super::stream::finalize(session, &former);
        }
        session_debug!(session, "lua reuse socket upstream ctx");
    }
    let socket = TcpSocket::new(Kind::Peer, session.pointer(), &conf, timeouts);
    object::store(state, 1, &socket);
    let endpoint = Rc::downgrade(&socket);
    ctx.adopt_socket(endpoint);
    if ctx.reuse_cleanup() {
        let of = if session.subsystem() == Subsystem::Stream { "stream" } else { "http" };
        session_debug!(session, "lua {of} cleanup reuse");
    }

    let pool = Pool::find(&target.key).or_else(|| {
        let (size, backlog) = target.pool?;
        Some(super::stream::create_pool(session, &target.key, size, backlog))
    });
    let mut queue = None;
    if let Some(pool) = pool {
        socket.pool.replace(Some(Rc::clone(&pool)));
        if reuse(session, &socket, &pool) {
            return sys::succeed(state);
        }
        match pool.admit() {
            Admission::Granted => {}
            Admission::Refused => {
                socket.pool.take();
                return sys::fail(state, "too many waiting connect operations");
            }
            Admission::Queued(turn) => {
                session_debug!(
                    session,
                    "lua tcp socket queue connect operation for connection pool \"{}\", connections: {}",
                    pool.name(),
                    pool.connections()
                );
                let wait = timeouts.connect.as_millis();
                let (u, op) = (Rc::as_ptr(&socket).addr(), std::ptr::from_ref(&turn).addr());
                session_debug!(
                    session,
                    "lua tcp socket queued connect operation for {wait}(ms), u: {u:016X}, ctx: {op:016X}"
                );
                queue = Some(turn);
            }
        }
    }
    if queue.is_none() {
        session_debug!(session, "lua tcp socket connect timeout: {}", timeouts.connect.as_millis());
        if let Some(answer) = connect_at_once(state, session, &socket, &target, &conf)? {
            return answer;
        }
    }
    wait(state, ctx, socket, target, conf, queue)
}

/// Reads the arguments; the inner error is what `connect` returns.
fn target(
    state: State,
    mut count: c_int,
    conf: &SocketConf,
    subsystem: Subsystem,
) -> Result<Result<Target, String>, Error> {
    let host = sys::check_bytes(state, 2)?.to_vec();
    let (mut pool_size, mut backlog, mut custom) = (0, None, None);
    if sys::kind(state, count) == LUA_TTABLE {
        if let Some(size) = option(state, count, c"pool_size")? {
            if size <= 0 {
                return Err(Error::Argument(count, format!("bad \"pool_size\" option value: {size}").into()));
            }
            pool_size = size;
        }
        if let Ok(Some(value)) = option(state, count, c"backlog") {
            if value < 0 {
                return Err(Error::Argument(count, format!("bad \"backlog\" option value: {value}").into()));
            }
            backlog = Some(value as usize);
            if pool_size == 0 {
                pool_size = conf.pool_size as i64;
            }
        }
        sys::push_field(state, count, c"pool")?;
        // SAFETY: the value is popped again.
        unsafe {
            match lua_type(state, -1) {
                LUA_TNUMBER | LUA_TSTRING => custom = sys::bytes(state, -1).map(<[u8]>::to_vec),
                LUA_TNIL => {}
                _ => {
                    let message = format!("bad \"pool\" option type: {}", sys::type_name(state, -1));
                    return Err(Error::Argument(count, message.into()));
                }
            }
            lua_settop(state, -2);
        }
        count -= 1;
    }
    let is_unix = host.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"unix:"));
    let port = (count >= 3).then(|| sys::check_integer(state, 3).ok()).flatten();
    let (port, key) = match port {
        Some(port) => {
            let Ok(number) = u16::try_from(port) else { return Ok(Err(format!("bad port number: {port}"))) };
            (number, [&host[..], b":", port.to_string().as_bytes()].concat())
        }
        None if is_unix => (0, host.clone()),
        // There, names are looked at first.
        None if subsystem == Subsystem::Stream => (0, host.clone()),
        None => return Ok(Err("missing the port number".to_owned())),
    };
    let pool = (pool_size > 0).then_some((pool_size as usize, backlog));
    Ok(Ok(Target { host, port, key: custom.unwrap_or(key), pool }))
}

/// A number among the options.
fn option(state: State, table: c_int, name: &std::ffi::CStr) -> Result<Option<i64>, Error> {
    sys::push_field(state, table, name)?;
    // SAFETY: the value is popped again.
    unsafe {
        let value = if lua_isnumber(state, -1) != 0 {
            Ok(Some(lua_tointeger(state, -1) as i64))
        } else if lua_type(state, -1) == LUA_TNIL {
            Ok(None)
        } else {
            let message = format!("bad \"{}\" option type: {}", name.to_string_lossy(), sys::type_name(state, -1));
            Err(Error::Argument(table, message.into()))
        };
        lua_settop(state, -2);
        value
    }
}

/// Takes an idle connection.
fn reuse(session: &dyn Session, socket: &TcpSocket, pool: &Rc<Pool>) -> bool {
    session_debug!(session, "lua tcp socket pool get keepalive peer");
    let Some(kept) = pool.take() else {
        session_debug!(session, "lua tcp socket keepalive: connection pool empty");
        return false;
    };
    session_debug!(
        session,
        "lua tcp socket get keepalive peer: using connection {:016X}, fd:{}",
        Rc::as_ptr(&kept.transport).cast::<()>().addr(),
        kept.transport.fd()
    );
    socket.attach(kept);
    true
}

/// Begins to connect where no name must be looked up. `None` when there is something to wait for.
fn connect_at_once(
    state: State,
    session: &dyn Session,
    socket: &Rc<TcpSocket>,
    target: &Target,
    conf: &SocketConf,
) -> Result<Option<Answer>, Error> {
    let parsed = address::parse(&target.host, target.port);
    match parsed {
        Parsed::Invalid(reason) => {
            release(session, socket);
            let host = String::from_utf8_lossy(&target.host);
            return Ok(Some(sys::fail(state, &format!("failed to parse host name \"{host}\": {reason}"))));
        }
        Parsed::Name if conf.resolver.is_none() => {
            release(session, socket);
            let host = String::from_utf8_lossy(&target.host);
            return Ok(Some(sys::fail(state, &format!("no resolver defined to resolve \"{host}\""))));
        }
        Parsed::Name => {}
        Parsed::Address(_) => session_debug!(session, "lua tcp socket network address given directly"),
    }
    if sys::check_yieldable(state).is_err() {
        if matches!(parsed, Parsed::Name) {
            session_debug!(session, "resolve name done: -2");
        }
        release(session, socket);
        sys::check_yieldable(state)?;
    }
    Ok(None)
}

/// How a connect in the background ended.
enum Outcome {
    Connected(Kept),
    Reused(Kept),
    Failed(Failure, &'static str),
    Unresolved(ResolveError),
    QueueTimeout,
    Invalid(&'static str),
    Unbound(Failure),
}

fn wait(
    state: State,
    ctx: &Ctx,
    socket: Rc<TcpSocket>,
    target: Target,
    conf: SocketConf,
    queue: Option<tokio::sync::oneshot::Receiver<()>>,
) -> Answer {
    sys::check_yieldable(state)?;
    let mut local = object::origin_of(state, 1, object::BIND, object::IP_TRANSPARENT);
    socket.connecting.set(true);
    let session = running().ok().map(|(_, session)| session);
    // Requests have the option, but it does nothing for them.
    local.is_transparent &= session.is_some_and(|session| session.subsystem() == Subsystem::Stream);
    if local.is_transparent
        && let Some(session) = session
    {
        session_debug!(session, "lua set TCP upstream with IP_TRANSPARENT");
    }
    let notice = session.and_then(Session::notice);
    let stage = match address::parse(&target.host, target.port) {
        _ if queue.is_some() => Stage::Queueing,
        Parsed::Name => Stage::Resolving,
        Parsed::Address(_) | Parsed::Invalid(_) => Stage::Connecting,
    };
    socket.dialing.set(stage == Stage::Connecting);
    let under_way = UnderWay { socket: Rc::clone(&socket), stage: Cell::new(stage) };
    ctx.suspend(async move {
        let outcome = run(&socket, &target, &conf, local, queue, &under_way.stage, notice.as_ref()).await;
        under_way.stage.set(Stage::Done);
        socket.connecting.set(false);
        socket.dialing.set(false);
        let resume: Resume = Box::new(move |co| finish(co, &socket, &target, &conf, local, outcome));
        resume
    })?;
    Ok(Reply::Yield(0))
}

/// Cleans up after a connect that was cancelled.
struct UnderWay {
    socket: Rc<TcpSocket>,
    stage: Cell<Stage>,
}

/// How far a connect is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queueing,
    Resolving,
    Connecting,
    Done,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let stage = self.stage.get();
        if stage != Stage::Done {
            let u = Rc::as_ptr(&self.socket).addr();
            match stage {
                Stage::Queueing => {
                    let op = std::ptr::from_ref(self).addr();
                    worker::debug(format_args!("lua tcp socket abort queueing, conn_op_ctx: {op:016X}, u: {u:016X}"));
                }
                Stage::Resolving => worker::debug(format_args!("lua tcp socket abort resolver")),
                Stage::Connecting | Stage::Done => {
                    worker::debug(format_args!("lua finalize socket"));
                    worker::debug(format_args!("lua close socket connection"));
                    worker::debug(format_args!("reusable connection: 0"));
                }
            }
            self.socket.connecting.set(false);
            self.socket.dialing.set(false);
            if let Some(pool) = self.socket.pool.take() {
                pool.release();
            }
        }
    }
}

async fn run(
    socket: &TcpSocket,
    target: &Target,
    conf: &SocketConf,
    local: Origin,
    queue: Option<tokio::sync::oneshot::Receiver<()>>,
    stage: &Cell<Stage>,
    notice: Option<&Notice>,
) -> Outcome {
    let limit = socket.timeouts.get().connect;
    if let Some(turn) = queue {
        let turned = tokio::time::timeout(limit, turn).await;
        let pool = socket.pool.borrow().clone();
        let Some(pool) = pool else { return Outcome::Failed(Failure::Closed, "") };
        pool.leave_queue();
        if turned.is_err() {
            socket.pool.take();
            return Outcome::QueueTimeout;
        }
        if let Some(kept) = pool.take() {
            return Outcome::Reused(kept);
        }
        pool.count();
    }
    stage.set(Stage::Resolving);
    let address = match address::parse(&target.host, target.port) {
        Parsed::Address(address) => address,
        Parsed::Invalid(reason) => return Outcome::Invalid(reason),
        Parsed::Name => match address::look_up(&target.host, target.port, conf).await {
            Ok(address) => address,
            Err(error) => return Outcome::Unresolved(error),
        },
    };
    let peer: Rc<str> = address::describe(&target.host, &address).into();
    socket.peer.replace(Rc::clone(&peer));
    stage.set(Stage::Connecting);
    socket.dialing.set(true);
    let connecting = match Connecting::start(&address, local) {
        Ok(connecting) => connecting,
        Err(StartError::Bind(error)) => return Outcome::Unbound(Failure::from_io(&error)),
        Err(StartError::Connect(error)) => return Outcome::Failed(Failure::from_io(&error), "at once"),
    };
    if let Some(notice) = notice {
        notice(format_args!("connect to {}, fd:{} #0", address.text(), connecting.fd()));
    }
    match tokio::time::timeout(limit, connecting.finish()).await {
        Ok(Ok(transport)) => Outcome::Connected(Kept::new(transport.into(), peer)),
        Ok(Err(error)) => Outcome::Failed(Failure::from_io(&error), "later"),
        Err(_elapsed) => Outcome::Failed(Failure::Timeout, "later"),
    }
}

/// Back in the coroutine: logs, and pushes what `connect` returns.
fn finish(
    co: State,
    socket: &Rc<TcpSocket>,
    target: &Target,
    conf: &SocketConf,
    local: Origin,
    outcome: Outcome,
) -> c_int {
    let Ok((_, session)) = running() else { return 0 };
    let logs = conf.log_errors;
    let reason = match outcome {
        Outcome::Connected(kept) | Outcome::Reused(kept) => {
            session_debug!(session, "lua tcp socket connected: fd:{}", kept.transport.fd());
            socket.attach(kept);
            return pushed(sys::succeed(co));
        }
        Outcome::QueueTimeout => {
            let host = String::from_utf8_lossy(&target.host);
            if logs {
                session_log!(
                    session,
                    level::ERR,
                    "lua tcp socket queued connect timed out, when trying to connect to {host}:{}",
                    target.port
                );
            }
            "timeout".to_owned()
        }
        Outcome::Invalid(reason) => {
            let host = String::from_utf8_lossy(&target.host);
            release(session, socket);
            format!("failed to parse host name \"{host}\": {reason}")
        }
        Outcome::Unbound(failure) => {
            if let (Failure::System(number), Some(local)) = (failure, local.address) {
                let text = errno_text(number);
                let ip = local.ip();
                session_log!(session, level::CRIT, "bind({ip}) failed ({number}: {text}){}", socket.upstream());
            }
            release(session, socket);
            failure.text()
        }
        Outcome::Unresolved(error) => {
            let host = String::from_utf8_lossy(&target.host);
            session_debug!(session, "lua tcp socket resolver error: {} (connect waiting: 0)", error.text());
            release(session, socket);
            format!("{host} could not be resolved ({error})")
        }
        Outcome::Failed(failure, when) => {
            let peer = socket.peer.borrow().clone();
            match failure {
                Failure::Timeout if logs => {
                    session_log!(session, level::ERR, "lua tcp socket connect timed out, upstream: {peer}");
                }
                Failure::System(number) if when == "at once" => {
                    let text = errno_text(number);
                    let grade = match number {
                        libc::ECONNREFUSED
                        | libc::ENETDOWN
                        | libc::ENETUNREACH
                        | libc::EHOSTDOWN
                        | libc::EHOSTUNREACH => level::ERR,
                        _ => level::CRIT,
                    };
                    session_log!(
                        session,
                        grade,
                        "connect() to {} failed ({number}: {text}), upstream: {peer}",
                        address_text(&peer)
                    );
                }
                Failure::System(number) if logs => {
                    session_log!(session, level::ERR, "connect() failed ({number}: {})", errno_text(number));
                }
                _ => {}
            }
            release(session, socket);
            failure.text()
        }
    };
    pushed(sys::fail(co, &reason))
}

/// The address in a peer's text.
fn address_text(peer: &str) -> &str {
    peer.rsplit_once('(').map_or(peer, |(_, address)| address.trim_end_matches(')'))
}

/// The socket did not get a connection: its pool counts one less.
fn release(session: &dyn Session, socket: &TcpSocket) {
    let pool = socket.pool.borrow_mut().take();
    if let Some(pool) = pool
        && pool.release()
    {
        session_debug!(session, "lua tcp socket keepalive: free connection pool for \"{}\"", pool.name());
    }
}

fn pushed(answer: Answer) -> c_int {
    match answer {
        Ok(Reply::Return(count)) => count,
        _ => 0,
    }
}
