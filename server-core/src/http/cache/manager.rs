//! Removes responses that nobody asks for, and the oldest ones when a cache is too large.
//!
//! A process of its own does it, or where there is only one process, a thread beside its event loop.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::zone::{CacheZone, Hash};

/// How often caches are looked through.
const PAUSE: Duration = Duration::from_secs(10);
/// The oldest unfinished file that may still be written to.
const UNFINISHED_MAX: Duration = Duration::from_hours(1);

/// When the loader looks at caches after the start.
const DELAY: Duration = Duration::from_mins(1);

/// Where the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// On a thread beside the event loop.
    Beside,
    /// In this process, which does nothing else.
    Here,
}

/// Looks after the caches until the process ends.
pub(crate) async fn run(zones: Vec<Arc<CacheZone>>, place: Where) {
    loop {
        tokio::time::sleep(PAUSE).await;
        for zone in &zones {
            if place == Where::Here {
                clean(zone, SystemTime::now());
                continue;
            }
            let zone = Arc::clone(zone);
            // A pass that panicked is like one that found nothing: the next one comes.
            let _ = tokio::task::spawn_blocking(move || clean(&zone, SystemTime::now())).await;
        }
    }
}

/// Tells the index of the responses that earlier processes left, once.
pub(crate) async fn load(zones: Vec<Arc<CacheZone>>) {
    tokio::time::sleep(DELAY).await;
    for zone in &zones {
        let mut all = Vec::new();
        walk(&zone.folder, 0, SystemTime::now(), &mut all);
        for found in all.iter().filter(|found| !zone.is_active(&found.hash)) {
            zone.count(&found.hash);
        }
    }
}

struct Found {
    path: PathBuf,
    size: u64,
    hash: Hash,
    age: Duration,
}

/// One pass.
fn clean(zone: &CacheZone, now: SystemTime) {
    // The clock of this thread is nobody else's.
    crate::clock::update();
    let mut all = Vec::new();
    walk(&zone.folder, 0, now, &mut all);
    // After a restart, the index has not seen anybody yet: then the file's own age counts.
    all.retain(|found| {
        let leaves = found.age > zone.inactive && !zone.is_active(&found.hash);
        if leaves {
            remove(&found.path);
        }
        !leaves
    });
    let mut total: u64 = all.iter().map(|found| found.size).sum();
    let is_too_much = |total: u64| zone.max_size.is_some_and(|max| total > max) || lacks_room(zone);
    if !is_too_much(total) {
        return;
    }
    let mut order: HashMap<Hash, usize> = HashMap::new();
    zone.by_age(|hash| {
        let place = order.len() + 1;
        order.insert(*hash, place);
    });
    // What the index does not know goes first, the oldest file before the others.
    all.sort_by_key(|found| (order.get(&found.hash).copied().unwrap_or(0), std::cmp::Reverse(found.age)));
    for found in all {
        if !is_too_much(total) {
            break;
        }
        remove(&found.path);
        total = total.saturating_sub(found.size);
    }
}

/// Whether the file system of a cache is fuller than `min_free` wants it.
fn lacks_room(zone: &CacheZone) -> bool {
    zone.min_free > 0
        && nix::sys::statvfs::statvfs(&zone.folder)
            .is_ok_and(|room| room.blocks_available() * room.fragment_size() < zone.min_free)
}

/// Finds the files of a cache. Folders are at most three deep.
fn walk(folder: &Path, depth: usize, now: SystemTime, all: &mut Vec<Found>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < 3 {
            walk(&entry.path(), depth + 1, now, all);
        }
        let Ok(data) = entry.metadata() else { continue };
        if !kind.is_file() {
            continue;
        }
        let age = data.modified().ok().and_then(|modified| now.duration_since(modified).ok()).unwrap_or_default();
        match CacheZone::hash_of(&entry.file_name()) {
            Some(hash) => all.push(Found { path: entry.path(), size: data.len(), hash, age }),
            None if entry.file_name().as_encoded_bytes().starts_with(b".new-") && age > UNFINISHED_MAX => {
                remove(&entry.path());
            }
            None => {}
        }
    }
}

fn remove(path: &Path) {
    // Somebody else may have been faster.
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_for_goes_and_then_what_is_too_much() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut zone = CacheZone::new(b"z", 1 << 16, folder.path().into());
        zone.open(None).expect("memory");
        zone.inactive = Duration::from_mins(1);
        let put = |key: &str| {
            let path = zone.path(&CacheZone::hash(key.as_bytes()));
            std::fs::write(&path, [0; 100]).expect("written");
            path
        };
        let (old, asked, newest) = (put("old"), put("asked"), put("newest"));
        zone.count(&CacheZone::hash(b"asked"));
        zone.count(&CacheZone::hash(b"newest"));
        clean(&zone, SystemTime::now() + Duration::from_secs(100));
        assert!(!old.exists() && asked.exists() && newest.exists());
        zone.max_size = Some(150);
        clean(&zone, SystemTime::now());
        assert!(!asked.exists() && newest.exists());
    }
}
