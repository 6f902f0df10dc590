//! Header fields: an ordered list that keeps case and duplicates, with known names recognised once.

use bytes::Bytes;

macro_rules! known_headers {
    ($($id:ident = $name:literal),+ $(,)?) => {
        /// A header that the server itself looks at; all others are [`HeaderId::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum HeaderId {
            $(#[doc = concat!("`", $name, "`")] $id,)+
            /// Any other header.
            Other,
        }

        impl HeaderId {
            /// Recognises a name in any case.
            pub fn of(name: &[u8]) -> Self {
                const KNOWN: [HeaderId; [$(HeaderId::$id),+].len()] = [$(HeaderId::$id),+];
                const BY_LENGTH: [HeaderId; KNOWN.len()] = by_length(KNOWN);
                /// Where those begin whose names have a length.
                const STARTS: [u8; LONGEST + 2] = starts(&BY_LENGTH);
                $(const { assert!(is_lowercase($name.as_bytes()) && $name.len() <= LONGEST) };)+
                let length = name.len();
                let (Some(&start), Some(&end)) = (STARTS.get(length), STARTS.get(length + 1)) else {
                    return Self::Other;
                };
                let known = BY_LENGTH.get(usize::from(start)..usize::from(end)).unwrap_or_default();
                known.iter().copied().find(|id| name.eq_ignore_ascii_case(id.name().as_bytes())).unwrap_or(Self::Other)
            }

            /// The name in lower case; [`HeaderId::Other`] has none.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)+
                    Self::Other => "",
                }
            }
        }
    };
}

/// The longest name of a known header.
const LONGEST: usize = 19;

/// Known headers, in the order of the lengths of their names.
const fn by_length<const N: usize>(mut known: [HeaderId; N]) -> [HeaderId; N] {
    let mut sorted = 1;
    while sorted < N {
        let mut at = sorted;
        while at > 0 && known[at - 1].name().len() > known[at].name().len() {
            known.swap(at - 1, at);
            at -= 1;
        }
        sorted += 1;
    }
    known
}

/// For each length, where its names begin among those in the order of lengths.
const fn starts(ordered: &[HeaderId]) -> [u8; LONGEST + 2] {
    let mut starts = [ordered.len() as u8; LONGEST + 2];
    let mut length = 0;
    let mut at = 0;
    while length < starts.len() {
        while at < ordered.len() && ordered[at].name().len() < length {
            at += 1;
        }
        starts[length] = at as u8;
        length += 1;
    }
    starts
}

const fn is_lowercase(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if name[at].is_ascii_uppercase() {
            return false;
        }
        at += 1;
    }
    true
}

known_headers! {
    Host = "host",
    Connection = "connection",
    UserAgent = "user-agent",
    Accept = "accept",
    ContentType = "content-type",
    ContentLength = "content-length",
    Cookie = "cookie",
    IfModifiedSince = "if-modified-since",
    IfUnmodifiedSince = "if-unmodified-since",
    IfMatch = "if-match",
    IfNoneMatch = "if-none-match",
    IfRange = "if-range",
    Referer = "referer",
    ContentRange = "content-range",
    Range = "range",
    TransferEncoding = "transfer-encoding",
    Te = "te",
    Expect = "expect",
    Upgrade = "upgrade",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Authorization = "authorization",
    KeepAlive = "keep-alive",
    XForwardedFor = "x-forwarded-for",
    XRealIp = "x-real-ip",
    Via = "via",
    Depth = "depth",
    Destination = "destination",
    Overwrite = "overwrite",
    Date = "date",
    Server = "server",
    ContentEncoding = "content-encoding",
    Location = "location",
    Refresh = "refresh",
    LastModified = "last-modified",
    AcceptRanges = "accept-ranges",
    WwwAuthenticate = "www-authenticate",
    Expires = "expires",
    Etag = "etag",
    CacheControl = "cache-control",
    Link = "link",
    Vary = "vary",
    Allow = "allow",
    SetCookie = "set-cookie",
    Age = "age",
    Trailer = "trailer",
    ProxyConnection = "proxy-connection",
    RetryAfter = "retry-after",
}

/// One header field.
#[derive(Clone, Debug)]
pub struct Header {
    /// Which known header it is.
    pub id: HeaderId,
    /// The name as written.
    pub name: Bytes,
    /// The value, without the white space around it.
    pub value: Bytes,
}

impl Header {
    /// A header from its parts.
    pub fn new(name: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        let name = name.into();
        Self { id: HeaderId::of(&name), name, value: value.into() }
    }

    /// Whether it is the header `name` (which is compared in any case).
    pub fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl<'a> IntoIterator for &'a HeaderList {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut HeaderList {
    type Item = &'a mut Header;
    type IntoIter = std::slice::IterMut<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// Header fields in the order in which they came or will go.
#[derive(Clone, Debug, Default)]
pub struct HeaderList {
    fields: Vec<Header>,
}

impl HeaderList {
    /// All fields in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.fields.iter()
    }

    /// All fields in order, to change values in place.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Header> {
        self.fields.iter_mut()
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Removes all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.fields.clear();
    }

    /// The first field with this known name.
    pub fn first(&self, id: HeaderId) -> Option<&Header> {
        self.fields.iter().find(|field| field.id == id)
    }

    /// The value of the first field with this known name.
    pub fn value(&self, id: HeaderId) -> Option<Bytes> {
        self.first(id).map(|field| field.value.clone())
    }

    /// Whether there is a field with this known name.
    pub fn contains(&self, id: HeaderId) -> bool {
        self.first(id).is_some()
    }

    /// The fields with this name, in any case.
    pub fn named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Header> + 'a {
        self.fields.iter().filter(move |field| field.is(name))
    }

    /// No fields yet, and room for as many as most heads have.
    pub fn with_room() -> Self {
        Self { fields: Vec::with_capacity(12) }
    }

    /// Appends a field.
    pub fn push(&mut self, header: Header) {
        self.fields.push(header);
    }

    /// Appends a field from its parts.
    pub fn add(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.fields.push(Header::new(name, value));
    }

    /// Sets the first field with this name, removes the others; appends when there was none.
    pub fn set(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        let name = name.into();
        let Some(first) = self.fields.iter().position(|field| field.is(&name)) else {
            self.add(name, value);
            return;
        };
        self.fields[first].value = value.into();
        let mut index = 0;
        self.fields.retain(|field| {
            let keep = index <= first || !field.is(&name);
            index += 1;
            keep
        });
    }

    /// Removes all fields with this name; says whether there were any.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.fields.len();
        self.fields.retain(|field| !field.is(name));
        self.fields.len() != before
    }

    /// Removes all fields with this known name.
    pub fn remove_known(&mut self, id: HeaderId) {
        self.fields.retain(|field| field.id != id);
    }

    /// Keeps the fields for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&Header) -> bool) {
        self.fields.retain(keep);
    }

    /// Puts a field at a position (0 is the first).
    pub fn insert(&mut self, at: usize, header: Header) {
        self.fields.insert(at.min(self.fields.len()), header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_in_any_case() {
        let known = [HeaderId::Host, HeaderId::Te, HeaderId::Etag, HeaderId::IfUnmodifiedSince, HeaderId::RetryAfter];
        for id in known {
            assert_eq!(HeaderId::of(id.name().to_ascii_uppercase().as_bytes()), id);
        }
        for name in ["", "x", "hos", "hosts", "if-unmodified-sinc", "a-name-longer-than-any-known"] {
            assert_eq!(HeaderId::of(name.as_bytes()), HeaderId::Other, "{name}");
        }
    }
}
