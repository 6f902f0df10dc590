//! A request as a Lua session, and its Lua context.

use std::ffi::c_void;
use std::fmt;
use std::rc::{Rc, Weak};

use crate::cycle::Subsystem;
use crate::http::Request;
use crate::log::Level;
use crate::lua::session::{Notice, level as session_level};
use crate::lua::socket::{Endpoint, SocketConf};
use crate::lua::{Ctx, Session, Vm, sched};
use crate::upstream::resolver::Resolver;

impl Session for Request {
    fn pointer(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    fn logs(&self, level: u8) -> bool {
        Level::from_number(level).is_some_and(|level| Self::logs(self, level))
    }

    fn log(&self, level: u8, message: fmt::Arguments<'_>) {
        let Some(level) = Level::from_number(level) else { return };
        match self.conn().mark() {
            "" => Self::log(self, level, message),
            mark if self.logs(level) => {
                let text = message.to_string();
                // An entry thread's end is the one message without the mark.
                let is_marked = text.starts_with("lua ") && !text.starts_with("lua entry thread aborted");
                let mark = if is_marked { mark } else { "" };
                Self::log(self, level, format_args!("{mark}{text}"));
            }
            _ => {}
        }
    }

    fn log_bytes(&self, level: u8, message: &[u8]) {
        if let Some(level) = Level::from_number(level) {
            Self::log_bytes(self, level, &[message]);
        }
    }

    fn notice(&self) -> Option<Notice> {
        if !Self::logs(self, Level::Debug) {
            return None;
        }
        let r = self.rc();
        Some(Box::new(move |message| Session::log(&*r, session_level::DEBUG, message)))
    }

    fn socket_conf(&self) -> SocketConf {
        let conf = &self.loc().lua.socket;
        let default = SocketConf::default();
        SocketConf {
            connect_timeout: conf.connect_timeout.unwrap_or(default.connect_timeout),
            send_timeout: conf.send_timeout(),
            read_timeout: conf.read_timeout.unwrap_or(default.read_timeout),
            keepalive_timeout: conf.keepalive_timeout.unwrap_or(default.keepalive_timeout),
            pool_size: conf.pool_size.unwrap_or(default.pool_size),
            buffer_size: conf.buffer_size.unwrap_or(default.buffer_size),
            log_errors: conf.log_errors.unwrap_or(default.log_errors),
            tcp_nodelay: *self.loc().core.tcp_nodelay,
            resolver: self.loc().core.resolver.as_ref().map(Resolver::of),
            resolver_timeout: *self.loc().core.resolver_timeout,
            mark: self.conn().mark(),
        }
    }

    fn subsystem(&self) -> Subsystem {
        self.main_conf().core.subsystem
    }

    fn uri(&self) -> String {
        format!("{}?{}", String::from_utf8_lossy(&self.uri.get()), String::from_utf8_lossy(&self.args.get()))
    }
}

/// The Lua context of a request, made when there is none.
pub(crate) fn ctx_of(r: &Rc<Request>) -> Option<Rc<Ctx>> {
    if let Some(ctx) = r.lua.borrow().as_ref() {
        return Some(Rc::clone(ctx));
    }
    let ctx = Ctx::new(vm_of(r)?);
    r.lua.replace(Some(Rc::clone(&ctx)));
    Some(ctx)
}

/// The VM for a request: the worker's, or with `lua_code_cache off` one of its own.
fn vm_of(r: &Rc<Request>) -> Option<Rc<Vm>> {
    if r.loc().lua.code_cache == Some(false) {
        return super::startup::request_vm(r);
    }
    r.main_conf().lua.vm.get().cloned()
}

/// Ends what Lua still does for a request and forgets its context: at the end of the request, and when an internal
/// redirect starts it anew.
pub(crate) fn end(r: &Request) {
    // A filter may start the request anew while a script runs; its threads go on until they yield or return.
    let is_running = r.lua.borrow().as_ref().is_some_and(|ctx| ctx.is_running());
    if is_running {
        return;
    }
    let Some(ctx) = r.lua.take() else { return };
    r.debug(format_args!("lua request cleanup: forcible=1"));
    sched::finalize(&ctx, r);
    let sockets = ctx.take_sockets();
    if r.is_main() || sockets.is_empty() {
        end_all(&sockets);
        return;
    }
    // The sockets of a subrequest live as long as the main request.
    for socket in sockets.iter().filter_map(Weak::upgrade) {
        socket.disown();
    }
    r.at_end(move || end_all(&sockets));
}

fn end_all(sockets: &[Weak<dyn Endpoint>]) {
    for socket in sockets.iter().filter_map(Weak::upgrade) {
        socket.end();
    }
}

impl Request {
    /// Writes a debug message when the level is on.
    pub(crate) fn debug(&self, message: fmt::Arguments<'_>) {
        if Self::logs(self, Level::Debug) {
            Self::log(self, Level::Debug, message);
        }
    }
}
