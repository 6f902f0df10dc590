//! `ngx.req.socket` in a session of datagrams: the one that began it, and answers.
//!
//! The table's slots: 1 the socket itself (a userdatum), 2 the timeout (nothing waits, but scripts may set it).

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Buf as _;

use super::request;
use crate::http::Request;
use crate::lua::Ctx;
use crate::lua::api::socket::object;
use crate::lua::session::{level, session_debug, session_log};
use crate::lua::socket::Endpoint;
use crate::lua::socket::tcp::Failure;
use crate::lua::socket::udp::DATAGRAM_MAX;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Error, Reply, State, c_function};
use crate::lua::text::{self, Strictness};

const SOCKET: std::ffi::c_int = 1;
const TIMEOUT: std::ffi::c_int = 2;

/// The name of the metatable in the registry.
const METATABLE_NAME: &std::ffi::CStr = c"__udp_req_cosocket_mt";

/// Its address is the key of the userdata's metatable.
static METATABLE: u8 = 0;

/// Files the metatable of the sockets.
pub(super) fn inject(state: State) {
    // SAFETY: a fresh table under a string key of the registry, which is its own `__index`.
    unsafe {
        lua_createtable(state, 0, 4);
        sys::set_function(state, c"send", send);
        sys::set_function(state, c"receive", receive);
        sys::set_function(state, c"settimeout", settimeout);
        lua_pushvalue(state, -1);
        lua_setfield(state, -2, c"__index".as_ptr());
        lua_setfield(state, LUA_REGISTRYINDEX, METATABLE_NAME.as_ptr());
    }
}

/// A script's hold on the client of its session.
struct ClientSocket(RefCell<Option<Rc<Request>>>);

impl Endpoint for ClientSocket {
    fn end(&self) {
        if let Some(r) = self.0.take() {
            session_debug!(&*r, "lua finalize socket");
        }
    }

    fn disown(&self) {}
}

/// Leaves the socket of the session; the caller has seen to it that there is no other one.
pub(super) fn push_socket(state: State, r: &Rc<Request>, ctx: &Ctx) -> Answer {
    object::push_object(state, METATABLE_NAME);
    let socket = Rc::new(ClientSocket(RefCell::new(Some(Rc::clone(r)))));
    let endpoint = Rc::downgrade(&socket);
    ctx.adopt_socket(endpoint);
    object::store_shared(state, -1, SOCKET, &socket, &METATABLE, collect);
    Ok(Reply::Return(1))
}

c_function! {
    fn collect(state) {
        object::collect_shared(state, ClientSocket::end);
        Ok(Reply::Return(0))
    }
}

/// The session that a socket belongs to. Code of another one may not use it.
fn session_of(state: State, verb: &str) -> Result<Option<Rc<Request>>, Error> {
    let (r, _) = request()?;
    object::check_table(state)?;
    let socket = object::shared_of::<ClientSocket>(state, 1, SOCKET);
    let Some(owner) = socket.and_then(|socket| socket.0.borrow().clone()) else {
        if r.loc().lua.socket.log_errors != Some(false) {
            let (socket, connection) = (0, 0);
            session_log!(
                &*r,
                level::ERR,
                "attempt to {verb} data on a closed socket: u:{socket:016X}, c:{connection:016X}"
            );
        }
        return Ok(None);
    };
    if !Rc::ptr_eq(&owner, &r) {
        return Err("bad request".into());
    }
    Ok(Some(r))
}

c_function! {
    /// What is left of the datagram, at most so many bytes.
    fn receive(state) {
        let count = sys::top(state);
        if count != 1 && count != 2 {
            return Err(format!("expecting 1 or 2 arguments (including the object), but got {count}").into());
        }
        let Some(r) = session_of(state, "receive")? else { return sys::fail(state, "closed") };
        session_debug!(&*r, "lua udp socket calling receive() method");
        let size = match count {
            2 if sys::kind(state, 2) != LUA_TNIL => sys::check_integer(state, 2)?,
            _ => DATAGRAM_MAX as i64,
        };
        let size = usize::try_from(size).unwrap_or(DATAGRAM_MAX).min(DATAGRAM_MAX);
        session_debug!(&*r, "lua udp socket receive buffer size: {size}");
        let mut input = r.conn().input.borrow_mut();
        if input.is_empty() {
            return sys::fail(state, "no more data");
        }
        session_debug!(&*r, "lua udp socket receive done in a single run");
        let length = input.len().min(size);
        sys::push(state, input.get(..length).unwrap_or_default());
        input.advance(length);
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// Sends a datagram to the client.
    fn send(state) {
        let count = sys::top(state);
        if count != 2 {
            return Err(format!("expecting 2 arguments (including the object), but got {count}").into());
        }
        let Some(r) = session_of(state, "send")? else { return sys::fail(state, "closed") };
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
        let conn = r.conn();
        match conn.try_write(&bytes) {
            Ok(sent) => {
                let peer = conn.peer_text.borrow();
                let peer = String::from_utf8_lossy(&peer);
                session_debug!(&*r, "sendto: fd:{} {sent} of {} to \"{peer}\"", conn.descriptor(), bytes.len());
                // SAFETY: a slot is free.
                unsafe { lua_pushinteger(state, 1) };
                Ok(Reply::Return(1))
            }
            Err(error) => sys::fail(state, &Failure::from_io(&error).text()),
        }
    }
}

c_function! {
    /// Accepted for the sake of code that serves connections, too.
    fn settimeout(state) {
        let count = sys::top(state);
        if count != 2 {
            let message = format!(
                "ngx.socket settimout: expecting at least 2 arguments (including the object) but seen {count}"
            );
            return Err(message.into());
        }
        object::check_table(state)?;
        // SAFETY: argument 1 is a table; the value on the top is argument 2.
        unsafe { lua_rawseti_(state, 1, TIMEOUT) };
        Ok(Reply::Return(0))
    }
}
