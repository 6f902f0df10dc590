//! The servers of a group as all workers know them: a table in shared memory to which any of them may add.
//!
//! A row holds a server's state ([`CELLS`] numbers), whether it is a server or a backup, and its address. Whoever changes
//! rows counts up the edition, by which the others notice. There is no lock: a row is claimed by one exchange, and shows
//! itself by another when it is complete. A process that dies between the two leaves a row that is never used again.

use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use super::address::{PeerAddress, Target};
use super::peer::{CELLS, Peer, Setting};
use crate::shared_dict::Numbers;

const STATE: usize = CELLS;
const LENGTH: usize = CELLS + 1;
const TEXT: usize = CELLS + 2;
/// Numbers of a row: five cache lines.
const ROW: usize = 40;
/// Numbers before the first row; the first of them is the edition.
const HEAD: usize = 8;
/// Bytes that an address may have: more than the path of a unix socket takes.
const ADDRESS_MAX: usize = (ROW - TEXT) * size_of::<i64>();
/// Rows that are there even in a small zone, beside those of the configuration.
const SPARE: usize = 16;
/// Rows that a group has at most.
const ROWS_MAX: usize = 8192;

const FREE: i64 = 0;
const CLAIMED: i64 = 1;
const PRIMARY: i64 = 2;
const BACKUP: i64 = 3;

/// The table of a group's servers.
#[derive(Debug)]
pub(crate) struct Roster {
    numbers: Rc<Numbers>,
}

/// The servers in a table.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) primary: Vec<Rc<Peer>>,
    pub(super) backup: Vec<Rc<Peer>>,
}

/// A server to be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Its share of the requests.
    pub(crate) weight: i64,
    /// Requests at the same time; 0 is no limit.
    pub(crate) max_conns: i64,
    /// Failures after which it is left alone; 0 never.
    pub(crate) max_fails: i64,
    /// Seconds in which failures count, and for which it is left alone.
    pub(crate) fail_timeout: i64,
    /// For when no other is left.
    pub(crate) backup: bool,
    /// Taken out.
    pub(crate) down: bool,
}

/// Why a server can't be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is no address of a machine or a socket.
    #[error("invalid address")]
    Invalid,
    /// It is there already.
    #[error("peer exists")]
    Known,
    /// The zone is full.
    #[error("no room in the zone")]
    NoRoom,
}

impl Roster {
    /// A table in a zone of `size` bytes, for `known` servers at least.
    pub(crate) fn new(size: usize, known: usize) -> io::Result<Self> {
        let rows = (size / (ROW * size_of::<i64>())).clamp(known + SPARE, ROWS_MAX.max(known + SPARE));
        Ok(Self { numbers: Rc::new(Numbers::new(HEAD + rows * ROW)?) })
    }

    /// Enters the servers of the configuration, which keep their state here from now on.
    pub(crate) fn enter(&self, primary: &mut [Peer], backup: &mut [Peer]) {
        let states = std::iter::repeat_n(PRIMARY, primary.len()).chain(std::iter::repeat(BACKUP));
        for ((row, peer), state) in self.rows().zip(primary.iter_mut().chain(backup)).zip(states) {
            write_text(row.cells, peer.address.to_string().as_bytes());
            peer.share(&self.numbers, row.first);
            store(row.cells, STATE, state);
        }
    }

    /// The edition: another number whenever the table has changed.
    #[inline]
    pub(crate) fn edition(&self) -> i64 {
        self.numbers.first().map_or(0, |edition| edition.load(Ordering::Acquire))
    }

    fn publish(&self) {
        if let Some(edition) = self.numbers.first() {
            edition.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let rows = self.numbers.get(HEAD..).unwrap_or_default().chunks_exact(ROW);
        rows.enumerate().map(|(number, cells)| Row { first: HEAD + number * ROW, cells })
    }

    /// The servers now. Those that are known keep what this process knows of them.
    pub(super) fn read<'a>(&self, known: impl Iterator<Item = &'a Rc<Peer>> + Clone) -> Listed {
        let mut listed = Listed::default();
        for row in self.rows() {
            let list = match load(row.cells, STATE) {
                PRIMARY => &mut listed.primary,
                BACKUP => &mut listed.backup,
                _ => continue,
            };
            let Some(address) = read_text(row.cells).and_then(address_of) else { continue };
            let same = |peer: &&Rc<Peer>| peer.place() == Some(row.first) && peer.address == address;
            let peer = known.clone().find(same).cloned();
            list.push(peer.unwrap_or_else(|| Rc::new(Peer::known(address, &self.numbers, row.first))));
        }
        listed
    }

    /// Adds a server by its address.
    pub(crate) fn add(&self, text: &[u8], entry: &Entry) -> Result<(), Refusal> {
        let address = address_of(Bytes::copy_from_slice(text)).ok_or(Refusal::Invalid)?;
        let text = address.to_string();
        if text.len() > ADDRESS_MAX {
            return Err(Refusal::Invalid);
        }
        if self.find(text.as_bytes()).next().is_some() {
            return Err(Refusal::Known);
        }
        // One that nobody is asking any more, so that its count of requests is right.
        let is_idle = |row: &Row<'_>| load(row.cells, STATE) == FREE && row.peer(self, &address).conns() == 0;
        let row = self.rows().filter(is_idle).find(|row| claim(row.cells)).ok_or(Refusal::NoRoom)?;
        write_text(row.cells, text.as_bytes());
        let peer = row.peer(self, &address);
        peer.change(Setting::Weight, entry.weight);
        peer.change(Setting::MaxConns, entry.max_conns);
        peer.change(Setting::MaxFails, entry.max_fails);
        peer.change(Setting::FailTimeout, entry.fail_timeout);
        peer.forget();
        peer.set_down(entry.down);
        store(row.cells, STATE, if entry.backup { BACKUP } else { PRIMARY });
        // Of two workers that add the same address at once, the one with the later row steps back.
        if self.find(text.as_bytes()).next().is_some_and(|first| first.first != row.first) {
            store(row.cells, STATE, FREE);
            return Err(Refusal::Known);
        }
        self.publish();
        Ok(())
    }

    /// Removes servers by their address; how many there were. Requests that ask them are not cut off.
    pub(crate) fn remove(&self, text: &[u8]) -> usize {
        let mut count = 0;
        for row in self.find(text) {
            if let Some(address) = read_text(row.cells).and_then(address_of) {
                row.peer(self, &address).set_down(true);
            }
            store(row.cells, STATE, FREE);
            count += 1;
        }
        if count > 0 {
            self.publish();
        }
        count
    }

    /// Lets the others notice a change of weights.
    pub(crate) fn announce(&self) {
        self.publish();
    }

    fn find<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Row<'a>> {
        self.rows().filter(move |row| {
            matches!(load(row.cells, STATE), PRIMARY | BACKUP)
                && read_text(row.cells).is_some_and(|known| *known == *text)
        })
    }
}

/// A row, and where it begins.
#[derive(Clone, Copy)]
struct Row<'a> {
    first: usize,
    cells: &'a [AtomicI64],
}

impl Row<'_> {
    fn peer(&self, roster: &Roster, address: &PeerAddress) -> Peer {
        Peer::known(address.clone(), &roster.numbers, self.first)
    }
}

fn load(cells: &[AtomicI64], at: usize) -> i64 {
    cells.get(at).map_or(0, |cell| cell.load(Ordering::Acquire))
}

fn store(cells: &[AtomicI64], at: usize, value: i64) {
    if let Some(cell) = cells.get(at) {
        cell.store(value, Ordering::Release);
    }
}

fn claim(cells: &[AtomicI64]) -> bool {
    let claimed = |cell: &AtomicI64| cell.compare_exchange(FREE, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    cells.get(STATE).is_some_and(claimed)
}

fn address_of(text: Bytes) -> Option<PeerAddress> {
    Target::parse(&text, 80).ok().filter(|target| target.uri.is_empty()).and_then(|target| target.literal())
}

/// Writes the bytes of a text into the numbers of a row; a text that is too long is none.
fn write_text(cells: &[AtomicI64], text: &[u8]) {
    let fits = text.len() <= ADDRESS_MAX;
    for (at, part) in text.chunks(size_of::<i64>()).enumerate().take(ROW - TEXT) {
        let mut number = [0; size_of::<i64>()];
        number.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        store(cells, TEXT + at, i64::from_le_bytes(number));
    }
    store(cells, LENGTH, if fits { text.len() as i64 } else { 0 });
}

fn read_text(cells: &[AtomicI64]) -> Option<Bytes> {
    let length = usize::try_from(load(cells, LENGTH)).ok().filter(|length| (1..=ADDRESS_MAX).contains(length))?;
    let mut text: Vec<u8> = (TEXT..ROW).flat_map(|at| load(cells, at).to_le_bytes()).collect();
    text.truncate(length);
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry = Entry { weight: 2, max_conns: 0, max_fails: 1, fail_timeout: 10, backup: false, down: false };

    fn names(roster: &Roster) -> Vec<String> {
        let listed = roster.read([].iter());
        listed.primary.iter().map(|peer| format!("{} {}", peer.name.escape_ascii(), peer.weight())).collect()
    }

    #[test]
    fn servers_come_and_go_and_rows_are_used_again() {
        let roster = Roster::new(1, 0).expect("a mapping");
        for port in 1..=SPARE {
            assert_eq!(roster.add(format!("127.0.0.1:{port}").as_bytes(), &ENTRY), Ok(()));
        }
        assert_eq!(roster.add(b"127.0.0.1:99", &ENTRY), Err(Refusal::NoRoom));
        assert_eq!(roster.add(b"127.0.0.1:3", &ENTRY), Err(Refusal::Known));
        assert_eq!((roster.remove(b"127.0.0.1:3"), roster.remove(b"127.0.0.1:3")), (1, 0));
        assert_eq!(roster.add(b"unix:/run/three", &ENTRY), Ok(()));
        let names = names(&roster);
        assert_eq!((names.len(), &*names[2]), (SPARE, "unix:/run/three 2"));
        assert_eq!(roster.edition(), SPARE as i64 + 2);
    }

    #[test]
    fn only_addresses_are_added() {
        let roster = Roster::new(1, 0).expect("a mapping");
        for bad in [&b"name.example:80"[..], b"", b"127.0.0.1:x", b"127.0.0.1:80/uri"] {
            assert_eq!(roster.add(bad, &ENTRY), Err(Refusal::Invalid), "{}", bad.escape_ascii());
        }
        let long = [b"unix:/", &b"x".repeat(ADDRESS_MAX)[..]].concat();
        assert_eq!(roster.add(&long, &ENTRY), Err(Refusal::Invalid));
        assert_eq!(roster.add(b"[::1]", &ENTRY), Ok(()));
        assert_eq!(names(&roster), ["[::1]:80 2"]);
    }

    #[test]
    fn a_row_is_not_given_away_while_its_server_is_asked() {
        let roster = Roster::new(1, 0).expect("a mapping");
        assert_eq!(roster.add(b"127.0.0.1:1", &ENTRY), Ok(()));
        let asked = Rc::clone(&roster.read([].iter()).primary[0]);
        asked.begin();
        roster.remove(b"127.0.0.1:1");
        assert!(asked.is_down());
        assert_eq!(roster.add(b"127.0.0.1:2", &ENTRY), Ok(()));
        assert_ne!(roster.read([].iter()).primary[0].place(), asked.place());
        asked.end();
    }
}
