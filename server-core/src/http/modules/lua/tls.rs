//! The scripts of TLS handshakes: `ssl_client_hello_by_lua*`, `ssl_certificate_by_lua*` and those for sessions.
//!
//! Each runs on behalf of a request that no client made, beside the connection that is in its handshake.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use super::script::Script;
use super::session::{self, ctx_of};
use super::timers::fake_request_on;
use super::{filters, handlers};
use crate::http::Request;
use crate::http::conf::SrvConf;
use crate::http::connection::{Connection, FakeClient};
use crate::lua::Phase;
use crate::lua::sched::{self, Ran};

/// Runs `ssl_client_hello_by_lua*`; whether the handshake may go on.
pub(crate) async fn run_client_hello(conn: &Rc<Connection>, srv: &'static SrvConf, script: &Script) -> bool {
    conn.debug(format_args!("ssl client hello: connection reusable: 0"));
    occupy(conn);
    run(conn, srv, script, Phase::SSL_CLIENT_HELLO, "loading SSL client hello by lua").await
}

/// Sessions say once more that nobody may close their connection; requests said it before the handshake.
fn occupy(conn: &Connection) {
    if conn.is_stream() {
        conn.debug(format_args!("reusable connection: 0"));
    }
}

/// Runs `ssl_certificate_by_lua*`; whether the handshake may go on.
pub(crate) async fn run_certificate(conn: &Rc<Connection>, srv: &'static SrvConf, script: &Script) -> bool {
    conn.debug(format_args!("ssl cert: connection reusable: 0"));
    occupy(conn);
    run(conn, srv, script, Phase::SSL_CERT, "loading SSL certificate by lua").await
}

/// Runs `ssl_session_fetch_by_lua*`; whether a session that it set may be used.
pub(crate) async fn run_session_fetch(conn: &Rc<Connection>, srv: &'static SrvConf, script: &Script) -> bool {
    conn.debug(format_args!("ssl session fetch: connection reusable: 0"));
    run(conn, srv, script, Phase::SSL_SESSION_FETCH, "fetching SSL session by lua").await
}

/// Runs `ssl_session_store_by_lua*`, which cannot wait.
pub(crate) fn store_session(conn: &Rc<Connection>, srv: &'static SrvConf) {
    let Some(script) = &srv.lua.ssl_session_store else { return };
    conn.debug(format_args!("ssl session store: connection reusable: 0"));
    let Some(r) = request(conn, srv, Phase::SSL_SESSION_STORE) else { return };
    let Some(ctx) = ctx_of(&r) else { return };
    let action = conn.action.replace(Some("storing SSL session by lua"));
    ctx.phase.set(Phase::SSL_SESSION_STORE);
    let ran = filters::call(&r, &ctx, script, "session_store_by_lua*");
    let code = if ran.is_ok() { 0 } else { -1 };
    conn.debug(format_args!("ssl_session_store_by_lua*: handler return value: {code}, sess new cb exit code: 0"));
    conn.action.set(action);
    session::end(&r);
}

fn request(conn: &Rc<Connection>, srv: &'static SrvConf, phase: Phase) -> Option<Rc<Request>> {
    let loc = srv.core.loc.get().copied()?;
    let mut fake = Connection::fake(conn.cycle(), conn.main_conf(), conn.number);
    let mut context = format!(", context: {}", phase.name()).into_bytes();
    context.extend_from_slice(&conn.place());
    fake.fake = Some(Box::new(FakeClient { context, place: conn.place() }));
    // A fresh cell.
    let _ = fake.handshake_of.set(Rc::clone(conn));
    Some(fake_request_on(fake, srv, loc))
}

async fn run(
    conn: &Rc<Connection>,
    srv: &'static SrvConf,
    script: &Script,
    phase: Phase,
    action: &'static str,
) -> bool {
    let Some(r) = request(conn, srv, phase) else { return false };
    let Some(ctx) = ctx_of(&r) else { return false };
    let outer = conn.action.replace(Some(action));
    let ended = End(&r);
    if script.push(&ctx.vm, &r, handlers::cache_of(&r)).is_err() {
        conn.action.set(outer);
        return false;
    }
    ctx.phase.set(phase);
    ctx.entered_content.set(true);
    let mut ran = sched::start(&ctx, &*r);
    let waited = ran == Ran::Again;
    if waited {
        ran = poll_fn(|cx| sched::poll(&ctx, &*r, cx)).await;
    }
    let code = match ran {
        Ran::Exit => ctx.exit_code.get(),
        Ran::Failed => 500,
        _ => 0,
    };
    let ok = code != -1 && code < 300;
    drop(ended);
    if !waited {
        let (name, callback) = match phase {
            Phase::SSL_CERT => ("ssl_certificate_by_lua", "cert cb"),
            Phase::SSL_CLIENT_HELLO => ("ssl_client_hello_by_lua", "client hello cb"),
            _ => ("ssl_session_fetch_by_lua*", "sess get cb"),
        };
        let exit = u8::from(ok);
        conn.debug(format_args!("{name}: handler return value: {code}, {callback} exit code: {exit}"));
    }
    conn.action.set(outer);
    ok
}

/// Runs a script in the handshake with a server behind us, on behalf of the request that goes there; whether the
/// handshake may go on.
pub(crate) async fn run_proxied(r: &Rc<Request>, script: &Script, phase: Phase) -> bool {
    let (action, name, callback) = match phase {
        Phase::PROXY_SSL_CERT => {
            r.debug(format_args!("proxy ssl cert: connection reusable: 0"));
            ("loading proxy ssl certificate by lua", "proxy_ssl_certificate_by_lua", "cert cb")
        }
        _ => {
            r.debug(format_args!("proxy ssl verify: connection reusable: 0"));
            ("loading proxy ssl verify by lua", "proxy_ssl_verify_by_lua", "cert verify callback")
        }
    };
    let Some(ctx) = ctx_of(r) else { return false };
    sched::reset(&ctx, &**r);
    let conn = Rc::clone(r.conn());
    let outer = conn.action.replace(Some(action));
    let done = |ok| {
        conn.action.set(outer);
        ok
    };
    if script.push(&ctx.vm, r, handlers::cache_of(r)).is_err() {
        return done(false);
    }
    ctx.phase.set(phase);
    ctx.entered_content.set(true);
    let under_way = UnderWay { r, name, callback, done: Cell::new(false) };
    let mut ran = sched::start(&ctx, &**r);
    let waited = ran == Ran::Again;
    if waited {
        ran = poll_fn(|cx| sched::poll(&ctx, &**r, cx)).await;
    }
    under_way.done.set(true);
    let code = match ran {
        Ran::Exit => ctx.exit_code.get(),
        Ran::Failed => 500,
        _ => 0,
    };
    let ok = code != -1 && code < 300;
    let exit = u8::from(ok);
    if waited {
        r.debug(format_args!("{name}: {callback} exit code: {exit}"));
    } else {
        r.debug(format_args!("{name}: handler return value: {code}, {callback} exit code: {exit}"));
    }
    done(ok)
}

/// A script in a handshake with a server; says so when it is cut off.
struct UnderWay<'a> {
    r: &'a Rc<Request>,
    name: &'static str,
    callback: &'static str,
    done: Cell<bool>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.done.get() {
            self.r.debug(format_args!("{}: {} aborted", self.name, self.callback));
        }
    }
}

/// Ends the request even when the connection goes away in the middle.
struct End<'a>(&'a Rc<Request>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        session::end(self.0);
    }
}
