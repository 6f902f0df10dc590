//! Pools of idle connections, one a key, for all requests of the worker.
//!
//! A pool comes into being with the first `setkeepalive` or with a `connect` that gives its size, and goes with its
//! last connection. It counts the connections in use as well as the idle ones; with a backlog, connects beyond the
//! size wait for their turn.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::transport::Transport;
use crate::lua::ffi::worker;

thread_local! {
    static POOLS: RefCell<HashMap<Vec<u8>, Rc<Pool>>> = RefCell::default();
}

/// A connection with what the next user must know of it.
pub(crate) struct Kept {
    /// The connection.
    pub(crate) transport: Rc<dyn Transport>,
    /// How often it was taken from a pool.
    pub(crate) reused: u32,
    /// The peer, for messages.
    pub(crate) peer: Rc<str>,
}

struct Idle {
    number: u64,
    kept: Kept,
    watcher: JoinHandle<()>,
}

/// The idle connections of one key.
pub(crate) struct Pool {
    key: Vec<u8>,
    size: usize,
    backlog: Option<usize>,
    /// In use and idle.
    connections: Cell<usize>,
    idle: RefCell<VecDeque<Idle>>,
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
    numbers: Cell<u64>,
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
        POOLS.with_borrow(|pools| pools.get(key).cloned())
    }

    /// A new pool of a key.
    pub(crate) fn create(key: &[u8], size: usize, backlog: Option<usize>) -> Rc<Self> {
        let pool = Rc::new(Self {
            key: key.to_vec(),
            size,
            backlog,
            connections: Cell::new(0),
            idle: RefCell::default(),
            waiting: RefCell::default(),
            numbers: Cell::new(0),
        });
        POOLS.with_borrow_mut(|pools| pools.insert(key.to_vec(), Rc::clone(&pool)));
        pool
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
            idle.watcher.abort();
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
            POOLS.with_borrow_mut(|pools| {
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
            (Some(oldest), counted) => {
                oldest.watcher.abort();
                if counted == Counted::Yes {
                    self.leave_queue();
                }
            }
            (None, Counted::No) => self.count(),
            (None, Counted::Yes) => {}
        }
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let watcher = tokio::task::spawn_local(watch(Rc::downgrade(self), number, Rc::clone(&kept.transport), timeout));
        self.idle.borrow_mut().push_front(Idle { number, kept, watcher });
        self.resume_one();
        Ok(())
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

/// Closes an idle connection when its time is over or when something happens on it.
async fn watch(pool: Weak<Pool>, number: u64, transport: Rc<dyn Transport>, timeout: Option<Duration>) {
    let mut byte = Vec::new();
    let event = std::future::poll_fn(|cx| transport.poll_read(cx, &mut byte, 1));
    let idle_for_too_long = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, event).await.is_err(),
        None => {
            // Whatever happened: the connection is of no more use.
            let _ = event.await;
            false
        }
    };
    if idle_for_too_long {
        worker::debug(format_args!("lua tcp socket keepalive max idle timeout"));
    } else {
        worker::debug(format_args!("lua tcp socket keepalive close handler check stale events"));
    }
    worker::debug(format_args!("lua tcp socket keepalive close handler: fd:{}", transport.fd()));
    drop(transport);
    let Some(pool) = pool.upgrade() else { return };
    let mine = {
        let mut idle = pool.idle.borrow_mut();
        let at = idle.iter().position(|idle| idle.number == number);
        at.and_then(|at| idle.remove(at))
    };
    if mine.is_some() {
        drop(mine);
        if pool.release() {
            worker::debug(format_args!("lua tcp socket keepalive: free connection pool for \"{}\"", pool.name()));
        }
    }
}

/// Whether nothing has arrived, not even the end.
fn is_quiet(transport: &dyn Transport) -> bool {
    matches!(transport.try_read(&mut Vec::new(), 1), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
