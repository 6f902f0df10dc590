//! The body of a request: read into memory or a file when somebody asks, thrown away when nobody does.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::code::Code;
use super::h1::chunked::{ChunkError, Decoder, Step};
use super::h2;
use super::header::HeaderId;
use super::method::Version;
use super::phases::Outcome;
use super::request::Request;
use super::request_log::debug;
use crate::log::Level;

/// A request's body as far as it has been read.
#[derive(Default)]
pub struct RequestBody {
    /// The parts in memory; empty when all is in `file`.
    pub bufs: RefCell<Vec<Bytes>>,
    /// The file, when the body did not fit into the buffer.
    pub file: RefCell<Option<BodyFile>>,
    /// Bytes received.
    pub received: Cell<u64>,
    /// Whether everything has been received.
    pub complete: Cell<bool>,
}

/// A body in a temporary file.
#[derive(Clone)]
pub struct BodyFile {
    /// The open file.
    pub file: Rc<File>,
    /// Its path.
    pub path: PathBuf,
    /// Its length.
    pub len: u64,
}

impl RequestBody {
    /// A body from bytes.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes: Bytes = bytes.into();
        let body = Self::default();
        body.received.set(bytes.len() as u64);
        body.complete.set(true);
        if !bytes.is_empty() {
            body.bufs.borrow_mut().push(bytes);
        }
        body
    }

    /// The body when it is entirely in memory.
    pub fn in_memory(&self) -> Option<Bytes> {
        if self.file.borrow().is_some() {
            return None;
        }
        let bufs = self.bufs.borrow();
        match &bufs[..] {
            [] => Some(Bytes::new()),
            [only] => Some(only.clone()),
            many => Some(many.concat().into()),
        }
    }
}

/// How much of the body is still in the connection.
#[derive(Debug, Default)]
pub(crate) enum Framing {
    /// Nothing (more).
    #[default]
    Ended,
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<Decoder>),
    /// Frames of a stream of HTTP/2.
    Frames(Rc<h2::Stream>),
}

/// What the front of the input holds.
pub(crate) enum Taken {
    /// A part of the body.
    Data(Bytes),
    /// The body has ended.
    End,
    /// Nothing yet.
    More,
}

impl Framing {
    /// Takes a part of the body, at most `max` bytes, from the front of the input.
    pub(crate) fn take(&mut self, input: &mut BytesMut, max: usize) -> Result<Taken, ChunkError> {
        match self {
            Self::Ended => Ok(Taken::End),
            Self::Length(0) => {
                *self = Self::Ended;
                Ok(Taken::End)
            }
            Self::Length(_) if input.is_empty() => Ok(Taken::More),
            Self::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len()).min(max);
                *left -= length as u64;
                Ok(Taken::Data(input.split_to(length).freeze()))
            }
            // Frames are taken apart where they arrive.
            Self::Frames(_) => Ok(Taken::End),
            Self::Chunked(decoder) => {
                let (framing, step) = decoder.step(input)?;
                bytes::Buf::advance(input, framing);
                match step {
                    Step::More => Ok(Taken::More),
                    Step::End => {
                        *self = Self::Ended;
                        Ok(Taken::End)
                    }
                    Step::Data(length) => {
                        let length = length.min(max);
                        decoder.took(length);
                        Ok(Taken::Data(input.split_to(length).freeze()))
                    }
                }
            }
        }
    }
}

impl Request {
    /// Takes a part of the body that has been received already. `None`: nothing is there now.
    /// `Some(empty)`: the body has ended.
    pub fn take_body(&self, max: usize) -> Result<Option<Bytes>, Code> {
        if let Framing::Frames(stream) = &*self.framing.borrow() {
            return h2::body::take(self, stream, max);
        }
        let taken = self.framing.borrow_mut().take(&mut self.conn().input.borrow_mut(), max);
        match taken {
            Ok(Taken::Data(data)) => {
                self.request_length.set(self.request_length.get() + data.len() as u64);
                Ok(Some(data))
            }
            Ok(Taken::End) => Ok(Some(Bytes::new())),
            Ok(Taken::More) => Ok(None),
            Err(error) => {
                self.log(Level::Info, format_args!("{error}"));
                Err(Code::BAD_REQUEST)
            }
        }
    }

    /// Waits for more of the body. OK, or how the request must end.
    pub async fn more_body(&self, timeout: Duration) -> Code {
        match self.conn().read(Instant::now() + timeout).await {
            Ok(0) => body_ended(self).err().unwrap_or(Code::OK),
            Ok(_) => Code::OK,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.conn().timed_out.set(true);
                self.log_errno(Level::Info, libc::ETIMEDOUT, format_args!("client timed out"));
                Code::REQUEST_TIME_OUT
            }
            Err(_) => {
                self.conn().error.set(true);
                Code::BAD_REQUEST
            }
        }
    }

    /// Sets up reading of the body, when the head has been read.
    pub(crate) fn frame_body(&self) {
        let head = &self.headers_in;
        if self.conn().http2().is_some() {
            // Where the head came from says it.
            return;
        }
        *self.framing.borrow_mut() = if head.chunked.get() {
            Framing::Chunked(Box::default())
        } else {
            match u64::try_from(head.content_length.get()) {
                Ok(length) if length > 0 => Framing::Length(length),
                _ => Framing::Ended,
            }
        };
    }

    /// Whether all of the body has been taken from the connection.
    pub fn body_taken(&self) -> bool {
        match &*self.framing.borrow() {
            Framing::Ended | Framing::Length(0) => true,
            Framing::Frames(stream) => stream.is_in_closed() && stream.try_read().is_ok_and(|length| length == 0),
            Framing::Length(_) | Framing::Chunked(_) => false,
        }
    }
}

/// Nothing more will come: that is the end of the body only where frames say so.
fn body_ended(r: &Request) -> Result<(), Code> {
    if let Some(stream) = r.conn().http2() {
        return if stream.is_broken() { Err(h2::body::broken(r)) } else { Ok(()) };
    }
    r.log(Level::Info, format_args!("client prematurely closed connection"));
    r.conn().error.set(true);
    Err(Code::BAD_REQUEST)
}

/// Reads the whole body into `r.body`. OK when it is there (at once or later), or how the request must end.
pub fn read(r: &Rc<Request>) -> Outcome {
    read_with(r, |size| size)
}

/// As [`read`], for a body that has been received already and that nobody wants in a file.
pub(crate) fn read_here(r: &Rc<Request>) -> Outcome {
    read_with(r, |_| usize::MAX)
}

fn read_with(r: &Rc<Request>, buffer_size: fn(usize) -> usize) -> Outcome {
    if !r.is_main() || r.body.borrow().is_some() || r.discard_body.get() {
        return Code::OK.into();
    }
    if !test_expect(r) {
        return Code::INTERNAL_SERVER_ERROR.into();
    }
    let body = Rc::new(RequestBody::default());
    *r.body.borrow_mut() = Some(Rc::clone(&body));
    if !r.headers_in.chunked.get() {
        // The application may have changed the length since the head was read.
        r.frame_body();
    }
    if r.headers_in.content_length.get() < 0 && !r.headers_in.chunked.get() {
        body.complete.set(true);
        return Code::OK.into();
    }
    if let Framing::Frames(stream) = &*r.framing.borrow() {
        stream.want_whole_body();
    }
    let mut store = Store::new(r, body, buffer_size(*r.loc().core.client_body_buffer_size));
    match store.take_available(r) {
        Err(code) => code.into(),
        Ok(true) => store.finish(r).into(),
        Ok(false) => {
            let r = Rc::clone(r);
            Outcome::wait(async move { store.read_rest(&r).await })
        }
    }
}

/// Whether all of the body has been received with the head.
pub(crate) fn is_here(r: &Request) -> bool {
    let input = r.conn().input.borrow();
    match &*r.framing.borrow() {
        Framing::Ended => true,
        Framing::Frames(stream) => stream.is_in_closed(),
        Framing::Length(left) => input.len() as u64 >= *left,
        Framing::Chunked(decoder) => {
            let mut decoder = decoder.clone();
            let mut rest = &input[..];
            loop {
                match decoder.step(rest) {
                    Ok((framing, Step::Data(length))) => {
                        decoder.took(length);
                        rest = rest.get(framing + length..).unwrap_or_default();
                    }
                    Ok((_, Step::End)) | Err(_) => return true,
                    Ok((_, Step::More)) => return false,
                }
            }
        }
    }
}

/// Prepares a body that is passed on while it is read, in place of [`read`]. Whether that went well.
pub(crate) fn begin_stream(r: &Rc<Request>) -> bool {
    if !test_expect(r) {
        return false;
    }
    // Whoever asks for the body later finds that nothing of it is left.
    *r.body.borrow_mut() = Some(Rc::new(RequestBody::default()));
    if !r.headers_in.chunked.get() {
        r.frame_body();
    }
    if let Framing::Frames(stream) = &*r.framing.borrow() {
        let size = *r.loc().core.client_body_buffer_size;
        let declared = usize::try_from(r.headers_in.content_length.get()).ok();
        stream.want_parts(declared.filter(|&declared| declared <= size).map_or(size, |declared| declared + 1));
    }
    r.reading_body.set(true);
    true
}

/// The next part of a body that is passed on: `Some(empty)` at its end, `None` when nothing is there now.
pub(crate) fn take_part(r: &Request, max: usize) -> Result<Option<Bytes>, Code> {
    let part = r.take_body(max)?;
    let Some(data) = &part else { return Ok(None) };
    if data.is_empty() {
        r.reading_body.set(false);
    }
    let body = r.body.borrow().clone();
    let received = body.map_or(0, |body| {
        body.received.set(body.received.get() + data.len() as u64);
        body.received.get()
    });
    let limit = *r.loc().core.client_max_body_size;
    if r.headers_in.chunked.get() && limit > 0 && received > limit {
        r.log(Level::Error, format_args!("client intended to send too large chunked body: {received} bytes"));
        return Err(Code::REQUEST_ENTITY_TOO_LARGE);
    }
    Ok(part)
}

/// Waits until more of the body may be there.
pub(crate) fn poll_more(r: &Request, cx: &mut Context<'_>) -> Poll<Result<(), Code>> {
    loop {
        match r.conn().try_read() {
            Ok(0) => return Poll::Ready(body_ended(r)),
            Ok(_) => return Poll::Ready(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if ready!(r.conn().poll_read_ready(cx)).is_err() {
                    r.conn().error.set(true);
                    return Poll::Ready(Err(Code::BAD_REQUEST));
                }
            }
            Err(_) => {
                r.conn().error.set(true);
                return Poll::Ready(Err(Code::BAD_REQUEST));
            }
        }
    }
}

/// Where a body goes while it is read.
struct Store {
    body: Rc<RequestBody>,
    memory: Vec<Bytes>,
    in_memory: usize,
    buffer_size: usize,
    file: Option<BodyFile>,
}

impl Store {
    fn new(r: &Request, body: Rc<RequestBody>, size: usize) -> Self {
        // A body of known length may be a quarter larger than the buffer, unless it comes in frames.
        let slack = if r.headers_in.chunked.get() || r.conn().http2().is_some() { 0 } else { size >> 2 };
        Self { body, memory: Vec::new(), in_memory: 0, buffer_size: size.saturating_add(slack), file: None }
    }

    /// Takes what has been received. Whether the body is complete.
    fn take_available(&mut self, r: &Rc<Request>) -> Result<bool, Code> {
        loop {
            let Some(data) = r.take_body(usize::MAX)? else { return Ok(false) };
            if data.is_empty() {
                return Ok(true);
            }
            self.keep(r, data)?;
            if r.headers_in.chunked.get() {
                let (limit, received) = (*r.loc().core.client_max_body_size, self.body.received.get());
                if limit > 0 && received > limit {
                    r.log(
                        Level::Error,
                        format_args!("client intended to send too large chunked body: {received} bytes"),
                    );
                    return Err(Code::REQUEST_ENTITY_TOO_LARGE);
                }
            }
        }
    }

    async fn read_rest(&mut self, r: &Rc<Request>) -> Code {
        r.reading_body.set(true);
        loop {
            debug!(r, "http read client request body");
            let code = r.more_body(*r.loc().core.client_body_timeout).await;
            if code != Code::OK {
                return code;
            }
            match self.take_available(r) {
                Ok(true) => break,
                Ok(false) => {}
                Err(code) => return code,
            }
        }
        r.reading_body.set(false);
        self.finish(r)
    }

    fn keep(&mut self, r: &Rc<Request>, data: Bytes) -> Result<(), Code> {
        self.body.received.set(self.body.received.get() + data.len() as u64);
        self.in_memory += data.len();
        self.memory.push(data);
        let declared = usize::try_from(r.headers_in.content_length.get()).unwrap_or(0);
        if self.in_memory > self.buffer_size || declared > self.buffer_size && self.in_memory >= self.buffer_size / 2 {
            self.spill(r).map_err(|error| {
                let errno = error.raw_os_error().unwrap_or(0);
                r.log_errno(Level::Crit, errno, format_args!("client request body could not be written to a file"));
                Code::INTERNAL_SERVER_ERROR
            })?;
        }
        Ok(())
    }

    fn spill(&mut self, r: &Rc<Request>) -> io::Result<()> {
        if self.file.is_none() {
            let file = create_file(&r.loc().core.client_body_temp_path)?;
            let level = if r.request_body_in_file_only.get() { Level::Notice } else { Level::Warn };
            r.log(level, format_args!("a client request body is buffered to a temporary file {}", file.path.display()));
            if !r.request_body_in_persistent_file.get() || r.request_body_in_clean_file.get() {
                let path = file.path.clone();
                // Whoever moved the file away may keep it.
                r.at_end(move || drop(std::fs::remove_file(path)));
            }
            self.file = Some(file);
        }
        if let Some(target) = &mut self.file {
            for data in self.memory.drain(..) {
                (&*target.file).write_all(&data)?;
                target.len += data.len() as u64;
            }
            self.in_memory = 0;
        }
        Ok(())
    }

    fn finish(&mut self, r: &Rc<Request>) -> Code {
        if self.file.is_some() || r.request_body_in_file_only.get() {
            if let Err(error) = self.spill(r) {
                let errno = error.raw_os_error().unwrap_or(0);
                r.log_errno(Level::Crit, errno, format_args!("client request body could not be written to a file"));
                return Code::INTERNAL_SERVER_ERROR;
            }
        } else if self.memory.len() > 1 {
            let joined = self.memory.concat();
            self.memory = vec![joined.into()];
        }
        if r.headers_in.chunked.get() {
            r.headers_in.content_length.set(self.body.received.get() as i64);
        }
        *self.body.bufs.borrow_mut() = std::mem::take(&mut self.memory);
        *self.body.file.borrow_mut() = self.file.take();
        self.body.complete.set(true);
        Code::OK
    }
}

thread_local! {
    static FILE_NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Makes a temporary file for a request's body.
pub fn create_temp_file(r: &Request) -> io::Result<BodyFile> {
    create_file(&r.loc().core.client_body_temp_path)
}

/// Makes a new file in a folder for temporary files.
fn create_file(folder: &Path) -> io::Result<BodyFile> {
    for _ in 0..1000 {
        let number = FILE_NUMBER.get() + 1;
        FILE_NUMBER.set(number);
        let path = folder.join(format!("{:05}{number:05}", std::process::id() % 100_000));
        let open = || File::options().read(true).write(true).create_new(true).open(&path);
        let opened = open().or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                std::fs::create_dir_all(folder)?;
                return open();
            }
            Err(error)
        });
        match opened {
            Ok(file) => return Ok(BodyFile { file: Rc::new(file), path, len: 0 }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Answers `Expect: 100-continue`. Whether that went well.
pub fn test_expect(r: &Request) -> bool {
    if r.expect_tested.get() || r.http_version.get() < Version::HTTP_11 || r.conn().http2().is_some() {
        return true;
    }
    let Some(expect) = r.headers_in.value(HeaderId::Expect) else { return true };
    r.expect_tested.set(true);
    if !expect.eq_ignore_ascii_case(b"100-continue") {
        return true;
    }
    debug!(r, "send 100 Continue");
    r.conn().append_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    r.conn().send(u64::MAX) == Code::OK
}

/// Nobody wants the body: it is thrown away, as far as it is here now and later before the next request. OK, or how the
/// request must end because of what is here.
pub fn discard(r: &Request) -> Code {
    if !r.is_main() || r.discard_body.get() || r.body.borrow().is_some() {
        return Code::OK;
    }
    // When 100-continue can't be sent, the connection is at its end anyway.
    let _ = test_expect(r);
    debug!(r, "http set discard body");
    if r.headers_in.content_length.get() <= 0 && !r.headers_in.chunked.get() {
        return Code::OK;
    }
    r.discard_body.set(true);
    if let Some(stream) = r.conn().http2() {
        stream.skip_body();
        return Code::OK;
    }
    match discard_available(r) {
        Err(code) => code,
        Ok(_) => Code::OK,
    }
}

/// Throws away what is there. Whether the body has ended; a body that is none ends the connection.
fn discard_available(r: &Request) -> Result<bool, Code> {
    loop {
        match r.take_body(usize::MAX) {
            Ok(Some(data)) if data.is_empty() => {
                r.lingering_close.set(false);
                return Ok(true);
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(false),
            Err(code) => {
                r.keepalive.set(false);
                r.lingering_close.set(false);
                return Err(code);
            }
        }
    }
}

/// Reads the rest of the body, so that the next request can follow. On a connection that ends anyway, the
/// lingering close does that.
pub(crate) async fn discard_rest(r: &Request) {
    if let Some(stream) = r.conn().http2() {
        stream.skip_body();
        return;
    }
    if discard_available(r).unwrap_or(true) || !r.keepalive.get() {
        return;
    }
    let core = &r.loc().core;
    let end = Instant::now() + *core.lingering_time;
    while !discard_available(r).unwrap_or(true) {
        let deadline = end.min(Instant::now() + *core.lingering_timeout);
        match r.conn().read(deadline).await {
            Ok(read) if read > 0 => {}
            _ => {
                r.keepalive.set(false);
                r.lingering_close.set(false);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_no_byte_of_the_next_request() {
        let mut framing = Framing::Length(3);
        let mut input = BytesMut::from(&b"abcGET"[..]);
        assert!(matches!(framing.take(&mut input, 2), Ok(Taken::Data(data)) if data == "ab"));
        assert!(matches!(framing.take(&mut input, 9), Ok(Taken::Data(data)) if data == "c"));
        assert!(matches!(framing.take(&mut input, 9), Ok(Taken::End)));
        assert_eq!(input, "GET");
    }

    #[test]
    fn chunks_leave_the_next_request_alone() {
        let mut framing = Framing::Chunked(Box::default());
        let mut input = BytesMut::from(&b"3\r\nabc\r\n0\r\n\r\nGET"[..]);
        assert!(matches!(framing.take(&mut input, 9), Ok(Taken::Data(data)) if data == "abc"));
        assert!(matches!(framing.take(&mut input, 9), Ok(Taken::End)));
        assert_eq!(input, "GET");
    }
}
