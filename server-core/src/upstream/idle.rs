//! Connections that wait for the next request to their server.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::address::PeerAddress;
use super::connection::Connection;
use crate::lua::ffi::worker;

/// Whether the end of an idle connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Nobody asks.
    Silent,
    /// By a debug line, as for connections that scripts keep.
    Told,
}

struct Idle {
    number: u64,
    closing: Closing,
    key: Key,
    connection: Rc<Connection>,
    watcher: JoinHandle<()>,
}

impl Idle {
    /// Says that it is closed.
    fn tell(&self) {
        if self.closing == Closing::Told {
            let pointer = Rc::as_ptr(&self.connection).addr();
            worker::debug(format_args!("lua balancer: keepalive closing connection {pointer:016X}"));
        }
    }
}

/// For whom a connection is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The server.
    pub(crate) address: PeerAddress,
    /// The settings it was made with, or the name of a pool.
    pub(crate) tag: Vec<u8>,
}

/// The idle connections of a group, the one used last first.
#[derive(Default)]
pub(crate) struct IdlePool {
    idle: RefCell<VecDeque<Idle>>,
    numbers: Cell<u64>,
}

impl std::fmt::Debug for IdlePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdlePool").field("len", &self.idle.borrow().len()).finish_non_exhaustive()
    }
}

impl IdlePool {
    /// Takes a connection that is still good.
    pub(crate) fn take(&self, key: &Key) -> Option<Rc<Connection>> {
        loop {
            let idle = {
                let mut all = self.idle.borrow_mut();
                let at = all.iter().position(|idle| idle.key == *key)?;
                all.remove(at)?
            };
            idle.watcher.abort();
            if idle.connection.is_quiet() {
                return Some(idle.connection);
            }
        }
    }

    /// Lets the oldest connections go until there is room for one more.
    pub(crate) fn make_room(&self, max: usize) {
        let mut all = self.idle.borrow_mut();
        while all.len() >= max.max(1)
            && let Some(oldest) = all.pop_back()
        {
            oldest.watcher.abort();
            oldest.tell();
        }
    }

    /// Keeps a connection for at most `timeout`; the oldest one goes when there are more than `max`.
    pub(crate) fn keep(
        self: &Rc<Self>,
        key: Key,
        connection: Rc<Connection>,
        max: usize,
        timeout: Duration,
        closing: Closing,
    ) {
        if max == 0 || !connection.is_quiet() {
            return;
        }
        self.make_room(max);
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let watcher = tokio::task::spawn_local(watch(Rc::downgrade(self), number, Rc::clone(&connection), timeout));
        self.idle.borrow_mut().push_front(Idle { number, closing, key, connection, watcher });
    }
}

/// Removes a connection when its server closes it, speaks unasked, or the time is over.
async fn watch(pool: Weak<IdlePool>, number: u64, connection: Rc<Connection>, timeout: Duration) {
    // Either outcome ends the connection's stay.
    let _ = tokio::time::timeout(timeout, connection.readable()).await;
    if let Some(pool) = pool.upgrade() {
        pool.idle.borrow_mut().retain(|idle| {
            if idle.number == number {
                idle.tell();
            }
            idle.number != number
        });
    }
}
