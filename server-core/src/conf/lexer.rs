//! Bytes to statements: the words up to `;`, `{`, `}` or the end of the file.
//!
//! Words follow nginx: a backslash protects the next byte; quotes hold everything up to their match; `${` does
//! not open a block; `#` starts a comment where a word could start. nginx reads through a buffer of 4 KiB and
//! refuses words that do not fit; [`Window`] models that buffer, because the bodies of Lua blocks
//! are subject to it too.

use rsty_diag::{Diagnostic, Source, Span};

use super::tree::Word;

/// What nginx's reader can hold at once.
pub(super) const BUFFER: usize = 4096;

/// What ended a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `;`
    Semicolon,
    /// `{`
    Open,
    /// `}`
    Close,
    /// The end of the file.
    File,
}

/// The words before an [`End`].
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) words: Vec<Word>,
    pub(super) end: End,
    /// Offset of the ending byte.
    pub(super) at: usize,
}

/// Where the text comes from; the messages differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file.
    File,
    /// The option `-g`.
    CommandLine,
}

/// The part of the file that nginx's reader would hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) end: usize,
    size: usize,
}

impl Window {
    fn new(size: usize) -> Self {
        Self { end: size.min(BUFFER), size }
    }

    /// The reader got to `position` while keeping everything from `start` on.
    pub(super) fn advance(&mut self, start: usize, position: usize) {
        if position > self.end {
            self.end = (start + BUFFER).max(position).min(self.size);
        }
    }

    /// The reader refills before it looks at `position`, keeping from `start` on.
    pub(super) fn refill(&mut self, start: usize) {
        self.end = (start + BUFFER).min(self.size);
    }
}

/// Reads statements from one source.
pub(super) struct Lexer<'s> {
    source: &'s Source,
    bytes: &'s [u8],
    pub(super) position: usize,
    pub(super) window: Window,
    origin: Origin,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(source: &'s Source, origin: Origin) -> Self {
        let bytes = source.bytes();
        Self { source, bytes, position: 0, window: Window::new(bytes.len()), origin }
    }

    /// A lexer that starts in the middle of a statement.
    pub(super) fn starting_at(source: &'s Source, position: usize) -> Self {
        Self { position, ..Self::new(source, Origin::File) }
    }

    /// The next statement.
    pub(super) fn statement(&mut self) -> Result<Statement, Diagnostic> {
        let mut words = Vec::new();
        loop {
            self.skip_blanks_and_comments();
            let at = self.position;
            let Some(&byte) = self.bytes.get(at) else { return self.end_of_file(words) };
            match byte {
                b';' | b'{' if words.is_empty() => return Err(self.unexpected(byte, at)),
                b'}' if !words.is_empty() => return Err(self.unexpected(byte, at)),
                b';' | b'{' | b'}' => {
                    self.position += 1;
                    self.window.advance(at, self.position);
                    let end = match byte {
                        b';' => End::Semicolon,
                        b'{' => End::Open,
                        _ => End::Close,
                    };
                    return Ok(Statement { words, end, at });
                }
                b'"' | b'\'' => words.push(self.quoted(byte)?),
                _ => words.push(self.bare()?),
            }
        }
    }

    fn skip_blanks_and_comments(&mut self) {
        while let Some(&byte) = self.bytes.get(self.position) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.position += 1,
                b'#' => {
                    let rest = self.bytes.get(self.position..).unwrap_or_default();
                    let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    self.window.advance(self.position, self.position + length);
                    self.position += length;
                }
                _ => break,
            }
        }
        self.window.advance(self.position, self.position);
    }

    fn end_of_file(&self, words: Vec<Word>) -> Result<Statement, Diagnostic> {
        if words.is_empty() {
            return Ok(Statement { words, end: End::File, at: self.position });
        }
        Err(self.unfinished())
    }

    fn unfinished(&self) -> Diagnostic {
        let message = match self.origin {
            Origin::File => "unexpected end of file, expecting \";\" or \"}\"",
            Origin::CommandLine => "unexpected end of parameter, expecting \";\"",
        };
        self.error(message, Span::at(self.bytes.len()))
    }

    /// A word in quotes; what follows must be a blank, `;`, `{` or `)`.
    fn quoted(&mut self, quote: u8) -> Result<Word, Diagnostic> {
        let open = self.position;
        let start = open + 1;
        let mut position = start;
        loop {
            self.check_length(start, position, Some(quote), open)?;
            match self.bytes.get(position) {
                None => return Err(self.unfinished()),
                Some(b'\\') => position += 2,
                Some(byte) if *byte == quote => break,
                Some(_) => position += 1,
            }
        }
        let text = self.unescape(start, position);
        self.position = position + 1;
        self.window.advance(start, self.position);
        match self.bytes.get(self.position) {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => {}
            Some(&byte) => return Err(self.unexpected(byte, self.position)),
        }
        Ok(Word { text, span: Span::new(open, self.position), quoted: true })
    }

    fn bare(&mut self) -> Result<Word, Diagnostic> {
        let start = self.position;
        let mut position = start;
        let mut after_dollar = false;
        loop {
            self.check_length(start, position, None, start)?;
            match self.bytes.get(position) {
                None => return Err(self.unfinished()),
                Some(b'{') if after_dollar => position += 1,
                Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{') => break,
                Some(b'\\') => {
                    after_dollar = false;
                    position += 2;
                }
                Some(&byte) => {
                    after_dollar = byte == b'$';
                    position += 1;
                }
            }
        }
        let text = self.unescape(start, position);
        self.position = position;
        self.window.advance(start, position + 1);
        Ok(Word { text, span: Span::new(start, position), quoted: false })
    }

    /// nginx gives up on a word that fills its buffer while the file goes on.
    fn check_length(&self, start: usize, position: usize, quote: Option<u8>, at: usize) -> Result<(), Diagnostic> {
        if position < start + BUFFER || position >= self.bytes.len() {
            return Ok(());
        }
        let message = match quote {
            Some(quote) => {
                format!("too long parameter, probably missing terminating \"{}\" character", char::from(quote))
            }
            None => {
                let head = self.source.slice(Span::new(start, start + 10));
                format!("too long parameter \"{}...\" started", String::from_utf8_lossy(head))
            }
        };
        Err(self.error(message, Span::new(at, at + 1)))
    }

    /// Resolves the escapes `\"`, `\'`, `\\`, `\t`, `\r`, `\n`; other backslashes stay.
    fn unescape(&self, start: usize, end: usize) -> Box<[u8]> {
        let raw = self.bytes.get(start..end).unwrap_or_default();
        if memchr::memchr(b'\\', raw).is_none() {
            return raw.into();
        }
        let mut text = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((&byte, tail)) = rest.split_first() {
            let (byte, used) = match (byte, tail.first()) {
                (b'\\', Some(&escaped @ (b'"' | b'\'' | b'\\'))) => (escaped, 2),
                (b'\\', Some(b't')) => (b'\t', 2),
                (b'\\', Some(b'r')) => (b'\r', 2),
                (b'\\', Some(b'n')) => (b'\n', 2),
                (byte, _) => (byte, 1),
            };
            text.push(byte);
            rest = rest.get(used..).unwrap_or_default();
        }
        text.into()
    }

    pub(super) fn unexpected(&self, byte: u8, at: usize) -> Diagnostic {
        let shown = String::from_utf8_lossy(&[byte]).into_owned();
        self.error(format!("unexpected \"{shown}\""), Span::new(at, at + 1))
    }

    /// An error whose line is that of `span` itself.
    pub(super) fn error(&self, message: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic::error(SYNTAX, message).at(self.source, span)
    }
}

/// The id of errors in the form of the text. nginx names the line of the offending byte for them, but the line on
/// which the directive's words end for all others.
pub(super) const SYNTAX: &str = "syntax";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<(Vec<String>, End), String> {
        let source = Source::new("nginx.conf", text);
        let statement = Lexer::new(&source, Origin::File).statement().map_err(|error| error.message)?;
        Ok((statement.words.iter().map(|word| word.lossy().into_owned()).collect(), statement.end))
    }

    fn list(text: &str) -> Vec<String> {
        words(text).unwrap().0
    }

    #[test]
    fn words_end_at_blanks_semicolons_and_braces() {
        assert_eq!(words("a b\tc;").unwrap(), (vec!["a".into(), "b".into(), "c".into()], End::Semicolon));
        assert_eq!(words("location ~ x{").unwrap().1, End::Open);
        assert_eq!(words(" } ").unwrap(), (vec![], End::Close));
        assert_eq!(words(" # only\n").unwrap(), (vec![], End::File));
        assert_eq!(list("a}b c#d;"), ["a}b", "c#d"]);
    }

    #[test]
    fn a_brace_after_a_dollar_belongs_to_the_word() {
        assert_eq!(list("set $a x${b}y;"), ["set", "$a", "x${b}y"]);
        assert_eq!(list("${a}{"), ["${a}"]);
        assert_eq!(words("a$ {").unwrap().1, End::Open);
    }

    #[test]
    fn escapes_resolve_as_in_nginx() {
        assert_eq!(list(r#"a "x\"y" '\'\t\r\n\\' \.php$;"#), ["a", "x\"y", "'\t\r\n\\", "\\.php$"]);
        assert_eq!(list(r"a\ b;"), [r"a\ b"]);
        assert_eq!(list(r"a\;b;"), [r"a\;b"]);
        assert_eq!(list("a '';"), ["a", ""]);
    }

    #[test]
    fn a_parenthesis_may_follow_a_quote() {
        assert_eq!(list(r#"if ($a = "b") {"#), ["if", "($a", "=", "b", ")"]);
    }

    #[test]
    fn errors_have_nginx_texts() {
        let error = |text| words(text).unwrap_err();
        assert_eq!(error("a"), "unexpected end of file, expecting \";\" or \"}\"");
        assert_eq!(error("a 'b"), "unexpected end of file, expecting \";\" or \"}\"");
        assert_eq!(error("a }"), "unexpected \"}\"");
        assert_eq!(error(";"), "unexpected \";\"");
        assert_eq!(error("{"), "unexpected \"{\"");
        assert_eq!(error("a \"b\"c;"), "unexpected \"c\"");
    }

    #[test]
    fn a_word_of_4095_bytes_fits_and_one_more_does_not() {
        let fits = format!("a {};\n", "x".repeat(4095));
        assert_eq!(list(&fits).len(), 2);
        let bare = format!("a {};\n", "x".repeat(4096));
        assert_eq!(words(&bare).unwrap_err(), "too long parameter \"xxxxxxxxxx...\" started");
        let quoted = format!("a '{}';\n", "x".repeat(4096));
        let expected = "too long parameter, probably missing terminating \"'\" character";
        assert_eq!(words(&quoted).unwrap_err(), expected);
    }
}
