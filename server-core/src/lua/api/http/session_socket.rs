//! `ngx.req.socket` in `stream { }`: the client's connection, with `peek` and `shutdown`.

use std::rc::Rc;

use nix::sys::socket::Shutdown;
use tokio::time::Instant;

use super::req_socket::push_socket;
use super::{request, session_datagram};
use crate::http::{Code, Request, output};
use crate::log::Level;
use crate::lua::Phase;
use crate::lua::api::socket::object::{self, Uses};
use crate::lua::session::session_debug;
use crate::lua::socket::tcp::{Kind, TcpSocket};
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Error, Reply, c_function};
use crate::lua::thread::Resume;
use crate::stream::peek::{self, Peeked};
use crate::tls;

/// Into `ngx.req`, with what sockets of `stream { }` can do beyond others.
pub(super) fn inject(state: sys::State) {
    sys::set_function(state, c"socket", socket);
    session_datagram::inject(state);
    // SAFETY: the metatables were filed before; the stack is as it was afterwards.
    unsafe {
        lua_getfield_(state, LUA_REGISTRYINDEX, c"__tcp_raw_req_cosocket_mt".as_ptr());
        sys::set_function(state, c"peek", peek);
        sys::set_function(state, c"shutdown", shutdown);
        sys::set_function(state, c"serversslhandshake", server_handshake);
        lua_getfield_(state, LUA_REGISTRYINDEX, c"__tcp_cosocket_mt".as_ptr());
        sys::set_function(state, c"shutdown", shutdown);
        lua_settop(state, -3);
    }
}

c_function! {
    /// The connection of a session.
    fn socket(state) {
        let count = sys::top(state);
        if count > 1 {
            return Err(format!("expecting zero arguments, but got {count}").into());
        }
        let (r, ctx) = request()?;
        ctx.phase.get().require(Phase::CONTENT.or(Phase::PREREAD))?;
        if r.conn().has_output() {
            return sys::fail(state, "pending data to write");
        }
        if ctx.output.session_socket.replace(true) {
            return sys::fail(state, "duplicate call");
        }
        if r.conn().datagrams().is_some() {
            return session_datagram::push_socket(state, &r, ctx);
        }
        push_socket(state, &r, ctx, Kind::Raw);
        Ok(Reply::Return(1))
    }
}

c_function! {
    /// The next bytes, which stay where they are. When they don't come the session ends.
    fn peek(state) {
        let (r, ctx) = request()?;
        ctx.phase.get().require(Phase::PREREAD)?;
        let count = sys::top(state);
        if count != 2 {
            return Err(format!("expecting 2 arguments (including the object), but got {count}").into());
        }
        session_debug!(&*r, "lua tcp socket calling peek() method");
        let Some(socket) = object::socket_of(state, 1) else {
            return sys::fail(state, "closed");
        };
        if socket.was_read.get() {
            return Err("attempt to peek on a consumed socket".into());
        }
        if let Some(reason) = object::busy(&socket, &*r, Uses::READ)? {
            return sys::fail(state, reason);
        }
        let wanted = sys::check_number(state, 2).map_err(|_| Error::from("argument must be a number"))?;
        if wanted < 0.0 {
            return Err(Error::Argument(2, "bytes can not be negative".into()));
        }
        let wanted = wanted as usize;
        if peek::has(&r, wanted) {
            push_input(state, &r, wanted);
            return Ok(Reply::Return(1));
        }
        sys::check_yieldable(state)?;
        let handle = ctx.handle();
        let mark = Reading::begin(&socket);
        ctx.suspend(async move {
            let peeked = peek::wait_for(&r, wanted).await;
            drop(mark);
            if peeked == Peeked::Full {
                r.log(Level::Error, format_args!("preread buffer full"));
            }
            if peeked != Peeked::Enough
                && let Some(ctx) = handle.upgrade()
            {
                ctx.abort(if peeked == Peeked::Full { 400 } else { 200 });
            }
            let resume: Resume = Box::new(move |co| {
                push_input(co, &r, wanted);
                1
            });
            resume
        })?;
        Ok(Reply::Yield(0))
    }
}

/// A read is under way until this is dropped.
struct Reading(Rc<TcpSocket>);

impl Reading {
    fn begin(socket: &Rc<TcpSocket>) -> Self {
        socket.reading.set(true);
        Self(Rc::clone(socket))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading.set(false);
    }
}

fn push_input(state: sys::State, r: &Request, count: usize) {
    let input = r.conn().input.borrow();
    sys::push(state, input.get(..count).unwrap_or_default());
}

c_function! {
    /// Takes the connection through a TLS handshake, as its server; says what came of it.
    fn server_handshake(state) {
        let count = sys::top(state);
        if count != 1 {
            let message = format!("ngx.socket serversslhandshake: expecting 1 argument (the object), but seen {count}");
            return Err(message.into());
        }
        let (r, ctx) = request()?;
        session_debug!(&*r, "lua tcp socket server ssl handshake");
        let socket = object::socket_of(state, 1);
        let is_open = |socket: &Rc<TcpSocket>| !socket.is_read_closed() && !socket.is_write_closed();
        let Some(socket) = socket.filter(is_open) else { return sys::fail(state, "closed") };
        if let Some(reason) = object::busy(&socket, &*r, Uses::BOTH)? {
            return sys::fail(state, reason);
        }
        if socket.kind == Kind::Peer {
            return sys::fail(state, "only supported for downstream socket");
        }
        if r.conn().tls().is_some() {
            push_handshake(state, &r)?;
            return Ok(Reply::Return(1));
        }
        let (Some(port), Some(context)) = (r.conn().port, r.srv().ssl.context()) else {
            return sys::fail(state, "ssl not configured for this server");
        };
        sys::check_yieldable(state)?;
        let deadline = Instant::now() + socket.timeouts.get().read;
        let mark = Reading::begin(&socket);
        ctx.suspend(async move {
            // What the server said so far belongs before the handshake.
            let sent = output::drained(&r).await;
            let done = sent == Code::OK && tls::server::accept(r.conn(), port, context, r.srv(), deadline).await;
            drop(mark);
            let resume: Resume = Box::new(move |co| {
                if done && push_handshake(co, &r).is_ok() {
                    return 1;
                }
                let reason: &[u8] = if r.conn().timed_out.take() { b"timeout" } else { b"handshake failed" };
                // SAFETY: two slots are free.
                unsafe { lua_pushnil(co) };
                sys::push(co, reason);
                2
            });
            resume
        })?;
        Ok(Reply::Yield(0))
    }
}

/// Pushes a table about the connection's TLS: `protocol`, `cipher`, `session_reused`.
fn push_handshake(state: sys::State, r: &Request) -> Result<(), Error> {
    let Some((tls, _)) = r.conn().tls() else { return Err("no TLS connection".into()) };
    let ssl = tls.ssl();
    // SAFETY: a fresh table with plain fields.
    unsafe {
        lua_createtable(state, 0, 3);
        sys::push(state, ssl.version_str().as_bytes());
        lua_setfield(state, -2, c"protocol".as_ptr());
        if let Some(cipher) = ssl.current_cipher() {
            sys::push(state, cipher.name().as_bytes());
            lua_setfield(state, -2, c"cipher".as_ptr());
        }
        lua_pushboolean(state, i32::from(ssl.session_reused()));
        lua_setfield(state, -2, c"session_reused".as_ptr());
    }
    Ok(())
}

c_function! {
    /// Ends what is sent; reading goes on.
    fn shutdown(state) {
        let count = sys::top(state);
        if count != 2 {
            return Err(format!("expecting 2 arguments (including the object) but seen {count}").into());
        }
        let (r, ctx) = request()?;
        let socket = object::socket_of(state, 1);
        let ended = |socket: &Rc<TcpSocket>| socket.is_connected() && !(socket.is_read_closed() && socket.is_write_closed());
        let Some(socket) = socket.filter(ended) else { return sys::fail(state, "closed") };
        if socket.is_write_closed() {
            return sys::fail(state, "already shutdown");
        }
        let busy = object::busy(&socket, &*r, Uses::WRITE)?;
        if socket.kind == Kind::Raw {
            // Later phases may still have to write.
            ctx.phase.get().require(Phase::CONTENT)?;
            if ctx.output.eof.replace(true) {
                return sys::fail(state, "seen eof");
            }
        }
        if let Some(reason) = busy {
            return sys::fail(state, reason);
        }
        let direction = sys::check_bytes(state, 2)?;
        if direction.is_empty() {
            return sys::fail(state, "pattern is empty");
        }
        if direction != b"send" {
            let shown = String::from_utf8_lossy(direction);
            return Err(Error::Argument(2, format!("bad shutdown argument: {shown}").into()));
        }
        session_debug!(&*r, "lua shutdown socket write direction");
        socket.write_closed.set(true);
        if socket.kind == Kind::Raw {
            r.conn().shutdown_write();
        } else if let Some(transport) = socket.transport.borrow().as_ref() {
            // A peer that has gone already needs no goodbye.
            let _ = nix::sys::socket::shutdown(transport.fd(), Shutdown::Write);
        }
        sys::succeed(state)
    }
}
