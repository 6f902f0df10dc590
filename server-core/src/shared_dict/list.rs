//! Values that are lists: each member is a slab block of its own.

use std::cell::Cell;

use super::entries::{Dict, ENTRY, Entry, Found, Key, LIST, Link, Lookup, NUMBER, STRING, decode, offset};
use super::value::{Failure, Value};
use super::zone::Zone;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The first member.
    Left,
    /// The last member.
    Right,
}

/// Bytes of a member before its value, as in nginx.
const ITEM: usize = 21;
/// nginx ends a list's entry with the head of its queue, aligned.
const QUEUE: usize = 16;

/// A member before its value. Any bytes are one.
#[repr(C)]
pub(super) struct ListItem {
    next: Cell<Link>,
    prev: Cell<Link>,
    len: Cell<u32>,
    kind: Cell<u8>,
}

const _: () = assert!(size_of::<ListItem>() <= ITEM);

impl Zone {
    /// Puts a string or a number at an end of a list, which is created if need be, and returns its new length.
    pub fn push(&self, key: &[u8], end: End, value: Value<'_>, now: u64) -> Result<u32, Failure> {
        let number;
        let (kind, data) = match value {
            Value::Str(text) => (STRING, text),
            Value::Number(value) => {
                number = value.to_ne_bytes();
                (NUMBER, &number[..])
            }
            Value::Nil | Value::Bool(_) => return Err(Failure::NilValue),
        };
        let key = Key::new(key);
        self.locked(now, |dict| {
            dict.expire(1);
            let list = match dict.lookup(key) {
                Lookup::Live(found) if found.entry.is_list() => found,
                Lookup::Live(_) => return Err(Failure::NotAList),
                Lookup::Expired(found) if found.entry.is_list() => {
                    dict.free_items(found.entry);
                    dict.journal.set(&found.entry.expires, 0);
                    dict.journal.commit();
                    dict.touch(found);
                    found
                }
                Lookup::Expired(found) => {
                    dict.remove(found);
                    dict.new_list(key).ok_or(Failure::NoMemory)?
                }
                Lookup::Missing => dict.new_list(key).ok_or(Failure::NoMemory)?,
            };
            let Some(item) = dict.alloc(ITEM + data.len()) else {
                if list.entry.len.get() == 0 {
                    dict.remove(list);
                }
                return Err(Failure::NoMemory);
            };
            dict.write(offset(item) + ITEM, data);
            Ok(dict.attach(list.entry, item, end, kind, data.len() as u32))
        })
    }

    /// Takes the member at an end of a list and hands it to `f` under the zone's lock; the list goes with its last
    /// member.
    pub fn pop<R>(&self, key: &[u8], end: End, now: u64, f: impl FnOnce(Result<Value<'_>, Failure>) -> R) -> R {
        self.locked(now, |dict| {
            dict.expire(1);
            let Lookup::Live(found) = dict.lookup(Key::new(key)) else { return f(Ok(Value::Nil)) };
            if !found.entry.is_list() {
                return f(Err(Failure::NotAList));
            }
            let at = if end == End::Left { &found.entry.first } else { &found.entry.last }.get();
            let item = dict.item(at);
            let result = f(Ok(decode(item.kind.get(), dict.bytes(offset(at) + ITEM, item.len.get() as usize))));
            dict.detach(found, at, end);
            result
        })
    }

    /// How many members a list has; none when there is no such entry.
    pub fn llen(&self, key: &[u8], now: u64) -> Result<u32, Failure> {
        self.locked(now, |dict| match dict.lookup(Key::new(key)) {
            Lookup::Live(found) if found.entry.is_list() => Ok(found.entry.len.get()),
            Lookup::Live(_) => Err(Failure::NotAList),
            _ => Ok(0),
        })
    }
}

impl Dict<'_> {
    /// Gives back the members of a list, each in a change of its own: a list may have many.
    pub(super) fn free_items(&self, list: &Entry) {
        while list.len.get() > 0 && list.first.get() != 0 {
            let at = list.first.get();
            self.unlink_item(list, at, End::Left);
            self.slab.free(offset(at));
            self.journal.commit();
        }
    }

    fn new_list(&self, key: Key<'_>) -> Option<Found<'_>> {
        let link = self.alloc((ENTRY + key.len() + QUEUE).next_multiple_of(8))?;
        Some(self.insert(link, key, LIST, 0))
    }

    fn attach(&self, list: &Entry, at: Link, end: End, kind: u8, len: u32) -> u32 {
        let item = self.item(at);
        let (next, prev) = match end {
            End::Left => (list.first.get(), 0),
            End::Right => (0, list.last.get()),
        };
        // Nobody knows the block yet: what lies in it is not worth keeping.
        item.next.set(next);
        item.prev.set(prev);
        item.len.set(len);
        item.kind.set(kind);
        self.journal.set(if prev == 0 { &list.first } else { &self.item(prev).next }, at);
        self.journal.set(if next == 0 { &list.last } else { &self.item(next).prev }, at);
        let count = list.len.get().saturating_add(1);
        self.journal.set(&list.len, count);
        count
    }

    /// Takes a member out of its list, which goes with the last one.
    fn detach(&self, list: Found<'_>, at: Link, end: End) {
        self.unlink_item(list.entry, at, end);
        self.slab.free(offset(at));
        if list.entry.len.get() == 0 {
            self.remove(list);
        }
    }

    /// Takes the member at an end out of its list.
    fn unlink_item(&self, list: &Entry, at: Link, end: End) {
        let item = self.item(at);
        let (next, prev) = match end {
            End::Left => (item.next.get(), 0),
            End::Right => (0, item.prev.get()),
        };
        self.journal.set(if prev == 0 { &list.first } else { &self.item(prev).next }, next);
        self.journal.set(if next == 0 { &list.last } else { &self.item(next).prev }, prev);
        self.journal.set(&list.len, list.len.get().saturating_sub(1));
    }
}

#[cfg(test)]
impl ListItem {
    pub(super) fn next(&self) -> Link {
        self.next.get()
    }
}

#[cfg(test)]
impl Dict<'_> {
    pub(super) fn item_bytes(&self, at: Link) -> &[u8] {
        self.bytes(offset(at) + ITEM, self.item(at).len.get() as usize)
    }
}
