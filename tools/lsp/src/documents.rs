//! Open files, and the protocol's places in them.

use std::collections::HashMap;
use std::path::PathBuf;

use rsty_diag::{Source, Span};
use rsty_lint::InputKind;
use serde_json::{Value, json};

/// How the client counts characters in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-16 code units, unless both sides agree on something else.
    #[default]
    Utf16,
    /// Bytes.
    Utf8,
}

/// An open file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its name and content.
    pub source: Source,
    /// What it holds.
    pub kind: InputKind,
    /// The client's number for this content.
    pub version: i64,
}

/// The open files by their URI.
#[derive(Debug, Default)]
pub struct Documents {
    open: HashMap<String, Document>,
    /// How places are counted.
    pub encoding: Encoding,
}

impl Documents {
    /// No files, for a client that counts in this way.
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, ..Self::default() }
    }

    /// Takes in a file's content.
    pub fn set(&mut self, uri: &str, text: impl Into<Vec<u8>>, version: i64) {
        let path = path_of(uri);
        let kind = InputKind::of(&path).unwrap_or(InputKind::Lua);
        let source = Source::new(path, text.into());
        self.open.insert(uri.to_owned(), Document { source, kind, version });
    }

    /// Takes in one of the protocol's changes: the text of a range, or without a range the whole text.
    pub fn change(&mut self, uri: &str, change: &Value, version: i64) {
        let Some(new) = change.get("text").and_then(Value::as_str) else { return };
        let Some(document) = self.find(uri) else { return };
        let offset = |name: &str| self.offset(&document.source, change.pointer(name)?);
        let text = match (offset("/range/start"), offset("/range/end")) {
            (Some(start), Some(end)) => {
                let old = document.source.bytes();
                let end = end.clamp(start, old.len());
                [old.get(..start).unwrap_or(old), new.as_bytes(), old.get(end..).unwrap_or_default()].concat()
            }
            _ => new.as_bytes().to_vec(),
        };
        self.set(uri, text, version);
    }

    /// Forgets a file.
    pub fn close(&mut self, uri: &str) {
        self.open.remove(uri);
    }

    /// The names of all open files, sorted.
    pub fn uris(&self) -> Vec<&str> {
        let mut uris: Vec<&str> = self.open.keys().map(String::as_str).collect();
        uris.sort_unstable();
        uris
    }

    /// An open file.
    pub fn find(&self, uri: &str) -> Option<&Document> {
        self.open.get(uri)
    }

    /// A place as the protocol gives it.
    pub fn position(&self, source: &Source, offset: usize) -> Value {
        let at = source.location(offset);
        let start = source.line_start(at.line).unwrap_or_default();
        let before = source.slice(Span::new(start, start + at.column - 1));
        let character = match self.encoding {
            Encoding::Utf8 => before.len(),
            Encoding::Utf16 => String::from_utf8_lossy(before).encode_utf16().count(),
        };
        json!({ "line": at.line - 1, "character": character })
    }

    /// A span as the protocol gives it.
    pub fn range(&self, source: &Source, span: Span) -> Value {
        json!({ "start": self.position(source, span.start), "end": self.position(source, span.end) })
    }

    /// The offset of one of the protocol's places. A place behind the end of a line is that end.
    pub fn offset(&self, source: &Source, position: &Value) -> Option<usize> {
        let number = |name: &str| position.get(name)?.as_u64().and_then(|number| usize::try_from(number).ok());
        let (line, character) = (number("line")?.checked_add(1)?, number("character")?);
        let Some(start) = source.line_start(line) else { return Some(source.bytes().len()) };
        let next = source.line_start(line + 1).unwrap_or(source.bytes().len());
        let text = source.slice(Span::new(start, next));
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if self.encoding == Encoding::Utf8 {
            return Some(start + character.min(text.len()));
        }
        let (mut units, mut bytes) = (0, 0);
        for letter in String::from_utf8_lossy(text).chars() {
            if units >= character {
                break;
            }
            units += letter.len_utf16();
            bytes += letter.len_utf8();
        }
        Some(start + bytes.min(text.len()))
    }
}

/// The path of a `file:` URI; other URIs stand for themselves.
pub(crate) fn path_of(uri: &str) -> PathBuf {
    let Some(path) = uri.strip_prefix("file://") else { return PathBuf::from(uri) };
    let path = path.find('/').map_or(path, |slash| &path[slash..]);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}

/// The `file:` URI of a path.
pub(crate) fn uri_of(path: &std::path::Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let escape = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    format!("file://{}", path.as_os_str().as_encoded_bytes().iter().map(escape).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_both_ways_in_both_countings() {
        let mut documents = Documents::default();
        let source = Source::new("a.lua", "x\nä😀b\n");
        for (encoding, character) in [(Encoding::Utf16, 3), (Encoding::Utf8, 6)] {
            documents.encoding = encoding;
            let place = documents.position(&source, 8);
            assert_eq!(place, json!({ "line": 1, "character": character }));
            assert_eq!(documents.offset(&source, &place), Some(8));
        }
        assert_eq!(documents.offset(&source, &json!({ "line": 0, "character": 99 })), Some(1));
        assert_eq!(documents.offset(&source, &json!({ "line": 99, "character": 0 })), Some(10));
        assert_eq!(documents.offset(&source, &json!({ "line": -1 })), None);
    }

    #[test]
    fn uris_and_paths_go_both_ways() {
        assert_eq!(path_of("file:///a%20b/c.lua"), PathBuf::from("/a b/c.lua"));
        assert_eq!(path_of("file:///100%"), PathBuf::from("/100%"));
        assert_eq!(uri_of("/a b/ü.t".as_ref()), "file:///a%20b/%C3%BC.t");
    }
}
