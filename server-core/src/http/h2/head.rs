//! Makes a request of the header fields that opened a stream (RFC 9113, section 8.3).

use std::rc::Rc;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::hpack::Field;
use super::stream::Stream;
use crate::http::body::Framing;
use crate::http::code::Code;
use crate::http::h1::uri::{self, Slashes};
use crate::http::head_reader::{look_at_fields, refuse, use_host, use_server};
use crate::http::header::{Header, HeaderId};
use crate::http::host::Host;
use crate::http::method::{Method, Version};
use crate::http::modules::core::PortServers;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::log::Level;

/// Fills a request with the fields of its head. An error is the status that it is refused with.
pub(super) fn fill(r: &Rc<Request>, stream: &Rc<Stream>, fields: &[Field]) -> Result<(), Code> {
    r.http_version.set(Version::HTTP_20);
    r.http_protocol.set(Bytes::from_static(b"HTTP/2.0"));
    let mut head = Filler { r, authority: None, has_scheme: false, host: None, cookies: BytesMut::new(), count: 0 };
    for field in fields {
        head.field(field)?;
    }
    head.finish(stream)
}

struct Filler<'a> {
    r: &'a Rc<Request>,
    /// `:authority` as written.
    authority: Option<Bytes>,
    has_scheme: bool,
    /// `Host` as written.
    host: Option<Bytes>,
    /// The cookies, which may come one by one.
    cookies: BytesMut,
    count: usize,
}

/// What a name may hold.
#[derive(PartialEq, Eq)]
enum Name {
    Valid,
    /// Something that `ignore_invalid_headers` is about.
    Odd,
    /// Something that no name may have.
    Invalid,
}

impl Name {
    fn of(name: &[u8], underscores: bool) -> Self {
        let mut kind = Self::Valid;
        for &byte in name.strip_prefix(b":").unwrap_or(name) {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' => {}
                b'_' if underscores => {}
                ..=b' ' | 0x7f | b':' | b'A'..=b'Z' => return Self::Invalid,
                _ => kind = Self::Odd,
            }
        }
        kind
    }
}

impl Filler<'_> {
    fn field(&mut self, field: &Field) -> Result<(), Code> {
        let r = self.r;
        let core = &r.srv().core;
        let Field { name, value } = field;
        let kind = Name::of(name, *core.underscores_in_headers);
        if kind == Name::Invalid {
            r.log_bytes(Level::Info, &[b"client sent invalid header name: \"", name, b"\""]);
            return Err(Code::BAD_REQUEST);
        }
        if memchr::memchr3(0, b'\n', b'\r', value).is_some() {
            r.log_bytes(Level::Info, &[b"client sent header \"", name, b"\" with invalid value: \"", value, b"\""]);
            return Err(Code::BAD_REQUEST);
        }
        if let Some(pseudo) = name.strip_prefix(b":") {
            return self.pseudo_header(pseudo, value);
        }
        self.request_line()?;
        if kind == Name::Odd && *core.ignore_invalid_headers {
            r.log_bytes(Level::Info, &[b"client sent invalid header: \"", name, b"\""]);
            return Ok(());
        }
        if &name[..] == b"cookie" {
            if !self.cookies.is_empty() {
                self.cookies.put_slice(b"; ");
            }
            self.cookies.put_slice(value);
            return Ok(());
        }
        if self.count >= *core.max_headers {
            return refuse(r, Code::REQUEST_HEADER_TOO_LARGE, format_args!("client sent too many header lines"));
        }
        self.count += 1;
        if &name[..] == b"host" {
            use_host(r, value, self.host.is_some())?;
            if let Some(host) = Host::parse(value)
                && r.headers_in.server.is_empty()
            {
                r.headers_in.server.set(host.name(value));
            }
            self.host = Some(value.clone());
        }
        r.headers_in.list.borrow_mut().push(Header {
            id: HeaderId::of(name),
            name: name.clone(),
            value: value.clone(),
        });
        Ok(())
    }

    fn pseudo_header(&mut self, name: &[u8], value: &Bytes) -> Result<(), Code> {
        let r = self.r;
        if !r.request_line.is_empty() {
            return refuse(r, Code::BAD_REQUEST, format_args!("client sent out of order pseudo-headers"));
        }
        match name {
            b"path" => self.once(!r.unparsed_uri.is_empty(), "path", value)?.path(value),
            b"method" => self.once(!r.method_name.is_empty(), "method", value)?.method(value),
            b"scheme" => {
                self.once(self.has_scheme, "scheme", value)?;
                self.has_scheme = true;
                let valid = |(at, byte): (usize, &u8)| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' => true,
                    b'0'..=b'9' | b'+' | b'-' | b'.' => at > 0,
                    _ => false,
                };
                if value.iter().enumerate().all(valid) { Ok(()) } else { self.invalid(b":scheme header", value) }
            }
            b"authority" => self.authority(value),
            _ => {
                r.log_bytes(Level::Info, &[b"client sent unknown pseudo-header \":", name, b"\""]);
                Err(Code::BAD_REQUEST)
            }
        }
    }

    /// Whether a pseudo-header comes for the first time and says something.
    fn once(&self, seen: bool, name: &str, value: &[u8]) -> Result<&Self, Code> {
        if seen {
            return refuse(self.r, Code::BAD_REQUEST, format_args!("client sent duplicate :{name} header"));
        }
        if value.is_empty() {
            return refuse(self.r, Code::BAD_REQUEST, format_args!("client sent empty :{name} header"));
        }
        Ok(self)
    }

    fn invalid(&self, what: &[u8], value: &[u8]) -> Result<(), Code> {
        self.r.log_bytes(Level::Info, &[b"client sent invalid ", what, b": \"", value, b"\""]);
        Err(Code::BAD_REQUEST)
    }

    fn path(&self, target: &Bytes) -> Result<(), Code> {
        let r = self.r;
        if target.first() != Some(&b'/') || target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return self.invalid(b":path header", target);
        }
        let slashes = if *r.srv().core.merge_slashes { Slashes::Merge } else { Slashes::Keep };
        let Ok(uri) = uri::parse(target, slashes) else {
            r.unparsed_uri.set(target.clone());
            return refuse(r, Code::BAD_REQUEST, format_args!("client sent invalid request"));
        };
        r.complex_uri.set(uri.complex);
        r.quoted_uri.set(uri.quoted);
        r.uri.set(uri.path.map_or_else(|| target.slice(..uri.path_len), Bytes::from));
        if let Some(range) = uri.args {
            r.args.set(target.slice(range));
        }
        r.unparsed_uri.set(target.clone());
        r.set_extension();
        debug!(r, "http uri: \"{}\"", r.uri.borrow().escape_ascii());
        debug!(r, "http args: \"{}\"", r.args.borrow().escape_ascii());
        debug!(r, "http exten: \"{}\"", r.exten.borrow().escape_ascii());
        Ok(())
    }

    fn method(&self, name: &Bytes) -> Result<(), Code> {
        let method = Method::of(name);
        if method == Method::UNKNOWN && !name.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'_' | b'-')) {
            return self.invalid(b"method", name);
        }
        self.r.method.set(method);
        self.r.method_name.set(name.clone());
        Ok(())
    }

    fn authority(&mut self, value: &Bytes) -> Result<(), Code> {
        let r = self.r;
        if self.authority.is_some() {
            return refuse(r, Code::BAD_REQUEST, format_args!("client sent duplicate \":authority\" header"));
        }
        self.authority = Some(value.clone());
        let Some(host) = Host::parse(value) else {
            return refuse(r, Code::BAD_REQUEST, format_args!("client sent invalid \":authority\" header"));
        };
        let name = host.name(value);
        if r.conn().port.is_some_and(PortServers::is_named) {
            use_server(r, &name)?;
        }
        r.headers_in.server.set(name);
        r.headers_in.port.set(host.port);
        Ok(())
    }

    /// Makes the line that a request in HTTP/1 would have, once all pseudo-headers are there.
    fn request_line(&self) -> Result<(), Code> {
        let r = self.r;
        if !r.request_line.is_empty() {
            return Ok(());
        }
        let missing = match (r.method_name.is_empty(), self.has_scheme, r.unparsed_uri.is_empty()) {
            (true, ..) => "method",
            (_, false, _) => "scheme",
            (.., true) => "path",
            _ => {
                let line = [&*r.method_name.borrow(), b" ", &r.unparsed_uri.borrow(), b" HTTP/2.0"].concat();
                r.request_line.set(line);
                debug!(r, "http2 request line: \"{}\"", r.request_line.borrow().escape_ascii());
                return Ok(());
            }
        };
        refuse(r, Code::BAD_REQUEST, format_args!("client sent no :{missing} header"))
    }

    /// Checks what the head means as a whole.
    fn finish(mut self, stream: &Rc<Stream>) -> Result<(), Code> {
        let r = self.r;
        let bad = |message: &str| refuse(r, Code::BAD_REQUEST, format_args!("{message}"));
        if !*r.srv().http2.enable && !r.conn().port.is_some_and(|port| port.options.http2) {
            let message = "client attempted to request the server name for which the negotiated protocol is disabled";
            return refuse(r, Code::MISDIRECTED_REQUEST, format_args!("{message}"));
        }
        self.request_line()?;
        if !self.cookies.is_empty() {
            let value = std::mem::take(&mut self.cookies).freeze();
            let name = Bytes::from_static(b"cookie");
            r.headers_in.list.borrow_mut().push(Header { id: HeaderId::Cookie, name, value });
        }
        let declared = look_at_fields(r)?.content_length;
        let list = &r.headers_in.list;
        for (id, name) in [
            (HeaderId::Connection, "Connection"),
            (HeaderId::KeepAlive, "Keep-Alive"),
            (HeaderId::TransferEncoding, "Transfer-Encoding"),
            (HeaderId::Upgrade, "Upgrade"),
        ] {
            if list.borrow().contains(id) {
                return bad(&format!("client sent \"{name}\" header"));
            }
        }
        let is_odd = |field: &Header| field.id == HeaderId::Te && !field.value.eq_ignore_ascii_case(b"trailers");
        let encodings = list.borrow().iter().filter(|field| field.id == HeaderId::Te).count();
        if encodings > 1 || list.borrow().iter().any(is_odd) {
            return bad("client sent invalid \"TE\" header");
        }
        if r.headers_in.server.is_empty() {
            return bad("client sent neither \":authority\" nor \"Host\" header");
        }
        match (self.authority.take(), &self.host) {
            (Some(authority), Some(host)) if authority != *host => {
                return bad("client sent \":authority\" and \"Host\" headers with different values");
            }
            (Some(value), None) => {
                let name = Bytes::from_static(b"host");
                list.borrow_mut().push(Header { id: HeaderId::Host, name, value });
            }
            _ => {}
        }
        self.frame_body(stream, declared.as_deref())?;
        if r.logs(Level::Debug) {
            for field in list.borrow().iter() {
                debug!(r, "http2 header: \"{}: {}\"", field.name.escape_ascii(), field.value.escape_ascii());
            }
        }
        match r.method.get() {
            Method::CONNECT => refuse(r, Code::NOT_ALLOWED, format_args!("client sent CONNECT method")),
            Method::TRACE => refuse(r, Code::NOT_ALLOWED, format_args!("client sent TRACE method")),
            _ => Ok(()),
        }
    }

    fn frame_body(&self, stream: &Rc<Stream>, declared: Option<&[u8]>) -> Result<(), Code> {
        let r = self.r;
        if let Some(declared) = declared {
            let length = crate::conf::value::number(declared).and_then(|length| u64::try_from(length).ok());
            let Some(length) = length else {
                let message = "client sent invalid \"Content-Length\" header";
                return refuse(r, Code::BAD_REQUEST, format_args!("{message}"));
            };
            r.headers_in.content_length.set(length as i64);
            if length > 0 && stream.is_in_closed() {
                stream.skip_body();
                return refuse(r, Code::BAD_REQUEST, format_args!("client prematurely closed stream"));
            }
            stream.declare_length(length);
        } else if !stream.is_in_closed() {
            // A body whose length is known at its end, as one in chunks.
            r.headers_in.chunked.set(true);
        } else {
            return Ok(());
        }
        *r.framing.borrow_mut() = Framing::Frames(Rc::clone(stream));
        Ok(())
    }
}
