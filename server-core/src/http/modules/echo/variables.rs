//! The `$echo_*` variables.

use bytes::Bytes;

use super::handler::State;
use crate::http::request::Request;
use crate::http::variables::VariableDef;

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    VariableDef::volatile("echo_timer_elapsed", timer_elapsed),
    VariableDef::volatile("echo_request_method", |r, _| non_empty(r.method_name.get())),
    VariableDef::new("echo_cacheable_request_uri", |r, _| non_empty(r.uri.get())),
    VariableDef::volatile("echo_request_uri", |r, _| non_empty(r.uri.get())),
    VariableDef::volatile("echo_client_request_method", |r, _| non_empty(r.main_ref().method_name.get())),
    VariableDef::volatile("echo_request_body", |r, _| r.body.borrow().as_ref()?.in_memory()),
    VariableDef::volatile("echo_client_request_headers", |r, _| {
        let main = r.main_ref();
        non_empty([&*main.raw_line.borrow(), &main.raw_fields.borrow()].concat().into())
    }),
    VariableDef::volatile("echo_it", |r, _| r.ctx::<State>()?.current_choice()),
    VariableDef::volatile("echo_incr", incr),
    VariableDef::volatile("echo_response_status", response_status),
];

fn non_empty(value: Bytes) -> Option<Bytes> {
    (!value.is_empty()).then_some(value)
}

fn timer_elapsed(r: &Request, _: usize) -> Option<Bytes> {
    let state = r.ctx_or_default::<State>();
    let begin = state.timer_begin.get().unwrap_or_else(|| r.started.get().epoch_msec());
    state.timer_begin.set(Some(begin));
    let elapsed = (crate::clock::update().epoch_msec() - begin).max(0);
    Some(format!("{}.{:03}", elapsed / 1000, elapsed % 1000).into())
}

fn incr(r: &Request, _: usize) -> Option<Bytes> {
    let state = r.main_ref().ctx::<State>()?;
    state.counter.set(state.counter.get() + 1);
    Some(state.counter.get().to_string().into())
}

fn response_status(r: &Request, _: usize) -> Option<Bytes> {
    let status = r.headers_out.status.get();
    (status != 0).then(|| status.to_string().into())
}
