//! Connections that wait for the next request to their server.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::address::PeerAddress;
use super::connection::Connection;

struct Idle {
    number: u64,
    key: Key,
    connection: Rc<Connection>,
    watcher: JoinHandle<()>,
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

    /// Keeps a connection for at most `timeout`; the oldest one goes when there are more than `max`.
    pub(crate) fn keep(self: &Rc<Self>, key: Key, connection: Rc<Connection>, max: usize, timeout: Duration) {
        if max == 0 || !connection.is_quiet() {
            return;
        }
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let watcher = tokio::task::spawn_local(watch(Rc::downgrade(self), number, Rc::clone(&connection), timeout));
        let mut all = self.idle.borrow_mut();
        all.push_front(Idle { number, key, connection, watcher });
        if all.len() > max
            && let Some(oldest) = all.pop_back()
        {
            oldest.watcher.abort();
        }
    }
}

/// Removes a connection when its server closes it, speaks unasked, or the time is over.
async fn watch(pool: Weak<IdlePool>, number: u64, connection: Rc<Connection>, timeout: Duration) {
    // Either outcome ends the connection's stay.
    let _ = tokio::time::timeout(timeout, connection.readable()).await;
    if let Some(pool) = pool.upgrade() {
        pool.idle.borrow_mut().retain(|idle| idle.number != number);
    }
}
