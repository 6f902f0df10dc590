//! The headers `Destination`, `Depth` and `Overwrite`.

use crate::http::code::Code;
use crate::http::h1::uri;
use crate::http::header::HeaderId;
use crate::http::request::Request;
use crate::log::Level;

/// How far a request reaches into a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Infinity,
    One,
    Zero,
}

/// The `Depth` header, or `default` without one.
pub(super) fn depth(r: &Request, default: Depth) -> Option<Depth> {
    let Some(value) = r.headers_in.value(HeaderId::Depth) else { return Some(default) };
    match &value[..] {
        b"0" => Some(Depth::Zero),
        b"1" => Some(Depth::One),
        b"infinity" => Some(Depth::Infinity),
        other => {
            r.log_bytes(Level::Error, &[b"client sent invalid \"Depth\" header: \"", other, b"\""]);
            None
        }
    }
}

/// Whether what is there may be replaced.
pub(super) fn overwrite(r: &Request) -> Result<bool, Code> {
    let Some(value) = r.headers_in.value(HeaderId::Overwrite) else { return Ok(true) };
    match &value[..] {
        b"T" | b"t" => Ok(true),
        b"F" | b"f" => Ok(false),
        other => {
            r.log_bytes(Level::Error, &[b"client sent invalid \"Overwrite\" header: \"", other, b"\""]);
            Err(Code::BAD_REQUEST)
        }
    }
}

/// Where to copy or move to: the header as written, and the decoded path in it.
pub(super) struct Destination {
    pub(super) written: bytes::Bytes,
    pub(super) path: Vec<u8>,
}

/// The `Destination` header: a path, or a URL of this host.
pub(super) fn destination(r: &Request) -> Result<Destination, Code> {
    let Some(written) = r.headers_in.value(HeaderId::Destination) else {
        r.log(Level::Error, format_args!("client sent no \"Destination\" header"));
        return Err(Code::BAD_REQUEST);
    };
    let invalid = || {
        r.log_bytes(Level::Error, &[b"client sent invalid \"Destination\" header: \"", &written, b"\""]);
        Code::BAD_REQUEST
    };
    let target = if written.starts_with(b"/") {
        &written[..]
    } else {
        let host = r.headers_in.server.get();
        if host.is_empty() {
            r.log(Level::Error, format_args!("client sent no \"Host\" header"));
            return Err(Code::BAD_REQUEST);
        }
        let scheme: &[u8] = if r.conn().is_tls() { b"https://" } else { b"http://" };
        let place = written.strip_prefix(scheme).ok_or_else(invalid)?;
        let Some(behind) = place.strip_prefix(&host[..]) else {
            let text = b"\" URI is handled by different repository than the source URI";
            r.log_bytes(Level::Error, &[b"\"Destination\" \"", &written, text]);
            return Err(Code::BAD_REQUEST);
        };
        let slash = memchr::memchr(b'/', behind).ok_or_else(invalid)?;
        &behind[slash..]
    };
    let Some((path, _)) = uri::parse_unsafe(target) else { return Err(invalid()) };
    Ok(Destination { path, written: written.clone() })
}
