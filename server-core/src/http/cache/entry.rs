//! A kept response: a file with what is to know about it, its head as HTTP/1 text, and its body.
//!
//! The file begins with the name of the format; [`NUMBERS`] numbers follow (eight bytes each, the lowest first): the times
//! of [`Meta`] and how long key, `vary`, `variant` and head are, which come next in this order. It has its key, since two
//! keys may have one digest by somebody's design.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;

use crate::http::output::Data;

/// How a file begins.
const FORMAT: &[u8] = b"rsty-cache 2\n";
/// The numbers behind that.
const NUMBERS: usize = 8;
/// The longest beginning that is read: what is to know, and the head.
const START_MAX: usize = 256 * 1024;
/// What is read of a file at first.
const START: usize = 8192;

/// What is to know about a kept response. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The key.
    pub(crate) key: Bytes,
    /// Until when it is fresh.
    pub(crate) valid: i64,
    /// Until when it may be used while a newer one is fetched.
    pub(crate) stale_updating: i64,
    /// Until when it may be used when no newer one can be had.
    pub(crate) stale_error: i64,
    /// When it was made.
    pub(crate) date: i64,
    /// Names of the headers on whose values it depends, and the digest of these values.
    pub(crate) vary: Bytes,
    /// See `vary`.
    pub(crate) variant: Bytes,
}

/// A kept response, open.
#[derive(Debug)]
pub(crate) struct Entry {
    file: Rc<File>,
    /// What is to know.
    pub(crate) meta: Meta,
    /// The head as HTTP/1 text.
    pub(crate) head: Bytes,
    /// What was read of the file.
    start: Bytes,
    /// Where the body begins.
    body_start: usize,
    /// Where it ends.
    end: u64,
}

impl Meta {
    /// The beginning of a file.
    pub(crate) fn write(&self, head: &[u8]) -> Vec<u8> {
        let texts = [&self.key[..], &self.vary, &self.variant, head];
        let times = [self.valid, self.stale_updating, self.stale_error, self.date];
        let mut out = FORMAT.to_vec();
        for number in times.into_iter().chain(texts.map(|text| text.len() as i64)) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend(texts.concat());
        out
    }

    /// Replaces what a file says about its response, whose head stays the same.
    pub(crate) fn rewrite(&self, path: &Path, head: &[u8]) -> io::Result<()> {
        let file = File::options().write(true).open(path)?;
        file.write_all_at(&self.write(head), 0)
    }
}

impl Entry {
    /// Opens a file; `None` when there is none, or it is for another key or damaged.
    pub(crate) fn open(path: &Path, key: &[u8]) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = file.metadata()?.len();
        let mut start = read_start(&file, end, START)?;
        let mut parsed = parse(&start);
        if parsed.is_none() && end > start.len() as u64 {
            start = read_start(&file, end, START_MAX)?;
            parsed = parse(&start);
        }
        let Some((meta, at, length)) = parsed.filter(|(meta, ..)| meta.key == key) else { return Ok(None) };
        let body_start = at + length;
        let head = start.slice(at..body_start);
        Ok(Some(Self { file: Rc::new(file), meta, head, start, body_start, end }))
    }

    /// The length of the body.
    pub(crate) fn body_len(&self) -> u64 {
        self.end - self.body_start as u64
    }

    /// The body: from memory when it was read with the rest.
    pub(crate) fn body(&self) -> Data {
        if self.start.len() as u64 == self.end {
            return Data::Bytes(self.start.slice(self.body_start..));
        }
        Data::File { file: Rc::clone(&self.file), start: self.body_start as u64, end: self.end }
    }
}

/// The first bytes of a file that ends at `end`, at most `most`.
fn read_start(file: &File, end: u64, most: usize) -> io::Result<Bytes> {
    let mut start = vec![0; usize::try_from(end).map_or(most, |end| end.min(most))];
    file.read_exact_at(&mut start, 0)?;
    Ok(start.into())
}

/// What is to know, and where the head begins and how long it is.
fn parse(start: &Bytes) -> Option<(Meta, usize, usize)> {
    let (numbers, _) = start.strip_prefix(FORMAT)?.as_chunks::<8>();
    let numbers = numbers.first_chunk::<NUMBERS>()?.map(i64::from_le_bytes);
    let [valid, stale_updating, stale_error, date, key, vary, variant, head] = numbers;
    let mut at = FORMAT.len() + NUMBERS * size_of::<i64>();
    let mut text = |length: i64| {
        let begin = at;
        at = begin.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= start.len())?;
        Some(start.slice(begin..at))
    };
    let (key, vary, variant, head) = (text(key)?, text(vary)?, text(variant)?, text(head)?);
    let meta = Meta { key, valid, stale_updating, stale_error, date, vary, variant };
    Some((meta, at - head.len(), head.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(key in proptest::collection::vec(any::<u8>(), 0..40), valid in 0i64..1 << 40) {
            let meta = Meta { key: key.into(), valid, date: 7, vary: Bytes::from_static(b"Accept"), ..Meta::default() };
            let head = b"HTTP/1.1 200 OK\r\n\r\n";
            let file = Bytes::from(meta.write(head));
            let (read, at, length) = parse(&file).expect("just written");
            prop_assert_eq!((read, &file[at..at + length]), (meta, &head[..]));
        }

        #[test]
        fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut text = FORMAT.to_vec();
            text.extend_from_slice(&bytes);
            let _ = (parse(&bytes.into()), parse(&text.into()));
        }
    }

    #[test]
    fn a_file_for_another_key_is_not_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("e");
        let meta = Meta { key: Bytes::from_static(b"one"), ..Meta::default() };
        std::fs::write(&path, [&meta.write(b"head")[..], b"body"].concat()).expect("written");
        assert!(Entry::open(&path, b"two").expect("readable").is_none());
        let entry = Entry::open(&path, b"one").expect("readable").expect("its key");
        assert_eq!((&entry.head[..], entry.body_len()), (&b"head"[..], 4));
        assert!(matches!(entry.body(), Data::Bytes(body) if body == "body"));
        assert!(Entry::open(&folder.path().join("none"), b"one").expect("readable").is_none());
        std::fs::write(&path, [&meta.write(b"head")[..], &[b'x'; START]].concat()).expect("written");
        let entry = Entry::open(&path, b"one").expect("readable").expect("its key");
        let Data::File { start, end, .. } = entry.body() else { panic!("too much for one read") };
        assert_eq!((end - start, entry.body_len()), (START as u64, START as u64));
    }
}
