//! The Lua side of a socket: a table whose slots hold the socket and its settings.
//!
//! The slots are fixed by `resty.core.socket`: 1 the socket itself (a userdatum), 2 connect timeout, 3 pool key, 4
//! send timeout, 5 read timeout, 6 and 7 client certificate and key, 8 local address, 9 whether that
//! need not be one of ours.

use std::ffi::{c_int, c_void};
use std::net::SocketAddr;
use std::rc::Rc;

use crate::lua::api::running;
use crate::lua::phase::Phase;
use crate::lua::session::{Session, level, session_log};
use crate::lua::socket::tcp::TcpSocket;
use crate::lua::socket::{Endpoint, Origin};
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Error, Reply, State, c_function};

pub(super) const SOCKET: c_int = 1;
pub(super) const CONNECT_TIMEOUT: c_int = 2;
pub(super) const KEY: c_int = 3;
pub(super) const SEND_TIMEOUT: c_int = 4;
pub(super) const READ_TIMEOUT: c_int = 5;
pub(super) const BIND: c_int = 8;
pub(super) const IP_TRANSPARENT: c_int = 9;

c_function! {
    /// A socket without connection.
    pub(super) fn tcp(state) {
        let count = sys::top(state);
        if count != 0 {
            return Err(format!("expecting zero arguments, but got {count}").into());
        }
        let (ctx, _) = running()?;
        ctx.phase.get().require(Phase::YIELDABLE)?;
        push_object(state, c"__tcp_cosocket_mt");
        Ok(Reply::Return(1))
    }
}

/// Pushes a table with one of the socket metatables.
pub(crate) fn push_object(state: State, metatable: &std::ffi::CStr) {
    // SAFETY: a fresh table; the metatable was filed when the VM was made.
    unsafe {
        lua_createtable(state, 5, 1);
        lua_getfield_(state, LUA_REGISTRYINDEX, metatable.as_ptr());
        lua_setmetatable(state, -2);
    }
}

/// The socket in a table, if any.
pub(crate) fn socket_of(state: State, table: c_int) -> Option<Rc<TcpSocket>> {
    shared_of(state, table, SOCKET)
}

/// Puts a socket into its table.
pub(crate) fn store(state: State, table: c_int, socket: &Rc<TcpSocket>) {
    store_shared(state, table, SOCKET, socket, &METATABLE, collect);
}

/// Its address is the key of the userdata's metatable.
static METATABLE: u8 = 0;

c_function! {
    fn collect(state) {
        collect_shared::<TcpSocket>(state, TcpSocket::end);
        Ok(Reply::Return(0))
    }
}

/// What the userdatum in a slot of a table shares. The slots are filled by [`store_shared`] alone, each with one type.
pub(crate) fn shared_of<T>(state: State, table: c_int, slot: c_int) -> Option<Rc<T>> {
    // SAFETY: the slot is empty or holds our userdatum, whose content is an owned pointer.
    unsafe {
        lua_rawgeti_(state, table, slot);
        let content = lua_touserdata(state, -1).cast::<*const T>();
        let is_ours = lua_type(state, -1) == LUA_TUSERDATA && !content.is_null() && !(*content).is_null();
        let shared = is_ours.then(|| {
            Rc::increment_strong_count(*content);
            Rc::from_raw(*content)
        });
        lua_settop(state, -2);
        shared
    }
}

/// Puts a userdatum that shares `value` into a slot of a table. `metatable` is the key of its metatable, whose
/// collector calls [`collect_shared`].
pub(crate) fn store_shared<T>(
    state: State,
    table: c_int,
    slot: c_int,
    value: &Rc<T>,
    metatable: &'static u8,
    collector: lua_CFunction,
) {
    let table = sys::absolute(state, table);
    // SAFETY: the userdatum has room for one pointer, which its `__gc` gives back.
    unsafe {
        let content = lua_newuserdata(state, size_of::<*const T>()).cast::<*const T>();
        content.write(Rc::into_raw(Rc::clone(value)));
        sys::push_registry_table(state, sys::registry_key(metatable));
        lua_getfield_(state, -1, c"__gc".as_ptr());
        let is_new = lua_type(state, -1) == LUA_TNIL;
        lua_settop(state, -2);
        if is_new {
            sys::set_collector(state, collector);
        }
        lua_setmetatable(state, -2);
        lua_rawseti_(state, table, slot);
    }
}

/// Gives back what the userdatum at index 1 shares; ends it when nobody else has it.
pub(crate) fn collect_shared<T>(state: State, end: fn(&T)) {
    // SAFETY: called by the collector with a userdatum of `store_shared`; the pointer is given back once.
    unsafe {
        let content = lua_touserdata(state, 1).cast::<*const T>();
        if content.is_null() {
            return;
        }
        let value = std::mem::replace(&mut *content, std::ptr::null());
        if !value.is_null() {
            let value = Rc::from_raw(value);
            // An operation under way keeps it for as long as it takes.
            if Rc::strong_count(&value) == 1 {
                end(&value);
            }
        }
    }
}

/// An integer slot of the table; 0 when it is empty.
pub(super) fn integer_slot(state: State, table: c_int, slot: c_int) -> i64 {
    // SAFETY: raw access to the table.
    unsafe {
        lua_rawgeti_(state, table, slot);
        let value = lua_tointeger(state, -1);
        lua_settop(state, -2);
        value as i64
    }
}

/// What was chosen with `bind` and `setoption`, from the slots that hold these.
pub(super) fn origin_of(state: State, table: c_int, bind: c_int, transparent: c_int) -> Origin {
    // SAFETY: raw access to the table.
    let is_transparent = unsafe {
        lua_rawgeti_(state, table, transparent);
        let set = sys::truth(state, -1);
        lua_settop(state, -2);
        set
    };
    Origin { address: address_slot(state, table, bind), is_transparent }
}

/// A slot that holds an address as text, with or without port.
fn address_slot(state: State, table: c_int, slot: c_int) -> Option<SocketAddr> {
    // SAFETY: raw access to the table.
    unsafe {
        lua_rawgeti_(state, table, slot);
        let text = sys::bytes(state, -1).and_then(|text| std::str::from_utf8(text).ok());
        let address = text.and_then(|text| {
            text.parse().or_else(|_| Ok::<_, ()>(SocketAddr::new(text.parse().map_err(drop)?, 0))).ok()
        });
        lua_settop(state, -2);
        address
    }
}

/// Argument 1 as a socket's table.
pub(crate) fn check_table(state: State) -> Result<(), Error> {
    if sys::kind(state, 1) == LUA_TTABLE { Ok(()) } else { Err(sys::type_error(state, 1, "table")) }
}

/// Fails when the socket belongs to other code or does the same already. The answer is the reason scripts get.
pub(crate) fn busy(socket: &TcpSocket, session: &dyn Session, uses: Uses) -> Result<Option<&'static str>, Error> {
    if !socket.owner.get().is_null() && socket.owner.get() != session.pointer() {
        return Err("bad request".into());
    }
    Ok(if socket.connecting.get() {
        Some("socket busy connecting")
    } else if uses.read && socket.reading.get() {
        Some("socket busy reading")
    } else if uses.write && socket.writing.get() {
        Some("socket busy writing")
    } else {
        None
    })
}

/// The directions that a method uses.
#[derive(Clone, Copy)]
pub(crate) struct Uses {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Uses {
    pub(crate) const BOTH: Self = Self { read: true, write: true };
    pub(crate) const READ: Self = Self { read: true, write: false };
    pub(crate) const WRITE: Self = Self { read: false, write: true };
}

/// Says in the error log that a closed socket was used.
pub(super) fn log_closed(session: &dyn Session, socket: Option<&Rc<TcpSocket>>, verb: &str) {
    if !session.socket_conf().log_errors {
        return;
    }
    let pointer = socket.map_or(std::ptr::null(), Rc::as_ptr).cast::<c_void>();
    let connection = socket.and_then(|socket| socket.transport.borrow().as_ref().map(Rc::as_ptr));
    let connection = connection.map_or(std::ptr::null(), <*const _>::cast::<c_void>);
    let eof = socket.is_some_and(|socket| socket.eof.get());
    session_log!(
        session,
        level::ERR,
        "attempt to {verb} data on a closed socket: u:{:016X}, c:{:016X}, ft:0 eof:{}",
        pointer.addr(),
        connection.addr(),
        u8::from(eof)
    );
}
