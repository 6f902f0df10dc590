//! Entries of a zone: hash chains, LRU list, expiry and values.
//!
//! An entry costs what it costs in nginx: [`ENTRY`] bytes, its key and its value, in one slab block. The buckets lie
//! behind the zone's pages and are not counted. Times are milliseconds since the epoch and come from the caller.

use std::ffi::CStr;
use std::io;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};

use super::journal::{Journal, Recovered, capacity};
use super::list::ListItem;
use super::lock::{Found, SharedLock};
use super::memory::Memory;
use super::slab::{HEADER, Layout, Slab, State};
use crate::lua::ffi::hash::crc32;

/// Bytes of an entry before its key.
pub(super) const ENTRY: usize = 68;
/// How many entries a full zone gives up for a new one, at most twice as many more if they are expired.
const EVICTIONS: usize = 30;
const LONGEST_KEY: usize = 65_535;

/// One shared dictionary.
pub struct Zone {
    name: Box<[u8]>,
    size: usize,
    layout: Layout,
    /// A power of two, less one.
    bucket_mask: u32,
    memory: Memory,
    records: Memory,
    /// This process has undone a change since it was asked.
    has_recovered: AtomicBool,
}

/// A value on its way in or out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing: storing it deletes.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Str(&'a [u8]),
}

/// What a successful [`Zone::read`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Read<'a> {
    /// The value; [`Value::Nil`] when there is none.
    pub value: Value<'a>,
    /// The user's flags.
    pub flags: u32,
    /// Whether its time is over.
    pub stale: bool,
}

/// Which entries a store may create or change; bits of the C interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op(pub i32);

impl Op {
    /// Create or overwrite.
    pub const SET: Self = Self(0);
    /// Only create.
    pub const ADD: Self = Self(1);
    /// Only overwrite.
    pub const REPLACE: Self = Self(2);
    /// Evict nothing that is still valid.
    pub const SAFE: Self = Self(4);

    const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }
}

/// Two numbers under a key: what limits count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record(pub u64, pub u64);

impl Record {
    const SIZE: usize = 16;

    fn encode(self) -> [u8; Self::SIZE] {
        (u128::from(self.0) << 64 | u128::from(self.1)).to_ne_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let both = u128::from_ne_bytes(bytes.try_into().ok()?);
        Some(Self((both >> 64) as u64, both as u64))
    }
}

/// What [`Zone::update`] does with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Keep,
    /// Write it, to live for so many milliseconds; zero is for ever.
    Put(Record, i64),
    /// Remove it.
    Remove,
}

/// How a store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Done, or why not.
    pub result: Result<(), Failure>,
    /// Whether valid entries were evicted to make room.
    pub forcible: bool,
}

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is such an entry already.
    Exists,
    /// The value is a list.
    IsList,
    /// Keys have at most 65535 bytes.
    KeyTooLong,
    /// Only a set can delete.
    NilValue,
    /// No room, even after evictions.
    NoMemory,
    /// The value is not a number.
    NotANumber,
    /// The value is not a list.
    NotAList,
    /// There is no such entry.
    NotFound,
}

impl Failure {
    /// The text that Lua sees.
    pub const fn text(self) -> &'static CStr {
        match self {
            Self::Exists => c"exists",
            Self::IsList => c"value is a list",
            Self::KeyTooLong => c"key too long",
            Self::NilValue => c"attempt to add or replace nil values",
            Self::NoMemory => c"no memory",
            Self::NotANumber => c"not a number",
            Self::NotAList => c"value not a list",
            Self::NotFound => c"not found",
        }
    }
}

/// The offset of a block in units of eight bytes; zero means none.
pub(super) type Link = u32;

/// What lies at the start of a zone, in the room of nginx's pool header.
#[repr(C)]
struct Header {
    lock: SharedLock,
    /// Bytes in the journal.
    undo: u64,
    newest: Link,
    oldest: Link,
    slab: State,
}

const _: () = assert!(size_of::<Header>() <= HEADER);

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Entry {
    hash: u32,
    /// The next entry of the same bucket.
    chain: Link,
    newer: Link,
    older: Link,
    expires: u64,
    flags: u32,
    /// Bytes of the value, or members of the list.
    pub(super) len: u32,
    pub(super) first: Link,
    pub(super) last: Link,
    key_len: u16,
    pub(super) kind: u8,
}

const _: () = assert!(size_of::<Entry>() <= ENTRY);

/// The type numbers of Lua.
pub(super) const BOOLEAN: u8 = 1;
pub(super) const NUMBER: u8 = 3;
pub(super) const STRING: u8 = 4;
pub(super) const LIST: u8 = 5;

impl Zone {
    /// Maps a new, empty zone.
    pub fn create(name: &[u8], size: usize) -> io::Result<Self> {
        // One bucket for two of the smallest entries.
        let buckets = (size / 256).clamp(64, 1 << 22).next_power_of_two();
        let memory = Memory::map(size.next_multiple_of(8) + buckets * size_of::<Link>())?;
        let records = Memory::map(capacity(size))?;
        let bucket_mask = buckets as u32 - 1;
        let has_recovered = AtomicBool::new(false);
        let zone =
            Self { name: name.into(), size, layout: Layout::of(size), bucket_mask, memory, records, has_recovered };
        zone.locked(0, |dict: &Dict<'_>| dict.reset());
        Ok(zone)
    }

    /// The name in the configuration.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The size in the configuration.
    pub fn capacity(&self) -> usize {
        self.size
    }

    /// Bytes in pages that nothing uses.
    pub fn free_space(&self) -> usize {
        self.locked(0, |dict| dict.slab.free_space())
    }

    /// Hands the entry of a key to `f` under the zone's lock. With `want_stale`, one whose time is over, too.
    pub fn read<R>(&self, key: &[u8], want_stale: bool, now: u64, f: impl FnOnce(Result<Read<'_>, Failure>) -> R) -> R {
        let nothing = Read { value: Value::Nil, flags: 0, stale: false };
        self.locked(now, |dict| {
            if !want_stale {
                dict.expire(1);
            }
            let (link, stale) = match dict.lookup(key) {
                Lookup::Live(link) => (link, false),
                Lookup::Expired(link) if want_stale => (link, true),
                _ => return f(Ok(nothing)),
            };
            let entry = dict.entry(link);
            let Some(value) = dict.value(link, &entry) else { return f(Err(Failure::IsList)) };
            f(Ok(Read { value, flags: entry.flags, stale }))
        })
    }

    /// Stores a value for `ttl` milliseconds; zero is for ever.
    pub fn store(&self, op: Op, key: &[u8], value: Value<'_>, ttl: i64, flags: u32, now: u64) -> Stored {
        let refused = |failure| Stored { result: Err(failure), forcible: false };
        if key.len() > LONGEST_KEY {
            return refused(Failure::KeyTooLong);
        }
        if value == Value::Nil && op.has(Op(Op::ADD.0 | Op::REPLACE.0)) {
            return refused(Failure::NilValue);
        }
        let number;
        let (kind, data) = match value {
            Value::Nil => (0, None),
            Value::Bool(value) => (BOOLEAN, Some(if value { &[1_u8][..] } else { &[0][..] })),
            Value::Number(value) => {
                number = value.to_ne_bytes();
                (NUMBER, Some(&number[..]))
            }
            Value::Str(text) => (STRING, Some(text)),
        };
        self.locked(now, |dict| {
            dict.expire(1);
            let found = dict.lookup(key);
            match found {
                Lookup::Live(_) if op.has(Op::ADD) => return refused(Failure::Exists),
                Lookup::Expired(_) | Lookup::Missing if op.has(Op::REPLACE) => return refused(Failure::NotFound),
                _ => {}
            }
            if let Lookup::Live(link) | Lookup::Expired(link) = found {
                let entry = dict.entry(link);
                if let Some(data) = data
                    && data.len() == entry.len as usize
                    && entry.kind != LIST
                {
                    dict.touch(link);
                    dict.overwrite(link, kind, data, dict.deadline(ttl), flags);
                    return Stored { result: Ok(()), forcible: false };
                }
                dict.remove(link);
            }
            let Some(data) = data else { return Stored { result: Ok(()), forcible: false } };
            let (link, forcible) = dict.alloc_evicting(ENTRY + key.len() + data.len(), op);
            let Some(link) = link else { return Stored { result: Err(Failure::NoMemory), forcible } };
            dict.insert(link, key, kind, data.len() as u32);
            dict.overwrite(link, kind, data, dict.deadline(ttl), flags);
            Stored { result: Ok(()), forcible }
        })
    }

    /// Adds to a number. Where there is none, `init` supplies the start and the life span of a new one.
    pub fn incr(&self, key: &[u8], by: f64, init: Option<(f64, i64)>, now: u64) -> (Result<f64, Failure>, bool) {
        if key.len() > LONGEST_KEY {
            return (Err(Failure::KeyTooLong), false);
        }
        self.locked(now, |dict| {
            dict.expire(1);
            let found = dict.lookup(key);
            if let Lookup::Live(link) = found {
                let entry = dict.entry(link);
                let Some(Value::Number(old)) = dict.value(link, &entry) else {
                    return (Err(Failure::NotANumber), false);
                };
                dict.write_value(link, &entry, &(old + by).to_ne_bytes());
                return (Ok(old + by), false);
            }
            let Some((start, ttl)) = init else { return (Err(Failure::NotFound), false) };
            let data = (start + by).to_ne_bytes();
            if let Lookup::Expired(link) = found {
                let entry = dict.entry(link);
                if entry.len as usize == data.len() && entry.kind != LIST {
                    dict.touch(link);
                    dict.overwrite(link, NUMBER, &data, dict.deadline(ttl), 0);
                    return (Ok(start + by), false);
                }
                dict.remove(link);
            }
            let (link, forcible) = dict.alloc_evicting(ENTRY + key.len() + data.len(), Op::SET);
            let Some(link) = link else { return (Err(Failure::NoMemory), forcible) };
            dict.insert(link, key, NUMBER, data.len() as u32);
            dict.overwrite(link, NUMBER, &data, dict.deadline(ttl), 0);
            (Ok(start + by), forcible)
        })
    }

    /// Looks at the record of a key and changes it in one step. `f` runs under the zone's lock, so it must neither
    /// wait nor touch a zone; it gets none when there is no record (or something that is none).
    pub fn update<R>(
        &self,
        op: Op,
        key: &[u8],
        now: u64,
        f: impl FnOnce(Option<Record>) -> (Change, R),
    ) -> Result<R, Failure> {
        if key.len() > LONGEST_KEY {
            return Err(Failure::KeyTooLong);
        }
        self.locked(now, |dict| {
            let found = match dict.lookup(key) {
                Lookup::Live(link) | Lookup::Expired(link) => Some(link),
                Lookup::Missing => None,
            };
            let known = found.and_then(|link| match dict.value(link, &dict.entry(link)) {
                Some(Value::Str(text)) => Record::decode(text).map(|record| (link, record)),
                _ => None,
            });
            let (change, result) = f(known.map(|(_, record)| record));
            match (change, known, found) {
                (Change::Keep, ..) | (Change::Remove, _, None) => {}
                (Change::Remove, _, Some(link)) => dict.remove(link),
                (Change::Put(record, ttl), Some((link, _)), _) => {
                    dict.overwrite(link, STRING, &record.encode(), dict.deadline(ttl), 0);
                }
                (Change::Put(record, ttl), None, other) => {
                    if let Some(link) = other {
                        dict.remove(link);
                    }
                    dict.expire(1);
                    let (link, _) = dict.alloc_evicting(ENTRY + key.len() + Record::SIZE, op);
                    let Some(link) = link else { return Err(Failure::NoMemory) };
                    dict.insert(link, key, STRING, Record::SIZE as u32);
                    dict.overwrite(link, STRING, &record.encode(), dict.deadline(ttl), 0);
                }
            }
            Ok(result)
        })
    }

    /// Milliseconds left to live; zero without limit, negative when they are over.
    pub fn ttl(&self, key: &[u8], now: u64) -> Option<i64> {
        self.locked(now, |dict| {
            let expires = dict.find(key)?.1.expires;
            Some(if expires == 0 { 0 } else { expires.wrapping_sub(now) as i64 })
        })
    }

    /// Sets a new life span, counted from now; false when there is no such entry.
    pub fn set_expire(&self, key: &[u8], ttl: i64, now: u64) -> bool {
        self.locked(now, |dict| {
            let Some((link, _)) = dict.find(key) else { return false };
            let expires = dict.deadline(ttl);
            dict.set_entry(link, Entry { expires, ..dict.entry(link) });
            true
        })
    }

    /// Ends the life of all entries; their memory is reused as new ones come.
    pub fn flush_all(&self, now: u64) {
        self.locked(now, |dict| {
            let mut link = dict.newest();
            while let Some(entry) = dict.next_entry(link) {
                dict.set_entry(link, Entry { expires: 1, ..entry });
                dict.journal.commit();
                link = entry.older;
            }
            dict.expire(0);
        });
    }

    /// Removes entries whose time is over, oldest first, at most `max` of them (zero: all). How many there were.
    pub fn flush_expired(&self, max: usize, now: u64) -> usize {
        self.locked(now, |dict| {
            let mut freed = 0;
            let mut link = dict.oldest();
            while let Some(entry) = dict.next_entry(link) {
                if entry.is_expired(now) {
                    dict.remove(link);
                    freed += 1;
                    if freed == max {
                        break;
                    }
                }
                link = entry.newer;
            }
            freed
        })
    }

    /// The keys of valid entries, oldest first, at most `max` of them (zero: all), each handed to `f`.
    pub fn keys(&self, max: usize, now: u64, mut f: impl FnMut(&[u8])) {
        self.locked(now, |dict| {
            let mut seen = 0;
            let mut link = dict.oldest();
            while let Some(entry) = dict.next_entry(link) {
                if !entry.is_expired(now) {
                    f(dict.key(link, &entry));
                    seen += 1;
                    if seen == max {
                        break;
                    }
                }
                link = entry.newer;
            }
        });
    }

    /// Whether this process has undone the change of a worker that died in the middle of it, since the last call.
    pub fn take_recovered(&self) -> bool {
        self.has_recovered.load(Ordering::Relaxed) && self.has_recovered.swap(false, Ordering::Relaxed)
    }

    /// Runs `f` under the zone's lock. What a worker that died here was about to change is undone first.
    pub(super) fn locked<R>(&self, now: u64, f: impl FnOnce(&Dict<'_>) -> R) -> R {
        let header = self.header();
        // SAFETY: the header holds a lock, which is atomic. Operations on a zone do not nest: closures that run under the
        // lock are this module's and copy bytes only. The journal and the slab's state are used under the lock.
        let (found, journal, slab) = unsafe {
            let found = (*header).lock.lock();
            let journal = Journal::new(&self.memory, &self.records, &raw mut (*header).undo);
            (found, journal, Slab::new(&self.memory, journal, offset_of!(Header, slab), self.layout))
        };
        let dict = Dict { zone: self, slab, journal, now };
        if found == Found::Abandoned || journal.is_open() {
            self.recover(&dict);
        }
        let result = f(&dict);
        journal.commit();
        // SAFETY: the lock is held, and released once.
        unsafe { (*header).lock.unlock() };
        result
    }

    #[cold]
    fn recover(&self, dict: &Dict<'_>) {
        let recovered = dict.journal.recover();
        if recovered == Recovered::Damaged {
            dict.journal.commit();
            dict.reset();
        }
        self.has_recovered.store(recovered != Recovered::Nothing, Ordering::Relaxed);
    }

    fn header(&self) -> *mut Header {
        self.memory.at(0)
    }
}

/// Where a key is.
#[derive(Clone, Copy)]
pub(super) enum Lookup {
    Live(Link),
    Expired(Link),
    Missing,
}

impl Entry {
    /// The same list without members and without end of life.
    pub(super) const fn without_items(self) -> Self {
        Self { first: 0, last: 0, len: 0, expires: 0, ..self }
    }

    fn is_expired(&self, now: u64) -> bool {
        self.expires != 0 && self.expires <= now
    }
}

/// A zone while its lock is held.
pub(super) struct Dict<'a> {
    zone: &'a Zone,
    pub(super) slab: Slab<'a>,
    pub(super) journal: Journal<'a>,
    now: u64,
}

impl Dict<'_> {
    /// Forgets everything.
    fn reset(&self) {
        self.set_ends(0, 0);
        // SAFETY: the lock is held, or nobody else knows the zone.
        unsafe {
            let buckets = (self.zone.bucket_mask as usize + 1) * size_of::<Link>();
            self.zone.memory.clear(self.zone.buckets(), buckets);
        }
        self.slab.init();
        // nginx keeps the roots of its tree and of its list in the zone, and a text for log messages.
        self.slab.alloc(80);
        self.slab.alloc(b" in lua_shared_dict zone \"\"\0".len() + self.zone.name.len());
    }

    /// Removes one or two entries at the old end whose time is over; with `n` zero, the oldest one in any case first.
    pub(super) fn expire(&self, n: u32) -> usize {
        let mut freed = 0;
        for step in n..3 {
            let link = self.oldest();
            let Some(entry) = self.next_entry(link) else { break };
            if step != 0 && !entry.is_expired(self.now) {
                break;
            }
            self.remove(link);
            freed += 1;
        }
        freed
    }

    /// Finds a key; a valid entry becomes the most recently used one.
    pub(super) fn lookup(&self, key: &[u8]) -> Lookup {
        let Some((link, entry)) = self.find(key) else { return Lookup::Missing };
        if entry.is_expired(self.now) {
            return Lookup::Expired(link);
        }
        self.touch(link);
        Lookup::Live(link)
    }

    fn find(&self, key: &[u8]) -> Option<(Link, Entry)> {
        let hash = crc32(key);
        let mut link = self.bucket(hash);
        while let Some(entry) = self.next_entry(link) {
            if entry.hash == hash && self.key(link, &entry) == key {
                return Some((link, entry));
            }
            link = entry.chain;
        }
        None
    }

    /// A block of that size, if need be at the cost of the oldest entries, and whether it came to that.
    fn alloc_evicting(&self, size: usize, op: Op) -> (Option<Link>, bool) {
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
    pub(super) fn insert(&self, link: Link, key: &[u8], kind: u8, len: u32) {
        let hash = crc32(key);
        let chain = self.bucket(hash);
        let (first, last, flags) = (0, 0, 0);
        let (newer, older, expires, key_len) = (0, 0, 0, key.len() as u16);
        self.set_entry(link, Entry { hash, chain, newer, older, expires, flags, len, first, last, key_len, kind });
        // SAFETY: the lock is held; the key is the caller's.
        unsafe { self.zone.memory.write(offset(link) + ENTRY, key) };
        self.set_bucket(hash, link);
        self.link_newest(link);
    }

    /// Removes an entry with everything it holds. That is a change of its own: what is free now may be used for the
    /// next one.
    pub(super) fn remove(&self, link: Link) {
        if self.entry(link).kind == LIST {
            self.free_items(link);
        }
        let entry = self.entry(link);
        self.unlink(&entry);
        let mut at = self.bucket(entry.hash);
        if at == link {
            self.set_bucket(entry.hash, entry.chain);
        } else {
            while let Some(before) = self.next_entry(at) {
                if before.chain == link {
                    self.set_entry(at, Entry { chain: entry.chain, ..before });
                    break;
                }
                at = before.chain;
            }
        }
        self.slab.free(offset(link));
        self.journal.commit();
    }

    /// Makes an entry the most recently used one.
    pub(super) fn touch(&self, link: Link) {
        if self.newest() == link {
            return;
        }
        self.unlink(&self.entry(link));
        self.link_newest(link);
    }

    fn overwrite(&self, link: Link, kind: u8, data: &[u8], expires: u64, flags: u32) {
        let entry = Entry { expires, flags, kind, ..self.entry(link) };
        self.set_entry(link, entry);
        self.write_value(link, &entry, data);
    }

    fn write_value(&self, link: Link, entry: &Entry, data: &[u8]) {
        let at = offset(link) + ENTRY + usize::from(entry.key_len);
        self.journal.save(at, data.len());
        // SAFETY: the lock is held; the data are the caller's.
        unsafe { self.zone.memory.write(at, data) };
    }

    /// The value of an entry, or none of a list.
    fn value(&self, link: Link, entry: &Entry) -> Option<Value<'_>> {
        if entry.kind == LIST {
            return None;
        }
        let at = offset(link) + ENTRY + usize::from(entry.key_len);
        // SAFETY: the lock is held, and nothing is written while the value is in use.
        let data = unsafe { self.zone.memory.bytes(at, entry.len as usize) };
        Some(decode(entry.kind, data))
    }

    fn deadline(&self, ttl: i64) -> u64 {
        u64::try_from(ttl).ok().filter(|&ttl| ttl > 0).map_or(0, |ttl| self.now.saturating_add(ttl))
    }

    fn key(&self, link: Link, entry: &Entry) -> &[u8] {
        // SAFETY: the lock is held; keys are written once, before an entry can be found.
        unsafe { self.zone.memory.bytes(offset(link) + ENTRY, usize::from(entry.key_len)) }
    }

    fn link_newest(&self, link: Link) {
        let older = self.newest();
        self.update(link, |entry| (entry.newer, entry.older) = (0, older));
        self.set_ends(link, if older == 0 { link } else { self.oldest() });
        if older != 0 {
            self.update(older, |older| older.newer = link);
        }
    }

    fn unlink(&self, entry: &Entry) {
        if entry.newer != 0 {
            self.update(entry.newer, |newer| newer.older = entry.older);
        } else {
            self.set_ends(entry.older, self.oldest());
        }
        if entry.older != 0 {
            self.update(entry.older, |older| older.newer = entry.newer);
        } else {
            self.set_ends(self.newest(), entry.newer);
        }
    }

    fn set_ends(&self, newest: Link, oldest: Link) {
        self.journal.save(offset_of!(Header, newest), 2 * size_of::<Link>());
        let header = self.zone.header();
        // SAFETY: the lock is held, or nobody else knows the zone.
        unsafe {
            (*header).newest = newest;
            (*header).oldest = oldest;
        }
    }

    fn newest(&self) -> Link {
        // SAFETY: the lock is held.
        unsafe { (*self.zone.header()).newest }
    }

    fn oldest(&self) -> Link {
        // SAFETY: the lock is held.
        unsafe { (*self.zone.header()).oldest }
    }

    /// The entry a link names, or none at the end of a list.
    fn next_entry(&self, link: Link) -> Option<Entry> {
        (link != 0).then(|| self.entry(link))
    }

    pub(super) fn entry(&self, link: Link) -> Entry {
        // SAFETY: `at` gives a readable address; every bit pattern is an `Entry`; the lock is held.
        unsafe { self.zone.memory.at::<Entry>(offset(link)).read() }
    }

    /// Changes an entry in place.
    fn update(&self, link: Link, change: impl FnOnce(&mut Entry)) {
        self.journal.save(offset(link), size_of::<Entry>());
        // SAFETY: `at` gives a readable and writable address; every bit pattern is an `Entry`; the lock is held, and
        // `change` knows of this entry only.
        unsafe { change(&mut *self.zone.memory.at::<Entry>(offset(link))) }
    }

    pub(super) fn set_entry(&self, link: Link, entry: Entry) {
        self.journal.save(offset(link), size_of::<Entry>());
        // SAFETY: `at` gives a writable address; the lock is held.
        unsafe { self.zone.memory.at::<Entry>(offset(link)).write(entry) }
    }

    pub(super) fn item(&self, link: Link) -> ListItem {
        // SAFETY: `at` gives a readable address; every bit pattern is a `ListItem`; the lock is held.
        unsafe { self.zone.memory.at::<ListItem>(offset(link)).read() }
    }

    pub(super) fn set_item(&self, link: Link, item: ListItem) {
        self.journal.save(offset(link), size_of::<ListItem>());
        // SAFETY: `at` gives a writable address; the lock is held.
        unsafe { self.zone.memory.at::<ListItem>(offset(link)).write(item) }
    }

    pub(super) fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        // SAFETY: the lock is held, and nothing is written while the slice is in use.
        unsafe { self.zone.memory.bytes(offset, len) }
    }

    /// Writes to a new block.
    pub(super) fn write(&self, offset: usize, data: &[u8]) {
        // SAFETY: the lock is held; the data are the caller's.
        unsafe { self.zone.memory.write(offset, data) }
    }

    fn bucket(&self, hash: u32) -> Link {
        // SAFETY: `at` gives a readable address; the lock is held.
        unsafe { self.zone.memory.at::<Link>(self.zone.bucket_offset(hash)).read() }
    }

    fn set_bucket(&self, hash: u32, link: Link) {
        let at = self.zone.bucket_offset(hash);
        self.journal.save(at, size_of::<Link>());
        // SAFETY: `at` gives a writable address; the lock is held.
        unsafe { self.zone.memory.at::<Link>(at).write(link) }
    }
}

impl Zone {
    fn buckets(&self) -> usize {
        self.size.next_multiple_of(8)
    }

    fn bucket_offset(&self, hash: u32) -> usize {
        self.buckets() + (hash & self.bucket_mask) as usize * size_of::<Link>()
    }
}

/// The byte offset of a block.
pub(super) const fn offset(link: Link) -> usize {
    link as usize * 8
}

/// The value that a type number and bytes stand for; a number or boolean of a wrong size is nothing.
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
        while let Some(entry) = self.next_entry(link) {
            down.push(link);
            link = entry.older;
        }
        link = self.oldest();
        while let Some(entry) = self.next_entry(link) {
            up.push(link);
            link = entry.newer;
        }
        up.reverse();
        (down, up)
    }

    /// The value of a key, or the members of its list, with flags and end of life.
    pub(super) fn content(&self, key: &[u8]) -> Option<(Vec<Vec<u8>>, u32, u64)> {
        let (link, entry) = self.find(key)?;
        let mut parts = Vec::new();
        if entry.kind == LIST {
            let mut at = entry.first;
            while at != 0 {
                parts.push(self.item_bytes(at).to_vec());
                at = self.item_after(at);
            }
            assert_eq!(parts.len(), entry.len as usize);
        } else {
            let at = offset(link) + ENTRY + usize::from(entry.key_len);
            parts.push(self.bytes(at, entry.len as usize).to_vec());
        }
        Some((parts, entry.flags, entry.expires))
    }
}
