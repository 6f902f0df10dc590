//! What is in a zone while its lock is held: hash chains, the LRU list, entries.
//!
//! An entry costs what it costs in nginx: [`ENTRY`] bytes, its key and its value, in one slab block. The buckets lie
//! behind the zone's pages and are not counted. Entries are looked at in place; what is in use is only written through
//! the journal.

use std::cell::Cell;

use super::journal::{Journal, Move};
use super::list::ListItem;
use super::lock::SharedLock;
use super::memory::Memory;
use super::slab::{HEADER, Slab, State};
use super::value::{Op, Value};
use crate::lua::ffi::hash::crc32;

/// Bytes of an entry before its key.
pub(super) const ENTRY: usize = 68;
/// How many entries a full zone gives up for a new one, at most twice as many more if they are expired.
const EVICTIONS: usize = 30;

/// The offset of a block in units of eight bytes; zero means none.
pub(super) type Link = u32;

/// What lies at the start of a zone, in the room of nginx's pool header.
#[repr(C)]
pub(super) struct Header {
    pub(super) lock: SharedLock,
    /// The ends of the LRU list.
    newest: Cell<Link>,
    oldest: Cell<Link>,
    /// Bytes in the journal.
    pub(super) undo: Cell<u64>,
    pub(super) slab: State,
}

const _: () = assert!(size_of::<Header>() <= HEADER);

/// An entry before its key. Any bytes are one: the memory may be damaged.
#[repr(C)]
pub(super) struct Entry {
    hash: Cell<u32>,
    /// The next entry of the same bucket.
    chain: Cell<Link>,
    newer: Cell<Link>,
    older: Cell<Link>,
    pub(super) expires: Cell<u64>,
    pub(super) flags: Cell<u32>,
    /// Bytes of the value, or members of the list.
    pub(super) len: Cell<u32>,
    /// The ends of a list.
    pub(super) first: Cell<Link>,
    pub(super) last: Cell<Link>,
    key_len: Cell<u16>,
    pub(super) kind: Cell<u8>,
}

const _: () = assert!(size_of::<Entry>() <= ENTRY);

/// The type numbers of Lua.
pub(super) const BOOLEAN: u8 = 1;
pub(super) const NUMBER: u8 = 3;
pub(super) const STRING: u8 = 4;
pub(super) const LIST: u8 = 5;

/// A key and what its place in the table follows from.
#[derive(Clone, Copy)]
pub(super) struct Key<'k> {
    bytes: &'k [u8],
    hash: u32,
}

impl<'k> Key<'k> {
    #[inline]
    pub(super) fn new(bytes: &'k [u8]) -> Self {
        Self { bytes, hash: crc32(bytes) }
    }

    pub(super) fn len(self) -> usize {
        self.bytes.len()
    }
}

/// An entry in its place.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) link: Link,
    pub(super) entry: &'a Entry,
}

/// Where a key is.
#[derive(Clone, Copy)]
pub(super) enum Lookup<'a> {
    Live(Found<'a>),
    Expired(Found<'a>),
    Missing,
}

impl Entry {
    pub(super) fn is_list(&self) -> bool {
        self.kind.get() == LIST
    }

    pub(super) fn is_expired(&self, now: u64) -> bool {
        let expires = self.expires.get();
        expires != 0 && expires <= now
    }

    pub(super) fn newer(&self) -> Link {
        self.newer.get()
    }

    pub(super) fn older(&self) -> Link {
        self.older.get()
    }

    fn key_len(&self) -> usize {
        usize::from(self.key_len.get())
    }
}

/// A zone while its lock is held.
pub(super) struct Dict<'a> {
    memory: &'a Memory,
    header: &'a Header,
    buckets: Buckets,
    pub(super) slab: Slab<'a>,
    pub(super) journal: Journal<'a>,
    pub(super) now: u64,
}

/// Where the buckets are.
#[derive(Clone, Copy)]
pub(super) struct Buckets {
    /// The offset of the first one.
    pub(super) start: usize,
    /// Their number, a power of two, less one.
    pub(super) mask: u32,
}

impl Buckets {
    /// The place for those of a zone of that size: one for two of the smallest entries.
    pub(super) fn of(size: usize) -> Self {
        let count = (size / 256).clamp(64, 1 << 22).next_power_of_two();
        Self { start: size.next_multiple_of(8), mask: count as u32 - 1 }
    }

    /// The offset behind the last one.
    pub(super) const fn end(self) -> usize {
        self.start + (self.mask as usize + 1) * size_of::<Link>()
    }
}

impl<'a> Dict<'a> {
    /// # Safety
    /// All parts belong to one zone, whose lock is held while the value is used.
    #[inline]
    pub(super) unsafe fn new(
        memory: &'a Memory,
        header: &'a Header,
        buckets: Buckets,
        slab: Slab<'a>,
        journal: Journal<'a>,
        now: u64,
    ) -> Self {
        Self { memory, header, buckets, slab, journal, now }
    }

    /// Forgets everything. `name` is that of the zone.
    pub(super) fn reset(&self, name: &[u8]) {
        self.header.newest.set(0);
        self.header.oldest.set(0);
        // SAFETY: the lock is held, or nobody else knows the zone.
        unsafe { self.memory.clear(self.buckets.start, self.buckets.end() - self.buckets.start) };
        self.slab.init();
        // nginx keeps the roots of its tree and of its list in the zone, and a text for log messages.
        self.slab.alloc(80);
        self.slab.alloc(b" in lua_shared_dict zone \"\"\0".len() + name.len());
    }

    /// Removes one or two entries at the old end whose time is over; with `n` zero, the oldest one in any case first.
    #[inline]
    pub(super) fn expire(&self, n: u32) -> usize {
        let mut freed = 0;
        for step in n..3 {
            let Some(oldest) = self.found(self.oldest()) else { break };
            if step != 0 && !oldest.entry.is_expired(self.now) {
                break;
            }
            self.remove(oldest);
            freed += 1;
        }
        freed
    }

    /// Finds a key; a valid entry becomes the most recently used one.
    #[inline]
    pub(super) fn lookup(&self, key: Key<'_>) -> Lookup<'a> {
        let Some(found) = self.find(key) else { return Lookup::Missing };
        if found.entry.is_expired(self.now) {
            return Lookup::Expired(found);
        }
        self.touch(found);
        Lookup::Live(found)
    }

    /// Finds a key.
    #[inline]
    pub(super) fn find(&self, key: Key<'_>) -> Option<Found<'a>> {
        let mut link = self.bucket(key.hash).get();
        while let Some(found) = self.found(link) {
            if found.entry.hash.get() == key.hash && self.key(found) == key.bytes {
                return Some(found);
            }
            link = found.entry.chain.get();
        }
        None
    }

    /// A block of that size, if need be at the cost of the oldest entries, and whether it came to that.
    pub(super) fn alloc_evicting(&self, size: usize, op: Op) -> (Option<Link>, bool) {
        if let Some(link) = self.alloc(size) {
            return (Some(link), false);
        }
        let mut forcible = false;
        if !op.has(Op::SAFE) {
            for _ in 0..EVICTIONS {
                if self.expire(0) == 0 {
                    break;
                }
                forcible = true;
                if let Some(link) = self.alloc(size) {
                    return (Some(link), true);
                }
            }
        }
        (None, forcible)
    }

    pub(super) fn alloc(&self, size: usize) -> Option<Link> {
        let offset = self.slab.alloc(size)?;
        Link::try_from(offset / 8).ok()
    }

    /// Makes a new block an entry, the most recently used one. Its value is still to be written.
    pub(super) fn insert(&self, link: Link, key: Key<'_>, kind: u8, len: u32) -> Found<'a> {
        let bucket = self.bucket(key.hash);
        let newest = self.newest();
        let found = Found { link, entry: self.entry(link) };
        // Nobody knows the block yet: what lies in it is not worth keeping.
        let entry = found.entry;
        entry.hash.set(key.hash);
        entry.chain.set(bucket.get());
        entry.newer.set(0);
        entry.older.set(newest);
        entry.expires.set(0);
        entry.flags.set(0);
        entry.len.set(len);
        entry.first.set(0);
        entry.last.set(0);
        entry.key_len.set(key.bytes.len() as u16);
        entry.kind.set(kind);
        self.write(offset(link) + ENTRY, key.bytes);
        self.journal.set(bucket, link);
        self.journal.set(&self.header.newest, link);
        let before = if newest == 0 { &self.header.oldest } else { &self.entry(newest).newer };
        self.journal.set(before, link);
        found
    }

    /// Removes an entry with everything it holds. That is a change of its own: what is free now may be used for the
    /// next one.
    pub(super) fn remove(&self, found: Found<'_>) {
        let Found { link, entry } = found;
        if entry.is_list() {
            self.free_items(entry);
        }
        let (newer, older) = self.neighbours(entry);
        self.journal.set(newer, entry.older());
        self.journal.set(older, entry.newer());
        let mut place = self.bucket(entry.hash.get());
        while place.get() != link && place.get() != 0 {
            place = &self.entry(place.get()).chain;
        }
        if place.get() == link {
            self.journal.set(place, entry.chain.get());
        }
        self.slab.free(offset(link));
        self.journal.commit();
    }

    /// Makes an entry the most recently used one.
    #[inline]
    pub(super) fn touch(&self, found: Found<'_>) {
        let Found { link, entry } = found;
        let newest = self.newest();
        if newest == link {
            return;
        }
        self.journal.note_move(Move { link, newer: entry.newer(), older: entry.older(), newest });
        let (newer, older) = self.neighbours(entry);
        relink(newer, entry.older());
        relink(older, entry.newer());
        relink(&self.entry(newest).newer, link);
        relink(&entry.newer, 0);
        relink(&entry.older, newest);
        relink(&self.header.newest, link);
    }

    /// Undoes as much as was done of [`Dict::touch`].
    pub(super) fn move_back(&self, places: Move) {
        let Move { link, newer, older, newest } = places;
        let entry = self.entry(link);
        self.header.newest.set(newest);
        self.entry(newest).newer.set(0);
        entry.newer.set(newer);
        entry.older.set(older);
        let (newer, older) = self.neighbours(entry);
        newer.set(link);
        older.set(link);
    }

    /// The links that name an entry: its newer neighbour's, or the list's newest end, and its older neighbour's, or the
    /// list's oldest end.
    #[inline]
    fn neighbours(&self, entry: &Entry) -> (&'a Cell<Link>, &'a Cell<Link>) {
        let newer = self.found(entry.newer()).map_or(&self.header.newest, |newer| &newer.entry.older);
        let older = self.found(entry.older()).map_or(&self.header.oldest, |older| &older.entry.newer);
        (newer, older)
    }

    /// Gives an entry a new value of the same size, flags and end of life.
    #[inline]
    pub(super) fn overwrite(&self, found: Found<'_>, kind: u8, data: &[u8], expires: u64, flags: u32) {
        let entry = found.entry;
        self.journal.set(&entry.expires, expires);
        self.journal.set(&entry.flags, flags);
        self.journal.set(&entry.kind, kind);
        self.write_value(found, data);
    }

    /// Gives an entry a new value of the same kind and size.
    #[inline]
    pub(super) fn write_value(&self, found: Found<'_>, data: &[u8]) {
        let at = value_offset(found);
        // Numbers are told apart because copies of a known size cost no call.
        if let Ok(number) = <&[u8; 8]>::try_from(data) {
            self.journal.save(at, number.len());
            self.write(at, number);
        } else {
            self.journal.save(at, data.len());
            self.write(at, data);
        }
    }

    /// The value of an entry, or none of a list.
    #[inline]
    pub(super) fn value(&self, found: Found<'_>) -> Option<Value<'_>> {
        if found.entry.is_list() {
            return None;
        }
        Some(decode(found.entry.kind.get(), self.bytes(value_offset(found), found.entry.len.get() as usize)))
    }

    /// The end of a life of so many milliseconds from now; zero is for ever.
    pub(super) fn deadline(&self, ttl: i64) -> u64 {
        u64::try_from(ttl).ok().filter(|&ttl| ttl > 0).map_or(0, |ttl| self.now.saturating_add(ttl))
    }

    /// The key of an entry.
    #[inline]
    pub(super) fn key(&self, found: Found<'_>) -> &[u8] {
        self.bytes(offset(found.link) + ENTRY, found.entry.key_len())
    }

    pub(super) fn newest(&self) -> Link {
        self.header.newest.get()
    }

    pub(super) fn oldest(&self) -> Link {
        self.header.oldest.get()
    }

    /// The entry that a link names, or none at the end of a list.
    #[inline]
    pub(super) fn found(&self, link: Link) -> Option<Found<'a>> {
        (link != 0).then(|| Found { link, entry: self.entry(link) })
    }

    #[inline]
    fn entry(&self, link: Link) -> &'a Entry {
        // SAFETY: `at` gives an address in the mapping; any bytes are an `Entry`, which is made of cells; the lock is
        // held.
        unsafe { &*self.memory.at::<Entry>(offset(link)) }
    }

    pub(super) fn item(&self, link: Link) -> &'a ListItem {
        // SAFETY: as for `entry`.
        unsafe { &*self.memory.at::<ListItem>(offset(link)) }
    }

    #[inline]
    fn bucket(&self, hash: u32) -> &'a Cell<Link> {
        let at = self.buckets.start + (hash & self.buckets.mask) as usize * size_of::<Link>();
        // SAFETY: as for `entry`.
        unsafe { &*self.memory.at::<Cell<Link>>(at) }
    }

    /// Bytes of the zone.
    #[inline]
    pub(super) fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        // SAFETY: the lock is held, and nothing is written while the slice is in use.
        unsafe { self.memory.bytes(offset, len) }
    }

    /// Writes to a block that is new, or whose content the journal has.
    #[inline]
    pub(super) fn write(&self, offset: usize, data: &[u8]) {
        // SAFETY: the lock is held; the data are the caller's.
        unsafe { self.memory.write(offset, data) }
    }
}

/// One write of a move.
#[inline]
fn relink(place: &Cell<Link>, link: Link) {
    #[cfg(test)]
    super::journal::kill_point();
    place.set(link);
}

/// The byte offset of a block.
#[inline]
pub(super) const fn offset(link: Link) -> usize {
    link as usize * 8
}

fn value_offset(found: Found<'_>) -> usize {
    offset(found.link) + ENTRY + found.entry.key_len()
}

/// The value that a type number and bytes stand for; a number or boolean of a wrong size is nothing.
#[inline]
pub(super) fn decode(kind: u8, data: &[u8]) -> Value<'_> {
    match (kind, data) {
        (STRING, text) => Value::Str(text),
        (NUMBER, data) => data.try_into().map_or(Value::Nil, |data| Value::Number(f64::from_ne_bytes(data))),
        (BOOLEAN, &[value]) => Value::Bool(value != 0),
        _ => Value::Nil,
    }
}

#[cfg(test)]
impl Dict<'_> {
    /// The links of the LRU list from its new end, and, turned round, from its old end.
    pub(super) fn both_ways(&self) -> (Vec<Link>, Vec<Link>) {
        let (mut down, mut up) = (Vec::new(), Vec::new());
        let mut link = self.newest();
        while let Some(found) = self.found(link) {
            down.push(link);
            link = found.entry.older();
        }
        link = self.oldest();
        while let Some(found) = self.found(link) {
            up.push(link);
            link = found.entry.newer();
        }
        up.reverse();
        (down, up)
    }

    /// The value of a key, or the members of its list, with flags and end of life.
    pub(super) fn content(&self, key: &[u8]) -> Option<(Vec<Vec<u8>>, u32, u64)> {
        let found = self.find(Key::new(key))?;
        let entry = found.entry;
        let mut parts = Vec::new();
        if entry.is_list() {
            let mut at = entry.first.get();
            while at != 0 {
                parts.push(self.item_bytes(at).to_vec());
                at = self.item(at).next();
            }
            assert_eq!(parts.len(), entry.len.get() as usize);
        } else {
            parts.push(self.bytes(value_offset(found), entry.len.get() as usize).to_vec());
        }
        Some((parts, entry.flags.get(), entry.expires.get()))
    }
}
