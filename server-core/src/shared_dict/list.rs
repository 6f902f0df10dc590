//! Values that are lists: each member is a slab block of its own.

use super::dict::{Dict, ENTRY, Failure, LIST, Link, Lookup, NUMBER, STRING, Value, Zone, decode, offset};

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

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ListItem {
    next: Link,
    prev: Link,
    len: u32,
    kind: u8,
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
        self.locked(now, |dict| {
            dict.expire(1);
            let link = match dict.lookup(key) {
                Lookup::Live(link) if dict.entry(link).kind == LIST => link,
                Lookup::Live(_) => return Err(Failure::NotAList),
                Lookup::Expired(link) if dict.entry(link).kind == LIST => {
                    dict.empty_list(link);
                    dict.touch(link);
                    link
                }
                Lookup::Expired(link) => {
                    dict.remove(link);
                    dict.new_list(key).ok_or(Failure::NoMemory)?
                }
                Lookup::Missing => dict.new_list(key).ok_or(Failure::NoMemory)?,
            };
            let Some(item) = dict.alloc(ITEM + data.len()) else {
                if dict.entry(link).len == 0 {
                    dict.remove(link);
                }
                return Err(Failure::NoMemory);
            };
            dict.write(offset(item) + ITEM, data);
            Ok(dict.attach(link, item, end, kind, data.len() as u32))
        })
    }

    /// Takes the member at an end of a list and hands it to `f` under the zone's lock; the list goes with its last
    /// member.
    pub fn pop<R>(&self, key: &[u8], end: End, now: u64, f: impl FnOnce(Result<Value<'_>, Failure>) -> R) -> R {
        self.locked(now, |dict| {
            dict.expire(1);
            let Lookup::Live(link) = dict.lookup(key) else { return f(Ok(Value::Nil)) };
            let entry = dict.entry(link);
            if entry.kind != LIST {
                return f(Err(Failure::NotAList));
            }
            let at = if end == End::Left { entry.first } else { entry.last };
            let item = dict.item(at);
            let result = f(Ok(decode(item.kind, dict.bytes(offset(at) + ITEM, item.len as usize))));
            dict.detach(link, at, end);
            result
        })
    }

    /// How many members a list has; none when there is no such entry.
    pub fn llen(&self, key: &[u8], now: u64) -> Result<u32, Failure> {
        self.locked(now, |dict| match dict.lookup(key) {
            Lookup::Live(link) => {
                let entry = dict.entry(link);
                if entry.kind == LIST { Ok(entry.len) } else { Err(Failure::NotAList) }
            }
            _ => Ok(0),
        })
    }
}

impl Dict<'_> {
    /// Gives back the members of a list, each in a change of its own: a list may have many.
    pub(super) fn free_items(&self, link: Link) {
        let mut entry = self.entry(link);
        while entry.len > 0 && entry.first != 0 {
            let at = entry.first;
            entry.first = self.item(at).next;
            entry.len -= 1;
            self.slab.free(offset(at));
            self.set_entry(link, if entry.len == 0 { entry.without_items() } else { entry });
            self.journal.commit();
        }
    }

    fn new_list(&self, key: &[u8]) -> Option<Link> {
        let link = self.alloc((ENTRY + key.len() + QUEUE).next_multiple_of(8))?;
        self.insert(link, key, LIST, 0);
        Some(link)
    }

    fn empty_list(&self, link: Link) {
        self.free_items(link);
        self.set_entry(link, self.entry(link).without_items());
    }

    fn attach(&self, link: Link, at: Link, end: End, kind: u8, len: u32) -> u32 {
        let mut entry = self.entry(link);
        let mut item = ListItem { next: 0, prev: 0, len, kind };
        match end {
            End::Left => {
                item.next = entry.first;
                entry.first = at;
                if item.next == 0 {
                    entry.last = at;
                } else {
                    self.set_item(item.next, ListItem { prev: at, ..self.item(item.next) });
                }
            }
            End::Right => {
                item.prev = entry.last;
                entry.last = at;
                if item.prev == 0 {
                    entry.first = at;
                } else {
                    self.set_item(item.prev, ListItem { next: at, ..self.item(item.prev) });
                }
            }
        }
        entry.len = entry.len.saturating_add(1);
        self.set_item(at, item);
        self.set_entry(link, entry);
        entry.len
    }

    fn detach(&self, link: Link, at: Link, end: End) {
        let mut entry = self.entry(link);
        let item = self.item(at);
        self.slab.free(offset(at));
        match end {
            End::Left => {
                entry.first = item.next;
                if item.next != 0 {
                    self.set_item(item.next, ListItem { prev: 0, ..self.item(item.next) });
                }
            }
            End::Right => {
                entry.last = item.prev;
                if item.prev != 0 {
                    self.set_item(item.prev, ListItem { next: 0, ..self.item(item.prev) });
                }
            }
        }
        entry.len = entry.len.saturating_sub(1);
        self.set_entry(link, if entry.len == 0 { entry.without_items() } else { entry });
        if entry.len == 0 {
            self.remove(link);
        }
    }
}

#[cfg(test)]
impl Dict<'_> {
    pub(super) fn item_bytes(&self, at: Link) -> &[u8] {
        self.bytes(offset(at) + ITEM, self.item(at).len as usize)
    }

    pub(super) fn item_after(&self, at: Link) -> Link {
        self.item(at).next
    }
}
