//! `ngx_http_srcache_filter_module`: whole responses kept in caches that other locations reach.
//!
//! In the access phase a subrequest asks for a kept response ([`fetch`]); what came back as HTTP/1 text answers the
//! request. Else the response that the location makes is written down on its way through the filters, and a second
//! subrequest takes it to the cache ([`store`]) before the client sees its end.

mod conf;
mod control;
mod fetch;
mod store;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use self::conf::Call;
pub(crate) use self::conf::RULES;
pub use self::conf::{LocConf, MainConf, SrvConf};
pub(crate) use self::fetch::FetchHandler;
pub(crate) use self::store::{body_filter, header_filter};
use crate::http::body::RequestBody;
use crate::http::code::Code;
use crate::http::h1::uri;
use crate::http::method::Method;
use crate::http::request::Request;
use crate::http::subrequest::{self, Options};
use crate::http::variables::VariableDef;
use crate::log::Level;

/// What is known about a main request in such a location.
#[derive(Default)]
struct State {
    /// A subrequest asked the cache.
    asked: Cell<bool>,
    /// The cache answered.
    from_cache: Cell<bool>,
    /// The response goes to the cache.
    stores: Cell<bool>,
    /// The head has passed all filters; what comes now is the body.
    gathers: Cell<bool>,
    /// The status when the head was sent.
    status: Cell<u16>,
    /// Until when the response may be kept, in seconds since 1970; 0 when it doesn't say.
    valid: Cell<i64>,
    /// The response so far, head first.
    text: RefCell<Vec<u8>>,
    /// The length of its head.
    head: Cell<usize>,
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    VariableDef::volatile("srcache_expire", |r, _| {
        let state = r.ctx::<State>().filter(|state| state.stores.get())?;
        let conf = &r.loc().srcache;
        let expire = match state.valid.get() {
            0 => conf.default_expire(),
            valid => valid - crate::clock::now().sec,
        };
        let most = conf.max_expire();
        let expire = if most > 0 { expire.min(most) } else { expire };
        Some(expire.to_string().into())
    }),
    VariableDef::volatile("srcache_fetch_status", |r, _| {
        Some(Bytes::from_static(match r.ctx::<State>() {
            Some(state) if state.from_cache.get() => b"HIT",
            Some(state) if state.asked.get() => b"MISS",
            _ => b"BYPASS",
        }))
    }),
    VariableDef::volatile("srcache_store_status", |r, _| {
        let stores = r.ctx::<State>().is_some_and(|state| state.stores.get());
        Some(Bytes::from_static(if stores { b"STORE" } else { b"BYPASS" }))
    }),
];

/// Whether a value says yes: it is neither empty nor `0`.
fn says_yes(value: &[u8]) -> bool {
    !value.is_empty() && value != b"0"
}

/// Makes the subrequest of a directive. It has variables of its own, the request headers of its parent, and a body
/// if one is given.
fn subrequest(r: &Rc<Request>, call: &Call, body: Option<Bytes>, options: Options) -> Result<Rc<Request>, Code> {
    let target = call.location.eval(r);
    if target.is_empty() {
        return Err(Code::ERROR);
    }
    let args = call.args.as_ref().map(|args| args.eval(r)).filter(|args| !args.is_empty());
    let Some((path, query)) = uri::parse_unsafe(&target) else {
        r.log_bytes(Level::Error, &[b"unsafe URI \"", &target, b"\" was detected"]);
        return Err(Code::ERROR);
    };
    let args = args.or_else(|| query.map(Bytes::copy_from_slice)).unwrap_or_default();
    let sub = subrequest::create(r, path, Some(args), options).map_err(|_| Code::ERROR)?;
    sub.method.set(call.method);
    sub.method_name.set(call.method_name.clone());
    if call.method == Method::HEAD {
        sub.header_only.set(true);
    }
    subrequest::separate_variables(&sub);
    if let Some(body) = body {
        subrequest::give_body(&sub, RequestBody::of(body));
    }
    Ok(sub)
}
