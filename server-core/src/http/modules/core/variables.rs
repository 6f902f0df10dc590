//! The variables that every configuration has.

use std::os::unix::ffi::OsStrExt as _;

use bytes::{Bytes, BytesMut};

use crate::conf::value;
use crate::cycle::NGINX_VERSION;
use crate::http::connection::Address;
use crate::http::header::{Header, HeaderId, HeaderList};
use crate::http::method::Version;
use crate::http::request::Request;
use crate::http::variables::VariableDef;
use crate::http::{date, path};

type Value = Option<Bytes>;

const fn once(name: &'static str, get: fn(&Request, usize) -> Value) -> VariableDef {
    VariableDef::new(name, get)
}

const fn volatile(name: &'static str, get: fn(&Request, usize) -> Value) -> VariableDef {
    VariableDef::volatile(name, get)
}

const fn family(prefix: &'static str, get: fn(&Request, &[u8]) -> Value) -> VariableDef {
    VariableDef::family(prefix, get)
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    family("http_", |r, name| joined(&r.headers_in.list.borrow(), name, separator(name))),
    family("sent_http_", sent_header),
    family("sent_trailer_", |r, name| joined(&r.headers_out.trailers.borrow(), name, b", ")),
    family("cookie_", cookie),
    family("arg_", argument),
    once("content_length", content_length),
    once("content_type", |r, _| joined(&r.headers_in.list.borrow(), b"content_type", b", ")),
    once("host", host),
    once("binary_remote_addr", |r, _| Some(binary_address(&r.conn().peer.borrow()))),
    once("remote_addr", |r, _| Some(r.conn().peer_text.borrow().clone())),
    once("remote_port", |r, _| port(&r.conn().peer.borrow())),
    once("proxy_protocol_addr", |r, _| r.conn().proxy_protocol.get().map(|header| text(header.source.ip()))),
    once("proxy_protocol_port", |r, _| r.conn().proxy_protocol.get().map(|header| number(header.source.port()))),
    once("proxy_protocol_server_addr", |r, _| {
        r.conn().proxy_protocol.get().map(|header| text(header.destination.ip()))
    }),
    once("proxy_protocol_server_port", |r, _| {
        r.conn().proxy_protocol.get().map(|header| number(header.destination.port()))
    }),
    family("proxy_protocol_tlv_", |r, name| r.conn().proxy_protocol.get()?.tlv(name)),
    once("server_addr", |r, _| Some(server_address(r.conn().local()))),
    once("server_port", |r, _| port(r.conn().local())),
    once("server_protocol", |r, _| nonempty(r.http_protocol.get())),
    once("scheme", |r, _| Some(Bytes::from_static(if r.conn().is_tls() { b"https" } else { b"http" }))),
    once("https", |r, _| Some(Bytes::from_static(if r.conn().is_tls() { b"on" } else { b"" }))),
    volatile("request_uri", |r, _| Some(r.main_ref().unparsed_uri.get())),
    volatile("uri", |r, _| Some(r.uri.get())),
    volatile("document_uri", |r, _| Some(r.uri.get())),
    volatile("request", |r, _| Some(r.main_ref().request_line.get())),
    volatile("document_root", |r, _| Some(path::root(r).into())),
    volatile("realpath_root", realpath_root),
    volatile("query_string", |r, _| nonempty(r.args.get())),
    volatile("args", |r, _| nonempty(r.args.get())).setter(set_args),
    volatile("is_args", |r, _| Some(Bytes::from_static(if r.args.is_empty() { b"" } else { b"?" }))),
    volatile("request_filename", |r, _| Some(path::map_uri(r).path.into())),
    once("server_name", |r, _| Some(r.srv().core.server_name.clone())),
    volatile("request_method", |r, _| nonempty(r.main_ref().method_name.get())),
    once("remote_user", |r, _| r.basic_auth().map(|(user, _)| user)),
    volatile("bytes_sent", |r, _| Some(number(r.bytes_sent()))),
    volatile("body_bytes_sent", |r, _| Some(number(r.bytes_sent().saturating_sub(r.main_ref().header_size.get())))),
    volatile("pipe", |r, _| Some(Bytes::from_static(if r.conn().pipelined.get() { b"p" } else { b"." }))),
    volatile("request_completion", |r, _| {
        Some(Bytes::from_static(if r.main_ref().done.get() && !r.main_ref().terminated.get() { b"OK" } else { b"" }))
    }),
    once("request_body", request_body),
    once("request_body_file", request_body_file),
    volatile("request_length", |r, _| Some(number(r.main_ref().request_length.get()))),
    volatile("request_time", |r, _| Some(milliseconds(r.elapsed_msec()))),
    once("request_id", request_id),
    volatile("status", |r, _| Some(status(r))),
    volatile("limit_rate", limit_rate).setter(set_limit_rate),
    once("connection", |r, _| Some(number(r.conn().number))),
    once("connection_requests", |r, _| Some(number(r.conn().requests.get()))),
    volatile("connection_time", |r, _| {
        Some(milliseconds(crate::clock::now().monotonic_msec - r.conn().opened.monotonic_msec))
    }),
    once("nginx_version", |_, _| Some(Bytes::from_static(NGINX_VERSION.as_bytes()))),
    once("hostname", |_, _| {
        let name = nix::unistd::gethostname().unwrap_or_default();
        Some(Bytes::copy_from_slice(name.as_bytes()))
    }),
    once("pid", |_, _| Some(number(std::process::id()))),
    volatile("msec", |_, _| Some(milliseconds(crate::clock::now().epoch_msec()))),
    volatile("time_iso8601", |_, _| Some(date::iso8601())),
    volatile("time_local", |_, _| Some(date::log_time())),
    once("request_port", |r, _| {
        let port = r.headers_in.port.get();
        Some(if port == 0 { Bytes::new() } else { number(port) })
    }),
    once("is_request_port", |r, _| Some(Bytes::from_static(if r.headers_in.port.get() == 0 { b"" } else { b":" }))),
    volatile("tcpinfo_rtt", |_, _| None),
    volatile("tcpinfo_rttvar", |_, _| None),
    volatile("tcpinfo_snd_cwnd", |_, _| None),
    volatile("tcpinfo_rcv_space", |_, _| None),
];

fn text(value: impl std::fmt::Display) -> Bytes {
    Bytes::from(value.to_string())
}

fn number(value: impl itoa::Integer) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(value).as_bytes())
}

fn nonempty(value: Bytes) -> Value {
    if value.is_empty() { None } else { Some(value) }
}

fn milliseconds(count: i64) -> Bytes {
    let count = count.max(0);
    Bytes::from(format!("{}.{:03}", count / 1000, count % 1000))
}

fn separator(name: &[u8]) -> &'static [u8] {
    if name == b"cookie" { b"; " } else { b", " }
}

/// All fields with this name (in lower case, underscores for hyphens), joined.
fn joined(list: &HeaderList, name: &[u8], separator: &[u8]) -> Value {
    let is_named = |field: &&Header| {
        field.name.len() == name.len()
            && field.name.iter().zip(name).all(|(a, b)| {
                let a = if *a == b'-' { b'_' } else { a.to_ascii_lowercase() };
                a == *b
            })
    };
    join(list.iter().filter(is_named), separator)
}

fn join<'a>(mut fields: impl Iterator<Item = &'a Header>, separator: &[u8]) -> Value {
    let first = fields.next()?.value.clone();
    let Some(second) = fields.next() else { return Some(first) };
    let mut all = BytesMut::from(&first[..]);
    for field in std::iter::once(second).chain(fields) {
        all.extend_from_slice(separator);
        all.extend_from_slice(&field.value);
    }
    Some(all.freeze())
}

fn sent_header(r: &Request, name: &[u8]) -> Value {
    let out = &r.headers_out;
    match name {
        b"content_type" => {
            let kind = nonempty(out.content_type.get())?;
            if out.charset.is_empty() || kind.contains(&b';') {
                return Some(kind);
            }
            Some([&kind, b"; charset=".as_slice(), &out.charset.get()].concat().into())
        }
        b"content_length" => match out.value(HeaderId::ContentLength) {
            Some(value) => Some(value),
            None => (out.content_length.get() >= 0).then(|| number(out.content_length.get())),
        },
        b"last_modified" => match out.value(HeaderId::LastModified) {
            Some(value) => Some(value),
            None => (out.last_modified.get() >= 0)
                .then(|| Bytes::copy_from_slice(&date::http_time(out.last_modified.get()))),
        },
        b"connection" => Some(Bytes::from_static(if out.status.get() == 101 {
            b"upgrade"
        } else if r.keepalive.get() {
            b"keep-alive"
        } else {
            b"close"
        })),
        b"keep_alive" => {
            let seconds = *r.loc().core.keepalive_header;
            (r.keepalive.get() && seconds > 0).then(|| text(format_args!("timeout={seconds}")))
        }
        b"transfer_encoding" => r.chunked.get().then(|| Bytes::from_static(b"chunked")),
        name => joined(&out.list.borrow(), name, b", "),
    }
}

fn cookie(r: &Request, name: &[u8]) -> Value {
    let list = r.headers_in.list.borrow();
    for header in list.iter().filter(|field| field.id == HeaderId::Cookie) {
        for pair in header.value.split(|byte| *byte == b';') {
            if let Some(value) = cookie_value(pair, name) {
                return Some(header.value.slice_ref(value));
            }
        }
    }
    None
}

/// The value when this is the cookie of that name, in any case. Spaces around name and `=` don't count.
pub(crate) fn cookie_value<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let pair = skip_spaces(pair);
    let rest = pair.split_at_checked(name.len()).filter(|(start, _)| start.eq_ignore_ascii_case(name))?.1;
    Some(skip_spaces(skip_spaces(rest).strip_prefix(b"=")?))
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| **byte == b' ').count()..]
}

fn argument(r: &Request, name: &[u8]) -> Value {
    let args = r.args.get();
    args.split(|byte| *byte == b'&').find_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        pair[..at].eq_ignore_ascii_case(name).then(|| args.slice_ref(&pair[at + 1..]))
    })
}

fn content_length(r: &Request, _: usize) -> Value {
    if let Some(value) = r.headers_in.value(HeaderId::ContentLength) {
        return Some(value);
    }
    (r.headers_in.chunked.get() && r.headers_in.content_length.get() >= 0)
        .then(|| number(r.headers_in.content_length.get()))
}

fn host(r: &Request, _: usize) -> Value {
    let host = r.headers_in.server.get();
    Some(if host.is_empty() { r.srv().core.server_name.clone() } else { host })
}

fn binary_address(address: &Address) -> Bytes {
    match address {
        Address::Ip(address) => match address.ip() {
            std::net::IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
            std::net::IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
        },
        Address::Unix(_) => Bytes::from_static(b"unix:"),
    }
}

fn port(address: &Address) -> Value {
    Some(match address {
        Address::Ip(address) => number(address.port()),
        Address::Unix(_) => Bytes::new(),
    })
}

fn server_address(address: &Address) -> Bytes {
    match address {
        Address::Ip(_) => address.host_text(),
        Address::Unix(path) => [b"unix:", &path[..]].concat().into(),
    }
}

fn realpath_root(r: &Request, _: usize) -> Value {
    let root = path::absolute_path(r, &path::root(r));
    match std::fs::canonicalize(&root) {
        Ok(real) => Some(Bytes::copy_from_slice(real.as_os_str().as_bytes())),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            let root = root.display();
            r.log_errno(crate::log::Level::Crit, errno, format_args!("realpath() \"{root}\" failed"));
            None
        }
    }
}

fn set_args(r: &Request, value: Value, _: usize) {
    r.args.set(value.unwrap_or_default());
    r.valid_unparsed_uri.set(false);
}

fn limit_rate(r: &Request, _: usize) -> Value {
    let main = r.main_ref();
    if main.limit_rate_set.get() {
        return Some(number(main.limit_rate.get()));
    }
    let rate = r.loc().core.limit_rate.as_ref().map(|rate| rate.eval(r));
    Some(number(rate.and_then(|rate| value::size(&rate)).unwrap_or(0)))
}

fn set_limit_rate(r: &Request, value: Value, _: usize) {
    let Some(rate) = value::size(&value.unwrap_or_default()) else {
        r.log(crate::log::Level::Error, format_args!("invalid $limit_rate value"));
        return;
    };
    r.main_ref().limit_rate.set(rate as u64);
    r.main_ref().limit_rate_set.set(true);
}

fn request_body(r: &Request, _: usize) -> Value {
    let body = r.request_body()?;
    nonempty(body.in_memory()?)
}

fn request_body_file(r: &Request, _: usize) -> Value {
    let body = r.request_body()?;
    let file = body.file.borrow();
    file.as_ref().map(|file| Bytes::copy_from_slice(file.path.as_os_str().as_bytes()))
}

fn request_id(_: &Request, _: usize) -> Value {
    let mut bytes = [0u8; 16];
    openssl::rand::rand_bytes(&mut bytes).ok()?;
    Some(text(format_args!("{:032x}", u128::from_be_bytes(bytes))))
}

fn status(r: &Request) -> Bytes {
    let status = if r.err_status.get() != 0 { r.err_status.get() } else { r.headers_out.status.get() };
    if status == 0 && r.http_version.get() == Version::HTTP_09 {
        return Bytes::from_static(b"009");
    }
    if status < 100 { text(format_args!("{status:03}")) } else { number(status) }
}
