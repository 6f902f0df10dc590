//! The head of a request, after its request line.

use std::cell::{Cell, RefCell};

use bytes::Bytes;

use super::header::{HeaderId, HeaderList};
use super::text::Text;

/// What the `Connection` header said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionType {
    /// Nothing we know.
    #[default]
    Unset,
    /// `close`
    Close,
    /// `keep-alive`
    KeepAlive,
}

/// Request headers and what was derived from them.
pub struct HeadersIn {
    /// All fields as they came.
    pub list: RefCell<HeaderList>,
    /// The host of the request (from the request line or `Host`), lower case, without port.
    pub server: Text,
    /// The port behind it; 0 when there was none.
    pub port: Cell<u16>,
    /// The declared body length; -1 when there is none.
    pub content_length: Cell<i64>,
    /// Whether the body comes in chunks.
    pub chunked: Cell<bool>,
    /// What `Connection` asked for.
    pub connection_type: Cell<ConnectionType>,
    /// Seconds of the `Keep-Alive` header; -1 when there was none.
    pub keep_alive: Cell<i64>,
    /// The user agent is an MSIE.
    pub msie: Cell<bool>,
    /// The user agent is MSIE 6 or older.
    pub msie6: Cell<bool>,
    /// The user agent is an Opera.
    pub opera: Cell<bool>,
    /// The user agent is a Chrome.
    pub chrome: Cell<bool>,
    /// The user agent is a Safari (not Chrome).
    pub safari: Cell<bool>,
    /// User and password of `Authorization: Basic`, once somebody asked.
    pub basic: RefCell<Option<(Bytes, Bytes)>>,
}

impl Default for HeadersIn {
    fn default() -> Self {
        Self {
            list: RefCell::default(),
            server: Text::default(),
            port: Cell::new(0),
            content_length: Cell::new(-1),
            chunked: Cell::new(false),
            connection_type: Cell::default(),
            keep_alive: Cell::new(-1),
            msie: Cell::new(false),
            msie6: Cell::new(false),
            opera: Cell::new(false),
            chrome: Cell::new(false),
            safari: Cell::new(false),
            basic: RefCell::default(),
        }
    }
}

impl HeadersIn {
    /// Forgets everything, for the next request of the connection.
    pub fn reset(&self) {
        self.list.borrow_mut().clear();
        self.server.clear();
        self.port.set(0);
        self.content_length.set(-1);
        self.chunked.set(false);
        self.connection_type.set(ConnectionType::Unset);
        self.keep_alive.set(-1);
        self.msie.set(false);
        self.msie6.set(false);
        self.opera.set(false);
        self.chrome.set(false);
        self.safari.set(false);
        self.basic.replace(None);
    }

    /// Takes over another request's head, for a subrequest.
    pub fn copy_from(&self, other: &Self) {
        *self.list.borrow_mut() = other.list.borrow().clone();
        self.server.set(other.server.get());
        self.port.set(other.port.get());
        self.content_length.set(other.content_length.get());
        self.chunked.set(other.chunked.get());
        self.connection_type.set(other.connection_type.get());
        self.keep_alive.set(other.keep_alive.get());
        self.msie.set(other.msie.get());
        self.msie6.set(other.msie6.get());
        self.opera.set(other.opera.get());
        self.chrome.set(other.chrome.get());
        self.safari.set(other.safari.get());
    }

    /// Recognises browsers that need special care.
    pub fn set_user_agent(&self, value: &[u8]) {
        for flag in [&self.msie, &self.msie6, &self.opera, &self.chrome, &self.safari] {
            flag.set(false);
        }
        let find = |text: &str| memchr::memmem::find(value, text.as_bytes());
        if let Some(at) = find("MSIE ")
            && let Some(version) = value.get(at + 5..).filter(|rest| rest.len() > 2)
        {
            self.msie.set(true);
            let old = match version {
                [b'4' | b'5', b'.', ..] => true,
                [b'6', b'.', ..] => find("SV1").is_none_or(|sv1| sv1 < at),
                _ => false,
            };
            self.msie6.set(old);
        }
        if find("Opera").is_some() {
            self.opera.set(true);
            self.msie.set(false);
            self.msie6.set(false);
        }
        if !self.msie.get() && !self.opera.get() && find("Gecko/").is_none() {
            if find("Chrome/").is_some() {
                self.chrome.set(true);
            } else if find("Safari/").is_some() && find("Mac OS X").is_some() {
                self.safari.set(true);
            }
        }
    }

    /// The value of a known header.
    pub fn value(&self, id: HeaderId) -> Option<Bytes> {
        self.list.borrow().value(id)
    }

    /// Whether a known header is there.
    pub fn contains(&self, id: HeaderId) -> bool {
        self.list.borrow().contains(id)
    }
}
