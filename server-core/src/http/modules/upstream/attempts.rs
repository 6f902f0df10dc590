//! What a request knows of its attempts with servers behind us.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use tokio::time::Instant;

use crate::http::header::HeaderList;
use crate::http::request::Request;
use crate::upstream::connection::Connection;
use crate::upstream::group::Group;
use crate::upstream::timing::Times;

/// One attempt with one server. Times are in milliseconds; `None` when that point was not reached.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// The server's address, or the group's name when none was left.
    pub peer: Bytes,
    /// The status it answered with, or that its failure means; 0 is none.
    pub status: u16,
    /// Until the connection stood.
    pub connect_time: Option<u64>,
    /// Until the head of the response was there.
    pub header_time: Option<u64>,
    /// Until everything was there.
    pub response_time: Option<u64>,
    /// Bytes of the body.
    pub response_length: u64,
    /// Bytes that came.
    pub bytes_received: u64,
    /// Bytes that went.
    pub bytes_sent: u64,
}

/// All attempts of a request, also those before internal redirects.
#[derive(Default)]
pub struct Attempts {
    /// In order; `None` stands between the attempts of different locations.
    pub list: RefCell<Vec<Option<Attempt>>>,
    /// The head of the last response.
    pub headers: RefCell<Rc<HeaderList>>,
    /// The trailers of the last response.
    pub trailers: RefCell<HeaderList>,
    /// The group that is asked.
    pub group: RefCell<Option<Rc<Group>>>,
    connection: RefCell<Weak<Connection>>,
    /// When the current attempt began.
    began: Cell<Option<Instant>>,
}

impl Attempts {
    /// Begins with the servers of a location.
    pub fn begin(r: &Request) -> Rc<Self> {
        let known = r.upstream.borrow().clone();
        if let Some(known) = known {
            known.list.borrow_mut().push(None);
            known.headers.take();
            known.trailers.borrow_mut().clear();
            return known;
        }
        let attempts = Rc::new(Self::default());
        *r.upstream.borrow_mut() = Some(Rc::clone(&attempts));
        attempts
    }

    /// Notes the connection of the current attempt.
    pub(crate) fn use_connection(&self, connection: &Rc<Connection>) {
        *self.connection.borrow_mut() = Rc::downgrade(connection);
    }

    /// The connection of the last attempt, as long as it lives.
    pub(crate) fn connection(&self) -> Option<Rc<Connection>> {
        self.connection.borrow().upgrade()
    }

    /// Begins an attempt.
    pub fn push(&self, peer: Bytes) {
        let mut list = self.list.borrow_mut();
        // One is enough for most requests.
        list.reserve_exact(1);
        list.push(Some(Attempt { peer, ..Attempt::default() }));
    }

    /// The server of the last attempt.
    pub fn peer(&self) -> Option<Bytes> {
        self.list.borrow().last()?.as_ref().map(|attempt| attempt.peer.clone())
    }

    /// A server is chosen now: the time of the next attempt runs.
    pub fn start(&self) {
        self.began.set(Some(crate::clock::moment()));
    }

    /// Milliseconds since the current attempt began.
    pub fn elapsed(&self) -> u64 {
        let elapsed = self.began.get().map(|began| crate::clock::moment() - began).unwrap_or_default();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// The times of the last attempt.
    pub(crate) fn times(&self) -> Times {
        match self.list.borrow().last() {
            Some(Some(last)) => Times { connect: last.connect_time, head: last.header_time, whole: last.response_time },
            _ => Times::default(),
        }
    }

    /// The current attempt has ended.
    pub fn end(&self) {
        let elapsed = self.elapsed();
        self.last(|attempt| {
            attempt.response_time.get_or_insert(elapsed);
        });
    }

    /// Changes the last attempt.
    pub fn last(&self, change: impl FnOnce(&mut Attempt)) {
        if let Some(Some(attempt)) = self.list.borrow_mut().last_mut() {
            change(attempt);
        }
    }

    /// All attempts as text: those with one group separated by commas, those with different ones by colons.
    pub fn join(&self, mut text: impl FnMut(&Attempt, &mut Vec<u8>)) -> Option<Bytes> {
        let list = self.list.borrow();
        if list.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        for (at, attempt) in list.iter().enumerate() {
            match attempt {
                None => out.extend_from_slice(b" : "),
                Some(attempt) => {
                    if at > 0 && list[at - 1].is_some() {
                        out.extend_from_slice(b", ");
                    }
                    text(attempt, &mut out);
                }
            }
        }
        Some(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_of_one_group_are_separated_by_commas_those_of_others_by_colons() {
        let attempts = Attempts::default();
        assert_eq!(attempts.join(|_, _| ()), None);
        attempts.push(Bytes::from_static(b"a"));
        attempts.push(Bytes::from_static(b"b"));
        attempts.list.borrow_mut().push(None);
        attempts.push(Bytes::from_static(b"c"));
        let all = attempts.join(|attempt, out| out.extend_from_slice(&attempt.peer));
        assert_eq!(all, Some(Bytes::from_static(b"a, b : c")));
    }
}
