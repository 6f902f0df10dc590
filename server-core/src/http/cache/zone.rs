//! A cache: its folder, and the index that all workers share.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use md5::{Digest as _, Md5};

use crate::codec;
use crate::shared_dict::{Op, Value, Zone};

/// A cache of the configuration (`proxy_cache_path`).
pub(crate) struct CacheZone {
    /// The name of its index.
    pub(crate) name: Box<[u8]>,
    /// The folder.
    pub(crate) folder: PathBuf,
    /// Lengths of the names of the folders below it; 0 ends the list.
    pub(crate) levels: [usize; 3],
    /// How long a response stays that nobody asks for.
    pub(crate) inactive: Duration,
    /// Bytes of all files; `None` is no limit.
    pub(crate) max_size: Option<u64>,
    /// Bytes that the file system must have left; 0 is no limit.
    pub(crate) min_free: u64,
    /// Whether new files are written beside the cache and not into the folder for temporary files.
    pub(crate) in_place: bool,
    /// Bytes of the index.
    size: usize,
    index: OnceLock<Arc<Zone>>,
}

/// The digest of a key.
pub(crate) type Hash = [u8; 16];

impl CacheZone {
    /// A cache whose index is still to be mapped.
    pub(crate) fn new(name: &[u8], size: usize, folder: PathBuf) -> Self {
        Self {
            name: name.into(),
            folder,
            levels: [0; 3],
            inactive: Duration::from_mins(10),
            max_size: None,
            in_place: true,
            min_free: 0,
            size,
            index: OnceLock::new(),
        }
    }

    /// Maps the index, or takes over that of the cache of this name, size and folder in the configuration before.
    pub(crate) fn open(&self, before: Option<&Self>) -> io::Result<()> {
        let same = |known: &&Self| known.name == self.name && known.size == self.size && known.folder == self.folder;
        let index = match before.filter(same).and_then(|before| before.index.get()) {
            Some(index) => Arc::clone(index),
            None => Arc::new(Zone::create(&self.name, self.size)?),
        };
        // A cache is opened once.
        let _ = self.index.set(index);
        Ok(())
    }

    /// The digest of a key.
    pub(crate) fn hash(key: &[u8]) -> Hash {
        Md5::digest(key).into()
    }

    /// The file of a digest.
    pub(crate) fn path(&self, hash: &Hash) -> PathBuf {
        let name = hex(hash);
        let mut path = self.folder.clone();
        let mut end = name.len();
        for level in self.levels.iter().take_while(|level| **level > 0) {
            let start = end.saturating_sub(*level);
            path.push(name.get(start..end).unwrap_or_default());
            end = start;
        }
        path.join(name)
    }

    /// The digest that a file is named after.
    pub(crate) fn hash_of(name: &OsStr) -> Option<Hash> {
        let text = name.to_str().filter(|text| text.len() == 32 && text.is_ascii())?;
        let mut hash = [0; 16];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
        }
        Some(hash)
    }

    /// Counts a request for a key; how many there were in the time for which responses stay.
    pub(crate) fn count(&self, hash: &Hash) -> u64 {
        let life = i64::try_from(self.inactive.as_millis()).unwrap_or(i64::MAX);
        let now = now_msec();
        let Some(index) = self.index.get() else { return 1 };
        let (count, _) = index.renew(hash, 1.0, life, now);
        // An index that is full forgets, which costs no more than a request.
        count.unwrap_or(1.0) as u64
    }

    /// Whether somebody asked for a key lately.
    pub(crate) fn is_active(&self, hash: &Hash) -> bool {
        self.is_set(hash)
    }

    /// Becomes the one that fetches a key, for at most so long. Whether nobody else is.
    pub(crate) fn begin_fetch(&self, hash: &Hash, most: Duration) -> bool {
        let life = i64::try_from(most.as_millis()).unwrap_or(i64::MAX).max(1);
        let Some(index) = self.index.get() else { return true };
        index.store(Op::ADD, &marked(b'f', hash), Value::Bool(true), life, 0, now_msec()).result.is_ok()
    }

    /// Somebody else may fetch it.
    pub(crate) fn end_fetch(&self, hash: &Hash) {
        let Some(index) = self.index.get() else { return };
        // There is nobody to tell when it is gone already.
        let _ = index.store(Op::SET, &marked(b'f', hash), Value::Nil, 0, 0, now_msec());
    }

    /// Whether somebody fetches it.
    pub(crate) fn is_fetched(&self, hash: &Hash) -> bool {
        self.is_set(&marked(b'f', hash))
    }

    /// A failure stands for the response of a key, for so many seconds.
    pub(crate) fn keep_error(&self, hash: &Hash, status: u16, seconds: i64) {
        let Some(index) = self.index.get() else { return };
        let (key, life) = (marked(b'e', hash), seconds.saturating_mul(1000).max(1));
        // An index without room forgets it, which costs no more than a request.
        let _ = index.store(Op::SET, &key, Value::Number(f64::from(status)), life, 0, now_msec());
    }

    /// The failure that stands for the response of a key.
    pub(crate) fn error(&self, hash: &Hash) -> Option<u16> {
        self.index.get()?.read(&marked(b'e', hash), false, now_msec(), |found| match found.ok()?.value {
            Value::Number(status) => Some(status as u16),
            _ => None,
        })
    }

    /// No failure stands for the response of a key any more.
    pub(crate) fn forget_error(&self, hash: &Hash) {
        if let Some(index) = self.index.get() {
            // There is nobody to tell when there was none.
            let _ = index.store(Op::SET, &marked(b'e', hash), Value::Nil, 0, 0, now_msec());
        }
    }

    fn is_set(&self, key: &[u8]) -> bool {
        let left = self.index.get().and_then(|index| index.ttl(key, now_msec()));
        left.is_some_and(|left| left >= 0)
    }

    /// Hands out the digests that were asked for, the one that was longest ago first.
    pub(crate) fn by_age(&self, mut each: impl FnMut(&Hash)) {
        let Some(index) = self.index.get() else { return };
        index.keys(0, now_msec(), |key| {
            if let Ok(hash) = key.try_into() {
                each(hash);
            }
        });
    }
}

/// As hexadecimal digits.
pub(super) fn hex(hash: &Hash) -> String {
    let mut text = String::with_capacity(2 * hash.len());
    codec::hex(hash, |digit| text.push(char::from(digit)));
    text
}

/// What the index knows about a key besides its uses: `f` that it is fetched, `e` that it failed.
fn marked(mark: u8, hash: &Hash) -> [u8; 17] {
    let mut key = [mark; 17];
    key[1..].copy_from_slice(hash);
    key
}

fn now_msec() -> u64 {
    u64::try_from(crate::clock::now().monotonic_msec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> CacheZone {
        let mut zone = CacheZone::new(b"z", 1 << 16, "/c".into());
        zone.levels = [1, 2, 0];
        zone.open(None).expect("memory");
        zone
    }

    #[test]
    fn files_lie_where_their_digest_says() {
        let hash = CacheZone::hash(b"a key");
        let path = zone().path(&hash);
        let name = path.file_name().and_then(OsStr::to_str).expect("a name");
        assert_eq!(path, PathBuf::from(format!("/c/{}/{}/{name}", &name[31..], &name[29..31])));
        assert_eq!(CacheZone::hash_of(OsStr::new(name)), Some(hash));
        assert_eq!(CacheZone::hash_of(OsStr::new("0123.tmp")), None);
    }

    #[test]
    fn one_fetches_at_a_time() {
        let (zone, hash) = (zone(), CacheZone::hash(b"k"));
        assert!(zone.begin_fetch(&hash, Duration::from_secs(5)));
        assert!(!zone.begin_fetch(&hash, Duration::from_secs(5)) && zone.is_fetched(&hash));
        zone.end_fetch(&hash);
        assert!(!zone.is_fetched(&hash) && zone.begin_fetch(&hash, Duration::from_secs(5)));
    }

    #[test]
    fn the_next_configuration_goes_on_with_the_index() {
        let (before, hash) = (zone(), CacheZone::hash(b"k"));
        before.count(&hash);
        before.keep_error(&hash, 502, 60);
        let same = CacheZone::new(b"z", 1 << 16, "/c".into());
        same.open(Some(&before)).expect("memory");
        assert_eq!((same.count(&hash), same.error(&hash)), (2, Some(502)));
        let elsewhere = CacheZone::new(b"z", 1 << 16, "/d".into());
        elsewhere.open(Some(&before)).expect("memory");
        assert_eq!((elsewhere.count(&hash), elsewhere.error(&hash)), (1, None));
    }

    #[test]
    fn requests_are_counted() {
        let (zone, hash) = (zone(), CacheZone::hash(b"k"));
        assert_eq!((zone.is_active(&hash), zone.count(&hash), zone.count(&hash)), (false, 1, 2));
        assert!(zone.is_active(&hash));
    }
}
