//! Pools of idle connections, one a key, for all requests that share an interpreter: those of the worker, or with
//! `lua_code_cache off` a single one.
//!
//! A pool comes into being with the first `setkeepalive` or with a `connect` that gives its size, and goes with its
//! last connection. It counts the connections in use as well as the idle ones; with a backlog, connects beyond the
//! size wait for their turn.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::transport::Transport;
use crate::deadline::Deadline;
use crate::idle_watch::{Watched, Watcher};
use crate::lua::current;
use crate::lua::ffi::worker;
use crate::tls::stream::Direction;

/// Pools by their keys.
type Pools = HashMap<Vec<u8>, Rc<Pool>>;

thread_local! {
    /// By the address of the interpreter; mostly there is one.
    static POOLS: RefCell<Vec<(usize, Pools)>> = const { RefCell::new(Vec::new()) };
}

fn pools_of(all: &mut [(usize, Pools)], interpreter: usize) -> Option<&mut Pools> {
    all.iter_mut().find(|(known, _)| *known == interpreter).map(|(_, pools)| pools)
}

/// The interpreter that runs.
fn interpreter() -> usize {
    current::ctx().map_or(0, |ctx| ctx.vm.state().addr())
}

/// Closes the connections that were kept for an interpreter which ends.
pub(crate) fn close_all_of(interpreter: usize) {
    // At a thread's end there may be no pools any more, and thus no connections.
    let remove = |all: &RefCell<Vec<(usize, Pools)>>| {
        let mut all = all.borrow_mut();
        let at = all.iter().position(|(known, _)| *known == interpreter)?;
        Some(all.swap_remove(at).1)
    };
    let pools = POOLS.try_with(remove).ok().flatten();
    for pool in pools.into_iter().flat_map(HashMap::into_values) {
        let address = Rc::as_ptr(&pool).addr();
        worker::debug(format_args!(
            "{}lua tcp socket keepalive: free connection pool {address:016X} for \"{}\"",
            pool.mark,
            pool.name()
        ));
        pool.idle.take();
    }
}

/// A connection with what the next user must know of it.
pub(crate) struct Kept {
    /// The connection.
    pub(crate) transport: Rc<dyn Transport>,
    /// How often it was taken from a pool.
    pub(crate) reused: u32,
    /// The peer, for messages.
    pub(crate) peer: Rc<str>,
    /// The delay of small packets was turned off.
    pub(crate) nodelay: bool,
    /// What ends its reads.
    pub(crate) timer: Rc<Deadline>,
}

impl Kept {
    /// A connection that was just made.
    pub(crate) fn new(transport: Rc<dyn Transport>, peer: Rc<str>) -> Self {
        Self { transport, reused: 0, peer, nodelay: false, timer: Rc::default() }
    }
}

struct Idle {
    kept: Kept,
    /// When it is closed.
    until: Option<Instant>,
}

/// The idle connections of one key.
pub(crate) struct Pool {
    interpreter: usize,
    key: Vec<u8>,
    /// What stands before messages about it.
    mark: &'static str,
    size: usize,
    backlog: Option<usize>,
    /// In use and idle.
    connections: Cell<usize>,
    idle: RefCell<VecDeque<Idle>>,
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
    watcher: Watcher,
}

/// Whether a connect may go on.
pub(crate) enum Admission {
    /// At once.
    Granted,
    /// When this is answered.
    Queued(oneshot::Receiver<()>),
    /// Too many wait already.
    Refused,
}

impl Pool {
    /// The pool of a key.
    pub(crate) fn find(key: &[u8]) -> Option<Rc<Self>> {
        POOLS.with_borrow_mut(|all| pools_of(all, interpreter())?.get(key).cloned())
    }

    /// A new pool of a key.
    pub(crate) fn create(key: &[u8], size: usize, backlog: Option<usize>, mark: &'static str) -> Rc<Self> {
        let interpreter = interpreter();
        let pool = Rc::new(Self {
            interpreter,
            key: key.to_vec(),
            mark,
            size,
            backlog,
            connections: Cell::new(0),
            idle: RefCell::default(),
            waiting: RefCell::default(),
            watcher: Watcher::default(),
        });
        POOLS.with_borrow_mut(|all| match pools_of(all, interpreter) {
            Some(pools) => drop(pools.insert(key.to_vec(), Rc::clone(&pool))),
            None => all.push((interpreter, Pools::from([(key.to_vec(), Rc::clone(&pool))]))),
        });
        pool
    }

    /// Whether this is the pool of a key.
    pub(crate) fn is_for(&self, key: &[u8]) -> bool {
        *self.key == *key
    }

    /// The key as text, for messages.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.key).into_owned()
    }

    /// Connections in use and idle.
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// The connection that was given back last and is still good.
    pub(crate) fn take(self: &Rc<Self>) -> Option<Kept> {
        loop {
            let idle = self.idle.borrow_mut().pop_front()?;
            if is_quiet(&*idle.kept.transport) {
                return Some(Kept { reused: idle.kept.reused + 1, ..idle.kept });
            }
            drop(idle);
            self.release();
        }
    }

    /// Counts a connection that is about to be made; queues it when the pool has a backlog and is full.
    pub(crate) fn admit(self: &Rc<Self>) -> Admission {
        let count = self.connections.get() + 1;
        match self.backlog {
            Some(backlog) if count > self.size.saturating_add(backlog) => Admission::Refused,
            Some(_) if count > self.size => {
                self.connections.set(count);
                let (sender, receiver) = oneshot::channel();
                self.waiting.borrow_mut().push_back(sender);
                Admission::Queued(receiver)
            }
            _ => {
                self.connections.set(count);
                Admission::Granted
            }
        }
    }

    /// A queued connect has its turn or gave up: it is counted anew if it connects.
    pub(crate) fn leave_queue(&self) {
        self.connections.set(self.connections.get().saturating_sub(1));
    }

    /// Counts a connection that goes on after its turn in the queue came.
    pub(crate) fn count(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    /// A counted connection is gone. The answer says whether the pool went with it.
    pub(crate) fn release(self: &Rc<Self>) -> bool {
        self.connections.set(self.connections.get().saturating_sub(1));
        if self.connections.get() == 0 {
            POOLS.with_borrow_mut(|all| {
                let Some(pools) = pools_of(all, self.interpreter) else { return };
                if pools.get(&self.key).is_some_and(|pool| Rc::ptr_eq(pool, self)) {
                    pools.remove(&self.key);
                }
            });
            return true;
        }
        self.resume_one();
        false
    }

    /// Keeps a connection for later; `None` as a timeout keeps it without limit. When the pool is full, the connection
    /// that was idle longest is closed. Fails when something has arrived on the connection: its state is unknown.
    pub(crate) fn keep(self: &Rc<Self>, kept: Kept, timeout: Option<Duration>, counted: Counted) -> Result<(), Kept> {
        if !is_quiet(&*kept.transport) {
            return Err(kept);
        }
        let oldest = {
            let mut idle = self.idle.borrow_mut();
            if idle.len() >= self.size { idle.pop_back() } else { None }
        };
        match (oldest, counted) {
            (Some(_), Counted::Yes) => self.leave_queue(),
            (None, Counted::No) => self.count(),
            (Some(_), Counted::No) | (None, Counted::Yes) => {}
        }
        let until = timeout.map(|timeout| crate::clock::moment() + timeout);
        Watcher::add(self, until, |cx| kept.transport.poll_ready(cx, Direction::Read).is_ready());
        self.idle.borrow_mut().push_front(Idle { kept, until });
        self.resume_one();
        Ok(())
    }

    /// Takes out the connections whose time is over or that are of no more use; says when to look again.
    fn take_spent(&self, cx: &mut Context<'_>) -> (Vec<(Idle, Spent)>, Option<Instant>) {
        let now = Instant::now();
        let mut spent = Vec::new();
        let mut idle = self.idle.borrow_mut();
        for at in (0..idle.len()).rev() {
            let reason = idle.get(at).and_then(|idle| {
                if idle.until.is_some_and(|until| until <= now) {
                    return Some(Spent::IdleForTooLong);
                }
                let event = idle.kept.transport.poll_read(cx, &mut Vec::new(), 1);
                event.is_ready().then_some(Spent::Stale)
            });
            if let Some(reason) = reason {
                spent.extend(idle.remove(at).map(|idle| (idle, reason)));
            }
        }
        (spent, idle.iter().filter_map(|idle| idle.until).min())
    }

    /// Gives the first waiting connect its turn.
    fn resume_one(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(sender) = waiting.pop_front() {
            if sender.send(()).is_ok() {
                return;
            }
        }
    }
}

/// Whether a connection is in the pool's count already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It was made when the pool was not there.
    No,
    /// It was made through the pool.
    Yes,
}

impl Watched for Pool {
    fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    fn sweep(self: &Rc<Self>, cx: &mut Context<'_>) -> Option<Instant> {
        let (spent, alarm) = self.take_spent(cx);
        for (idle, reason) in spent {
            close(self, idle, reason);
        }
        alarm
    }
}

/// Why an idle connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spent {
    /// Its time is over.
    IdleForTooLong,
    /// Something came, or the end: it is of no more use.
    Stale,
}

fn close(pool: &Rc<Pool>, idle: Idle, reason: Spent) {
    worker::debug(format_args!(
        "{}lua tcp socket keepalive {}",
        pool.mark,
        match reason {
            Spent::IdleForTooLong => "max idle timeout",
            Spent::Stale => "close handler check stale events",
        }
    ));
    worker::debug(format_args!("{}lua tcp socket keepalive close handler: fd:{}", pool.mark, idle.kept.transport.fd()));
    drop(idle);
    if pool.release() {
        let (mark, name) = (pool.mark, pool.name());
        worker::debug(format_args!("{mark}lua tcp socket keepalive: free connection pool for \"{name}\""));
    }
}

/// Whether nothing has arrived, not even the end.
fn is_quiet(transport: &dyn Transport) -> bool {
    matches!(transport.try_read(&mut Vec::new(), 1), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
