//! The variables of sessions.

use bytes::Bytes;

use crate::http::Request;
use crate::http::modules::{core, realip, ssl, upstream};
use crate::http::variables::VariableDef;

/// Those of `http { }` that make sense without a request.
const SHARED: &[&str] = &[
    "binary_remote_addr",
    "bytes_sent",
    "connection",
    "hostname",
    "msec",
    "nginx_version",
    "pid",
    "proxy_protocol_addr",
    "proxy_protocol_port",
    "proxy_protocol_server_addr",
    "proxy_protocol_server_port",
    "proxy_protocol_tlv_",
    "remote_addr",
    "remote_port",
    "server_addr",
    "server_name",
    "server_port",
    "time_iso8601",
    "time_local",
];

const OWN: &[VariableDef] = &[
    VariableDef::volatile("bytes_received", |r, _| Some(r.request_length.get().to_string().into())),
    VariableDef::volatile("session_time", |r, _| {
        let elapsed = r.elapsed_msec().max(0);
        Some(format!("{}.{:03}", elapsed / 1000, elapsed % 1000).into())
    }),
    VariableDef::volatile("status", status),
    VariableDef::new("protocol", |r, _| {
        Some(Bytes::from_static(if r.conn().datagrams().is_some() { b"UDP" } else { b"TCP" }))
    }),
];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static VariableDef> {
    let shared = core::VARIABLES.iter().filter(|def| SHARED.contains(&def.name));
    shared
        .chain(super::preread_tls::VARIABLES)
        .chain(ssl::VARIABLES)
        .chain(upstream::VARIABLES)
        .chain(realip::VARIABLES)
        .chain(OWN)
}

fn status(r: &Request, _: usize) -> Option<Bytes> {
    Some(format!("{:03}", r.headers_out.status.get()).into())
}
