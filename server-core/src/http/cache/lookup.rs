//! How a request uses a cache: what it finds there, and what it leaves.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::conf::{CacheConf, Which, any_says_yes};
use super::entry::Entry;
use super::zone::{CacheZone, Hash, hex};
use crate::http::code::Code;
use crate::http::header::{HeaderId, HeaderList};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::upstream::Failure;
use crate::log::Level;

/// What `$upstream_cache_status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Bypass,
    Expired,
    Hit,
    Miss,
    Revalidated,
    Stale,
    Updating,
}

impl Status {
    /// The word.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Bypass => "BYPASS",
            Self::Expired => "EXPIRED",
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Revalidated => "REVALIDATED",
            Self::Stale => "STALE",
            Self::Updating => "UPDATING",
        }
    }
}

/// A request and the cache that it uses.
pub(crate) struct CacheUse {
    /// The cache.
    pub(crate) zone: Arc<CacheZone>,
    /// The key.
    pub(crate) key: Bytes,
    hash: Hash,
    /// What it found.
    pub(crate) status: Cell<Status>,
    /// The kept response that it found, fresh or not.
    pub(crate) entry: RefCell<Option<Rc<Entry>>>,
    /// Whether the response may be kept.
    pub(crate) keeps: Cell<bool>,
    /// Whether a newer response is fetched behind the back of the client.
    pub(crate) updates: Cell<bool>,
    fetching: Cell<bool>,
    /// A failure that is kept in place of a response.
    pub(crate) error: Cell<Option<Code>>,
    /// The variant that was looked for.
    variant: RefCell<Option<Bytes>>,
}

/// What a server that failed has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing that could be understood.
    Nothing,
    /// A status.
    Status,
}

/// How often somebody who waits for another's response looks for it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// For how long nobody else fetches a response that has expired, unless it is there before.
const UPDATE_MAX: Duration = Duration::from_mins(1);

impl CacheUse {
    /// Looks a request up; `None` when no cache is used. `default_key` is the key without `cache_key`.
    pub(crate) async fn open(
        r: &Rc<Request>,
        conf: &'static CacheConf,
        default_key: impl FnOnce() -> Bytes,
    ) -> Result<Option<Rc<Self>>, Code> {
        let Some(zone) = zone_of(r, conf)? else { return Ok(None) };
        if !r.method.get().is_one_of(*conf.methods) {
            return Ok(None);
        }
        let key = conf.key.as_ref().map_or_else(default_key, |key| key.eval(r));
        debug!(r, "http cache key: \"{}\"", String::from_utf8_lossy(&key));
        let hash = CacheZone::hash(&key);
        let used = Rc::new(Self {
            zone,
            key,
            hash,
            status: Cell::new(Status::Miss),
            entry: RefCell::default(),
            keeps: Cell::new(true),
            updates: Cell::new(false),
            fetching: Cell::new(false),
            error: Cell::new(None),
            variant: RefCell::default(),
        });
        r.set_ctx(Rc::clone(&used));
        if any_says_yes(&conf.bypass, r) {
            used.status.set(Status::Bypass);
            return Ok(Some(used));
        }
        let uses = used.zone.count(&hash);
        if let Some(status) = used.zone.error(&hash) {
            used.status.set(Status::Hit);
            used.error.set(Some(Code(i32::from(status))));
            return Ok(Some(used));
        }
        used.find(r, conf)?;
        if used.status.get() == Status::Miss && *conf.lock {
            used.wait(r, conf).await?;
        }
        let scarce = uses < *conf.min_uses && used.entry.borrow().is_none();
        if scarce || (!used.answers() && wants_far_range(r, *conf.max_range_offset)) {
            used.keeps.set(false);
        }
        debug!(r, "http upstream cache: {}", used.status.get().text());
        Ok(Some(used))
    }

    /// Looks for a kept response.
    fn find(&self, r: &Rc<Request>, conf: &CacheConf) -> Result<(), Code> {
        let path = self.zone.path(&self.hash);
        let found = Entry::open(&path, &self.key).and_then(|entry| match entry {
            Some(entry) if !entry.meta.vary.is_empty() => {
                let variant = variant_of(r, &entry.meta.vary);
                if entry.meta.variant[..] == variant[..] {
                    return Ok(Some(entry));
                }
                let path = self.zone.path(&self.variant_hash(&variant));
                self.variant.replace(Some(variant));
                Entry::open(&path, &self.key)
            }
            entry => Ok(entry),
        });
        let entry = match found {
            Ok(entry) => entry,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                r.log_errno(Level::Crit, errno, format_args!("open() \"{}\" failed", path.display()));
                return Err(Code::INTERNAL_SERVER_ERROR);
            }
        };
        let Some(entry) = entry else {
            self.status.set(Status::Miss);
            return Ok(());
        };
        let now = crate::clock::now().sec;
        let is_fresh = entry.meta.valid > now;
        let may_be_stale = Failure::UPDATING.is_in(*conf.use_stale) || entry.meta.stale_updating > now;
        *self.entry.borrow_mut() = Some(Rc::new(entry));
        if is_fresh {
            self.status.set(Status::Hit);
            return Ok(());
        }
        let first = self.zone.begin_fetch(&self.hash, UPDATE_MAX);
        self.fetching.set(first);
        self.status.set(match first {
            _ if r.background.get() => Status::Expired,
            true if may_be_stale && *conf.background_update => {
                // The update begins anew, on its own behalf.
                self.updates.set(true);
                self.release();
                Status::Stale
            }
            false if may_be_stale => Status::Updating,
            _ => Status::Expired,
        });
        Ok(())
    }

    /// Waits until the one who fetches the response has it, or it takes too long.
    async fn wait(&self, r: &Rc<Request>, conf: &CacheConf) -> Result<(), Code> {
        let began = Instant::now();
        loop {
            if self.zone.begin_fetch(&self.hash, *conf.lock_age) {
                self.fetching.set(true);
                // Whoever fetched may have left the response in the meantime.
                self.find_again(r, conf)?;
                return Ok(());
            }
            if began.elapsed() >= *conf.lock_timeout {
                self.keeps.set(false);
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN.min(*conf.lock_timeout)).await;
            if !self.zone.is_fetched(&self.hash) {
                self.find_again(r, conf)?;
                if self.status.get() != Status::Miss {
                    return Ok(());
                }
            }
        }
    }

    fn find_again(&self, r: &Rc<Request>, conf: &CacheConf) -> Result<(), Code> {
        self.find(r, conf)?;
        if self.status.get() == Status::Hit {
            self.release();
        }
        Ok(())
    }

    /// Whether the client gets what was found, without asking a server.
    pub(crate) fn answers(&self) -> bool {
        matches!(self.status.get(), Status::Hit | Status::Stale | Status::Updating)
    }

    /// Whether what was found may be used in place of a failure.
    pub(crate) fn covers(&self, conf: &CacheConf, failure: Failure, told: Told) -> bool {
        let entry = self.entry.borrow();
        let Some(entry) = entry.as_ref().filter(|_| self.status.get() == Status::Expired) else { return false };
        let by_server = told == Told::Nothing && entry.meta.stale_error > crate::clock::now().sec;
        by_server || *conf.use_stale & failure.0 != 0
    }

    /// The digest under which a response with these headers is kept. Variants lie beside the one under the key
    /// itself, which says what to go by; a response that goes by something else takes its place.
    pub(crate) fn hash_for(&self, r: &Request, vary: &[u8]) -> (Hash, Bytes) {
        if vary.is_empty() {
            return (self.hash, Bytes::new());
        }
        let variant = variant_of(r, vary);
        let beside = self.variant.borrow().as_ref() == Some(&variant);
        (if beside { self.variant_hash(&variant) } else { self.hash }, variant)
    }

    /// There is a response again.
    pub(crate) fn forget_error(&self) {
        if self.status.get() == Status::Bypass {
            self.zone.forget_error(&self.hash);
        }
    }

    /// A failure is kept in place of a response, for so many seconds.
    pub(crate) fn keep_error(&self, status: u16, seconds: i64) {
        self.zone.keep_error(&self.hash, status, seconds);
    }

    fn variant_hash(&self, variant: &[u8]) -> Hash {
        CacheZone::hash(&[&self.hash[..], variant].concat())
    }

    /// Somebody else may fetch the response.
    pub(crate) fn release(&self) {
        if self.fetching.replace(false) {
            self.zone.end_fetch(&self.hash);
        }
    }
}

impl Drop for CacheUse {
    fn drop(&mut self) {
        self.release();
    }
}

/// Whether a request asks for a range that begins so far behind that the whole response is not worth fetching.
fn wants_far_range(r: &Request, max: Option<u64>) -> bool {
    let Some(max) = max else { return false };
    let Some(range) = r.headers_in.value(HeaderId::Range) else { return false };
    if max == 0 {
        return true;
    }
    let Some((unit, rest)) = range.split_at_checked(6).filter(|(_, rest)| !rest.is_empty()) else { return false };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return false;
    }
    let rest = rest.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // The end of a response is always far.
    digits == 0
        || crate::conf::value::number(&rest[..digits]).and_then(|n| u64::try_from(n).ok()).is_none_or(|n| n >= max)
}

/// The cache that a request uses.
fn zone_of(r: &Rc<Request>, conf: &CacheConf) -> Result<Option<Arc<CacheZone>>, Code> {
    let name: Bytes = match &*conf.zone {
        Which::Off => return Ok(None),
        Which::Named(name) => Bytes::copy_from_slice(name),
        Which::Variable(name) => name.eval(r),
    };
    if name.is_empty() || &name[..] == b"off" {
        return Ok(None);
    }
    let found = r.main_conf().upstream.caches.iter().find(|cache| *cache.name == name[..]);
    let found = found.cloned().ok_or_else(|| {
        r.log_bytes(Level::Error, &[b"cache \"", &name, b"\" not found"]);
        Code::INTERNAL_SERVER_ERROR
    })?;
    Ok(Some(found))
}

/// The digest of the values of the headers that `vary` names, as the client sent them.
fn variant_of(r: &Request, vary: &[u8]) -> Bytes {
    let list = r.headers_in.list.borrow();
    Bytes::from(variant(&list, vary))
}

fn variant(list: &HeaderList, vary: &[u8]) -> Vec<u8> {
    /// Lists whose spaces and empty items say nothing.
    const LISTS: [&[u8]; 3] = [b"accept-charset", b"accept-encoding", b"accept-language"];
    let is_separator = |byte: &u8| matches!(byte, b',' | b' ');
    let mut text = Vec::new();
    for name in vary.split(is_separator).filter(|name| !name.is_empty()) {
        let name = name.to_ascii_lowercase();
        text.extend_from_slice(&name);
        text.push(b':');
        for field in list.named(&name) {
            let whole = !LISTS.contains(&&name[..]);
            for item in field.value.split(|byte| !whole && is_separator(byte)).filter(|item| whole || !item.is_empty())
            {
                text.extend_from_slice(item);
                text.push(b',');
            }
        }
        text.push(b'\n');
    }
    hex(&CacheZone::hash(&text)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_go_by_the_values_of_the_named_headers() {
        let list = |value: &'static str| {
            let mut list = HeaderList::default();
            list.add("Accept-Language", value);
            list.add("X-Other", value);
            list
        };
        assert_eq!(variant(&list("de, en"), b"accept-language"), variant(&list("de,en"), b"Accept-Language"));
        assert_eq!(variant(&list("de, ,en,"), b"accept-language"), variant(&list("de,en"), b"accept-language"));
        assert_ne!(variant(&list("a,b"), b"x-other"), variant(&list("a, b"), b"x-other"));
        assert_ne!(variant(&list("de"), b"accept-language"), variant(&list("en"), b"accept-language"));
        assert_eq!(variant(&list("de"), b"X-Absent"), variant(&list("en"), b"X-Absent"));
    }
}
