//! Request methods and protocol versions, with nginx's numbers (Lua sees them).

/// A request method: one bit each, so that sets of methods are unions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub u32);

impl Method {
    /// Anything not listed here.
    pub const UNKNOWN: Self = Self(0x1);
    /// `GET`
    pub const GET: Self = Self(0x2);
    /// `HEAD`
    pub const HEAD: Self = Self(0x4);
    /// `POST`
    pub const POST: Self = Self(0x8);
    /// `PUT`
    pub const PUT: Self = Self(0x10);
    /// `DELETE`
    pub const DELETE: Self = Self(0x20);
    /// `MKCOL`
    pub const MKCOL: Self = Self(0x40);
    /// `COPY`
    pub const COPY: Self = Self(0x80);
    /// `MOVE`
    pub const MOVE: Self = Self(0x100);
    /// `OPTIONS`
    pub const OPTIONS: Self = Self(0x200);
    /// `PROPFIND`
    pub const PROPFIND: Self = Self(0x400);
    /// `PROPPATCH`
    pub const PROPPATCH: Self = Self(0x800);
    /// `LOCK`
    pub const LOCK: Self = Self(0x1000);
    /// `UNLOCK`
    pub const UNLOCK: Self = Self(0x2000);
    /// `PATCH`
    pub const PATCH: Self = Self(0x4000);
    /// `TRACE`
    pub const TRACE: Self = Self(0x8000);
    /// `CONNECT`
    pub const CONNECT: Self = Self(0x1_0000);

    /// Whether `self` is one of `set`.
    pub const fn is_one_of(self, set: u32) -> bool {
        self.0 & set != 0
    }

    /// The method with this (case-sensitive) name.
    pub fn of(name: &[u8]) -> Self {
        if name == b"GET" {
            return Self::GET;
        }
        NAMES.iter().find(|(known, _)| *known == name).map_or(Self::UNKNOWN, |&(_, method)| method)
    }

    /// Its name; unknown methods have none.
    pub fn name(self) -> Option<&'static [u8]> {
        NAMES.iter().find(|&&(_, method)| method == self).map(|&(name, _)| name)
    }
}

const NAMES: [(&[u8], Method); 16] = [
    (b"GET", Method::GET),
    (b"POST", Method::POST),
    (b"HEAD", Method::HEAD),
    (b"PUT", Method::PUT),
    (b"DELETE", Method::DELETE),
    (b"MKCOL", Method::MKCOL),
    (b"COPY", Method::COPY),
    (b"MOVE", Method::MOVE),
    (b"OPTIONS", Method::OPTIONS),
    (b"PROPFIND", Method::PROPFIND),
    (b"PROPPATCH", Method::PROPPATCH),
    (b"LOCK", Method::LOCK),
    (b"UNLOCK", Method::UNLOCK),
    (b"PATCH", Method::PATCH),
    (b"TRACE", Method::TRACE),
    (b"CONNECT", Method::CONNECT),
];

/// A protocol version as nginx numbers it: major × 1000 + minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16);

impl Version {
    /// HTTP/0.9: a request line without a version.
    pub const HTTP_09: Self = Self(9);
    /// HTTP/1.0
    pub const HTTP_10: Self = Self(1000);
    /// HTTP/1.1
    pub const HTTP_11: Self = Self(1001);
    /// HTTP/2
    pub const HTTP_20: Self = Self(2000);
}
