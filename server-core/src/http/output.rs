//! Output: buffers, chains, and the way through the filters to the connection.

use std::fs::File;
use std::rc::Rc;
use std::sync::LazyLock;

use bytes::Bytes;
use smallvec::SmallVec;

use super::code::Code;
use super::conf::LocConf;
use super::order::{BODY_FILTERS, HEADER_FILTERS, RESPONSE_FILTERS};
use super::request::Request;
pub(crate) use super::write_filter::turn;
use super::write_filter::{allowance, log_failure};
use crate::log::Level;

/// What a buffer holds.
#[derive(Clone, Debug, Default)]
pub enum Data {
    /// Nothing: the buffer carries flags.
    #[default]
    None,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A part of a file, from `start` up to `end`.
    File {
        /// The open file.
        file: Rc<File>,
        /// The first byte.
        start: u64,
        /// The byte behind the last one.
        end: u64,
    },
}

/// A piece of output with flags.
#[derive(Clone, Debug, Default)]
pub struct Buf {
    /// What it holds.
    pub data: Data,
    /// Everything up to here shall leave now.
    pub flush: bool,
    /// The response ends here (`last_buf`).
    pub last: bool,
    /// The output of this request ends here; in a subrequest, the response goes on (`last_in_chain`).
    pub last_in_chain: bool,
    /// A mark without data that filters pass on.
    pub sync: bool,
}

impl Buf {
    /// Bytes without flags.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { data: Data::Bytes(bytes.into()), ..Self::default() }
    }

    /// A part of a file without flags.
    pub fn file(file: Rc<File>, start: u64, end: u64) -> Self {
        Self { data: Data::File { file, start, end }, ..Self::default() }
    }

    /// The end of a request's output: of the response in a main request, of the chain in a subrequest.
    pub fn end_of(r: &Request) -> Self {
        Self { last: r.is_main(), last_in_chain: true, ..Self::default() }
    }

    /// A flush mark.
    pub fn flush() -> Self {
        Self { flush: true, ..Self::default() }
    }

    /// The same with the marks of the end of a request's output.
    #[must_use]
    pub fn ending(mut self, r: &Request) -> Self {
        self.last = r.is_main();
        self.last_in_chain = true;
        self
    }

    /// The number of bytes in it.
    pub fn len(&self) -> u64 {
        match &self.data {
            Data::None => 0,
            Data::Bytes(bytes) => bytes.len() as u64,
            Data::File { start, end, .. } => end.saturating_sub(*start),
        }
    }

    /// Whether it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes in memory (empty for a file or a mark).
    pub fn memory(&self) -> &[u8] {
        match &self.data {
            Data::Bytes(bytes) => bytes,
            Data::None | Data::File { .. } => b"",
        }
    }
}

/// Buffers in order.
pub type Chain = SmallVec<[Buf; 2]>;

/// A chain of one buffer.
pub fn chain(buf: Buf) -> Chain {
    let mut chain = Chain::new();
    chain.push(buf);
    chain
}

/// A filter of response heads: looks at or changes `r.headers_out`, then calls `next`.
pub type HeaderFilter = fn(&Rc<Request>, HeaderNext) -> Code;

/// A filter of response bodies: gets a chain, passes on another. Called with an empty chain to push on what
/// filters hold back.
pub type BodyFilter = fn(&Rc<Request>, Chain, BodyNext) -> Code;

/// Whether requests in a location need a filter; asked once, when the configuration is built.
#[derive(Clone, Copy)]
pub enum Need {
    /// All do.
    Always,
    /// Those in locations with such settings.
    When(fn(&LocConf) -> bool),
}

/// The filters that requests of one location go through, in order.
#[derive(Default)]
pub struct Filters {
    header: Box<[HeaderFilter]>,
    body: Box<[BodyFilter]>,
    response: Box<[BodyFilter]>,
}

impl Filters {
    /// Selects the filters of one location from the server's tables.
    pub fn of(loc: &LocConf) -> Self {
        Self::select(|need| match need {
            Need::Always => true,
            Need::When(applies) => applies(loc),
        })
    }

    /// All of them: at the debug level even those say that they ran that do nothing.
    fn all() -> &'static Self {
        static ALL: LazyLock<Filters> = LazyLock::new(|| Filters::select(|_| true));
        &ALL
    }

    fn select(needed: impl Fn(Need) -> bool) -> Self {
        fn pick<F: Copy>(rows: &[(Need, F)], needed: impl Fn(Need) -> bool) -> Box<[F]> {
            rows.iter().filter(|(need, _)| needed(*need)).map(|(_, filter)| *filter).collect()
        }
        Self {
            header: pick(HEADER_FILTERS, &needed),
            body: pick(BODY_FILTERS, &needed),
            response: pick(RESPONSE_FILTERS, &needed),
        }
    }

    /// Those of a request, at this moment.
    fn for_request(r: &Request) -> &'static Self {
        if r.logs(Level::Debug) { Self::all() } else { &r.loc().core.filters }
    }
}

/// The header filters that are still to come.
#[derive(Clone, Copy)]
pub struct HeaderNext(&'static [HeaderFilter]);

impl HeaderNext {
    /// Runs the next filter.
    pub fn run(self, r: &Rc<Request>) -> Code {
        self.0.split_first().map_or(Code::OK, |(filter, rest)| filter(r, Self(rest)))
    }
}

/// The body filters that are still to come.
#[derive(Clone, Copy)]
pub struct BodyNext(&'static [BodyFilter]);

impl BodyNext {
    /// The filters of a response as a whole, in which the output of a main request and of its subrequests has found
    /// its order.
    pub(crate) fn of_response(main: &Request) -> Self {
        Self(&Filters::for_request(main).response)
    }

    /// Runs the next filter.
    pub fn run(self, r: &Rc<Request>, chain: Chain) -> Code {
        self.0.split_first().map_or(Code::OK, |(filter, rest)| filter(r, chain, Self(rest)))
    }
}

/// Sends the head of the response: runs the header filters, once.
pub fn send_header(r: &Rc<Request>) -> Code {
    if r.post_action.get() {
        return Code::OK;
    }
    if r.header_sent.get() {
        r.log_alert("header already sent");
        return Code::ERROR;
    }
    if r.err_status.get() != 0 {
        r.headers_out.status.set(r.err_status.get());
        r.headers_out.status_line.clear();
    }
    HeaderNext(&Filters::for_request(r).header).run(r)
}

/// Sends a part of the body through the filters.
pub fn write(r: &Rc<Request>, chain: Chain) -> Code {
    if r.main_ref().post_action.get() {
        return Code::OK;
    }
    let code = BodyNext(&Filters::for_request(r).body).run(r, chain);
    if code == Code::ERROR {
        r.conn().error.set(true);
    }
    code
}

/// Ends the output of a request (`ngx_http_send_special(r, NGX_HTTP_LAST)`).
pub fn write_last(r: &Rc<Request>) -> Code {
    let mut end = Buf::end_of(r);
    end.sync = !r.is_main();
    write(r, chain(end))
}

/// Asks that everything written so far leaves now.
pub fn flush(r: &Rc<Request>) -> Code {
    write(r, chain(Buf::flush()))
}

/// Waits until the client took everything that was written, each step as long as `send_timeout` allows (in a session,
/// `lua_socket_send_timeout`). OK, or how the request must end.
pub async fn drained(r: &Rc<Request>) -> Code {
    let loc = r.loc();
    let timeout = if r.conn().is_stream() { loc.lua.socket.send_timeout() } else { *loc.core.send_timeout };
    let code = r.conn().drain(timeout, turn(r), || allowance(r)).await;
    log_failure(r);
    if code == Code::REQUEST_TIME_OUT {
        r.log_errno(Level::Info, libc::ETIMEDOUT, format_args!("client timed out"));
    }
    code
}
