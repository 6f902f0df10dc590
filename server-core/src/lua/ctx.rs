//! The Lua context of one request (or timer, or session): its threads and what they asked for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::c_int;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::{Rc, Weak};

use super::apps::Space;
use super::operations::Operations;
use super::phase::Phase;
use super::sched;
use super::session::Silent;
use super::socket::Endpoint;
use super::sys::raw::LUA_NOREF;
use super::sys::{Error, State};
use super::thread::{Operation, Resume, Thread, Waiting};
use super::vm::Vm;
use crate::http::modules::lua::output_bufs::OutputBufs;

/// Why the running coroutine yielded to the scheduler.
#[derive(Clone, Debug, Default)]
pub(crate) enum Intent {
    /// It waits for its operation, or asked for the end of the phase.
    #[default]
    Wait,
    /// `coroutine.resume` of this thread; below the arguments on its stack lies the coroutine, to keep it alive.
    Resume(Rc<Thread>),
    /// `coroutine.yield`.
    Yield,
    /// `ngx.thread.spawn` of this thread.
    Spawn(Rc<Thread>),
}

/// An internal redirect that `ngx.exec` asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The path, or `@name`.
    pub uri: Vec<u8>,
    /// The query string.
    pub args: Vec<u8>,
}

/// What the threads did to the response so far.
#[derive(Debug, Default)]
pub struct Output {
    /// The head was sent (or handed to the filters, or to the buffer of an HTTP/1.0 response).
    pub header_sent: Cell<bool>,
    /// The last buffer was sent.
    pub eof: Cell<bool>,
    /// The body is collected for an HTTP/1.0 client.
    pub buffering: Cell<bool>,
    /// Body data was produced.
    pub seen_body_data: Cell<bool>,
    /// A script set response headers.
    pub headers_set: Cell<bool>,
    /// A script set `Content-Type`.
    pub mime_set: Cell<bool>,
    /// A script took over the connection.
    pub raw_socket: Cell<bool>,
    /// A script of `stream { }` has the client's socket.
    pub session_socket: Cell<bool>,
    /// Bytes that had been sent, or waited for, when a script last let others have their turn.
    pub(crate) sent_before_turn: Cell<u64>,
    /// The last buffer passed the Lua body filter.
    pub seen_last_in_filter: Cell<bool>,
    /// The collected body.
    pub buffered: RefCell<Vec<u8>>,
    /// Told about at the debug level.
    pub(crate) bufs: OutputBufs,
}

/// The Lua side of a request. Contexts are shared by reference; everything inside is a cell.
pub struct Ctx {
    this: Weak<Self>,
    /// The interpreter its code runs in.
    pub vm: Rc<Vm>,
    /// The app on whose behalf its code runs.
    pub(crate) space: RefCell<Option<Rc<Space>>>,
    /// The phase that is running.
    pub phase: Cell<Phase>,
    /// `ngx.exit` and its like were called.
    pub exited: Cell<bool>,
    /// With this code.
    pub exit_code: Cell<i32>,
    /// `ngx.exec` was called.
    pub exec: RefCell<Option<Exec>>,
    /// `ngx.req.set_uri` asked for a new location.
    pub jump: Cell<bool>,
    /// Subrequests of all threads together: the request cannot be left while there are any.
    pub pending_subrequests: Cell<u32>,
    /// Where `ngx.ctx` is kept in the VM, or `LUA_NOREF`.
    pub ctx_ref: Cell<c_int>,
    /// The content phase was entered.
    pub entered_content: Cell<bool>,
    /// The response.
    pub output: Output,
    /// Set by the handler of `ngx.on_abort`.
    pub(crate) on_abort: RefCell<Option<Rc<Thread>>>,
    /// Sockets that its code connected: they end with it.
    sockets: RefCell<Vec<Weak<dyn Endpoint>>>,
    free_cleanups: Cell<u32>,
    pub(super) entry: RefCell<Option<Rc<Thread>>>,
    pub(super) current: RefCell<Option<Rc<Thread>>>,
    pub(super) posted: RefCell<VecDeque<Rc<Thread>>>,
    /// Anchored light threads by their anchor.
    pub(super) lights: RefCell<BTreeMap<c_int, Rc<Thread>>>,
    /// All coroutines but the entry thread's, by address.
    pub(super) coroutines: RefCell<HashMap<usize, Rc<Thread>, BuildHasherDefault<AddressHasher>>>,
    pub(super) intent: RefCell<Intent>,
    pub(super) waiting: RefCell<Operations>,
}

impl Ctx {
    /// A context without threads.
    pub fn new(vm: Rc<Vm>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            vm,
            space: RefCell::new(None),
            phase: Cell::new(Phase::default()),
            exited: Cell::new(false),
            exit_code: Cell::new(0),
            exec: RefCell::new(None),
            jump: Cell::new(false),
            pending_subrequests: Cell::new(0),
            ctx_ref: Cell::new(LUA_NOREF),
            entered_content: Cell::new(false),
            output: Output::default(),
            on_abort: RefCell::new(None),
            sockets: RefCell::default(),
            free_cleanups: Cell::new(0),
            entry: RefCell::new(None),
            current: RefCell::new(None),
            posted: RefCell::new(VecDeque::new()),
            lights: RefCell::new(BTreeMap::new()),
            coroutines: RefCell::new(HashMap::default()),
            intent: RefCell::new(Intent::Wait),
            waiting: RefCell::default(),
        })
    }

    /// The thread whose code is running.
    pub fn current_thread(&self) -> Option<Rc<Thread>> {
        self.current.borrow().clone()
    }

    /// Whether code of this context is running at this moment.
    pub fn is_running(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// The thread of a coroutine, if it is one of this context.
    pub fn thread_of(&self, co: State) -> Option<Rc<Thread>> {
        let entry = self.entry.borrow();
        if let Some(entry) = entry.as_ref().filter(|entry| entry.co == co) {
            return Some(entry.clone());
        }
        self.coroutines.borrow().get(&co.addr()).cloned()
    }

    /// Makes the running thread wait for `operation`; its C function yields right after this call.
    ///
    /// An operation the thread waited for before is cancelled.
    pub fn suspend(&self, operation: impl Future<Output = Resume> + 'static) -> Result<(), Error> {
        let thread = self.current_thread().ok_or("no co ctx found")?;
        let operation = Operation::new(Box::pin(operation));
        thread.await_operation(&operation);
        self.waiting.borrow_mut().push(Waiting { thread, operation });
        Ok(())
    }

    /// A handle for operations, which must not keep the context alive.
    pub fn handle(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// Ends all threads with a code, when the thread whose operation calls this is resumed.
    pub fn abort(&self, code: i32) {
        self.exit_code.set(code);
        self.exited.set(true);
    }

    /// Makes a socket end with this context.
    pub(crate) fn adopt_socket(&self, socket: Weak<dyn Endpoint>) {
        let mut sockets = self.sockets.borrow_mut();
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(socket);
    }

    /// The sockets that its code connected, to be ended by the caller.
    pub(crate) fn take_sockets(&self) -> Vec<Weak<dyn Endpoint>> {
        self.sockets.take()
    }

    /// A socket was closed: the record of what to clean up can serve another one.
    pub(crate) fn free_cleanup(&self) {
        self.free_cleanups.set(self.free_cleanups.get() + 1);
    }

    /// Takes a record that a closed socket left, if there is one.
    pub(crate) fn reuse_cleanup(&self) -> bool {
        let free = self.free_cleanups.get();
        self.free_cleanups.set(free.saturating_sub(1));
        free > 0
    }

    /// Fails when the running code may not leave the request because subrequests are under way.
    pub fn check_abortable(&self) -> Result<(), Error> {
        if self.pending_subrequests.get() > 0 {
            return Err("attempt to abort with pending subrequests".into());
        }
        Ok(())
    }

    pub(super) fn set_intent(&self, intent: Intent) {
        self.intent.replace(intent);
    }

    pub(super) fn is_entry(&self, thread: &Rc<Thread>) -> bool {
        self.entry.borrow().as_ref().is_some_and(|entry| Rc::ptr_eq(entry, thread))
    }

    pub(super) fn is_entry_alive(&self) -> bool {
        self.entry.borrow().as_ref().is_some_and(|entry| entry.is_anchored())
    }

    pub(super) fn adopt(&self, thread: &Rc<Thread>) {
        self.coroutines.borrow_mut().insert(thread.co.addr(), thread.clone());
    }
}

/// Whoever ends a request ends its threads; this is for contexts that nobody ended.
impl Drop for Ctx {
    fn drop(&mut self) {
        sched::finalize(self, &Silent);
        for socket in self.sockets.take() {
            if let Some(socket) = socket.upgrade() {
                socket.end();
            }
        }
    }
}

impl std::fmt::Debug for Ctx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx").field("phase", &self.phase.get()).finish_non_exhaustive()
    }
}

/// Hashes addresses of coroutines: they are aligned and distinct, so one multiplication is enough.
#[derive(Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20);
    }
}
