//! `echo_before_body` and `echo_after_body`: text around the body of any handler.

use std::rc::Rc;

use super::handler::{State, echo_line};
use crate::http::code::Code;
use crate::http::output::{BodyNext, Buf, Chain, HeaderNext, chain};
use crate::http::request::Request;
use crate::log::Level;

/// The body changes its length when there is text around it.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().echo;
    trace(r, b"header");
    if !conf.wraps_body() {
        if let Some(state) = r.ctx::<State>() {
            state.skip_filter.set(true);
        }
        return next.run(r);
    }
    r.ctx_or_default::<State>();
    r.headers_out.clear_content_length();
    r.headers_out.clear_accept_ranges();
    next.run(r)
}

/// Says in the debug log that the filter ran, in configurations that use it at all.
fn trace(r: &Request, filter: &[u8]) {
    if r.main_conf().echo.filters && r.logs(Level::Debug) {
        let (uri, args) = (r.uri.get(), r.args.get());
        r.log_bytes(Level::Debug, &[b"echo ", filter, b" filter, uri \"", &uri, b"?", &args, b"\""]);
    }
}

/// Puts the texts in front of the body and behind it.
pub(crate) fn body_filter(r: &Rc<Request>, mut chain_in: Chain, next: BodyNext) -> Code {
    trace(r, b"body");
    if chain_in.is_empty() || r.header_only.get() {
        return next.run(r, chain_in);
    }
    let conf = &r.loc().echo;
    if !conf.wraps_body() {
        return next.run(r, chain_in);
    }
    let Some(state) = r.ctx::<State>().filter(|state| !state.skip_filter.get()) else { return next.run(r, chain_in) };

    if !state.before_body_sent.replace(true) {
        let before: Chain = conf.before_body.iter().flat_map(|command| echo_line(r, command)).collect();
        if !before.is_empty() && next.run(r, before) == Code::ERROR {
            return Code::ERROR;
        }
    }
    if conf.after_body.is_empty() {
        state.skip_filter.set(true);
        return next.run(r, chain_in);
    }

    let mut ended = false;
    for buf in chain_in.iter_mut().filter(|buf| buf.last || buf.last_in_chain) {
        buf.last = false;
        buf.last_in_chain = false;
        buf.sync = true;
        ended = true;
    }
    let code = next.run(r, chain_in);
    if code == Code::ERROR || code.0 > 0 || !ended {
        return code;
    }
    let after: Chain = conf.after_body.iter().flat_map(|command| echo_line(r, command)).collect();
    if !after.is_empty() && next.run(r, after) == Code::ERROR {
        return Code::ERROR;
    }
    state.skip_filter.set(true);
    let mut end = Buf::end_of(r);
    end.sync = !r.is_main();
    next.run(r, chain(end))
}
