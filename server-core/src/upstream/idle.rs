//! Connections that wait for the next request to their server.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::address::PeerAddress;
use super::connection::Connection;
use crate::idle_watch::{Watched, Watcher};
use crate::lua::ffi::worker;
use crate::tls::stream::Direction;

/// Whether the end of an idle connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Nobody asks.
    Silent,
    /// By a debug line, as for connections that scripts keep.
    Told,
}

struct Idle {
    closing: Closing,
    key: Key,
    connection: Rc<Connection>,
    until: Instant,
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
    watcher: Watcher,
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
        let until = crate::clock::moment() + timeout;
        Watcher::add(self, Some(until), |cx| connection.poll_ready(Direction::Read, cx).is_ready());
        self.idle.borrow_mut().push_front(Idle { closing, key, connection, until });
    }
}

impl Watched for IdlePool {
    fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// A connection is removed when its server closes it, speaks unasked, or its time is over.
    fn sweep(self: &Rc<Self>, cx: &mut Context<'_>) -> Option<Instant> {
        let now = Instant::now();
        let mut all = self.idle.borrow_mut();
        all.retain(|idle| {
            let event = |cx: &mut Context<'_>| idle.connection.poll_ready(Direction::Read, cx).is_ready();
            // An event may mean nothing; then the wait for the next one begins.
            let is_spent = idle.until <= now || (event(cx) && (!idle.connection.is_quiet() || event(cx)));
            if is_spent {
                idle.tell();
            }
            !is_spent
        });
        all.iter().map(|idle| idle.until).min()
    }
}
