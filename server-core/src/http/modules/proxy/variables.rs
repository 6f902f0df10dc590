//! `$proxy_host`, `$proxy_port`, `$proxy_add_x_forwarded_for`.

use bytes::Bytes;

use crate::http::upstream::destination::ProxyVars;
use crate::http::variables::{Flags, VariableDef};

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    VariableDef::volatile("proxy_host", |r, _| Some(r.ctx::<ProxyVars>()?.host.clone())).with(Flags::NO_CACHE),
    VariableDef::volatile("proxy_port", |r, _| Some(r.ctx::<ProxyVars>()?.port.clone())).with(Flags::NO_CACHE),
    VariableDef::volatile("proxy_add_x_forwarded_for", |r, _| {
        let mut list: Vec<Bytes> =
            r.headers_in.list.borrow().named(b"X-Forwarded-For").map(|header| header.value.clone()).collect();
        list.push(r.conn().peer_text.borrow().clone());
        Some(list.join(&b", "[..]).into())
    }),
];
