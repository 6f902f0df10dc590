//! A source file and places in it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A half-open range of byte offsets in one [`Source`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

impl Span {
    /// The range from `start` up to, not including, `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// An empty span at `offset`: a place between two bytes.
    pub const fn at(offset: usize) -> Self {
        Self::new(offset, offset)
    }

    /// The smallest span that covers both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// Number of bytes.
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether the span covers no byte.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The same range as the standard library's type.
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A line and column, both counted from 1, the column in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Line number from 1.
    pub line: usize,
    /// Column in bytes from 1.
    pub column: usize,
}

/// The bytes of one file with the name under which the user knows it.
///
/// Cloning is cheap: the content is shared. The table of lines is built at the first question about a
/// line, so a file without a finding never pays for it.
#[derive(Clone, Debug)]
pub struct Source {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    bytes: Vec<u8>,
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    /// A source with the path shown to the user and its content.
    pub fn new(path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { inner: Arc::new(Inner { path: path.into(), bytes: bytes.into(), lines: OnceLock::new() }) }
    }

    /// Reads the file at `path`.
    pub fn read(path: impl AsRef<Path>) -> std::io::Result<Self> {
        let path = path.as_ref();
        Ok(Self::new(path, std::fs::read(path)?))
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The path for messages, with invalid UTF-8 replaced.
    pub fn name(&self) -> String {
        self.inner.path.to_string_lossy().into_owned()
    }

    /// The whole content.
    pub fn bytes(&self) -> &[u8] {
        &self.inner.bytes
    }

    /// The bytes of `span`, cut to the file where the span lies outside.
    pub fn slice(&self, span: Span) -> &[u8] {
        let end = span.end.min(self.bytes().len());
        self.bytes().get(span.start.min(end)..end).unwrap_or_default()
    }

    /// Line and column of an offset; an offset past the end is the place behind the last byte.
    pub fn location(&self, offset: usize) -> Location {
        let offset = offset.min(self.bytes().len());
        let lines = self.line_starts();
        let line = lines.partition_point(|&start| start <= offset);
        let start = lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        Location { line, column: offset - start + 1 }
    }

    /// The offset of a line's first byte; `None` where the file has fewer lines. Lines count from 1.
    pub fn line_start(&self, line: usize) -> Option<usize> {
        self.line_starts().get(line.checked_sub(1)?).copied()
    }

    /// The bytes of a line without its line end (LF or CRLF). Lines count from 1.
    pub fn line(&self, line: usize) -> Option<&[u8]> {
        let start = self.line_start(line)?;
        let end = self.line_start(line + 1).unwrap_or(self.bytes().len());
        let text = self.bytes().get(start..end)?;
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        Some(text.strip_suffix(b"\r").unwrap_or(text))
    }

    fn line_starts(&self) -> &[usize] {
        self.inner.lines.get_or_init(|| {
            let newlines = self.bytes().iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        let source = Source::new("a.lua", "ab\r\ncd\n");
        assert_eq!(source.location(0), Location { line: 1, column: 1 });
        assert_eq!(source.location(5), Location { line: 2, column: 2 });
        assert_eq!(source.location(99), Location { line: 3, column: 1 });
        assert_eq!(source.line(1), Some(&b"ab"[..]));
        assert_eq!(source.line(2), Some(&b"cd"[..]));
        assert_eq!(source.line(3), Some(&b""[..]));
        assert_eq!(source.line(4), None);
        assert_eq!(source.line(0), None);
    }

    #[test]
    fn a_span_outside_the_file_is_cut() {
        let source = Source::new("x", "abc");
        assert_eq!(source.slice(Span::new(1, 10)), b"bc");
        assert_eq!(source.slice(Span::new(7, 9)), b"");
    }
}
