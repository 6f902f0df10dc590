//! One shared dictionary, as its users see it.
//!
//! Each operation runs under the zone's lock. Times are milliseconds since the epoch and come from the caller.

use std::io;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entries::{BOOLEAN, Buckets, Dict, ENTRY, Header, Key, Lookup, NUMBER, STRING};
use super::journal::{Journal, Recovered, capacity};
use super::lock::Found;
use super::memory::Memory;
use super::slab::{Layout, Slab};
use super::value::{Change, Failure, Op, Read, Record, Stored, Value};

const LONGEST_KEY: usize = 65_535;

/// One shared dictionary.
pub struct Zone {
    name: Box<[u8]>,
    size: usize,
    layout: Layout,
    buckets: Buckets,
    memory: Memory,
    records: Memory,
    /// This process has undone a change since it was asked.
    has_recovered: AtomicBool,
}

impl Zone {
    /// Maps a new, empty zone.
    pub fn create(name: &[u8], size: usize) -> io::Result<Self> {
        let buckets = Buckets::of(size);
        let memory = Memory::map(buckets.end())?;
        let records = Memory::map(capacity(size))?;
        let has_recovered = AtomicBool::new(false);
        let zone = Self { name: name.into(), size, layout: Layout::of(size), buckets, memory, records, has_recovered };
        zone.locked(0, |dict: &Dict<'_>| dict.reset(name));
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
            let (found, stale) = match dict.lookup(Key::new(key)) {
                Lookup::Live(found) => (found, false),
                Lookup::Expired(found) if want_stale => (found, true),
                _ => return f(Ok(nothing)),
            };
            let Some(value) = dict.value(found) else { return f(Err(Failure::IsList)) };
            f(Ok(Read { value, flags: found.entry.flags.get(), stale }))
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
        let key = Key::new(key);
        self.locked(now, |dict| {
            dict.expire(1);
            let place = dict.lookup(key);
            match place {
                Lookup::Live(_) if op.has(Op::ADD) => return refused(Failure::Exists),
                Lookup::Expired(_) | Lookup::Missing if op.has(Op::REPLACE) => return refused(Failure::NotFound),
                _ => {}
            }
            if let Lookup::Live(found) | Lookup::Expired(found) = place {
                if let Some(data) = data
                    && data.len() == found.entry.len.get() as usize
                    && !found.entry.is_list()
                {
                    dict.touch(found);
                    dict.overwrite(found, kind, data, dict.deadline(ttl), flags);
                    return Stored { result: Ok(()), forcible: false };
                }
                dict.remove(found);
            }
            let Some(data) = data else { return Stored { result: Ok(()), forcible: false } };
            let (link, forcible) = dict.alloc_evicting(ENTRY + key.len() + data.len(), op);
            let Some(link) = link else { return Stored { result: Err(Failure::NoMemory), forcible } };
            let new = dict.insert(link, key, kind, data.len() as u32);
            dict.overwrite(new, kind, data, dict.deadline(ttl), flags);
            Stored { result: Ok(()), forcible }
        })
    }

    /// Adds to a number. Where there is none, `init` supplies the start and the life span of a new one.
    pub fn incr(&self, key: &[u8], by: f64, init: Option<(f64, i64)>, now: u64) -> (Result<f64, Failure>, bool) {
        self.add(key, by, init, false, now)
    }

    /// Adds to a number, which may be new, and lets it live for `ttl` milliseconds from now on.
    pub fn renew(&self, key: &[u8], by: f64, ttl: i64, now: u64) -> (Result<f64, Failure>, bool) {
        self.add(key, by, Some((0.0, ttl)), true, now)
    }

    #[inline]
    fn add(
        &self,
        key: &[u8],
        by: f64,
        init: Option<(f64, i64)>,
        renews: bool,
        now: u64,
    ) -> (Result<f64, Failure>, bool) {
        if key.len() > LONGEST_KEY {
            return (Err(Failure::KeyTooLong), false);
        }
        let key = Key::new(key);
        self.locked(now, |dict| {
            dict.expire(1);
            let place = dict.lookup(key);
            if let Lookup::Live(found) = place {
                let Some(Value::Number(old)) = dict.value(found) else {
                    return (Err(Failure::NotANumber), false);
                };
                if let Some((_, ttl)) = init.filter(|_| renews) {
                    dict.journal.set(&found.entry.expires, dict.deadline(ttl));
                }
                dict.write_value(found, &(old + by).to_ne_bytes());
                return (Ok(old + by), false);
            }
            let Some((start, ttl)) = init else { return (Err(Failure::NotFound), false) };
            let data = (start + by).to_ne_bytes();
            if let Lookup::Expired(found) = place {
                if found.entry.len.get() as usize == data.len() && !found.entry.is_list() {
                    dict.touch(found);
                    dict.overwrite(found, NUMBER, &data, dict.deadline(ttl), 0);
                    return (Ok(start + by), false);
                }
                dict.remove(found);
            }
            let (link, forcible) = dict.alloc_evicting(ENTRY + key.len() + data.len(), Op::SET);
            let Some(link) = link else { return (Err(Failure::NoMemory), forcible) };
            let new = dict.insert(link, key, NUMBER, data.len() as u32);
            dict.overwrite(new, NUMBER, &data, dict.deadline(ttl), 0);
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
        let key = Key::new(key);
        self.locked(now, |dict| {
            let found = match dict.lookup(key) {
                Lookup::Live(found) | Lookup::Expired(found) => Some(found),
                Lookup::Missing => None,
            };
            let known = found.and_then(|found| match dict.value(found) {
                Some(Value::Str(text)) => Record::decode(text).map(|record| (found, record)),
                _ => None,
            });
            let (change, result) = f(known.map(|(_, record)| record));
            match (change, known, found) {
                (Change::Keep, ..) | (Change::Remove, _, None) => {}
                (Change::Remove, _, Some(found)) => dict.remove(found),
                (Change::Put(record, ttl), Some((found, _)), _) => {
                    dict.overwrite(found, STRING, &record.encode(), dict.deadline(ttl), 0);
                }
                (Change::Put(record, ttl), None, other) => {
                    if let Some(other) = other {
                        dict.remove(other);
                    }
                    dict.expire(1);
                    let (link, _) = dict.alloc_evicting(ENTRY + key.len() + Record::SIZE, op);
                    let Some(link) = link else { return Err(Failure::NoMemory) };
                    let new = dict.insert(link, key, STRING, Record::SIZE as u32);
                    dict.overwrite(new, STRING, &record.encode(), dict.deadline(ttl), 0);
                }
            }
            Ok(result)
        })
    }

    /// Milliseconds left to live; zero without limit, negative when they are over.
    pub fn ttl(&self, key: &[u8], now: u64) -> Option<i64> {
        self.locked(now, |dict| {
            let expires = dict.find(Key::new(key))?.entry.expires.get();
            Some(if expires == 0 { 0 } else { expires.wrapping_sub(now) as i64 })
        })
    }

    /// Sets a new life span, counted from now; false when there is no such entry.
    pub fn set_expire(&self, key: &[u8], ttl: i64, now: u64) -> bool {
        self.locked(now, |dict| {
            let Some(found) = dict.find(Key::new(key)) else { return false };
            dict.journal.set(&found.entry.expires, dict.deadline(ttl));
            true
        })
    }

    /// Ends the life of all entries; their memory is reused as new ones come.
    pub fn flush_all(&self, now: u64) {
        self.locked(now, |dict| {
            let mut link = dict.newest();
            while let Some(found) = dict.found(link) {
                // Each is a change of its own, which one write carries out.
                found.entry.expires.set(1);
                link = found.entry.older();
            }
            dict.expire(0);
        });
    }

    /// Removes entries whose time is over, oldest first, at most `max` of them (zero: all). How many there were.
    pub fn flush_expired(&self, max: usize, now: u64) -> usize {
        self.locked(now, |dict| {
            let mut freed = 0;
            let mut link = dict.oldest();
            while let Some(found) = dict.found(link) {
                link = found.entry.newer();
                if found.entry.is_expired(now) {
                    dict.remove(found);
                    freed += 1;
                    if freed == max {
                        break;
                    }
                }
            }
            freed
        })
    }

    /// The keys of valid entries, oldest first, at most `max` of them (zero: all), each handed to `f`.
    pub fn keys(&self, max: usize, now: u64, mut f: impl FnMut(&[u8])) {
        self.locked(now, |dict| {
            let mut seen = 0;
            let mut link = dict.oldest();
            while let Some(found) = dict.found(link) {
                if !found.entry.is_expired(now) {
                    f(dict.key(found));
                    seen += 1;
                    if seen == max {
                        break;
                    }
                }
                link = found.entry.newer();
            }
        });
    }

    /// Whether this process has undone the change of a worker that died in the middle of it, since the last call.
    pub fn take_recovered(&self) -> bool {
        self.has_recovered.load(Ordering::Relaxed) && self.has_recovered.swap(false, Ordering::Relaxed)
    }

    /// Runs `f` under the zone's lock. What a worker that died here was about to change is undone first.
    #[inline]
    pub(super) fn locked<R>(&self, now: u64, f: impl FnOnce(&Dict<'_>) -> R) -> R {
        // SAFETY: `at` gives an address in the mapping. A header is made of cells, of which the lock is atomic and the
        // others are touched under the lock only. Operations on a zone do not nest: closures that run under the lock are
        // this module's and copy bytes only.
        let (found, header, dict) = unsafe {
            let header = &*self.memory.at::<Header>(0);
            let found = header.lock.lock();
            let journal = Journal::new(&self.memory, &self.records, &header.undo);
            let slab = Slab::new(&self.memory, journal, offset_of!(Header, slab), self.layout);
            (found, header, Dict::new(&self.memory, header, self.buckets, slab, journal, now))
        };
        if found == Found::Abandoned || dict.journal.is_open() {
            self.recover(&dict);
        }
        let result = f(&dict);
        dict.journal.commit();
        header.lock.unlock();
        result
    }

    #[cold]
    fn recover(&self, dict: &Dict<'_>) {
        let recovered = dict.journal.recover(|places| dict.move_back(places));
        if recovered == Recovered::Damaged {
            dict.journal.commit();
            dict.reset(&self.name);
        }
        self.has_recovered.store(recovered != Recovered::Nothing, Ordering::Relaxed);
    }
}
