//! Lua in nginx configuration text.
//!
//! Configuration is read token by token, as nginx does: comments, quoted and bare words, `;`, `{`, `}`. A
//! directive `…_by_lua_block` is followed by Lua up to the brace that closes it; there Lua's own
//! lexer decides which brace that is. `…_by_lua` takes Lua in one argument, whose quotes and escapes are
//! decoded.

use memchr::memmem;
use rsty_diag::Span;

use super::Snippet;
use super::map::Map;
use super::phase::{Phase, Subsystem};
use crate::lua::lexer::{Kind, Lexer};

/// The Lua of a configuration file or of a part of one; `offset` is where `text` starts in its file.
pub fn snippets(text: &[u8], offset: usize, subsystem: Subsystem) -> Vec<Snippet> {
    let mut reader = Reader::new(text, offset, subsystem);
    reader.read();
    reader.found
}

/// Where a configuration turns the cache of Lua code off.
pub(crate) fn uncached(text: &[u8]) -> Vec<Span> {
    let mut reader = Reader::new(text, 0, Subsystem::Http);
    reader.read();
    reader.uncached
}

/// The Lua in a text that holds configuration somewhere, such as a Perl program with strings. Directives are looked for
/// by name wherever they stand.
pub(super) fn scattered(text: &[u8], offset: usize, subsystem: Subsystem) -> Vec<Snippet> {
    let mut reader = Reader::new(text, offset, subsystem);
    for mark in memmem::find_iter(text, b"_by_lua") {
        if mark < reader.at {
            continue;
        }
        let before = text.get(..mark).unwrap_or_default();
        let stem = before.iter().rev().take_while(|byte| is_word(**byte)).count();
        let start = mark - stem;
        let line = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lead = before.get(line..start).unwrap_or_default().trim_ascii_start();
        if lead.starts_with(b"#") || lead.starts_with(b"--") {
            continue;
        }
        reader.at = start;
        let Some(Token::Word(name)) = reader.token() else { continue };
        let resume = reader.at;
        if !reader.directive(&name) {
            reader.at = resume;
        }
    }
    for snippet in &mut reader.found {
        snippet.rewritten = true;
    }
    reader.found
}

struct Reader<'s> {
    text: &'s [u8],
    at: usize,
    offset: usize,
    subsystem: Subsystem,
    /// The subsystem around each open block.
    depth: Vec<Subsystem>,
    found: Vec<Snippet>,
    /// `lua_code_cache off`.
    uncached: Vec<Span>,
}

enum Token {
    Word(Word),
    Open,
    Close,
    End,
}

/// A word after decoding, with where its bytes come from (in the reader's text).
struct Word {
    bytes: Vec<u8>,
    map: Map,
}

impl<'s> Reader<'s> {
    fn new(text: &'s [u8], offset: usize, subsystem: Subsystem) -> Self {
        Self { text, at: 0, offset, subsystem, depth: Vec::new(), found: Vec::new(), uncached: Vec::new() }
    }

    fn read(&mut self) {
        while let Some(token) = self.token() {
            match token {
                Token::Word(name) => {
                    let arguments = self.at;
                    if !self.directive(&name) {
                        self.at = arguments;
                        self.note_cache(&name);
                        self.skip_arguments(&name.bytes);
                    }
                }
                Token::Close => self.subsystem = self.depth.pop().unwrap_or(self.subsystem),
                Token::Open | Token::End => {}
            }
        }
    }

    fn note_cache(&mut self, name: &Word) {
        let arguments = self.at;
        if name.bytes == b"lua_code_cache"
            && let Some(Token::Word(state)) = self.token()
            && state.bytes.eq_ignore_ascii_case(b"off")
        {
            self.uncached.push(Span::new(name.map.outer(0), self.offset + self.at));
        }
        self.at = arguments;
    }

    fn skip_arguments(&mut self, name: &[u8]) {
        loop {
            match self.token() {
                Some(Token::Word(_)) => {}
                Some(Token::Open) => {
                    self.depth.push(self.subsystem);
                    match name {
                        b"stream" => self.subsystem = Subsystem::Stream,
                        b"http" => self.subsystem = Subsystem::Http,
                        _ => {}
                    }
                    // `lua_…_block`-like and raw blocks of other modules read on as directives.
                    return;
                }
                Some(Token::Close) => {
                    self.subsystem = self.depth.pop().unwrap_or(self.subsystem);
                    return;
                }
                Some(Token::End) | None => return,
            }
        }
    }

    /// Takes the Lua of the directive whose name was just read. `false` where it holds none.
    fn directive(&mut self, name: &Word) -> bool {
        let Ok(text) = std::str::from_utf8(&name.bytes) else { return false };
        if let Some(stem) = text.strip_suffix("_by_lua_block") {
            let Some(phase) = Phase::of_directive(stem) else { return false };
            loop {
                match self.token() {
                    Some(Token::Open) => break,
                    // The variable of `set_by_lua_block`.
                    Some(Token::Word(_)) if phase == Phase::Set => {}
                    _ => return false,
                }
            }
            self.block(phase);
            return true;
        }
        let Some(phase) = text.strip_suffix("_by_lua").and_then(Phase::of_directive) else { return false };
        if phase == Phase::Set && !matches!(self.token(), Some(Token::Word(_))) {
            return false;
        }
        let Some(Token::Word(code)) = self.token() else { return false };
        let subsystem = self.subsystem;
        self.found.push(Snippet {
            text: code.bytes,
            map: code.map,
            phase: Some(phase),
            subsystem,
            rewritten: false,
            group: 0,
            written_file: false,
        });
        true
    }

    /// Lua up to the closing brace; the opening one was read.
    fn block(&mut self, phase: Phase) {
        let start = self.at;
        let mut lexer = Lexer::resumed(self.text, start);
        let mut depth = 1_usize;
        let end = loop {
            match lexer.read() {
                Ok(token) => match token.kind {
                    Kind::Char(b'{') => depth += 1,
                    Kind::Char(b'}') => {
                        depth -= 1;
                        if depth == 0 {
                            self.at = token.end as usize;
                            break token.start as usize;
                        }
                    }
                    Kind::EndOfFile => {
                        self.at = self.text.len();
                        break self.text.len();
                    }
                    _ => {}
                },
                // What is no token ends the block for us; the parser tells about it.
                Err(error) => {
                    self.at = (error.end as usize).max(start);
                    self.skip_braces(depth);
                    break self.at.saturating_sub(1).max(start);
                }
            }
        };
        self.found.push(Snippet {
            text: self.text.get(start..end).unwrap_or_default().to_vec(),
            map: Map::shifted(self.offset + start),
            phase: Some(phase),
            subsystem: self.subsystem,
            rewritten: false,
            group: 0,
            written_file: false,
        });
    }

    /// Moves behind as many closing braces as are open.
    fn skip_braces(&mut self, mut depth: usize) {
        while let Some(byte) = self.text.get(self.at) {
            self.at += 1;
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn token(&mut self) -> Option<Token> {
        loop {
            match *self.text.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => {
                    let rest = self.text.get(self.at..)?;
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                }
                b'{' => return self.single(Token::Open),
                b'}' => return self.single(Token::Close),
                b';' => return self.single(Token::End),
                quote @ (b'"' | b'\'') => return Some(Token::Word(self.quoted(quote))),
                _ => return Some(Token::Word(self.bare())),
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the value of a match arm")]
    fn single(&mut self, token: Token) -> Option<Token> {
        self.at += 1;
        Some(token)
    }

    fn quoted(&mut self, quote: u8) -> Word {
        self.at += 1;
        let mut word = Word { bytes: Vec::new(), map: Map::shifted(self.offset + self.at) };
        while let Some(&byte) = self.text.get(self.at) {
            if byte == quote {
                self.at += 1;
                break;
            }
            self.character(byte, &mut word);
        }
        word
    }

    fn bare(&mut self) -> Word {
        let mut word = Word { bytes: Vec::new(), map: Map::shifted(self.offset + self.at) };
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' => break,
                b'$' if self.text.get(self.at + 1) == Some(&b'{') => {
                    word.bytes.extend_from_slice(b"${");
                    self.at += 2;
                }
                _ => self.character(byte, &mut word),
            }
        }
        word
    }

    /// One character of a word, with nginx's escapes.
    fn character(&mut self, byte: u8, word: &mut Word) {
        let decoded = match (byte, self.text.get(self.at + 1)) {
            (b'\\', Some(next @ (b'"' | b'\'' | b'\\'))) => *next,
            (b'\\', Some(b't')) => b'\t',
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(next)) => {
                word.bytes.extend_from_slice(&[byte, *next]);
                self.at += 2;
                return;
            }
            _ => {
                word.bytes.push(byte);
                self.at += 1;
                return;
            }
        };
        word.bytes.push(decoded);
        self.at += 2;
        word.map.piece(word.bytes.len(), self.offset + self.at);
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(conf: &str) -> Vec<(String, Phase, Subsystem)> {
        let found = snippets(conf.as_bytes(), 0, Subsystem::Http);
        let show = |s: Snippet| (String::from_utf8(s.text).expect("text"), s.phase.expect("phase"), s.subsystem);
        found.into_iter().map(show).collect()
    }

    #[test]
    fn blocks_end_where_lua_says() {
        let found = texts("location / { content_by_lua_block { f{'}', [[}]]} -- }\n } log_by_lua 'a'; }");
        assert_eq!(found[0].0, " f{'}', [[}]]} -- }\n ");
        assert_eq!((found[1].0.as_str(), found[1].1), ("a", Phase::Log));
    }

    #[test]
    fn quoted_code_is_decoded_and_keeps_its_places() {
        let conf = r#"set_by_lua $x "return \"a\\n\" .. b" $y;"#;
        let found = snippets(conf.as_bytes(), 100, Subsystem::Http);
        assert_eq!(found[0].text, br#"return "a\n" .. b"#);
        let inner = found[0].text.iter().rposition(|byte| *byte == b'b').expect("b");
        assert_eq!(found[0].map.outer(inner as u32), 100 + conf.rfind('b').expect("b"));
    }

    #[test]
    fn comments_strings_and_other_directives_hold_no_lua() {
        assert!(
            texts("# content_by_lua 'x';\nlog_format a 'content_by_lua x'; my_by_lua 'x'; content_by_lua_file a;")
                .is_empty()
        );
    }

    #[test]
    fn the_block_around_tells_the_subsystem() {
        let found = texts("stream { server { content_by_lua_block { a() } } } http { init_by_lua_block { b() } }");
        assert_eq!((found[0].2, found[1].2), (Subsystem::Stream, Subsystem::Http));
    }

    #[test]
    fn a_broken_block_does_not_hide_the_next() {
        let found = texts("content_by_lua_block { x = 'a\n } log_by_lua_block { b() }");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0, " b() ");
    }

    #[test]
    fn directives_in_perl_are_found_by_name() {
        let perl = b"our $x = qq{ init_by_lua_block { a() } };\n# init_by_lua_block { b() }\n\"content_by_lua 'c()';\"";
        let found = scattered(perl, 0, Subsystem::Http);
        assert_eq!(found.iter().map(|s| s.text.as_slice()).collect::<Vec<_>>(), [&b" a() "[..], b"c()"]);
        assert!(found.iter().all(|snippet| snippet.rewritten));
    }
}
