//! `ngx.socket.udp`
//!
//! The table's slots: 1 the socket itself (a userdatum), 2 the timeout, 3 the local address, 4 whether that may be
//! somebody else's.

use std::ffi::c_int;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::address::{self, Parsed};
use super::object;
use crate::cycle::Subsystem;
use crate::lua::api::running;
use crate::lua::phase::Phase;
use crate::lua::session::{Session, level, session_debug, session_log};
use crate::lua::socket::tcp::{Failure, errno_text};
use crate::lua::socket::transport::{Address, StartError};
use crate::lua::socket::udp::{DATAGRAM_MAX, Datagrams, UdpSocket};
use crate::lua::socket::{Endpoint, Origin, SocketConf};
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Error, Reply, State, c_function};
use crate::lua::text::{self, Strictness};
use crate::lua::thread::Resume;
use crate::upstream::resolver::ResolveError;

/// The largest datagram that sessions of `stream { }` read.
const STREAM_DATAGRAM_MAX: usize = 8192;

const SOCKET: c_int = 1;
const TIMEOUT: c_int = 2;
const BIND: c_int = 3;
const IP_TRANSPARENT: c_int = 4;

/// Its address is the key of the userdata's metatable.
static METATABLE: u8 = 0;

/// Makes the metatable of the sockets.
pub(super) fn inject(state: State, subsystem: Subsystem) {
    // SAFETY: a fresh table under a string key of the registry.
    unsafe { lua_createtable(state, 0, 9) };
    sys::set_function(state, c"setpeername", setpeername);
    sys::set_function(state, c"send", send);
    sys::set_function(state, c"receive", receive);
    sys::set_function(state, c"settimeout", settimeout);
    sys::set_function(state, c"close", close);
    sys::set_function(state, c"bind", bind);
    if subsystem == Subsystem::Stream {
        sys::set_function(state, c"setoption", setoption);
    }
}

/// The name of the metatable in the registry.
pub(super) const METATABLE_NAME: &std::ffi::CStr = c"__udp_cosocket_mt";

c_function! {
    /// A socket without peer.
    pub(super) fn udp(state) {
        let count = sys::top(state);
        if count != 0 {
            return Err(format!("expecting zero arguments, but got {count}").into());
        }
        let (ctx, _) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        object::push_object(state, METATABLE_NAME);
        Ok(Reply::Return(1))
    }
}

/// The socket in a table, if any.
fn socket_of(state: State) -> Option<Rc<UdpSocket>> {
    object::shared_of(state, 1, SOCKET)
}

/// The socket that is connected; otherwise says in the log that it is not.
fn connected(state: State, session: &dyn Session, verb: &str) -> Result<Option<Rc<UdpSocket>>, Error> {
    object::check_table(state)?;
    let socket = socket_of(state);
    if let Some(socket) = &socket
        && socket.datagrams.borrow().is_some()
    {
        return Ok(Some(Rc::clone(socket)));
    }
    if session.socket_conf().log_errors {
        let pointer = socket.as_ref().map_or(0, |socket| Rc::as_ptr(socket).addr());
        session_log!(session, level::ERR, "attempt to {verb} data on a closed socket: u:{pointer:016X}, c:{:016X}", 0);
    }
    Ok(None)
}

/// Fails when the socket belongs to other code. Whether it is in use.
fn is_busy(socket: &UdpSocket, session: &dyn Session) -> Result<bool, Error> {
    if !socket.owner.get().is_null() && socket.owner.get() != session.pointer() {
        return Err("bad request".into());
    }
    Ok(socket.waiting.get())
}

c_function! {
    /// `sock:setpeername(host, port)` or `sock:setpeername("unix:PATH")`
    fn setpeername(state) {
        let count = sys::top(state);
        if count != 2 && count != 3 {
            let message = format!(
                "ngx.socket.udp setpeername: expecting 2 or 3 arguments (including the object), but seen {count}"
            );
            return Err(message.into());
        }
        let (ctx, session) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        object::check_table(state)?;
        let host = sys::check_bytes(state, 2)?.to_vec();
        let port = if count == 3 { sys::check_integer(state, 3)? } else { 0 };
        let Ok(port) = u16::try_from(port) else { return sys::fail(state, &format!("bad port number: {port}")) };
        let conf = session.socket_conf();
        if let Some(former) = socket_of(state) {
            if is_busy(&former, session)? {
                return sys::fail(state, "socket busy");
            }
            if former.datagrams.borrow().is_some() {
                session_debug!(session, "lua udp socket reconnect without shutting down");
                finalize(session, &former);
            }
            session_debug!(session, "lua reuse socket upstream ctx");
        }
        let timeout = read_timeout(object::integer_slot(state, 1, TIMEOUT), &conf);
        let socket = UdpSocket::new(session.pointer(), timeout);
        object::store_shared(state, 1, SOCKET, &socket, &METATABLE, collect);
        let endpoint = Rc::downgrade(&socket);
        ctx.adopt_socket(endpoint);
        let local = object::origin_of(state, 1, BIND, IP_TRANSPARENT);
        match address::parse(&host, port) {
            Parsed::Invalid(reason) => {
                let host = String::from_utf8_lossy(&host);
                sys::fail(state, &format!("failed to parse host name \"{host}\": {reason}"))
            }
            Parsed::Address(address) => {
                session_debug!(session, "lua udp socket network address given directly");
                Ok(Reply::Return(connect(state, session, &socket, &host, &address, local)))
            }
            Parsed::Name if conf.resolver.is_none() => {
                let host = String::from_utf8_lossy(&host);
                sys::fail(state, &format!("no resolver defined to resolve \"{host}\""))
            }
            Parsed::Name => {
                sys::check_yieldable(state)?;
                socket.waiting.set(true);
                let under_way = UnderWay(Rc::clone(&socket));
                ctx.suspend(async move {
                    let found = address::look_up(&host, port, &conf).await;
                    drop(under_way);
                    let resume: Resume = Box::new(move |co| resolved(co, &socket, &host, found, local));
                    resume
                })?;
                Ok(Reply::Yield(0))
            }
        }
    }
}

/// Back in the coroutine when the name was looked up.
fn resolved(co: State, socket: &UdpSocket, host: &[u8], found: Result<Address, ResolveError>, local: Origin) -> c_int {
    let Ok((_, session)) = running() else { return 0 };
    session_debug!(session, "lua udp socket resolve handler");
    match found {
        Ok(address) => {
            if let Address::Ip(address) = &address {
                session_debug!(session, "name was resolved to {}", address.ip());
            }
            connect(co, session, socket, host, &address, local)
        }
        Err(error) => {
            session_debug!(session, "lua udp socket resolver error: {} (waiting: 1)", error.text());
            session_debug!(session, "lua udp socket error retval handler");
            failed(co, &format!("{} could not be resolved ({error})", String::from_utf8_lossy(host)))
        }
    }
}

fn connect(
    state: State,
    session: &dyn Session,
    socket: &UdpSocket,
    host: &[u8],
    address: &Address,
    local: Origin,
) -> c_int {
    session_debug!(session, "lua udp socket resolve retval handler");
    let peer = address::describe(host, address);
    if local.is_transparent {
        session_debug!(session, "lua set UDP upstream with IP_TRANSPARENT");
    }
    match Datagrams::connect(address, local) {
        Ok(datagrams) => {
            session_debug!(session, "connect to {}, fd:{}", address.text(), datagrams.fd());
            session_debug!(session, "lua udp socket connect: 0");
            socket.datagrams.replace(Some(Rc::new(datagrams)));
            socket.peer.replace(peer.into());
            // SAFETY: a slot is free.
            unsafe { lua_pushinteger(state, 1) };
            1
        }
        Err(error) => {
            let (error, call) = match (error, local.address) {
                (StartError::Bind(error), Some(local)) => (error, format!("bind({})", local.ip())),
                (StartError::Bind(error) | StartError::Connect(error), _) => (error, "connect()".to_owned()),
            };
            let failure = Failure::from_io(&error);
            if let Failure::System(number) = failure {
                let text = errno_text(number);
                session_log!(session, level::CRIT, "{call} failed ({number}: {text}), upstream: {peer}");
            }
            session_debug!(session, "lua udp socket connect: -1");
            session_debug!(session, "lua udp socket error retval handler");
            failed(state, &failure.text())
        }
    }
}

/// Pushes nil and the reason.
fn failed(state: State, reason: &str) -> c_int {
    // SAFETY: two slots are free.
    unsafe { lua_pushnil(state) };
    sys::push(state, reason.as_bytes());
    2
}

/// An operation under way; when it is dropped, it is over.
struct UnderWay(Rc<UdpSocket>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.waiting.set(false);
    }
}

c_function! {
    fn collect(state) {
        crate::lua::ffi::worker::debug(format_args!("cleanup lua udp socket upstream request"));
        object::collect_shared(state, UdpSocket::end);
        Ok(Reply::Return(0))
    }
}

/// Closes the connection.
fn finalize(session: &dyn Session, socket: &UdpSocket) {
    session_debug!(session, "lua finalize socket");
    if socket.datagrams.take().is_some() {
        session_debug!(session, "lua close socket connection");
        session_debug!(session, "reusable connection: 0");
    }
}

fn read_timeout(milliseconds: i64, conf: &SocketConf) -> Duration {
    match u64::try_from(milliseconds) {
        Ok(milliseconds @ 1..) => Duration::from_millis(milliseconds),
        _ => conf.read_timeout,
    }
}

c_function! {
    fn bind(state) {
        let count = sys::top(state);
        if count != 2 {
            return Err(format!("expecting 2 arguments, but got {count}").into());
        }
        let (ctx, session) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        object::check_table(state)?;
        let text = sys::check_bytes(state, 2)?;
        let address: Option<IpAddr> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let Some(address) = address else { return sys::fail(state, "bad address") };
        session_debug!(session, "lua udp socket bind ip: {address}");
        // SAFETY: argument 1 is a table.
        unsafe {
            lua_rawseti_(state, 1, BIND);
            lua_pushinteger(state, 1);
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// `ip-transparent`: the local address need not be one of ours.
    fn setoption(state) {
        let count = sys::top(state);
        if count < 2 {
            let message = format!("ngx.socket setoption: expecting 2 arguments (including the object) but seen {count}");
            return Err(message.into());
        }
        let (ctx, _) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        object::check_table(state)?;
        let option = sys::check_bytes(state, 2)?;
        if option != b"ip-transparent" {
            return sys::fail(state, &format!("unknown option {}", String::from_utf8_lossy(option)));
        }
        // SAFETY: argument 1 is a table; missing arguments are nil.
        unsafe {
            lua_settop(state, 3);
            lua_pushboolean(state, c_int::from(sys::truth(state, 3)));
            lua_rawseti_(state, 1, IP_TRANSPARENT);
            lua_pushinteger(state, 0);
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn send(state) {
        let count = sys::top(state);
        if count != 2 {
            return Err(format!("expecting 2 arguments (including the object), but got {count}").into());
        }
        let (_, session) = running()?;
        let Some(socket) = connected(state, session, "send")? else { return sys::fail(state, "closed") };
        if is_busy(&socket, session)? {
            return sys::fail(state, "socket busy");
        }
        let mut bytes = Vec::new();
        match sys::kind(state, 2) {
            LUA_TNUMBER | LUA_TSTRING | LUA_TNIL | LUA_TBOOLEAN => text::append_scalar(state, 2, &mut bytes),
            LUA_TTABLE => text::append_array(state, 2, 2, Strictness::Strict, &mut bytes)?,
            _ => {
                let got = sys::type_name(state, 2);
                let message = format!("string, number, boolean, nil, or array table expected, got {got}");
                return Err(Error::Argument(2, message.into()));
            }
        }
        let datagrams = socket.datagrams.borrow().clone();
        let Some(datagrams) = datagrams else { return sys::fail(state, "closed") };
        let result = datagrams.send(&bytes);
        if let Ok(sent) = result {
            let (fd, length) = (datagrams.fd(), bytes.len());
            match session.subsystem() {
                Subsystem::Http => session_debug!(session, "send: fd:{fd} {sent} of {length}"),
                Subsystem::Stream => session_debug!(session, "sendto: fd:{fd} {sent} of {length}"),
            }
        }
        match result {
            Ok(sent) if sent == bytes.len() => {
                // SAFETY: a slot is free.
                unsafe { lua_pushinteger(state, 1) };
                Ok(Reply::Return(1))
            }
            Ok(_) => sys::fail(state, "partial write"),
            Err(error) => {
                session_debug!(session, "lua udp socket error retval handler");
                sys::fail(state, &Failure::from_io(&error).text())
            }
        }
    }
}

c_function! {
    fn receive(state) {
        let count = sys::top(state);
        if count != 1 && count != 2 {
            return Err(format!("expecting 1 or 2 arguments (including the object), but got {count}").into());
        }
        let (ctx, session) = running()?;
        session_debug!(session, "lua udp socket calling receive() method");
        let Some(socket) = connected(state, session, "receive")? else { return sys::fail(state, "closed") };
        if is_busy(&socket, session)? {
            return sys::fail(state, "socket busy");
        }
        session_debug!(session, "lua udp socket read timeout: {}", socket.read_timeout.get().as_millis());
        let most = match session.subsystem() {
            Subsystem::Http => DATAGRAM_MAX,
            Subsystem::Stream => STREAM_DATAGRAM_MAX,
        };
        let size = match count {
            2 if sys::kind(state, 2) != LUA_TNIL => sys::check_integer(state, 2)?,
            _ => most as i64,
        };
        let size = usize::try_from(size).unwrap_or(most).min(most);
        session_debug!(session, "lua udp socket receive buffer size: {size}");
        session_debug!(session, "lua udp socket read data: waiting: 0");
        let datagrams = socket.datagrams.borrow().clone();
        let Some(datagrams) = datagrams else { return sys::fail(state, "closed") };
        let mut buffer = vec![0; size];
        match datagrams.try_receive(&mut buffer) {
            Ok(length) => {
                session_debug!(session, "lua udp recv returned {length}");
                session_debug!(session, "lua udp socket receive done in a single run");
                buffer.truncate(length);
                return Ok(Reply::Return(push_received(state, session, &socket, Ok(buffer))));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                session_debug!(session, "lua udp recv returned -2");
            }
            Err(error) => {
                session_debug!(session, "lua udp recv returned -1");
                session_debug!(session, "lua udp socket handle error");
                let failure = Failure::from_io(&error);
                return Ok(Reply::Return(push_received(state, session, &socket, Err(failure))));
            }
        }
        sys::check_yieldable(state)?;
        socket.waiting.set(true);
        let under_way = UnderWay(Rc::clone(&socket));
        ctx.suspend(async move {
            let result = socket.receive(size).await;
            drop(under_way);
            let resume: Resume = Box::new(move |co| {
                running().map_or(0, |(_, session)| woken(co, session, &socket, result))
            });
            resume
        })?;
        Ok(Reply::Yield(0))
    }
}

/// Back in the coroutine after a wait.
fn woken(co: State, session: &dyn Session, socket: &UdpSocket, result: Result<Vec<u8>, Failure>) -> c_int {
    let uri = session.uri();
    session_debug!(session, "lua udp socket handler for \"{uri}\", wev 0");
    session_debug!(session, "lua udp socket read handler");
    match &result {
        Ok(data) => {
            session_debug!(session, "lua udp socket read data: waiting: 1");
            session_debug!(session, "lua udp recv returned {}", data.len());
        }
        Err(Failure::Timeout) => {
            if session.socket_conf().log_errors {
                let peer = socket.peer.borrow().clone();
                session_log!(session, level::ERR, "lua udp socket read timed out, upstream: {peer}");
            }
            session_debug!(session, "lua udp socket handle error");
        }
        Err(_) => session_debug!(session, "lua udp socket handle error"),
    }
    session_debug!(session, "lua udp socket waking up the current request");
    push_received(co, session, socket, result)
}

fn push_received(state: State, session: &dyn Session, socket: &UdpSocket, result: Result<Vec<u8>, Failure>) -> c_int {
    session_debug!(session, "lua udp socket receive return value handler");
    match result {
        Ok(data) => {
            sys::push(state, &data);
            1
        }
        Err(failure) => {
            if let Failure::System(number) = failure {
                let (text, peer) = (errno_text(number), socket.peer.borrow().clone());
                session_log!(session, level::ERR, "recv() failed ({number}: {text}), upstream: {peer}");
            }
            session_debug!(session, "lua udp socket error retval handler");
            failed(state, &failure.text())
        }
    }
}

c_function! {
    fn settimeout(state) {
        let count = sys::top(state);
        if count != 2 {
            let message = format!(
                "ngx.socket settimeout: expecting at least 2 arguments (including the object) but seen {count}"
            );
            return Err(message.into());
        }
        object::check_table(state)?;
        // SAFETY: any index is acceptable.
        let timeout = unsafe { lua_tonumber(state, 2) } as i64;
        // SAFETY: argument 1 is a table; the value on the top is argument 2.
        unsafe { lua_rawseti_(state, 1, TIMEOUT) };
        if let Some(socket) = socket_of(state) {
            let conf = running().map(|(_, session)| session.socket_conf()).unwrap_or_default();
            socket.read_timeout.set(read_timeout(timeout, &conf));
        }
        Ok(Reply::Return(0))
    }
}

c_function! {
    fn close(state) {
        let count = sys::top(state);
        if count != 1 {
            return Err(format!("expecting 1 argument (including the object) but seen {count}").into());
        }
        let (_, session) = running()?;
        object::check_table(state)?;
        let Some(socket) = socket_of(state).filter(|socket| socket.datagrams.borrow().is_some()) else {
            return sys::fail(state, "closed");
        };
        if is_busy(&socket, session)? {
            return sys::fail(state, "socket busy");
        }
        finalize(session, &socket);
        // SAFETY: a slot is free.
        unsafe { lua_pushinteger(state, 1) };
        Ok(Reply::Return(1))
    }
}
