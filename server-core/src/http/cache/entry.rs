//! A kept response: a file with what is to know about it, its head as HTTP/1 text, and its body.
//!
//! The file begins with a line that names the format, then lines `name value`, then an empty line. It names its key,
//! since two keys may have one digest by somebody's design.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;

use crate::conf::value::number;
use crate::http::output::Data;

/// The first line of a file.
const FORMAT: &[u8] = b"rsty-cache 1";
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
        let mut out = [FORMAT, b"\n"].concat();
        let mut line = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
            // Keys may hold anything.
            out.extend(value.escape_ascii());
            out.push(b'\n');
        };
        line("key", &self.key);
        for (name, value) in [
            ("valid", self.valid),
            ("stale-updating", self.stale_updating),
            ("stale-error", self.stale_error),
            ("date", self.date),
            ("head", head.len() as i64),
        ] {
            // Always as long, so that it can be replaced in the file.
            line(name, format!("{value:020}").as_bytes());
        }
        line("vary", &self.vary);
        line("variant", &self.variant);
        out.push(b'\n');
        out.extend_from_slice(head);
        out
    }
}

impl Meta {
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
    let mut meta = Meta::default();
    let mut at = 0;
    let mut length = 0;
    let mut lines = 0;
    loop {
        let rest = start.get(at..)?;
        let end = memchr::memchr(b'\n', rest)?;
        let line = &rest[..end];
        at += end + 1;
        lines += 1;
        if lines == 1 {
            if line != FORMAT {
                return None;
            }
            continue;
        }
        if line.is_empty() {
            return (start.len() >= at + length).then_some((meta, at, length));
        }
        let space = memchr::memchr(b' ', line)?;
        let (name, text) = (&line[..space], &line[space + 1..]);
        let time = || number(text);
        let value = || unescape(start.slice_ref(text));
        match name {
            b"key" => meta.key = value()?,
            b"valid" => meta.valid = time()?,
            b"stale-updating" => meta.stale_updating = time()?,
            b"stale-error" => meta.stale_error = time()?,
            b"date" => meta.date = time()?,
            b"head" => length = usize::try_from(time()?).ok()?,
            b"vary" => meta.vary = value()?,
            b"variant" => meta.variant = value()?,
            _ => return None,
        }
    }
}

fn unescape(text: Bytes) -> Option<Bytes> {
    if memchr::memchr(b'\\', &text).is_none() {
        return Some(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next()? {
            b't' => b'\t',
            b'r' => b'\r',
            b'n' => b'\n',
            b'x' => {
                let digits = [*bytes.next()?, *bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    Some(out.into())
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
            let mut text = b"rsty-cache 1\n".to_vec();
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
