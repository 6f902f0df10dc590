//! Shared dictionaries: key-value zones in memory that all worker processes share.
//!
//! A [`Zone`] is mapped before the workers are forked and lives until the configuration that names it is gone; a
//! reload keeps the zones whose name and size did not change ([`Zones::open`]). Everything in the mapping is plain
//! data and offsets, and whatever is read from it is checked against the bounds of the mapping.
//!
//! | file | knows |
//! |---|---|
//! | `lock.rs` | a lock between processes that survives its owner's death |
//! | `memory.rs` | the mapping and checked access to it |
//! | `journal.rs` | what a change overwrites, so that it is undone when its author dies in the middle of it |
//! | `slab.rs` | pages and chunks by nginx's rules, so that free space and evictions are the same |
//! | `entries.rs` | entries: hash chains, LRU list, expiry |
//! | `list.rs` | values that are lists |
//! | `value.rs` | what goes in and out |
//! | `zone.rs` | the operations |

mod entries;
mod journal;
mod list;
mod lock;
mod memory;
mod slab;
#[cfg(test)]
mod tests;
mod value;
mod zone;

use std::io;
use std::sync::Arc;

pub use list::End;
pub(crate) use memory::Numbers;
pub use value::{Change, Failure, Op, Read, Record, Stored, Value};
pub use zone::Zone;

/// The zones of one configuration.
#[derive(Clone, Default)]
pub struct Zones(Vec<Arc<Zone>>);

impl Zones {
    /// Maps a zone, or takes over the one of the same name and size from the configuration before.
    pub fn open(&mut self, name: &[u8], size: usize, before: Option<&Self>) -> io::Result<Arc<Zone>> {
        let kept = before.and_then(|zones| zones.find(name)).filter(|zone| zone.capacity() == size);
        let zone = match kept {
            Some(zone) => Arc::clone(zone),
            None => Arc::new(Zone::create(name, size)?),
        };
        self.0.push(Arc::clone(&zone));
        Ok(zone)
    }

    /// The zone of that name.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Zone>> {
        self.0.iter().find(|zone| zone.name() == name)
    }

    /// The zones in the order of the configuration.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Zone>> {
        self.0.iter()
    }

    /// Whether no zone is declared.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Zones {
    type Item = &'a Arc<Zone>;
    type IntoIter = std::slice::Iter<'a, Arc<Zone>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
