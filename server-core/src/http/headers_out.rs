//! The head of a response.

use std::cell::{Cell, RefCell};

use bytes::Bytes;

use super::header::{HeaderId, HeaderList};
use super::text::Text;

/// Status, headers and what the encoder derives headers from.
///
/// `Content-Type`, `Content-Length` and `Last-Modified` have fields of their own; setting a `Server`, `Date`
/// or `Location` header in `list` replaces the one that the encoder would write.
pub struct HeadersOut {
    /// All other fields, in order.
    pub list: RefCell<HeaderList>,
    /// Trailers, sent after a chunked body.
    pub trailers: RefCell<HeaderList>,
    /// The status; 0 until somebody decided.
    pub status: Cell<u16>,
    /// A status line in place of the standard one (`404 Gone fishing`).
    pub status_line: Text,
    /// The length of the body; -1 when unknown.
    pub content_length: Cell<i64>,
    /// The media type, without charset; empty when there is none.
    pub content_type: Text,
    /// The charset that is appended to the media type; empty when there is none.
    pub charset: Text,
    /// Modification time in seconds; -1 when unknown.
    pub last_modified: Cell<i64>,
    /// The offset at which a range starts (for filters behind the range filter).
    pub content_offset: Cell<i64>,
    /// The server itself set `Location`; a bare path in it is completed with scheme and host.
    pub redirects_locally: Cell<bool>,
    /// No `Server` header is sent unless `list` has one.
    pub hide_server: Cell<bool>,
    /// No `Date` header is sent unless `list` has one.
    pub hide_date: Cell<bool>,
}

impl Default for HeadersOut {
    fn default() -> Self {
        Self {
            list: RefCell::default(),
            trailers: RefCell::default(),
            status: Cell::new(0),
            status_line: Text::default(),
            content_length: Cell::new(-1),
            content_type: Text::default(),
            charset: Text::default(),
            last_modified: Cell::new(-1),
            content_offset: Cell::new(0),
            redirects_locally: Cell::new(false),
            hide_server: Cell::new(false),
            hide_date: Cell::new(false),
        }
    }
}

impl HeadersOut {
    /// Forgets everything.
    pub fn reset(&self) {
        self.list.borrow_mut().clear();
        self.trailers.borrow_mut().clear();
        self.status.set(0);
        self.status_line.clear();
        self.content_length.set(-1);
        self.content_type.clear();
        self.charset.clear();
        self.last_modified.set(-1);
        self.content_offset.set(0);
        self.redirects_locally.set(false);
        self.hide_server.set(false);
        self.hide_date.set(false);
    }

    /// The value of a known header of `list`.
    pub fn value(&self, id: HeaderId) -> Option<Bytes> {
        self.list.borrow().value(id)
    }

    /// Appends a header to `list`.
    pub fn add(&self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.list.borrow_mut().add(name, value);
    }

    /// Sets a header of `list`.
    pub fn set(&self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.list.borrow_mut().set(name, value);
    }

    /// Forgets the length of the body (`ngx_http_clear_content_length`).
    pub fn clear_content_length(&self) {
        self.content_length.set(-1);
        self.list.borrow_mut().remove_known(HeaderId::ContentLength);
    }

    /// Forgets that ranges are possible (`ngx_http_clear_accept_ranges`).
    pub fn clear_accept_ranges(&self) {
        self.list.borrow_mut().remove_known(HeaderId::AcceptRanges);
    }

    /// Forgets the modification time (`ngx_http_clear_last_modified`).
    pub fn clear_last_modified(&self) {
        self.last_modified.set(-1);
        self.list.borrow_mut().remove_known(HeaderId::LastModified);
    }

    /// Forgets the entity tag (`ngx_http_clear_etag`).
    pub fn clear_etag(&self) {
        self.list.borrow_mut().remove_known(HeaderId::Etag);
    }

    /// Leaves out a header that the encoder writes by itself: `Server` or `Date`.
    pub fn hide(&self, id: HeaderId) {
        self.list.borrow_mut().remove_known(id);
        match id {
            HeaderId::Server => self.hide_server.set(true),
            HeaderId::Date => self.hide_date.set(true),
            _ => {}
        }
    }

    /// Sets where the server itself redirects to. What applications set with [`HeadersOut::set`] stays as it is.
    pub fn redirect_to(&self, target: impl Into<Bytes>) {
        self.clear_location();
        self.add(Bytes::from_static(b"Location"), target);
        self.redirects_locally.set(true);
    }

    /// Forgets a location (`ngx_http_clear_location`).
    pub fn clear_location(&self) {
        self.redirects_locally.set(false);
        self.list.borrow_mut().remove_known(HeaderId::Location);
    }

    /// Makes the entity tag weak, or drops one that can't be (`ngx_http_weak_etag`).
    pub fn weaken_etag(&self) {
        let mut list = self.list.borrow_mut();
        let Some(etag) = list.iter_mut().find(|header| header.id == HeaderId::Etag) else { return };
        if etag.value.starts_with(b"W/") {
            return;
        }
        if etag.value.first() != Some(&b'"') {
            list.remove_known(HeaderId::Etag);
            return;
        }
        etag.value = [b"W/", &*etag.value].concat().into();
    }
}
