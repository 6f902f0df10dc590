//! The walk of a request through the phases, and what happens to the code it ends with.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::code::Code;
use super::header::HeaderId;
use super::method::Version;
use super::output;
use super::phases::{Outcome, Phase};
use super::postpone_filter;
use super::request::{Request, Restart};
use super::request_log::debug;
use super::{body, h1, location, redirect, special_response};
use crate::log::Level;

/// Serves a main request with all its subrequests, up to the last byte of the response.
pub(crate) async fn serve(r: &Rc<Request>) {
    drive(r, run_main(r)).await;
    run_post_actions(r).await;
}

/// Polls a main request and the subrequests it makes.
pub(crate) async fn drive(r: &Rc<Request>, main: impl Future<Output = ()>) {
    let mut main = pin!(main);
    let mut main_ended = false;
    let mut look = |cx: &mut Context<'_>| {
        loop {
            if !main_ended && main.as_mut().poll(cx).is_ready() {
                main_ended = true;
            }
            if r.terminated.get() {
                r.posted.take();
                return Poll::Ready(());
            }
            let mut running = r.posted.take();
            if !running.is_empty() {
                running.retain_mut(|subrequest| subrequest.as_mut().poll(cx).is_pending());
                let started = r.posted.replace(running);
                let more = !started.is_empty();
                r.posted.borrow_mut().extend(started);
                if r.terminated.get() {
                    continue;
                }
                if more || r.conn().take_wake() {
                    continue;
                }
                return Poll::Pending;
            }
            if r.conn().take_wake() && !main_ended {
                continue;
            }
            return if main_ended { Poll::Ready(()) } else { Poll::Pending };
        }
    };
    poll_fn(|cx| {
        r.conn().set_waker(cx.waker());
        r.conn().set_driven(true);
        let looked = look(cx);
        r.conn().set_driven(false);
        looked
    })
    .await;
    if !r.terminated.get() && r.conn().has_output() {
        let code = output::drained(r).await;
        if code != Code::OK {
            r.conn().error.set(true);
        }
    }
    r.done.set(true);
}

async fn run_main(r: &Rc<Request>) {
    debug!(r, "http process request");
    let code = start(r).await;
    finish(r, code).await;
}

/// Serves a request whose head was refused.
pub(crate) async fn serve_refusal(r: &Rc<Request>, code: Code) {
    drive(r, finish(r, code)).await;
    run_post_actions(r).await;
}

/// Sends a request whose client has its response, or is gone, to where its location says (`post_action`), as often
/// as the locations it comes to say so. Nobody gets what is written there.
async fn run_post_actions(r: &Rc<Request>) {
    while let Some(target) = &*r.loc().core.post_action
        && !r.detached.get()
        && !(r.post_action.get() && r.uri_changes.get() == 0)
    {
        debug!(r, "post action: \"{}\"", target.escape_ascii());
        r.post_action.set(true);
        r.header_only.set(true);
        r.terminated.set(false);
        let code = match target.first() {
            Some(b'/') => redirect::internal(r, target.clone(), None),
            _ => redirect::named(r, target),
        };
        // Few locations have one, so the others' requests need no room for this.
        Box::pin(drive(r, finish(r, code))).await;
    }
}

/// Logs a request whose client left before its head was complete.
pub(crate) fn log_closed(r: &Rc<Request>) {
    r.conn().action.set(Some("logging request"));
    run_log(r);
    r.run_cleanups();
}

/// Runs a subrequest. Its way begins at the server's rewrite phase; a copy goes on where its parent is.
pub(crate) async fn run_subrequest(r: Rc<Request>) {
    let from = r.restart.take().unwrap_or(Restart::ServerRewrite);
    let code = phases(&r, from).await;
    finish(&r, code).await;
}

/// `ngx_http_handler` for a client's request.
async fn start(r: &Rc<Request>) -> Code {
    let head = &r.headers_in;
    r.keepalive.set(match head.connection_type.get() {
        super::headers_in::ConnectionType::Close => false,
        super::headers_in::ConnectionType::KeepAlive => true,
        super::headers_in::ConnectionType::Unset => r.http_version.get() > Version::HTTP_10,
    });
    r.lingering_close.set(head.content_length.get() > 0 || head.chunked.get());
    r.valid_unparsed_uri.set(!r.unparsed_uri.is_empty());
    if !r.conn().is_tls() && r.conn().port.is_some_and(|port| port.options.ssl) {
        r.log(Level::Info, format_args!("client sent plain HTTP request to HTTPS port"));
        return Code(497);
    }
    if let Some((tls, _)) = r.conn().tls()
        && let Some((status, reason)) = r.srv().ssl.refuses(tls.ssl())
    {
        r.log(Level::Info, format_args!("{reason}"));
        return Code(i32::from(status));
    }
    r.conn().action.set(None);
    match run_phase(r, Phase::PostRead).await {
        Some(code) => code,
        None => phases(r, Restart::ServerRewrite).await,
    }
}

/// Runs a request's handlers from a phase on, as often as redirects ask for it.
async fn phases(r: &Rc<Request>, from: Restart) -> Code {
    let mut from = from;
    loop {
        let code = pass(r, from).await;
        if code == Code::DONE
            && let Some(restart) = r.restart.take()
        {
            from = restart;
            continue;
        }
        return code;
    }
}

/// One pass through the phases.
async fn pass(r: &Rc<Request>, from: Restart) -> Code {
    if from == Restart::Content {
        return run_content(r).await;
    }
    if from == Restart::ServerRewrite {
        // `ngx_http_handler` begins anew for subrequests and redirects, too.
        r.conn().action.set(None);
        if let Some(code) = run_rewrite(r, Phase::ServerRewrite).await {
            return code;
        }
        r.uri_changed.set(true);
    }
    let mut look_up = from == Restart::ServerRewrite;
    loop {
        if look_up && let Some(code) = find_location(r) {
            return code;
        }
        if let Some(code) = run_rewrite(r, Phase::Rewrite).await {
            return code;
        }
        if !r.uri_changed.get() {
            break;
        }
        let left = r.uri_changes.get().saturating_sub(1);
        debug!(r, "uri changes: {left}");
        r.uri_changes.set(left);
        if left == 0 {
            r.log_bytes(
                Level::Error,
                &[b"rewrite or internal redirection cycle while processing \"", &r.uri.get(), b"\""],
            );
            return Code::INTERNAL_SERVER_ERROR;
        }
        if let Some(loc) = r.srv().core.loc.get() {
            r.set_loc(loc);
        }
        look_up = true;
    }
    if let Some(code) = run_phase(r, Phase::Preaccess).await {
        return code;
    }
    if let Some(code) = run_access(r).await {
        let delay = *r.loc().core.auth_delay;
        if code == Code::UNAUTHORIZED && !delay.is_zero() {
            r.log(Level::Info, format_args!("delaying unauthorized request"));
            tokio::time::sleep(delay).await;
        }
        return code;
    }
    if let Some(code) = run_phase(r, Phase::Precontent).await {
        return code;
    }
    run_content(r).await
}

/// Handlers that answer OK end the phase, DECLINED go to the next.
async fn run_phase(r: &Rc<Request>, phase: Phase) -> Option<Code> {
    for handler in &r.loc().core.handlers[phase as usize] {
        let code = match handler.handle(r) {
            Outcome::Done(code) => code,
            Outcome::Wait(future) => future.await,
        };
        match code {
            Code::OK => return None,
            Code::DECLINED => {}
            code => return Some(code),
        }
    }
    None
}

/// As [`run_phase`], but OK ends the request.
async fn run_rewrite(r: &Rc<Request>, phase: Phase) -> Option<Code> {
    for handler in &r.loc().core.handlers[phase as usize] {
        let code = match handler.handle(r) {
            Outcome::Done(code) => code,
            Outcome::Wait(future) => future.await,
        };
        if code != Code::DECLINED {
            return Some(code);
        }
    }
    None
}

async fn run_access(r: &Rc<Request>) -> Option<Code> {
    if !r.is_main() {
        return None;
    }
    r.access_code.set(Code::OK);
    let loc = r.loc();
    for handler in &loc.core.handlers[Phase::Access as usize] {
        let code = match handler.handle(r) {
            Outcome::Done(code) => code,
            Outcome::Wait(future) => future.await,
        };
        match code {
            Code::DECLINED => {}
            Code::DONE | Code::AGAIN => return Some(Code::DONE),
            Code::OK if loc.core.satisfy_all() => {}
            Code::OK => {
                r.access_code.set(Code::OK);
                r.headers_out.list.borrow_mut().remove_known(HeaderId::WwwAuthenticate);
                return None;
            }
            Code::FORBIDDEN | Code::UNAUTHORIZED if !loc.core.satisfy_all() => {
                if r.access_code.get() != Code::UNAUTHORIZED {
                    r.access_code.set(code);
                }
            }
            code => return Some(code),
        }
    }
    match r.access_code.replace(Code::OK) {
        Code::OK => None,
        code => {
            if code == Code::FORBIDDEN {
                r.log(Level::Error, format_args!("access forbidden by rule"));
            }
            Some(code)
        }
    }
}

async fn run_content(r: &Rc<Request>) -> Code {
    if let Some(handler) = r.content_handler.get() {
        return handler.handle(r).code().await;
    }
    for handler in &r.loc().core.handlers[Phase::Content as usize] {
        debug!(r, "content phase: {}", r.uri.borrow().escape_ascii());
        let code = handler.handle(r).code().await;
        if code != Code::DECLINED {
            return code;
        }
    }
    if r.uri.borrow().ends_with(b"/") {
        let path = super::path::map_uri(r).path;
        r.log_bytes(Level::Error, &[b"directory index of \"", &path, b"\" is forbidden"]);
        return Code::FORBIDDEN;
    }
    debug!(r, "no handler found");
    Code::NOT_FOUND
}

/// Looks up the location, enters it and checks what it allows. A code ends the request.
fn find_location(r: &Rc<Request>) -> Option<Code> {
    r.content_handler.set(None);
    r.uri_changed.set(false);
    let redirect = match location::find(r) {
        Ok(redirect) => redirect,
        Err(code) => return Some(code),
    };
    let loc = r.loc();
    if !r.internal.get() && loc.core.internal {
        return Some(Code::NOT_FOUND);
    }
    debug!(r, "using configuration \"{}\"", loc.core.name.escape_ascii());
    location::enter(r, loc);
    let loc = r.loc();
    let length = r.headers_in.content_length.get();
    let limit = *loc.core.client_max_body_size;
    debug!(r, "http cl:{length} max:{limit}");
    if length >= 0 && !r.discard_body.get() && limit > 0 && length as u64 > limit {
        r.log(Level::Error, format_args!("client intended to send too large body: {length} bytes"));
        r.expect_tested.set(true);
        return Some(Code::REQUEST_ENTITY_TOO_LARGE);
    }
    if redirect {
        let mut target = h1::uri::escape(&loc.core.name);
        if !r.args.is_empty() {
            target.push(b'?');
            target.extend_from_slice(&r.args.borrow());
        }
        r.headers_out.redirect_to(target);
        return Some(Code::MOVED_PERMANENTLY);
    }
    None
}

/// `ngx_http_finalize_request`: error pages, subrequests' ends, the last bytes.
async fn finish(r: &Rc<Request>, code: Code) {
    let mut code = code;
    loop {
        debug!(
            r,
            "http finalize request: {}, \"{}?{}\"",
            code.0,
            r.uri.borrow().escape_ascii(),
            r.args.borrow().escape_ascii()
        );
        if r.filter_finalize.get()
            && let Some(restart) = r.restart.take()
        {
            // A filter replaced the response by an error page of the application; the handler's code is void.
            r.filter_finalize.set(false);
            r.keepalive.set(false);
            code = phases(r, restart).await;
            continue;
        }
        if code == Code::DONE {
            match r.restart.take() {
                Some(restart) => {
                    code = phases(r, restart).await;
                    continue;
                }
                // Somebody else has taken care of the response.
                None if r.is_main() => return,
                None => code = Code::OK,
            }
        }
        if code == Code::OK && r.filter_finalize.get() {
            r.conn().error.set(true);
        }
        if code == Code::DECLINED {
            r.content_handler.set(None);
            code = run_content(r).await;
            continue;
        }
        if !r.is_main() {
            let handler = r.post_handler.borrow_mut().take();
            if let Some(handler) = handler {
                code = handler(r, code);
            }
        }
        if matches!(code, Code::ERROR | Code::REQUEST_TIME_OUT | Code::CLIENT_CLOSED_REQUEST) || r.conn().error.get() {
            terminate(r, code);
            return;
        }
        if code.is_special_response() || matches!(code, Code::CREATED | Code::NO_CONTENT) {
            if code == Code::CLOSE {
                r.conn().timed_out.set(true);
                terminate(r, code);
                return;
            }
            code = special_response::handle(r, code);
            continue;
        }
        break;
    }
    if r.is_main() {
        finish_main(r).await;
    } else {
        finish_subrequest(r, code).await;
    }
}

async fn finish_main(r: &Rc<Request>) {
    if r.has_postponed() {
        // The driver waits for the subrequests and drains the output.
        return;
    }
    if r.held_back.get() && r.conn().output_len() < *r.loc().core.postpone_output as u64 {
        // More follows, or an error after which this does not leave at all.
        return;
    }
    if r.conn().has_output() {
        let code = output::drained(r).await;
        if code != Code::OK {
            terminate(r, code);
        }
    }
}

async fn finish_subrequest(r: &Rc<Request>, code: Code) {
    postpone_filter::wait_for_turn(r).await;
    if r.loc().core.log_subrequest.then_some(!r.logged.get()).unwrap_or_default() {
        run_log(r);
    }
    r.logged.set(true);
    r.done.set(true);
    r.run_cleanups();
    r.completion.finish(code);
    postpone_filter::leave(r);
}

/// Ends the main request and its connection at once.
pub(crate) fn terminate(r: &Rc<Request>, code: Code) {
    let main = r.main();
    debug!(r, "http terminate request");
    main.terminated.set(true);
    if code.0 > 0 && (main.headers_out.status.get() == 0 || main.bytes_sent() == 0) {
        main.headers_out.status.set(code.0 as u16);
    }
    main.keepalive.set(false);
    main.conn().error.set(true);
    if !r.is_main() {
        r.completion.finish(code);
    }
    main.conn().wake();
}

/// Runs the log handlers.
pub(crate) fn run_log(r: &Rc<Request>) {
    for handler in &r.loc().core.handlers[Phase::Log as usize] {
        // Log handlers have nothing to wait for.
        drop(handler.handle(r));
    }
    r.logged.set(true);
}

/// What is left to do with a main request after its response: the unread body, the log, the cleanups.
pub(crate) async fn close(r: &Rc<Request>) {
    // What comes over a raw request socket is no body, and the lingering close of its connection reads it.
    let is_raw = r.lua.borrow().as_ref().is_some_and(|ctx| ctx.output.raw_socket.get());
    if !r.terminated.get() && !r.conn().error.get() && !r.detached.get() && !is_raw {
        body::discard_rest(r).await;
    }
    r.conn().action.set(Some("logging request"));
    if !r.logged.get() {
        run_log(r);
    }
    if crate::dev::is_on() {
        crate::dev::log_request(r);
    }
    r.conn().action.set(Some("closing request"));
    debug!(r, "http close request");
    r.run_cleanups();
}
