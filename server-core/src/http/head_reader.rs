//! Reads the head of a request from a connection and fills the request with it.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::code::Code;
use super::conf::SrvConf;
use super::connection::Connection;
use super::h1::head::{self, HeaderLine, LineError, Parsed, RequestLine, Underscores};
use super::h1::uri::{self, Slashes};
use super::header::{Header, HeaderId};
use super::headers_in::ConnectionType;
use super::host::Host;
use super::method::{Method, Version};
use super::modules::core::PortServers;
use super::request::Request;
use super::request_log::debug;
use crate::log::Level;

/// How reading a head ended.
pub(crate) enum Head {
    /// The connection has ended; there is nobody to answer.
    Closed,
    /// The request is to be served.
    Complete,
    /// The request is refused with a status.
    Refused(Code),
}

/// Reads and checks a head. At least one byte of it must be in the connection's input.
pub(crate) async fn read(r: &Rc<Request>) -> Head {
    let mut reader = Reader::new(r);
    loop {
        match reader.advance() {
            Ok(Some(())) => return Head::Complete,
            Ok(None) => {}
            Err(code) => return Head::Refused(code),
        }
        if let Some(closed) = reader.more().await {
            return closed;
        }
    }
}

/// A field of the head; ranges count from the first header line.
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// Stands for nginx's header buffers, whose number and sizes limit a head.
struct Buffers {
    used: usize,
    capacity: usize,
    large_used: usize,
}

struct Reader<'a> {
    r: &'a Rc<Request>,
    conn: &'a Rc<Connection>,
    has_line: bool,
    /// The length of the request line with its end.
    length: usize,
    fields: SmallVec<[Field; 16]>,
    /// Where the next header line starts.
    at: usize,
    buffers: Buffers,
    timeout: Duration,
    /// Until when the head must be there, once it has to be waited for.
    deadline: Option<Instant>,
    /// Where the `Host` header has its value.
    host: Option<(Range<usize>, Host)>,
}

impl<'a> Reader<'a> {
    fn new(r: &'a Rc<Request>) -> Self {
        let srv = &r.srv().core;
        Self {
            r,
            conn: r.conn(),
            has_line: false,
            length: 0,
            fields: SmallVec::new(),
            at: 0,
            buffers: Buffers { used: 0, capacity: *srv.client_header_buffer_size, large_used: 0 },
            timeout: *srv.client_header_timeout,
            deadline: None,
            host: None,
        }
    }

    async fn more(&mut self) -> Option<Head> {
        let timeout = self.timeout;
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + timeout);
        match self.conn.read(deadline).await {
            Ok(0) => {
                self.r.log(Level::Info, format_args!("client prematurely closed connection"));
                self.conn.error.set(true);
                self.r.headers_out.status.set(400);
                Some(Head::Closed)
            }
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.r.log_errno(Level::Info, libc::ETIMEDOUT, format_args!("client timed out"));
                self.conn.timed_out.set(true);
                self.r.headers_out.status.set(408);
                Some(Head::Closed)
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                self.r.log_errno(Level::Info, errno, format_args!("recv() failed"));
                self.conn.error.set(true);
                self.r.headers_out.status.set(400);
                Some(Head::Closed)
            }
        }
    }

    /// Reads lines from the input, as far as they are there. `Some` when the head is complete.
    fn advance(&mut self) -> Result<Option<()>, Code> {
        if !self.has_line {
            let Some(()) = self.request_line()? else { return Ok(None) };
            if self.r.http_version.get() < Version::HTTP_10 {
                self.take_head();
                self.use_server_without_host()?;
                self.r.frame_body();
                return Ok(Some(()));
            }
        }
        while let Some(end) = self.header_line()? {
            if end {
                self.take_head();
                self.check()?;
                self.r.frame_body();
                return Ok(Some(()));
            }
        }
        Ok(None)
    }

    fn request_line(&mut self) -> Result<Option<()>, Code> {
        let r = self.r;
        let mut input = self.conn.input.borrow_mut();
        let parsed = match head::request_line(&input) {
            Ok(parsed) => parsed,
            Err(error) => {
                drop(input);
                r.log(Level::Info, format_args!("{error}"));
                return Err(match error {
                    LineError::Version => Code::VERSION_NOT_SUPPORTED,
                    _ => Code::BAD_REQUEST,
                });
            }
        };
        let large = r.srv().core.large_client_header_buffers.size;
        let too_long = |length: usize| length > large.max(self.buffers.capacity);
        let (line, used) = match parsed {
            Parsed::Partial => {
                if too_long(input.len() + 1) {
                    r.request_line.set(Bytes::copy_from_slice(&input));
                    drop(input);
                    r.log(Level::Info, format_args!("client sent too long URI"));
                    return Err(Code::REQUEST_URI_TOO_LARGE);
                }
                return Ok(None);
            }
            Parsed::Complete(line, used) => (line, used),
        };
        let mut raw = input.split_to(used).freeze();
        drop(input);
        raw.advance(line.skipped);
        self.length = raw.len();
        r.request_line.set(raw.slice(..line.len));
        r.raw_line.set(raw);
        if too_long(self.length) {
            r.log(Level::Info, format_args!("client sent too long URI"));
            return Err(Code::REQUEST_URI_TOO_LARGE);
        }
        self.account(self.length);
        debug!(r, "http request line: \"{}\"", r.request_line.borrow().escape_ascii());
        self.use_line(&line)?;
        self.has_line = true;
        self.conn.action.set(Some("reading client request headers"));
        Ok(Some(()))
    }

    /// Fills the request from its line.
    fn use_line(&self, line: &RequestLine) -> Result<(), Code> {
        let r = self.r;
        let text = r.request_line.get();
        r.method.set(line.method);
        r.method_name.set(match line.method {
            Method::GET => Bytes::from_static(b"GET"),
            _ => text.slice(line.method_name.clone()),
        });
        r.http_version.set(line.version);
        r.http_protocol.set(match &text[line.protocol.clone()] {
            b"HTTP/1.1" => Bytes::from_static(b"HTTP/1.1"),
            _ => text.slice(line.protocol.clone()),
        });
        let target = text.slice(line.target.clone());
        let slashes = if *r.srv().core.merge_slashes { Slashes::Merge } else { Slashes::Keep };
        let Ok(uri) = uri::parse(&target, slashes) else {
            r.log(Level::Info, format_args!("client sent invalid request"));
            return Err(Code::BAD_REQUEST);
        };
        r.complex_uri.set(uri.complex);
        r.quoted_uri.set(uri.quoted);
        r.uri.set(uri.path.map_or_else(|| target.slice(..uri.path_len), Bytes::from));
        if let Some(range) = uri.args {
            r.args.set(target.slice(range));
        }
        r.unparsed_uri.set(if target.is_empty() { Bytes::from_static(b"/") } else { target });
        r.set_extension();
        debug!(r, "http uri: \"{}\"", r.uri.borrow().escape_ascii());
        debug!(r, "http args: \"{}\"", r.args.borrow().escape_ascii());
        debug!(r, "http exten: \"{}\"", r.exten.borrow().escape_ascii());
        if let Some(schema) = &line.schema {
            r.schema.set(text.slice(schema.clone()));
        }
        if let Some(range) = &line.host {
            let Some(host) = Host::parse(&text[range.clone()]) else {
                r.log(Level::Info, format_args!("client sent invalid host in request line"));
                return Err(Code::BAD_REQUEST);
            };
            let name = host.name(&text.slice(range.clone()));
            use_server(r, &name)?;
            r.headers_in.server.set(name);
            r.headers_in.port.set(host.port);
        }
        Ok(())
    }

    /// Reads one header line. `Some(true)` at the end of the head.
    fn header_line(&mut self) -> Result<Option<bool>, Code> {
        let r = self.r;
        let srv: &'static SrvConf = r.srv();
        let underscores = if *srv.core.underscores_in_headers { Underscores::Allowed } else { Underscores::Invalid };
        let input = self.conn.input.borrow();
        let rest = &input[self.at..];
        let parsed = match head::header_line(rest, underscores) {
            Ok(parsed) => parsed,
            Err(error) => {
                let shown = Bytes::copy_from_slice(&rest[..error.0]);
                let byte = rest.get(error.0).copied().unwrap_or(0);
                drop(input);
                r.log_bytes(
                    Level::Info,
                    &[b"client sent invalid header line: \"", &shown, format!("\\x{byte:02x}...\"").as_bytes()],
                );
                return Err(Code::BAD_REQUEST);
            }
        };
        let (line, used) = match parsed {
            Parsed::Partial => {
                let length = rest.len();
                drop(input);
                if !self.fits(length + 1) {
                    return Err(self.too_large(length));
                }
                return Ok(None);
            }
            Parsed::Complete(line, used) => (line, used),
        };
        let HeaderLine::Field { name, value, valid } = line else {
            drop(input);
            self.at += used;
            return Ok(Some(true));
        };
        if !self.fits(used) {
            drop(input);
            return Err(self.too_large(used));
        }
        if !valid && *srv.core.ignore_invalid_headers {
            let shown = Bytes::copy_from_slice(&rest[..value.end]);
            drop(input);
            r.log_bytes(Level::Info, &[b"client sent invalid header line: \"", &shown, b"\""]);
        } else {
            if self.fields.len() >= *srv.core.max_headers {
                drop(input);
                r.lingering_close.set(true);
                r.log(Level::Info, format_args!("client sent too many header lines"));
                return Err(Code::REQUEST_HEADER_TOO_LARGE);
            }
            let at = self.at;
            self.fields.push(Field { name: at + name.start..at + name.end, value: at + value.start..at + value.end });
            if name.len() == 4 && rest[name].eq_ignore_ascii_case(b"host") {
                let host = use_host(r, &rest[value.clone()], self.host.is_some())?;
                self.host = Some((at + value.start..at + value.end, host));
            }
            drop(input);
        }
        self.at += used;
        self.account(used);
        Ok(Some(false))
    }

    /// Moves the header lines from the input into the request.
    fn take_head(&mut self) {
        let r = self.r;
        let head = self.conn.input.borrow_mut().split_to(self.at).freeze();
        r.request_length.set((self.length + head.len()) as u64);
        let mut list = r.headers_in.list.borrow_mut();
        for field in &self.fields {
            let name = head.slice(field.name.clone());
            list.push(Header { id: HeaderId::of(&name), name, value: head.slice(field.value.clone()) });
        }
        drop(list);
        if let Some((range, host)) = &self.host
            && r.headers_in.server.is_empty()
        {
            r.headers_in.server.set(host.name(&head.slice(range.clone())));
        }
        r.raw_fields.set(head);
        if r.logs(Level::Debug) {
            for field in r.headers_in.list.borrow().iter() {
                debug!(r, "http header: \"{}: {}\"", field.name.escape_ascii(), String::from_utf8_lossy(&field.value));
            }
            debug!(r, "http header done");
        }
    }

    /// Checks what the head means and derives what depends on it.
    fn check(&self) -> Result<(), Code> {
        let r = self.r;
        self.use_server_without_host()?;
        let refuse = |code: Code, message: std::fmt::Arguments<'_>| refuse(r, code, message);
        let BodyFields { content_length, transfer_encoding } = look_at_fields(r)?;
        let list = r.headers_in.list.borrow();
        if self.host.is_none() && r.http_version.get() > Version::HTTP_10 {
            return refuse(Code::BAD_REQUEST, format_args!("client sent HTTP/1.1 request without \"Host\" header"));
        }
        let has_length = content_length.is_some();
        if let Some(value) = content_length {
            match crate::conf::value::number(&value) {
                Some(length) => r.headers_in.content_length.set(length),
                None => {
                    return refuse(Code::BAD_REQUEST, format_args!("client sent invalid \"Content-Length\" header"));
                }
            }
        }
        if let Some(value) = transfer_encoding {
            if r.http_version.get() < Version::HTTP_11 {
                return refuse(
                    Code::BAD_REQUEST,
                    format_args!("client sent HTTP/1.0 request with \"Transfer-Encoding\" header"),
                );
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return refuse(
                    Code::NOT_IMPLEMENTED,
                    format_args!("client sent unknown \"Transfer-Encoding\": \"{}\"", value.escape_ascii()),
                );
            }
            if has_length {
                let message = "client sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time";
                return refuse(Code::BAD_REQUEST, format_args!("{message}"));
            }
            r.headers_in.chunked.set(true);
        }
        if r.headers_in.connection_type.get() == ConnectionType::KeepAlive
            && let Some(value) = list.value(HeaderId::KeepAlive)
        {
            r.headers_in.keep_alive.set(crate::conf::value::number(&value).unwrap_or(-1));
        }
        match r.method.get() {
            Method::CONNECT => refuse(Code::NOT_ALLOWED, format_args!("client sent CONNECT method")),
            Method::TRACE => refuse(Code::NOT_ALLOWED, format_args!("client sent TRACE method")),
            _ => Ok(()),
        }
    }

    fn use_server_without_host(&self) -> Result<(), Code> {
        if self.r.headers_in.server.is_empty() && self.conn.port.is_some_and(PortServers::is_named) {
            use_server(self.r, &Bytes::new())?;
        }
        Ok(())
    }

    /// Whether a line of this length still fits into the buffers.
    fn fits(&self, length: usize) -> bool {
        let large = &*self.r.srv().core.large_client_header_buffers;
        self.buffers.used + length <= self.buffers.capacity
            || (length <= large.size && self.buffers.large_used < large.count)
    }

    fn account(&mut self, length: usize) {
        if self.buffers.used + length > self.buffers.capacity {
            let large = &*self.r.srv().core.large_client_header_buffers;
            self.buffers = Buffers { used: 0, capacity: large.size, large_used: self.buffers.large_used + 1 };
        }
        self.buffers.used += length;
    }

    fn too_large(&self, length: usize) -> Code {
        let input = self.conn.input.borrow();
        let line = &input[self.at..];
        let shown = Bytes::copy_from_slice(&line[..length.min(line.len()).min(1748)]);
        drop(input);
        self.r.lingering_close.set(true);
        self.r.log_bytes(Level::Info, &[b"client sent too long header line: \"", &shown, b"...\""]);
        Code::REQUEST_HEADER_TOO_LARGE
    }
}

/// Logs why a request is refused with a status.
pub(super) fn refuse<T>(r: &Request, code: Code, message: std::fmt::Arguments<'_>) -> Result<T, Code> {
    r.log(Level::Info, message);
    Err(code)
}

/// The fields of a head that say how its body is sent.
pub(super) struct BodyFields {
    pub(super) content_length: Option<Bytes>,
    pub(super) transfer_encoding: Option<Bytes>,
}

/// Looks at the fields that mean something to the server, of which some may come only once.
pub(super) fn look_at_fields(r: &Request) -> Result<BodyFields, Code> {
    let list = r.headers_in.list.borrow();
    let mut found = BodyFields { content_length: None, transfer_encoding: None };
    let mut seen = 0u64;
    for field in list.iter() {
        match field.id {
            HeaderId::Other => continue,
            HeaderId::ContentLength => found.content_length = Some(field.value.clone()),
            HeaderId::TransferEncoding => found.transfer_encoding = Some(field.value.clone()),
            HeaderId::Connection => use_connection(r, &field.value),
            HeaderId::UserAgent => r.headers_in.set_user_agent(&field.value),
            _ => {}
        }
        let bit = 1u64 << (field.id as u32 & 63);
        if is_unique(field.id) && seen & bit != 0 {
            let previous = list.first(field.id).map_or(&field.value, |first| &first.value);
            r.log_bytes(
                Level::Info,
                &[
                    b"client sent duplicate header line: \"",
                    &field.name,
                    b": ",
                    &field.value,
                    b"\", previous value: \"",
                    &field.name,
                    b": ",
                    previous,
                    b"\"",
                ],
            );
            return Err(Code::BAD_REQUEST);
        }
        seen |= bit;
    }
    Ok(found)
}

fn use_connection(r: &Request, value: &[u8]) {
    let kind = &r.headers_in.connection_type;
    if contains_word(value, b"close") {
        kind.set(ConnectionType::Close);
    } else if contains_word(value, b"keep-alive") {
        kind.set(ConnectionType::KeepAlive);
    }
}

/// Whether a value has a word in it, in any case.
fn contains_word(value: &[u8], word: &[u8]) -> bool {
    value.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// Headers that may come only once.
fn is_unique(id: HeaderId) -> bool {
    matches!(
        id,
        HeaderId::IfModifiedSince
            | HeaderId::IfUnmodifiedSince
            | HeaderId::IfMatch
            | HeaderId::IfNoneMatch
            | HeaderId::ContentLength
            | HeaderId::ContentRange
            | HeaderId::IfRange
            | HeaderId::TransferEncoding
            | HeaderId::Expect
            | HeaderId::Authorization
    )
}

/// Looks at the value of a `Host` header, which may come once, and chooses the server by it.
pub(super) fn use_host(r: &Rc<Request>, value: &[u8], seen: bool) -> Result<Host, Code> {
    if seen {
        r.log_bytes(Level::Info, &[b"client sent duplicate host header: \"Host: ", value, b"\""]);
        return Err(Code::BAD_REQUEST);
    }
    let Some(host) = Host::parse(value) else {
        r.log(Level::Info, format_args!("client sent invalid host header"));
        return Err(Code::BAD_REQUEST);
    };
    // A host in the request line counts for more.
    if r.headers_in.server.is_empty() {
        r.headers_in.port.set(host.port);
    }
    if r.headers_in.server.is_empty() && r.conn().port.is_some_and(PortServers::is_named) {
        use_server(r, &host.name(&Bytes::copy_from_slice(value)))?;
    }
    Ok(host)
}

/// Chooses the server for a host. One that asks for certificates must have been named in the handshake, too.
pub(super) fn use_server(r: &Rc<Request>, host: &Bytes) -> Result<(), Code> {
    let Some(port) = r.conn().port else { return Ok(()) };
    let Some(server) = port.find(r, host).or(port.default) else { return Ok(()) };
    if server.ssl.asks_for_certificates()
        && let Some((tls, side)) = r.conn().tls()
        && side.has_named_another(tls.ssl(), host)
    {
        let message = "client attempted to request the server name different from the one that was negotiated";
        return refuse(r, Code::MISDIRECTED_REQUEST, format_args!("{message}"));
    }
    r.set_srv(server);
    if let Some(loc) = server.core.loc.get() {
        r.set_loc(loc);
    }
    Ok(())
}
