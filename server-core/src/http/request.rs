//! A request: what the client asked, what was decided so far, and what will be answered.

use std::any::{Any, TypeId};
use std::cell::{Cell, Ref, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use smallvec::SmallVec;

use super::body::{Framing, RequestBody};
use super::code::Code;
use super::conf::{LocConf, MainConf, SrvConf};
use super::connection::Connection;
use super::headers_in::HeadersIn;
use super::headers_out::HeadersOut;
use super::method::{Method, Version};
use super::modules::limit_zones::LimitStatus;
use super::phases::Handler;
use super::phases::LocalBoxFuture;
use super::postpone_filter::Postponed;
use super::subrequest::{Completion, PostHandler};
use super::text::Text;
use super::variables::Slots;
use crate::clock::Now;

/// Where the walk through the phases begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// In the location where it is, for a copy of a request.
    Content,
    /// After an internal redirect to a URI.
    ServerRewrite,
    /// After an internal redirect to a named location.
    Rewrite,
}

/// The groups of the last regular expression that matched.
#[derive(Clone, Default)]
pub struct Captures {
    /// The text that was matched.
    pub subject: Bytes,
    /// Start and end of each group; group 0 is the whole match.
    pub groups: SmallVec<[Option<(usize, usize)>; 4]>,
}

/// What a module keeps in a request, by its type.
type ModuleCtx = (TypeId, Rc<dyn Any>);

/// What is called when a request ends.
type Cleanup = Box<dyn FnOnce()>;

/// A request or subrequest.
///
/// Everything inside is a cell: handlers share a request freely, as long as they keep no borrow across an
/// await or a call into Lua. `Rc::as_ptr` of it is what Lua holds.
pub struct Request {
    this: Weak<Self>,
    conn: Rc<Connection>,
    main_conf: &'static MainConf,
    srv: Cell<&'static SrvConf>,
    loc: Cell<&'static LocConf>,
    main: Option<Rc<Self>>,
    parent: Option<Rc<Self>>,

    /// The method.
    pub method: Cell<Method>,
    /// The method as written.
    pub method_name: Text,
    /// The protocol version.
    pub http_version: Cell<Version>,
    /// The protocol as written (`HTTP/1.1`).
    pub http_protocol: Text,
    /// The request line as written, without its end.
    pub request_line: Text,
    /// The URI as written, with its arguments.
    pub unparsed_uri: Text,
    /// The decoded, normalised path.
    pub uri: Text,
    /// The arguments, as written, without `?`.
    pub args: Text,
    /// The extension of the path, without dot.
    pub exten: Text,
    /// The scheme of an absolute request line.
    pub schema: Text,
    /// The request line as it was received, with its end.
    pub raw_line: Text,
    /// The header lines as they were received, up to the empty line; empty when the head is not complete.
    pub raw_fields: Text,

    /// The request's headers.
    pub headers_in: HeadersIn,
    /// The response's head.
    pub headers_out: HeadersOut,
    /// The groups of the last regular expression.
    pub captures: RefCell<Captures>,

    /// The body, once somebody asked for it.
    pub body: RefCell<Option<Rc<RequestBody>>>,
    /// What the Lua module keeps.
    pub lua: RefCell<Option<Rc<crate::lua::Ctx>>>,
    /// The deployment of an app in which its scripts run.
    pub(crate) app: RefCell<Option<Rc<crate::lua::apps::Space>>>,
    /// What is known of servers behind us.
    pub upstream: RefCell<Option<Rc<super::modules::upstream::Attempts>>>,
    ctx: RefCell<SmallVec<[ModuleCtx; 4]>>,
    slots: RefCell<Rc<Slots>>,
    cleanups: RefCell<Vec<Cleanup>>,

    /// The content handler of the location.
    pub content_handler: Cell<Option<&'static dyn Handler>>,
    /// Set by a redirect: the phases begin again there when the handler returns [`Code::DONE`].
    pub restart: Cell<Option<Restart>>,
    /// The phase that is running, for messages and for `satisfy`.
    pub access_code: Cell<Code>,
    /// Redirects and rewrites that are still allowed.
    pub uri_changes: Cell<u32>,
    /// What `limit_req` and `limit_conn` decided, in this order; only in main requests.
    pub limit_status: Cell<[LimitStatus; 2]>,
    /// Nested subrequests that are still allowed.
    pub subrequests: Cell<u32>,
    /// The status that `error_page` decided on, 0 if none.
    pub err_status: Cell<u16>,

    /// When the request began.
    pub started: Cell<Now>,
    /// Bytes of head and body received.
    pub request_length: Cell<u64>,
    /// Bytes of the response head.
    pub header_size: Cell<u64>,
    /// The connection's count of sent bytes when the request began.
    pub sent_before: Cell<u64>,
    /// Bytes a second; 0 is no limit.
    pub limit_rate: Cell<u64>,
    /// Whether `limit_rate` was decided (by the configuration or by a variable).
    pub limit_rate_set: Cell<bool>,
    /// Bytes before `limit_rate` begins.
    pub limit_rate_after: Cell<u64>,
    /// Whether `limit_rate_after` was decided.
    pub limit_rate_after_set: Cell<bool>,

    /// The path changed and a location must be looked up again.
    pub uri_changed: Cell<bool>,
    /// Only the server itself may ask for this (redirects, subrequests).
    pub internal: Cell<bool>,
    /// The written URI still matches `uri` and `args`.
    pub valid_unparsed_uri: Cell<bool>,
    /// Whether the URI was rewritten while the location stayed: the location's name says nothing about it any more.
    pub left_location: Cell<bool>,
    /// The path has escapes to decode, dots or double slashes.
    pub complex_uri: Cell<bool>,
    /// The path had characters written as `%XX`.
    pub quoted_uri: Cell<bool>,
    /// Parts of the path after a regular expression go to `alias`.
    pub add_uri_to_alias: Cell<bool>,
    /// The response's head has been sent.
    pub header_sent: Cell<bool>,
    /// No body may follow the head.
    pub header_only: Cell<bool>,
    /// The connection stays after this request.
    pub keepalive: Cell<bool>,
    /// After the response, wait until the client closes.
    pub lingering_close: Cell<bool>,
    /// The response's body is sent in chunks.
    pub chunked: Cell<bool>,
    /// Trailers are to be sent.
    pub expect_trailers: Cell<bool>,
    /// The response may be cut into ranges.
    pub allow_ranges: Cell<bool>,
    /// Only one range may be answered.
    pub single_range: Cell<bool>,
    /// The not-modified filter has nothing to do here.
    pub disable_not_modified: Cell<bool>,
    /// A filter changed the bytes; static file tricks are off.
    pub filter_need_in_memory: Cell<bool>,
    /// The status line and headers were replaced by a filter that answers by itself.
    pub filter_finalize: Cell<bool>,
    /// `Expect` has been looked at.
    pub expect_tested: Cell<bool>,
    /// The body is being or has been thrown away.
    pub discard_body: Cell<bool>,
    /// An error page is being served.
    pub error_page: Cell<bool>,
    /// The request is `post_action`'s.
    pub post_action: Cell<bool>,
    /// The request has been logged.
    pub logged: Cell<bool>,
    /// The request has ended.
    pub done: Cell<bool>,
    /// The request was cut off.
    pub terminated: Cell<bool>,
    /// The body goes to memory and not to the client.
    pub subrequest_in_memory: Cell<bool>,
    /// The parent is waiting for this subrequest.
    pub waited: Cell<bool>,
    /// The subrequest takes its turn in the output and says nothing.
    pub mute: Cell<bool>,
    /// The subrequest's output is nobody's business.
    pub background: Cell<bool>,
    /// The body's first bytes came with the head (`read_event_handler` is free).
    pub reading_body: Cell<bool>,
    /// The body must go to a file.
    pub request_body_in_file_only: Cell<bool>,
    /// The file of the body stays after the request.
    pub request_body_in_persistent_file: Cell<bool>,
    /// The file of the body is removed at the end.
    pub request_body_in_clean_file: Cell<bool>,
    /// The body must be in one buffer.
    pub request_body_in_single_buf: Cell<bool>,
    /// The connection was taken over (raw socket, upgrade).
    pub detached: Cell<bool>,
    /// The path's root was checked.
    pub root_tested: Cell<bool>,

    /// Output that waits for its turn.
    pub postponed: RefCell<Vec<Postponed>>,
    /// A filter holds output back until a subrequest has ended.
    pub held_back: Cell<bool>,
    /// This subrequest's response is a part of the whole, from which ranges are cut.
    pub subrequest_ranges: Cell<bool>,
    /// The subrequest has put something out.
    pub has_output: Cell<bool>,
    /// The end of a subrequest's output in memory has been seen.
    pub captured_last: Cell<bool>,
    /// The output of a subrequest in memory.
    pub captured: RefCell<Vec<u8>>,
    /// Who waits for this subrequest.
    pub completion: Completion,
    /// What is told about a server behind us, for log lines.
    pub log_upstream: Text,
    /// What is left of the body in the connection.
    pub(crate) framing: RefCell<Framing>,
    /// Subrequests that have been started and not been polled yet, or wait; only in main requests.
    pub(crate) posted: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    /// Told how this subrequest ended.
    pub(crate) post_handler: RefCell<Option<PostHandler>>,
}

/// Lowers flags one behind the other: written out, the stores of neighbours become one.
macro_rules! lower_flags {
    ($request:ident, $($flag:ident),+) => {
        $($request.$flag.set(false);)+
    };
}

impl Request {
    /// A main request of a connection.
    pub fn new(conn: Rc<Connection>, srv: &'static SrvConf, loc: &'static LocConf) -> Rc<Self> {
        let main_conf = conn.main_conf();
        let slots = Rc::new(Slots::new(main_conf.core.variables.slots()));
        let r = Self::build(conn, main_conf, srv, loc, None, slots);
        r.begin(srv, loc);
        r
    }

    /// A subrequest. It begins with the server's location settings and shares the parent's variables.
    pub(crate) fn child(parent: &Rc<Self>) -> Rc<Self> {
        let srv = parent.srv();
        let loc = srv.core.loc.get().copied().unwrap_or(parent.loc());
        let slots = parent.slots();
        let r = Self::build(Rc::clone(&parent.conn), parent.main_conf, srv, loc, Some(parent), slots);
        r.started.set(parent.started.get());
        r
    }

    fn build(
        conn: Rc<Connection>,
        main_conf: &'static MainConf,
        srv: &'static SrvConf,
        loc: &'static LocConf,
        parent: Option<&Rc<Self>>,
        slots: Rc<Slots>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            conn,
            main_conf,
            srv: Cell::new(srv),
            loc: Cell::new(loc),
            main: parent.map(Self::main),
            parent: parent.cloned(),
            method: Cell::new(Method::UNKNOWN),
            method_name: Text::default(),
            http_version: Cell::new(Version::HTTP_10),
            http_protocol: Text::default(),
            request_line: Text::default(),
            unparsed_uri: Text::default(),
            uri: Text::default(),
            args: Text::default(),
            exten: Text::default(),
            schema: Text::default(),
            raw_line: Text::default(),
            raw_fields: Text::default(),
            headers_in: HeadersIn::default(),
            headers_out: HeadersOut::default(),
            captures: RefCell::default(),
            body: RefCell::default(),
            lua: RefCell::default(),
            app: RefCell::default(),
            upstream: RefCell::default(),
            ctx: RefCell::default(),
            slots: RefCell::new(slots),
            cleanups: RefCell::default(),
            content_handler: Cell::new(None),
            restart: Cell::new(None),
            access_code: Cell::new(Code::OK),
            uri_changes: Cell::new(MAX_URI_CHANGES + 1),
            limit_status: Cell::default(),
            subrequests: Cell::new(MAX_SUBREQUESTS + 1),
            err_status: Cell::new(0),
            started: Cell::new(Now::default()),
            request_length: Cell::new(0),
            header_size: Cell::new(0),
            sent_before: Cell::new(0),
            limit_rate: Cell::new(0),
            limit_rate_set: Cell::new(false),
            limit_rate_after: Cell::new(0),
            uri_changed: Cell::new(false),
            internal: Cell::new(false),
            valid_unparsed_uri: Cell::new(false),
            left_location: Cell::new(false),
            complex_uri: Cell::new(false),
            quoted_uri: Cell::new(false),
            add_uri_to_alias: Cell::new(false),
            header_sent: Cell::new(false),
            header_only: Cell::new(false),
            keepalive: Cell::new(false),
            lingering_close: Cell::new(false),
            chunked: Cell::new(false),
            expect_trailers: Cell::new(false),
            allow_ranges: Cell::new(false),
            single_range: Cell::new(false),
            disable_not_modified: Cell::new(false),
            filter_need_in_memory: Cell::new(false),
            filter_finalize: Cell::new(false),
            expect_tested: Cell::new(false),
            discard_body: Cell::new(false),
            error_page: Cell::new(false),
            post_action: Cell::new(false),
            logged: Cell::new(false),
            done: Cell::new(false),
            subrequest_in_memory: Cell::new(false),
            waited: Cell::new(false),
            mute: Cell::new(false),
            background: Cell::new(false),
            reading_body: Cell::new(false),
            request_body_in_file_only: Cell::new(false),
            request_body_in_persistent_file: Cell::new(false),
            request_body_in_clean_file: Cell::new(false),
            request_body_in_single_buf: Cell::new(false),
            detached: Cell::new(false),
            root_tested: Cell::new(false),
            postponed: RefCell::default(),
            held_back: Cell::new(false),
            subrequest_ranges: Cell::new(false),
            has_output: Cell::new(false),
            captured_last: Cell::new(false),
            captured: RefCell::default(),
            completion: Completion::default(),
            log_upstream: Text::default(),
            framing: RefCell::default(),
            posted: RefCell::default(),
            post_handler: RefCell::default(),
            limit_rate_after_set: Cell::new(false),
            terminated: Cell::new(false),
        })
    }

    /// Begins a new request, which starts with the settings of the address's default server.
    pub(crate) fn begin(&self, srv: &'static SrvConf, loc: &'static LocConf) {
        self.srv.set(srv);
        self.loc.set(loc);
        self.started.set(crate::clock::now());
        self.sent_before.set(self.conn.sent.get());
    }

    /// Lets go of what an ended request holds and makes it as good as new for the next one of its connection; `None`
    /// when somebody still has it.
    pub(crate) fn recycle(self: Rc<Self>) -> Option<Rc<Self>> {
        self.clear_ctx();
        if Rc::strong_count(&self) > 1 {
            return None;
        }
        self.slots.borrow().reset();
        self.clear_state();
        Some(self)
    }

    fn clear_state(&self) {
        self.method.set(Method::UNKNOWN);
        self.http_version.set(Version::HTTP_10);
        for text in [
            &self.method_name,
            &self.http_protocol,
            &self.request_line,
            &self.unparsed_uri,
            &self.uri,
            &self.args,
            &self.exten,
            &self.schema,
            &self.raw_line,
            &self.raw_fields,
        ] {
            text.clear();
        }
        self.headers_in.reset();
        self.headers_out.reset();
        self.captures.take();
        self.body.take();
        self.app.take();
        self.upstream.take();
        self.content_handler.set(None);
        self.restart.set(None);
        self.access_code.set(Code::OK);
        self.uri_changes.set(MAX_URI_CHANGES + 1);
        self.limit_status.set(Default::default());
        self.subrequests.set(MAX_SUBREQUESTS + 1);
        self.err_status.set(0);
        for count in [&self.request_length, &self.header_size, &self.limit_rate, &self.limit_rate_after] {
            count.set(0);
        }
        lower_flags!(
            self,
            limit_rate_set,
            limit_rate_after_set,
            terminated,
            uri_changed,
            internal,
            valid_unparsed_uri,
            left_location,
            complex_uri,
            quoted_uri,
            add_uri_to_alias,
            header_sent,
            header_only,
            keepalive,
            lingering_close,
            chunked,
            expect_trailers,
            allow_ranges,
            single_range,
            disable_not_modified,
            filter_need_in_memory,
            filter_finalize,
            expect_tested,
            discard_body,
            error_page,
            post_action,
            logged,
            done,
            subrequest_in_memory,
            waited,
            mute,
            background,
            reading_body,
            request_body_in_file_only,
            request_body_in_persistent_file,
            request_body_in_clean_file,
            request_body_in_single_buf,
            detached,
            root_tested,
            held_back,
            subrequest_ranges,
            has_output,
            captured_last
        );
        self.postponed.borrow_mut().clear();
        self.captured.borrow_mut().clear();
        self.completion.reset();
        self.log_upstream.clear();
        self.framing.take();
        self.posted.take();
        self.post_handler.take();
    }

    /// Derives the extension from the path.
    pub fn set_extension(&self) {
        let uri = self.uri.get();
        let exten = super::h1::uri::extension(&uri);
        if exten.is_empty() {
            self.exten.clear();
        } else {
            self.exten.set(uri.slice_ref(exten));
        }
    }

    /// Bytes of the response that were sent.
    pub fn bytes_sent(&self) -> u64 {
        self.conn.sent.get().saturating_sub(self.main_ref().sent_before.get())
    }

    /// Milliseconds since the request began.
    pub fn elapsed_msec(&self) -> i64 {
        (crate::clock::now().epoch_msec() - self.started.get().epoch_msec()).max(0)
    }

    /// Whether output of the request, or a subrequest, waits for its turn.
    pub fn has_postponed(&self) -> bool {
        !self.postponed.borrow().is_empty()
    }

    /// User and password of a basic authorization.
    pub fn basic_auth(&self) -> Option<(Bytes, Bytes)> {
        use base64::Engine as _;
        let head = &self.main_ref().headers_in;
        if let Some(known) = &*head.basic.borrow() {
            return Some(known.clone());
        }
        let value = head.value(super::header::HeaderId::Authorization)?;
        let encoded = value.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case(b"basic ")).map(|_| &value[6..])?;
        let engine = base64::engine::GeneralPurpose::new(
            &base64::alphabet::STANDARD,
            base64::engine::GeneralPurposeConfig::new()
                .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
        );
        let decoded = Bytes::from(engine.decode(encoded.trim_ascii()).ok()?);
        let colon = memchr::memchr(b':', &decoded)?;
        let pair = (decoded.slice(..colon), decoded.slice(colon + 1..));
        *head.basic.borrow_mut() = Some(pair.clone());
        Some(pair)
    }

    /// Sets the media type from the path's extension (`ngx_http_set_content_type`).
    pub fn set_content_type(&self) {
        let out = &self.headers_out;
        if !out.content_type.is_empty() {
            return;
        }
        let core = &self.loc().core;
        let kind =
            if self.exten.is_empty() { None } else { core.types.get(&*self.exten.borrow().to_ascii_lowercase()) };
        out.content_type.set(kind.unwrap_or(&core.default_type).clone());
    }

    /// Another reference to this request.
    pub fn rc(&self) -> Rc<Self> {
        self.this.upgrade().expect("a request is only ever used through its Rc")
    }

    /// The connection.
    pub fn conn(&self) -> &Rc<Connection> {
        &self.conn
    }

    /// Settings of `http { }`.
    pub fn main_conf(&self) -> &'static MainConf {
        self.main_conf
    }

    /// Settings of the server.
    pub fn srv(&self) -> &'static SrvConf {
        self.srv.get()
    }

    /// Settings of the location.
    pub fn loc(&self) -> &'static LocConf {
        self.loc.get()
    }

    /// Changes the server.
    pub fn set_srv(&self, srv: &'static SrvConf) {
        self.srv.set(srv);
    }

    /// Changes the location's settings without anything else; see also [`super::location::enter`].
    pub fn set_loc(&self, loc: &'static LocConf) {
        self.loc.set(loc);
    }

    /// The main request; itself, unless it is a subrequest.
    pub fn main(self: &Rc<Self>) -> Rc<Self> {
        self.main.clone().unwrap_or_else(|| Rc::clone(self))
    }

    /// The main request, borrowed.
    pub fn main_ref(&self) -> &Self {
        self.main.as_deref().unwrap_or(self)
    }

    /// Whether it is the client's request and no subrequest.
    pub fn is_main(&self) -> bool {
        self.main.is_none()
    }

    /// The request whose subrequest this is.
    pub fn parent(&self) -> Option<&Rc<Self>> {
        self.parent.as_ref()
    }

    /// The slots of the variables.
    pub fn slots(&self) -> Rc<Slots> {
        Rc::clone(&self.slots.borrow())
    }

    /// Gives the request other slots (a subrequest with variables of its own).
    pub fn set_slots(&self, slots: Rc<Slots>) {
        *self.slots.borrow_mut() = slots;
    }

    /// A group of the last regular expression.
    pub fn capture(&self, number: usize) -> Option<Bytes> {
        let captures = self.captures.borrow();
        let &(start, end) = captures.groups.get(number)?.as_ref()?;
        (start <= end && end <= captures.subject.len()).then(|| captures.subject.slice(start..end))
    }

    /// What a module keeps in this request.
    #[inline]
    pub fn ctx<T: 'static>(&self) -> Option<Rc<T>> {
        let ctx = self.ctx.borrow();
        if ctx.is_empty() {
            return None;
        }
        let (_, value) = ctx.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        Rc::clone(value).downcast().ok()
    }

    /// Keeps something for a module; one value a type.
    pub fn set_ctx<T: 'static>(&self, value: Rc<T>) {
        let mut ctx = self.ctx.borrow_mut();
        match ctx.iter_mut().find(|(id, _)| *id == TypeId::of::<T>()) {
            Some(entry) => entry.1 = value,
            None => ctx.push((TypeId::of::<T>(), value)),
        }
    }

    /// What a module keeps in this request, made when it isn't there.
    pub fn ctx_or_default<T: Default + 'static>(&self) -> Rc<T> {
        self.ctx().unwrap_or_else(|| {
            let value = Rc::new(T::default());
            self.set_ctx(Rc::clone(&value));
            value
        })
    }

    /// Forgets what modules keep, as an internal redirect does.
    pub fn clear_ctx(&self) {
        let old = self.ctx.take();
        drop(old);
        super::modules::lua::session::end(self);
    }

    /// The body, when somebody read it.
    pub fn request_body(&self) -> Option<Ref<'_, Rc<RequestBody>>> {
        Ref::filter_map(self.body.borrow(), Option::as_ref).ok()
    }

    /// Calls `cleanup` when the request ends, in reverse order of registration.
    pub fn at_end(&self, cleanup: impl FnOnce() + 'static) {
        self.main_ref().cleanups.borrow_mut().push(Box::new(cleanup));
    }

    /// Runs the cleanups.
    pub(crate) fn run_cleanups(&self) {
        super::modules::lua::session::end(self);
        loop {
            let cleanup = self.cleanups.borrow_mut().pop();
            let Some(cleanup) = cleanup else { return };
            cleanup();
        }
    }
}

/// Rewrites and internal redirects a request may take.
pub const MAX_URI_CHANGES: u32 = 10;
/// Levels of nested subrequests.
pub const MAX_SUBREQUESTS: u32 = 50;
