//! Answers out of a cache, and responses on their way into one.

use std::rc::Rc;

use bytes::Bytes;

use super::conf::Store;
use super::headers::{Caching, Carriage, Passing};
use super::http_head::parse_head;
use super::protocol::Head;
use super::proxied::Proxied;
use crate::http::cache::conf::any_says_yes;
use crate::http::cache::entry::{Entry, Meta};
use crate::http::cache::freshness;
use crate::http::cache::store::{Writer, head_text};
use crate::http::cache::{CacheUse, Status};
use crate::http::code::Code;
use crate::http::header::HeaderId;
use crate::http::method::Method;
use crate::http::modules::calendar::parse_http_date;
use crate::http::output::{self, Buf};
use crate::http::path;
use crate::http::subrequest::{self, Options};
use crate::log::Level;

impl Proxied<'_> {
    /// Answers with the kept response that was found.
    pub(super) fn send_cached(&self, used: &Rc<CacheUse>) -> Code {
        let r = self.r;
        let Some(entry) = used.entry.borrow().clone() else { return Code::INTERNAL_SERVER_ERROR };
        let Some(head) = parse_head(&entry.head) else {
            r.log(Level::Crit, format_args!("a response in the cache has no valid head"));
            return Code::INTERNAL_SERVER_ERROR;
        };
        let length = entry.body_len();
        let told = head.fields.contains(HeaderId::ContentLength);
        let carriage = Carriage { content_length: told.then_some(length), ..Carriage::default() };
        let passing = Passing { r, conf: self.conf, protocol: self.protocol, caching: Caching::Kept };
        if let Some(code) = passing.accel_redirect(&head) {
            return code;
        }
        passing.pass_on(&head, &carriage);
        let code = output::send_header(r);
        if code == Code::ERROR || code.0 > 0 {
            return code;
        }
        let code = if r.header_only.get() { Code::OK } else { self.send_body(&entry) };
        if used.updates.get() && !r.background.get() {
            self.update_in_background();
        }
        code
    }

    fn send_body(&self, entry: &Entry) -> Code {
        let r = self.r;
        if entry.body_len() == 0 {
            return output::write_last(r);
        }
        let body = Buf { data: entry.body(), ..Buf::default() }.ending(r);
        if output::write(r, output::chain(body)) == Code::ERROR { Code::ERROR } else { Code::OK }
    }

    /// Fetches a newer response without letting the client wait.
    fn update_in_background(&self) {
        let r = self.r;
        let options = Options { background: true, clone: true, ..Options::default() };
        match subrequest::create(r, r.uri.get(), Some(r.args.get()), options) {
            Ok(update) => {
                update.header_only.set(true);
                subrequest::start(&update, None);
            }
            Err(error) => r.log(Level::Error, format_args!("a cached response could not be updated: {error}")),
        }
    }

    /// Begins to keep a response, if it may be kept.
    pub(super) fn begin_store(&self, head: &Head, carriage: &Carriage) -> Option<Writer> {
        let r = self.r;
        let used = self.cache.as_ref().filter(|used| used.keeps.get())?;
        let buffering = carriage.buffering.unwrap_or(*self.conf.buffering);
        let conf = &self.conf.cache;
        if !buffering || head.missing || head.status < 200 || any_says_yes(&conf.no_cache, r) {
            return None;
        }
        let now = crate::clock::now().sec;
        let fresh = freshness::of(head.status, &head.fields, *self.conf.ignore_headers, &conf.valid, now)?;
        let vary = self.vary_of(head);
        used.forget_error();
        let (hash, variant) = used.hash_for(r, &vary);
        let meta = Meta {
            key: used.key.clone(),
            valid: fresh.valid,
            stale_updating: fresh.stale_updating,
            stale_error: fresh.stale_error,
            date: now,
            vary,
            variant,
        };
        let text = head_text(head.status, &head.status_line, &head.fields);
        let folder = if used.zone.in_place {
            Some(used.zone.folder.clone())
        } else {
            self.conf.temp_path.as_ref().map(|path| path.folder.clone())
        };
        match Writer::begin(used.zone.path(&hash), folder, &meta, &text) {
            Ok(writer) => Some(writer),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                r.log_errno(Level::Crit, errno, format_args!("a response could not be written to the cache"));
                None
            }
        }
    }

    /// Keeps in place of a response that the server can't be asked (502 and 504), when `cache_valid` has a time for it.
    pub(super) fn keep_failure(&self, code: Code) -> Code {
        if let Some(used) = self.cache.as_ref().filter(|used| used.keeps.get())
            && let Ok(status @ (502 | 504)) = u16::try_from(code.0)
            && let Some(seconds) = freshness::configured(status, &self.conf.cache.valid)
        {
            used.keep_error(status, seconds);
        }
        code
    }

    /// Keeps the status of a response that becomes an error page, as long as the response might have been kept.
    pub(super) fn keep_intercepted(&self, head: &Head) {
        let now = crate::clock::now().sec;
        let conf = &self.conf.cache;
        if let Some(used) = self.cache.as_ref().filter(|used| used.keeps.get() && !any_says_yes(&conf.no_cache, self.r))
            && let Some(fresh) = freshness::of(head.status, &head.fields, *self.conf.ignore_headers, &conf.valid, now)
        {
            used.keep_error(head.status, fresh.valid - now);
        }
    }

    /// Begins to keep a response as a plain file (`store`).
    pub(super) fn begin_plain_store(&self, head: &Head) -> Option<Writer> {
        use std::os::unix::ffi::OsStrExt as _;
        let r = self.r;
        let store = (*self.conf.store).as_ref()?;
        if head.status != 200 || !*self.conf.buffering || r.header_only.get() || r.method.get() == Method::HEAD {
            return None;
        }
        let target = match store {
            Store::Mapped => path::map_uri(r).as_path().to_path_buf(),
            Store::Path(path) => std::ffi::OsStr::from_bytes(&path.eval(r)).into(),
        };
        let folder = self.conf.temp_path.as_ref().map(|path| path.folder.clone());
        let modified = head.fields.value(HeaderId::LastModified).and_then(|value| parse_http_date(&value));
        match Writer::plain(target, folder, *self.conf.store_access, modified) {
            Ok(writer) => Some(writer),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                r.log_errno(Level::Crit, errno, format_args!("a response could not be stored"));
                None
            }
        }
    }

    /// The names in `Vary`, when they count.
    fn vary_of(&self, head: &Head) -> Bytes {
        use super::conf::Ignored;
        if *self.conf.ignore_headers & Ignored::VARY != 0 {
            return Bytes::new();
        }
        let names: Vec<&[u8]> = head.fields.named(b"Vary").map(|field| &field.value[..]).collect();
        names.join(&b","[..]).into()
    }

    /// The server says that the kept response is still good: it is fresh again, and answers.
    pub(super) fn revalidated(&self, head: &Head) -> Option<Code> {
        let used = self.cache.as_ref()?;
        let entry = used.entry.borrow().clone()?;
        if head.status != 304 || used.status.get() != Status::Expired || !*self.conf.cache.revalidate {
            return None;
        }
        let kept = parse_head(&entry.head)?;
        let now = crate::clock::now().sec;
        let conf = &self.conf.cache;
        // What the answer does not say, the kept head does.
        let ignored = *self.conf.ignore_headers;
        let told = freshness::told(&head.fields, ignored, now);
        if let Some(fresh) = told.or_else(|| freshness::of(kept.status, &kept.fields, ignored, &conf.valid, now)) {
            let (valid, stale_updating, stale_error) = (fresh.valid, fresh.stale_updating, fresh.stale_error);
            let meta = Meta { valid, stale_updating, stale_error, date: now, ..entry.meta.clone() };
            let (hash, _) = used.hash_for(self.r, &entry.meta.vary);
            if let Err(error) = meta.rewrite(&used.zone.path(&hash), &entry.head) {
                let errno = error.raw_os_error().unwrap_or(0);
                self.r.log_errno(Level::Crit, errno, format_args!("a response in the cache could not be renewed"));
            }
        }
        used.status.set(Status::Revalidated);
        used.release();
        Some(self.send_cached(used))
    }
}
