//! One session from its first byte to its log line: access, TLS, preread, content, log.

use std::rc::Rc;

use tokio::time::Instant;

use super::{lua, preread_tls, proxy};
use crate::http::connection::{Connection, Stream};
use crate::http::modules::access::AccessHandler;
use crate::http::modules::access_log::LogHandler;
use crate::http::modules::limit_conn::LimitConnHandler;
use crate::http::modules::realip;
use crate::http::output::{self, Buf};
use crate::http::phases::Handler;
use crate::http::{Code, Request, proxy_protocol, run};
use crate::log::Level;
use crate::tls::server::accept as accept_tls;

/// Serves one connection until it ends.
pub(crate) async fn serve(conn: &Rc<Connection>) {
    let Some(port) = conn.port else { return };
    let Some(srv) = port.default else { return };
    let Some(loc) = srv.core.loc.get() else { return };
    if *loc.core.tcp_nodelay
        && let Stream::Tcp(stream) = &conn.stream
    {
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
    }
    let cycle_log = &conn.cycle().log;
    let log = loc.core.log.as_ref().unwrap_or(cycle_log);
    if log.enabled(Level::Info) {
        let (number, client, listener) = (conn.number, conn.peer.borrow(), conn.listen_text());
        let kind = if conn.datagrams().is_some() { "udp " } else { "" };
        log.write(Level::Info, format_args!("*{number} {kind}client {client} connected to {listener}"));
    }
    conn.idle.set(false);
    conn.requests.set(1);
    conn.action.set(Some("initializing session"));
    if port.options.proxy_protocol
        && !proxy_protocol::read(conn, Instant::now() + *loc.stream.proxy_protocol_timeout).await
    {
        return;
    }
    let r = Request::new(Rc::clone(conn), srv, loc);
    conn.set_active(&r);
    if let Some(first) = conn.datagrams().and_then(|client| client.try_receive()) {
        r.request_length.set(first.len() as u64);
        conn.input.replace(first.into());
    }
    // There is no head: output goes to the client as it is.
    r.header_sent.set(true);
    run::drive(&r, session(&r)).await;
    r.conn().action.set(Some("logging request"));
    drop(LogHandler.handle(&r));
    lua::log(&r);
    r.logged.set(true);
    r.conn().action.set(Some("closing session"));
    r.debug(format_args!("close stream connection"));
    r.run_cleanups();
    if let Some(client) = conn.datagrams() {
        client.leave();
    }
}

/// The phases up to the last byte; sets the status.
async fn session(r: &Rc<Request>) {
    let code = phases(r).await;
    r.debug(format_args!("finalize stream request: {}", code.0));
    let status = match code {
        Code::ERROR => 500,
        Code(code) if code >= 200 => code,
        _ => 200,
    };
    r.debug(format_args!("finalize stream session: {status}"));
    r.headers_out.status.set(u16::try_from(status).unwrap_or(500));
}

async fn phases(r: &Rc<Request>) -> Code {
    let conn = r.conn();
    realip::replace_by_proxy_protocol(r);
    let code = LimitConnHandler.handle(r).code().await;
    if code.is_special_response() {
        return code;
    }
    if AccessHandler.handle(r).code().await == Code::FORBIDDEN {
        return Code::FORBIDDEN;
    }
    if let Some(port) = conn.port.filter(|port| port.options.ssl) {
        let Some(context) = r.srv().ssl.context() else { return Code::INTERNAL_SERVER_ERROR };
        let deadline = Instant::now() + *r.loc().stream.handshake_timeout;
        if !accept_tls(conn, port, context, r.srv(), deadline).await {
            return Code::INTERNAL_SERVER_ERROR;
        }
        if let Some((tls, _)) = conn.tls()
            && let Some((_, reason)) = r.srv().ssl.refuses(tls.ssl())
        {
            r.log(Level::Info, format_args!("{reason}"));
            return Code::FORBIDDEN;
        }
    }
    conn.action.set(Some("prereading client data"));
    if *r.loc().stream.ssl_preread {
        let code = preread_tls::look(r).await;
        if code != Code::OK && code != Code::DECLINED {
            return code;
        }
    }
    for (target, value) in &r.loc().stream.sets {
        let value = value.eval(r);
        r.assign_variable(*target, Some(value));
    }
    match lua::preread(r).await {
        Code::OK | Code::DECLINED => {}
        code => return code,
    }
    conn.action.set(None);
    content(r).await
}

async fn content(r: &Rc<Request>) -> Code {
    let loc = r.loc();
    if loc.lua.content.is_some() {
        return lua::content(r).await;
    }
    if let Some(response) = &loc.stream.response {
        let text = response.eval(r);
        r.debug(format_args!("stream return text: \"{}\"", String::from_utf8_lossy(&text)));
        if text.is_empty() {
            return Code::OK;
        }
        let code = output::write(r, output::chain(Buf::bytes(text).ending(r)));
        return if code == Code::ERROR { code } else { Code::OK };
    }
    if loc.stream.pass.is_some() {
        return proxy::serve(r).await;
    }
    Code::INTERNAL_SERVER_ERROR
}
