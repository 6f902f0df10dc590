//! Methods of connected sockets: send, receive, close, keep-alive, timeouts.

use std::cell::Cell;
use std::ffi::c_int;
use std::rc::Rc;
use std::time::Duration;

use super::object::{self, Uses};
use crate::cycle::Subsystem;
use crate::lua::api::running;
use crate::lua::ffi::worker;
use crate::lua::session::{Session, level, session_debug, session_log};
use crate::lua::socket::pattern::{Counting, Pattern};
use crate::lua::socket::pool::{Counted, Pool};
use crate::lua::socket::read::Want;
use crate::lua::socket::tcp::{Failure, Kind, TcpSocket, Timeouts, errno_text};
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Error, Reply, State, c_function};
use crate::lua::text::{self, Strictness};
use crate::lua::thread::Resume;

/// The methods that all kinds of sockets have.
pub(super) fn inject_reader(state: State) {
    sys::set_function(state, c"receive", receive);
    sys::set_function(state, c"receiveany", receiveany);
    sys::set_function(state, c"receiveuntil", receiveuntil);
    sys::set_function(state, c"settimeout", settimeout);
    sys::set_function(state, c"settimeouts", settimeouts);
}

/// A new pool, with its lines in the debug log.
pub(super) fn create_pool(session: &dyn Session, key: &[u8], size: usize, backlog: Option<usize>) -> Rc<Pool> {
    let shown = backlog.map_or(-1, |backlog| backlog as i64);
    session_debug!(session, "lua tcp socket connection pool size: {size}, backlog: {shown}");
    let pool = Pool::create(key, size, backlog, session.socket_conf().mark);
    session_debug!(session, "lua tcp socket keepalive create connection pool for key \"{}\"", pool.name());
    pool
}

/// Closes the connection.
pub(super) fn finalize(session: &dyn Session, socket: &TcpSocket) {
    session_debug!(session, "lua finalize socket");
    if socket.is_connected() {
        session_debug!(session, "lua close socket connection");
        session_debug!(session, "reusable connection: 0");
        if let Ok((ctx, _)) = running() {
            ctx.free_cleanup();
        }
    }
    if let Some(name) = socket.close() {
        session_debug!(session, "lua tcp socket keepalive: free connection pool for \"{name}\"");
    }
}

c_function! {
    pub(super) fn send(state) {
        let count = sys::top(state);
        if count != 2 {
            return Err(format!("expecting 2 arguments (including the object), but got {count}").into());
        }
        let (ctx, session) = running()?;
        object::check_table(state)?;
        let socket = object::socket_of(state, 1);
        let Some(socket) = socket.as_ref().filter(|socket| !socket.is_write_closed()) else {
            object::log_closed(session, socket.as_ref(), "send");
            return sys::fail(state, "closed");
        };
        if let Some(reason) = object::busy(socket, session, Uses::WRITE)? {
            return sys::fail(state, reason);
        }
        session_debug!(session, "lua tcp socket send timeout: {}", socket.timeouts.get().send.as_millis());
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
        let length = bytes.len();
        if session.socket_conf().tcp_nodelay && socket.set_nodelay() {
            session_debug!(session, "lua socket tcp_nodelay");
        }
        let sent = match socket.write_now(&bytes) {
            Ok(sent) => sent,
            Err(failure) => return Ok(Reply::Return(write_failed(state, session, socket, failure))),
        };
        if length > 0 {
            let fd = socket.transport.borrow().as_ref().map_or(-1, |transport| transport.fd());
            session_debug!(session, "send: fd:{fd} {sent} of {length}");
        }
        if sent == length {
            session_debug!(session, "lua tcp socket sent all the data");
            // SAFETY: a slot is free.
            unsafe { lua_pushinteger(state, length as lua_Integer) };
            return Ok(Reply::Return(1));
        }
        sys::check_yieldable(state)?;
        socket.writing.set(true);
        let socket = Rc::clone(socket);
        let under_way = UnderWay { socket: Rc::clone(&socket), direction: Direction::Write, done: Cell::new(false) };
        ctx.suspend(async move {
            let result = socket.write(bytes.get(sent..).unwrap_or_default()).await;
            under_way.finished();
            let resume: Resume = Box::new(move |co| match result {
                Ok(()) => {
                    // SAFETY: a slot is free in a coroutine that is about to be resumed.
                    unsafe { lua_pushinteger(co, length as lua_Integer) };
                    1
                }
                Err(failure) => running().map_or(0, |(_, session)| write_failed(co, session, &socket, failure)),
            });
            resume
        })?;
        Ok(Reply::Yield(0))
    }
}

fn write_failed(state: State, session: &dyn Session, socket: &TcpSocket, failure: Failure) -> c_int {
    match failure {
        Failure::Timeout if session.socket_conf().log_errors => {
            session_log!(session, level::ERR, "lua tcp socket write timed out{}", socket.upstream());
        }
        Failure::System(number) => {
            let text = errno_text(number);
            session_log!(session, level::ERR, "send() failed ({number}: {text}){}", socket.upstream());
        }
        _ => {}
    }
    // What the peer still sends can be read.
    socket.write_closed.set(true);
    if socket.kind == Kind::Peer && socket.read_closed.get() {
        finalize(session, socket);
    }
    // SAFETY: two slots are free.
    unsafe { lua_pushnil(state) };
    sys::push(state, failure.text().as_bytes());
    2
}

c_function! {
    fn receive(state) {
        let count = sys::top(state);
        if count != 1 && count != 2 {
            return Err(format!("expecting 1 or 2 arguments (including the object), but got {count}").into());
        }
        let (_, session) = running()?;
        session_debug!(session, "lua tcp socket calling receive() method");
        let Some(socket) = readable(state, 1, session)? else { return sys::fail(state, "closed") };
        if let Some(reason) = object::busy(&socket, session, Uses::READ)? {
            return sys::fail(state, reason);
        }
        session_debug!(session, "lua tcp socket read timeout: {}", socket.timeouts.get().read.as_millis());
        let want = match want(state, count)? {
            Want::Exact(0) => {
                sys::push(state, b"");
                return Ok(Reply::Return(1));
            }
            want => want,
        };
        read(state, session, &socket, want)
    }
}

/// The pattern of `receive`.
fn want(state: State, count: c_int) -> Result<Want, Error> {
    if count < 2 {
        return Ok(Want::Line);
    }
    // SAFETY: any index is acceptable.
    if unsafe { lua_isnumber(state, 2) } != 0 {
        let size = sys::check_integer(state, 2)?;
        return match usize::try_from(size) {
            Ok(size) => Ok(Want::Exact(size)),
            Err(_) => Err(Error::Argument(2, "bad number argument".into())),
        };
    }
    if sys::kind(state, 2) != LUA_TSTRING {
        return Err(Error::Argument(2, "bad argument".into()));
    }
    match sys::check_bytes(state, 2)? {
        b"*a" => Ok(Want::All),
        b"*l" => Ok(Want::Line),
        [b'*', _] => Err(Error::Argument(2, "bad pattern argument".into())),
        other => {
            let message = format!("bad pattern argument: {}", String::from_utf8_lossy(other));
            Err(Error::Argument(2, message.into()))
        }
    }
}

c_function! {
    fn receiveany(state) {
        let count = sys::top(state);
        if count != 2 {
            return Err(format!("expecting 2 arguments (including the object), but got {count}").into());
        }
        let (_, session) = running()?;
        let Some(socket) = readable(state, 1, session)? else { return sys::fail(state, "closed") };
        if let Some(reason) = object::busy(&socket, session, Uses::READ)? {
            return sys::fail(state, reason);
        }
        // SAFETY: any index is acceptable.
        let most = if unsafe { lua_isnumber(state, 2) } != 0 { sys::check_integer(state, 2)? } else { 0 };
        let most = usize::try_from(most).unwrap_or(0);
        if most == 0 {
            return Err(Error::Argument(2, "bad max argument".into()));
        }
        session_debug!(session, "lua tcp socket calling receiveany() method to read at most {most} bytes");
        read(state, session, &socket, Want::Any(most))
    }
}

c_function! {
    /// The answer is an iterator with the socket's table and the pattern as upvalues.
    fn receiveuntil(state) {
        let count = sys::top(state);
        if count != 2 && count != 3 {
            return Err(format!("expecting 2 or 3 arguments (including the object), but got {count}").into());
        }
        let mut inclusive = false;
        if count == 3 {
            if sys::kind(state, 3) != LUA_TTABLE {
                return Err(sys::type_error(state, 3, "table"));
            }
            sys::push_field(state, 3, c"inclusive")?;
            match sys::kind(state, -1) {
                LUA_TNIL => {}
                LUA_TBOOLEAN => inclusive = sys::truth(state, -1),
                _ => {
                    let got = sys::type_name(state, -1);
                    return Err(format!("bad \"inclusive\" option value type: {got}").into());
                }
            }
            // SAFETY: drops the option and the options.
            unsafe { lua_settop(state, 2) };
        }
        let (_, session) = running()?;
        session_debug!(session, "lua tcp socket calling receiveuntil() method");
        object::check_table(state)?;
        let bytes = sys::check_bytes(state, 2)?;
        if bytes.is_empty() {
            return sys::fail(state, "pattern is empty");
        }
        let counting = if session.subsystem() == Subsystem::Stream { Counting::Held } else { Counting::Data };
        let pattern = Rc::new(Pattern::new(bytes, inclusive, counting));
        // SAFETY: the userdatum has room for one pointer, which its `__gc` gives back.
        unsafe {
            lua_settop(state, 1);
            let content = lua_newuserdata(state, size_of::<*const Pattern>()).cast::<*const Pattern>();
            content.write(Rc::into_raw(pattern));
            lua_createtable(state, 0, 1);
            sys::set_collector(state, collect_pattern);
            lua_setmetatable(state, -2);
            lua_pushcclosure(state, iterate, 2);
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn collect_pattern(state) {
        // SAFETY: called with the userdatum; the pointer is given back once.
        unsafe {
            let content = lua_touserdata(state, 1).cast::<*const Pattern>();
            let pattern = std::mem::replace(&mut *content, std::ptr::null());
            if !pattern.is_null() {
                drop(Rc::from_raw(pattern));
            }
        }
        Ok(Reply::Return(0))
    }
}

c_function! {
    /// The iterator of `receiveuntil`.
    fn iterate(state) {
        let count = sys::top(state);
        if count > 1 {
            return Err(format!("expecting 0 or 1 argument, but seen {count}").into());
        }
        let size = if count == 1 { sys::check_integer(state, 1)? } else { 0 };
        let size = usize::try_from(size).ok().filter(|size| *size > 0);
        let (_, session) = running()?;
        let socket = object::socket_of(state, lua_upvalueindex(1)).filter(|socket| !socket.is_read_closed());
        let Some(socket) = socket else { return sys::fail(state, "closed") };
        if let Some(reason) = object::busy(&socket, session, Uses::READ)? {
            return sys::fail(state, reason);
        }
        session_debug!(session, "lua tcp socket receiveuntil iterator");
        session_debug!(session, "lua tcp socket read timeout: {}", socket.timeouts.get().read.as_millis());
        // SAFETY: upvalue 2 is the userdatum of `receiveuntil`, which owns a pattern.
        let pattern = unsafe {
            let content = *lua_touserdata(state, lua_upvalueindex(2)).cast::<*const Pattern>();
            Rc::increment_strong_count(content);
            Rc::from_raw(content)
        };
        if pattern.take_found() {
            // SAFETY: three slots are free in a C function.
            unsafe { lua_settop(state, 3) };
            for index in 1..=3 {
                // SAFETY: replaces a slot that exists.
                unsafe {
                    lua_pushnil(state);
                    lua_replace(state, index);
                }
            }
            return Ok(Reply::Return(3));
        }
        read(state, session, &socket, Want::Until(pattern, size))
    }
}

/// The socket of a table when it can be read; says in the log when it can't.
fn readable(state: State, table: c_int, session: &dyn Session) -> Result<Option<Rc<TcpSocket>>, Error> {
    object::check_table(state)?;
    let socket = object::socket_of(state, table);
    if socket.as_ref().is_none_or(|socket| socket.is_read_closed()) {
        object::log_closed(session, socket.as_ref(), "receive");
        return Ok(None);
    }
    Ok(socket)
}

fn read(state: State, session: &dyn Session, socket: &Rc<TcpSocket>, mut want: Want) -> Answer {
    socket.begin_read(match &want {
        Want::Until(pattern, _) => Some(pattern),
        _ => None,
    });
    let mut out = Vec::new();
    let notice = session.notice();
    if let Some(result) = socket.read_now(&mut want, &mut out, notice.as_ref()) {
        session_debug!(session, "lua tcp socket receive done in a single run");
        return Ok(Reply::Return(push_read(state, session, socket, result, &out)));
    }
    sys::check_yieldable(state)?;
    let (ctx, _) = running()?;
    socket.set_reading(true);
    let socket = Rc::clone(socket);
    let under_way = UnderWay { socket: Rc::clone(&socket), direction: Direction::Read, done: Cell::new(false) };
    ctx.suspend(async move {
        let result = socket.read(&mut want, &mut out, notice.as_ref()).await;
        under_way.finished();
        let resume: Resume = Box::new(move |co| {
            running().map_or(0, |(_, session)| {
                session_debug!(session, "lua tcp socket receive return value handler");
                push_read(co, session, &socket, result, &out)
            })
        });
        resume
    })?;
    Ok(Reply::Yield(0))
}

/// Pushes the data; or nil, the reason and what came before it.
fn push_read(
    state: State,
    session: &dyn Session,
    socket: &TcpSocket,
    result: Result<(), Failure>,
    data: &[u8],
) -> c_int {
    let Err(failure) = result else {
        sys::push(state, data);
        return 1;
    };
    if failure == Failure::Timeout {
        if session.socket_conf().log_errors {
            session_log!(session, level::ERR, "lua tcp socket read timed out{}", socket.upstream());
        }
    } else {
        if let Failure::System(number) = failure {
            let text = errno_text(number);
            session_log!(session, level::ERR, "recv() failed ({number}: {text}){}", socket.upstream());
        }
        socket.read_closed.set(true);
        if socket.kind == Kind::Peer && socket.write_closed.get() {
            finalize(session, socket);
        }
    }
    // SAFETY: three slots are free.
    unsafe { lua_pushnil(state) };
    sys::push(state, failure.text().as_bytes());
    sys::push(state, data);
    3
}

/// The direction of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// Marks a direction as used until the operation ends; one that was cancelled leaves a connection in an unknown
/// state, which is closed.
struct UnderWay {
    socket: Rc<TcpSocket>,
    direction: Direction,
    done: Cell<bool>,
}

impl UnderWay {
    fn finished(&self) {
        self.done.set(true);
        self.clear();
    }

    fn clear(&self) {
        match self.direction {
            Direction::Read => self.socket.set_reading(false),
            Direction::Write => self.socket.writing.set(false),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.done.get() {
            self.clear();
            worker::debug(format_args!("lua finalize socket"));
            if self.socket.is_connected() && self.socket.kind == Kind::Peer {
                worker::debug(format_args!("lua close socket connection"));
                worker::debug(format_args!("reusable connection: 0"));
            }
            self.socket.close();
        }
    }
}

c_function! {
    pub(super) fn close(state) {
        let count = sys::top(state);
        if count != 1 {
            return Err(format!("expecting 1 argument (including the object) but seen {count}").into());
        }
        let (_, session) = running()?;
        object::check_table(state)?;
        let socket = object::socket_of(state, 1);
        let open = socket.filter(|socket| {
            socket.is_connected() && !(socket.read_closed.get() && socket.write_closed.get())
        });
        let Some(socket) = open else { return sys::fail(state, "closed") };
        if let Some(reason) = object::busy(&socket, session, Uses::BOTH)? {
            return sys::fail(state, reason);
        }
        finalize(session, &socket);
        sys::succeed(state)
    }
}

c_function! {
    fn settimeout(state) {
        let count = sys::top(state);
        if count != 2 {
            let message =
                format!("ngx.socket settimeout: expecting 2 arguments (including the object) but seen {count}");
            return Err(message.into());
        }
        let timeout = timeout(state, 2)?;
        set_timeouts(state, timeout, timeout, timeout)
    }
}

c_function! {
    fn settimeouts(state) {
        let count = sys::top(state);
        if count != 4 {
            let message =
                format!("ngx.socket settimeouts: expecting 4 arguments (including the object) but seen {count}");
            return Err(message.into());
        }
        let (connect, send, read) = (timeout(state, 2)?, timeout(state, 3)?, timeout(state, 4)?);
        set_timeouts(state, connect, send, read)
    }
}

/// A timeout in milliseconds.
fn timeout(state: State, index: c_int) -> Result<i64, Error> {
    // SAFETY: any index is acceptable.
    let milliseconds = sys::integer(unsafe { lua_tonumber(state, index) });
    if milliseconds >> 31 == 0 { Ok(milliseconds) } else { Err("bad timeout value".into()) }
}

fn set_timeouts(state: State, connect: i64, send: i64, read: i64) -> Answer {
    object::check_table(state)?;
    for (slot, value) in
        [(object::CONNECT_TIMEOUT, connect), (object::SEND_TIMEOUT, send), (object::READ_TIMEOUT, read)]
    {
        // SAFETY: argument 1 is a table.
        unsafe {
            lua_pushinteger(state, value as lua_Integer);
            lua_rawseti_(state, 1, slot);
        }
    }
    if let Some(socket) = object::socket_of(state, 1) {
        let conf = running().map(|(_, session)| session.socket_conf()).unwrap_or_default();
        socket.timeouts.set(Timeouts::new(connect, send, read, &conf));
    }
    Ok(Reply::Return(0))
}

c_function! {
    pub(super) fn setkeepalive(state) {
        let count = sys::top(state);
        if !(1..=3).contains(&count) {
            return Err(format!("expecting 1 to 3 arguments (including the object), but got {count}").into());
        }
        object::check_table(state)?;
        let (_, session) = running()?;
        let conf = session.socket_conf();
        let given = |index: c_int| count >= index && sys::kind(state, index) != LUA_TNIL;
        let timeout = if given(2) {
            let milliseconds = sys::check_integer(state, 2)?;
            Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
        } else {
            conf.keepalive_timeout
        };
        let size = if given(3) { sys::check_integer(state, 3)? } else { conf.pool_size as i64 };
        let socket = object::socket_of(state, 1);
        let Some(socket) = socket.filter(|socket| !socket.is_read_closed() && !socket.is_write_closed()) else {
            return sys::fail(state, "closed");
        };
        if let Some(reason) = object::busy(&socket, session, Uses::BOTH)? {
            return sys::fail(state, reason);
        }
        // The peer's end may have arrived without anybody having read it.
        if !socket.reading.get() {
            let mut probe = Want::Exact(usize::MAX);
            let mut seen = Vec::new();
            let ended = socket.eof.get() || {
                let result = socket.read_now(&mut probe, &mut seen, None);
                socket.input.borrow_mut().give_back(&seen);
                result.is_some()
            };
            if ended && socket.input.borrow().is_empty() {
                return sys::fail(state, "closed");
            }
        }
        socket.begin_read(None);
        if !socket.input.borrow().is_empty() {
            return sys::fail(state, "unread data in buffer");
        }
        keep(state, session, &socket, timeout, size)
    }
}

fn keep(state: State, session: &dyn Session, socket: &Rc<TcpSocket>, timeout: Duration, size: i64) -> Answer {
    let pointer = socket.transport.borrow().as_ref().map_or(0, |transport| Rc::as_ptr(transport).cast::<()>().addr());
    if crate::process::is_exiting() {
        session_debug!(
            session,
            "lua tcp socket set keepalive while process exiting, closing connection {pointer:016X}"
        );
        finalize(session, socket);
        return sys::succeed(state);
    }
    session_debug!(session, "lua tcp socket set keepalive: saving connection {pointer:016X}");
    let used = socket.pool.borrow().clone();
    // SAFETY: argument 1 is a table; the key stays on the stack as long as it is looked at.
    let pool = unsafe {
        lua_rawgeti_(state, 1, object::KEY);
        let Some(key) = sys::bytes(state, -1) else { return sys::fail(state, "key not found") };
        let pool = match used.filter(|pool| pool.is_for(key)).or_else(|| Pool::find(key)) {
            Some(pool) => pool,
            None if size <= 0 => {
                let index = sys::top(state) - 1;
                return Err(Error::Argument(index, format!("bad \"pool_size\" option value: {size}").into()));
            }
            None => create_pool(session, key, size as usize, None),
        };
        lua_settop(state, -2);
        pool
    };
    let counted = if socket.pool.take().is_some() { Counted::Yes } else { Counted::No };
    session_debug!(session, "lua tcp socket clear current socket connection");
    if timeout.is_zero() {
        session_debug!(session, "lua tcp socket keepalive timeout: unlimited");
    } else {
        session_debug!(session, "lua tcp socket keepalive timeout: {} ms", timeout.as_millis());
    }
    let Some(kept) = socket.detach() else { return sys::fail(state, "closed") };
    socket.read_closed.set(true);
    socket.write_closed.set(true);
    if pool.keep(kept, (!timeout.is_zero()).then_some(timeout), counted).is_err() {
        if counted == Counted::Yes {
            pool.release();
        }
        return sys::fail(state, "connection in dubious state");
    }
    session_debug!(session, "lua finalize socket");
    if let Ok((ctx, _)) = running() {
        ctx.free_cleanup();
    }
    sys::succeed(state)
}

c_function! {
    pub(super) fn getreusedtimes(state) {
        let count = sys::top(state);
        if count != 1 {
            return Err(format!("expecting 1 argument (including the object), but got {count}").into());
        }
        object::check_table(state)?;
        let socket = object::socket_of(state, 1).filter(|socket| socket.is_connected());
        let Some(socket) = socket else { return sys::fail(state, "closed") };
        // SAFETY: a slot is free.
        unsafe { lua_pushinteger(state, lua_Integer::from(socket.reused.get() as i32)) };
        Ok(Reply::Return(1))
    }
}
