//! `ngx.req.socket`: the request's body, or the client's connection as a whole, as a cosocket.

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::request;
use crate::http::Request;
use crate::http::body::{self, RequestBody};
use crate::http::connection::Stream;
use crate::lua::Phase;
use crate::lua::api::socket::object;
use crate::lua::session::Session;
use crate::lua::socket::pool::Kept;
use crate::lua::socket::tcp::{Kind, TcpSocket, Timeouts};
use crate::lua::socket::transport::Transport;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Reply, c_function};
use crate::tls::stream::Direction;

/// Into `ngx.req`.
pub(super) fn inject(state: sys::State) {
    sys::set_function(state, c"socket", socket);
}

/// Leaves a new socket object over the client's connection as the only value on the stack.
pub(super) fn push_socket(state: sys::State, r: &Rc<Request>, ctx: &crate::lua::Ctx, kind: Kind) {
    let conf = r.socket_conf();
    let socket = TcpSocket::new(kind, r.pointer(), &conf, Timeouts::new(0, 0, 0, &conf));
    let transport = Rc::new(Downstream { r: Rc::clone(r), kind });
    socket.attach(Kept::new(transport, "".into()));
    // SAFETY: drops the arguments.
    unsafe { lua_settop(state, 0) };
    let metatable = if kind == Kind::Raw { c"__tcp_raw_req_cosocket_mt" } else { c"__tcp_req_cosocket_mt" };
    object::push_object(state, metatable);
    object::store(state, 1, &socket);
    let endpoint = Rc::downgrade(&socket);
    ctx.adopt_socket(endpoint);
}

const PHASES: Phase =
    Phase::REWRITE.or(Phase::SERVER_REWRITE).or(Phase::ACCESS).or(Phase::PRECONTENT).or(Phase::CONTENT);

c_function! {
    fn socket(state) {
        let count = sys::top(state);
        if count > 1 {
            return Err(format!("expecting 0 or 1 argument, but got {count}").into());
        }
        let raw = count == 1 && sys::truth(state, 1);
        let (r, ctx) = request()?;
        if !r.is_main() {
            return Err("attempt to read the request body in a subrequest".into());
        }
        if r.conn().http2().is_some() {
            return Err("http v2 not supported yet".into());
        }
        if !raw && r.headers_in.chunked.get() {
            return sys::fail(state, "chunked request bodies not supported yet");
        }
        ctx.phase.get().require(PHASES)?;
        let refusal = if raw { acquire_raw(&r, ctx) } else { acquire_body(&r) };
        if let Err(reason) = refusal {
            return sys::fail(state, reason);
        }
        push_socket(state, &r, ctx, if raw { Kind::Raw } else { Kind::Body });
        Ok(Reply::Return(1))
    }
}

/// Takes the connection over. The error is what `ngx.req.socket` returns.
fn acquire_raw(r: &Request, ctx: &crate::lua::Ctx) -> Result<(), &'static str> {
    if r.body.borrow().is_some() {
        if !r.body_taken() {
            return Err("pending request body reading in some other thread");
        }
    } else {
        r.body.replace(Some(Rc::new(RequestBody::default())));
    }
    if r.conn().has_output() {
        return Err("pending data to write");
    }
    if ctx.output.buffering.get() {
        return Err("http 1.0 buffering");
    }
    r.header_sent.set(true);
    ctx.output.header_sent.set(true);
    if ctx.output.raw_socket.replace(true) {
        return Err("duplicate call");
    }
    r.keepalive.set(false);
    r.lingering_close.set(true);
    Ok(())
}

/// Reserves the body for the script.
fn acquire_body(r: &Request) -> Result<(), &'static str> {
    if r.body.borrow().is_some() {
        return Err("request body already exists");
    }
    if r.discard_body.get() {
        return Err("request body discarded");
    }
    if r.headers_in.content_length.get() <= 0 {
        return Err("no body");
    }
    if !body::test_expect(r) {
        return Err("test expect failed");
    }
    r.body.replace(Some(Rc::new(RequestBody::default())));
    Ok(())
}

/// The client's side of a request as a stream.
struct Downstream {
    r: Rc<Request>,
    kind: Kind,
}

impl Downstream {
    /// Takes what has been received already.
    fn take(&self, into: &mut Vec<u8>, most: usize) -> io::Result<Option<usize>> {
        if self.kind == Kind::Raw {
            let mut input = self.r.conn().input.borrow_mut();
            let count = input.len().min(most);
            into.extend_from_slice(&input.split_to(count));
            return Ok((count > 0).then_some(count));
        }
        match self.r.take_body(most) {
            Ok(Some(data)) => {
                into.extend_from_slice(&data);
                Ok(Some(data.len()))
            }
            Ok(None) => Ok(None),
            Err(_malformed) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The client closed its side: that is the end of what it sends, or of the request.
    fn ended(&self) -> io::Result<usize> {
        let watched = self.r.loc().lua.check_client_abort == Some(true);
        if watched || self.kind == Kind::Body { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(0) }
    }
}

impl Transport for Downstream {
    fn poll_read(&self, cx: &mut Context<'_>, into: &mut Vec<u8>, most: usize) -> Poll<io::Result<usize>> {
        loop {
            match self.try_read(into, most) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.r.conn().poll_read_ready(cx))?;
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.r.conn().poll_write_ready(cx))?;
        }
    }

    fn try_read(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        loop {
            if let Some(count) = self.take(into, most)? {
                return Ok(count);
            }
            if self.r.conn().try_read()? == 0 {
                return self.ended();
            }
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.r.conn().try_write(bytes)
    }

    fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
        match direction {
            Direction::Read => self.r.conn().poll_read_ready(cx),
            Direction::Write => self.r.conn().poll_write_ready(cx),
        }
    }

    fn clear_ready(&self, direction: Direction) {
        self.r.conn().clear_ready(direction);
    }

    fn fd(&self) -> RawFd {
        self.r.conn().descriptor()
    }

    fn set_reading(&self, reading: bool) {
        self.r.conn().has_other_reader.set(reading);
    }

    fn set_nodelay(&self) -> bool {
        // The server turned the delay off when it accepted the connection.
        matches!(self.r.conn().stream, Stream::Tcp(_)) && !self.r.conn().is_stream()
    }
}
