//! Tokens of LuaJIT's Lua.

use memchr::{memchr2, memmem};

use super::number::is_number;

/// What a token is. Names, numbers and strings are told by their span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are Lua's own tokens")]
pub enum Kind {
    // Reserved words, in the order of the reference manual.
    And,
    Break,
    Do,
    Else,
    Elseif,
    End,
    False,
    For,
    Function,
    Goto,
    If,
    In,
    Local,
    Nil,
    Not,
    Or,
    Repeat,
    Return,
    Then,
    True,
    Until,
    While,
    // Punctuation of more than one character.
    Concat,
    Dots,
    Equal,
    GreaterEqual,
    LabelMark,
    LessEqual,
    NotEqual,
    // Literals and names.
    Name,
    Number,
    Text,
    // The rest.
    /// A single character that has no name above.
    Char(u8),
    EndOfFile,
}

/// A token and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

/// A token that is not Lua, with the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexError {
    /// What is wrong, as LuaJIT says it.
    pub message: &'static str,
    /// Offset of the token.
    pub start: u32,
    /// Where reading stopped.
    pub end: u32,
}

/// Splits bytes into tokens, on demand.
#[derive(Debug)]
pub struct Lexer<'s> {
    text: &'s [u8],
    at: usize,
    remarks: Vec<(u32, u32)>,
}

impl<'s> Lexer<'s> {
    /// A lexer at the start of a chunk. A byte order mark and a first line that starts with `#` are skipped.
    pub fn new(text: &'s [u8]) -> Self {
        let mut at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        if text.get(at) == Some(&b'#') {
            at = line_end(text, at);
        }
        Self { text, at, remarks: Vec::new() }
    }

    /// A lexer that goes on at a token of the chunk.
    pub(crate) fn resumed(text: &'s [u8], at: usize) -> Self {
        Self { text, at, remarks: Vec::new() }
    }

    /// The comments that address a linter (`luacheck:`, `rsty:`, `selene:`), as spans without the dashes.
    pub fn into_remarks(self) -> Vec<(u32, u32)> {
        self.remarks
    }

    /// The next token. After the end there are only ends.
    #[inline]
    pub fn read(&mut self) -> Result<Token, LexError> {
        loop {
            let start = self.at;
            let Some(&byte) = self.text.get(start) else {
                return Ok(self.token(Kind::EndOfFile, start));
            };
            let kind = match CLASS[byte as usize] {
                Class::Blank => {
                    self.at += 1;
                    continue;
                }
                Class::Letter => {
                    let rest = self.text.get(start..).unwrap_or_default();
                    let length = rest.iter().take_while(|byte| is_ident(**byte)).count();
                    self.at = start + length;
                    word(rest.get(..length).unwrap_or_default())
                }
                Class::Digit => return self.number(start),
                Class::Other => match byte {
                    b'-' if self.peek(1) == Some(b'-') => {
                        self.comment()?;
                        continue;
                    }
                    b'"' | b'\'' => return self.string(byte),
                    b'[' => match self.long_bracket(start) {
                        Bracket::Level(level) => {
                            self.skip_long(start, level, "unfinished long string")?;
                            Kind::Text
                        }
                        Bracket::None => self.take(1, Kind::Char(byte)),
                        Bracket::Broken => return Err(self.error("invalid long string delimiter", start)),
                    },
                    b'=' if self.peek(1) == Some(b'=') => self.take(2, Kind::Equal),
                    b'<' if self.peek(1) == Some(b'=') => self.take(2, Kind::LessEqual),
                    b'>' if self.peek(1) == Some(b'=') => self.take(2, Kind::GreaterEqual),
                    b'~' if self.peek(1) == Some(b'=') => self.take(2, Kind::NotEqual),
                    b':' if self.peek(1) == Some(b':') => self.take(2, Kind::LabelMark),
                    b'.' => match (self.peek(1), self.peek(2)) {
                        (Some(b'.'), Some(b'.')) => self.take(3, Kind::Dots),
                        (Some(b'.'), _) => self.take(2, Kind::Concat),
                        (Some(b'0'..=b'9'), _) => return self.number(start),
                        _ => self.take(1, Kind::Char(b'.')),
                    },
                    _ => self.take(1, Kind::Char(byte)),
                },
            };
            return Ok(self.token(kind, start));
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn take(&mut self, bytes: usize, kind: Kind) -> Kind {
        self.at += bytes;
        kind
    }

    fn token(&self, kind: Kind, start: usize) -> Token {
        Token { kind, start: start as u32, end: self.at as u32 }
    }

    fn error(&self, message: &'static str, start: usize) -> LexError {
        LexError { message, start: start as u32, end: self.at.min(self.text.len()) as u32 }
    }

    fn number(&mut self, start: usize) -> Result<Token, LexError> {
        let exponent = match self.text.get(start..start + 2) {
            Some([b'0', b'x' | b'X']) => b'p',
            _ => b'e',
        };
        let mut before = 0;
        while let Some(byte) = self.peek(0) {
            if !(is_ident(byte) || byte == b'.' || matches!(byte, b'+' | b'-') && before == exponent) {
                break;
            }
            before = byte | 0x20;
            self.at += 1;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let plain = text.iter().all(u8::is_ascii_digit);
        if plain || is_number(text) {
            Ok(self.token(Kind::Number, start))
        } else {
            Err(self.error("malformed number", start))
        }
    }

    fn string(&mut self, quote: u8) -> Result<Token, LexError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek(0) {
                Some(byte) if byte == quote => {
                    self.at += 1;
                    return Ok(self.token(Kind::Text, start));
                }
                Some(b'\\') => self.escape(start)?,
                None | Some(b'\n' | b'\r') => return Err(self.error("unfinished string", start)),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self, start: usize) -> Result<(), LexError> {
        let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        let length = match self.peek(1) {
            Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\' | b'"' | b'\'') => 2,
            Some(b'\r') => 2 + usize::from(self.peek(2) == Some(b'\n')),
            Some(b'\n') => 2 + usize::from(self.peek(2) == Some(b'\r')),
            Some(b'x') if hex(self.peek(2)) && hex(self.peek(3)) => 4,
            Some(b'u') => self.unicode_escape().ok_or_else(|| self.error("invalid escape sequence", start))?,
            Some(b'z') => {
                let rest = self.text.get(self.at + 2..).unwrap_or_default();
                2 + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count()
            }
            Some(b'0'..=b'9') => {
                let rest = self.text.get(self.at + 1..).unwrap_or_default();
                let digits = rest.iter().take(3).take_while(|byte| byte.is_ascii_digit());
                let (count, value) =
                    digits.fold((0, 0), |(n, value), byte| (n + 1, value * 10 + u32::from(byte - b'0')));
                if value > 255 {
                    return Err(self.error("invalid escape sequence", start));
                }
                1 + count
            }
            None => 1,
            Some(_) => return Err(self.error("invalid escape sequence", start)),
        };
        self.at += length;
        Ok(())
    }

    /// Length of `\u{…}` where it names a character.
    fn unicode_escape(&self) -> Option<usize> {
        let rest = self.text.get(self.at + 2..)?.strip_prefix(b"{")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if rest.get(digits) != Some(&b'}') {
            return None;
        }
        let mut value = 0_u32;
        for byte in rest.get(..digits)? {
            value = value.checked_mul(16)? + char::from(*byte).to_digit(16)?;
        }
        (digits > 0 && char::from_u32(value).is_some()).then_some(4 + digits)
    }

    fn comment(&mut self) -> Result<(), LexError> {
        let start = self.at + 2;
        let mut text_start = start;
        if self.text.get(start) == Some(&b'[')
            && let Bracket::Level(level) = self.long_bracket(start)
        {
            self.skip_long(start, level, "unfinished long comment")?;
            text_start = start + level + 2;
        } else {
            self.at = line_end(self.text, start);
        }
        let text = self.text.get(text_start..self.at).unwrap_or_default();
        let lead = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'#' | b'-' | b'\n' | b'\r')).count();
        let said = text.get(lead..).unwrap_or_default();
        if [&b"luacheck:"[..], b"rsty:", b"selene:"].iter().any(|tool| said.starts_with(tool)) {
            self.remarks.push(((text_start) as u32, self.at as u32));
        }
        Ok(())
    }

    /// What a `[` at `at` opens.
    fn long_bracket(&self, at: usize) -> Bracket {
        let rest = self.text.get(at + 1..).unwrap_or_default();
        let level = rest.iter().take_while(|byte| **byte == b'=').count();
        match rest.get(level) {
            Some(b'[') => Bracket::Level(level),
            _ if level == 0 => Bracket::None,
            _ => Bracket::Broken,
        }
    }

    /// Moves behind the bracket that closes the one at `start`.
    fn skip_long(&mut self, start: usize, level: usize, message: &'static str) -> Result<(), LexError> {
        let from = start + level + 2;
        let body = self.text.get(from..).unwrap_or_default();
        let mut close = Vec::with_capacity(level + 2);
        close.push(b']');
        close.resize(level + 1, b'=');
        close.push(b']');
        match memmem::find(body, &close) {
            Some(found) => {
                self.at = from + found + close.len();
                Ok(())
            }
            None => {
                self.at = self.text.len();
                Err(self.error(message, start))
            }
        }
    }
}

enum Bracket {
    Level(usize),
    None,
    Broken,
}

fn line_end(text: &[u8], from: usize) -> usize {
    text.get(from..).and_then(|rest| memchr2(b'\n', b'\r', rest)).map_or(text.len(), |found| from + found)
}

#[derive(Clone, Copy)]
enum Class {
    Blank,
    Digit,
    Letter,
    Other,
}

/// Classes of all bytes. Bytes above ASCII are letters, as in LuaJIT.
static CLASS: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b' ' | b'\t'..=b'\r' => Class::Blank,
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Letter,
            _ => Class::Other,
        };
        byte += 1;
    }
    table
};

/// Whether a byte continues a name.
#[inline]
pub fn is_ident(byte: u8) -> bool {
    matches!(CLASS[byte as usize], Class::Letter | Class::Digit)
}

fn word(text: &[u8]) -> Kind {
    if text.len() > 8 {
        return Kind::Name;
    }
    match text {
        b"and" => Kind::And,
        b"break" => Kind::Break,
        b"do" => Kind::Do,
        b"else" => Kind::Else,
        b"elseif" => Kind::Elseif,
        b"end" => Kind::End,
        b"false" => Kind::False,
        b"for" => Kind::For,
        b"function" => Kind::Function,
        b"goto" => Kind::Goto,
        b"if" => Kind::If,
        b"in" => Kind::In,
        b"local" => Kind::Local,
        b"nil" => Kind::Nil,
        b"not" => Kind::Not,
        b"or" => Kind::Or,
        b"repeat" => Kind::Repeat,
        b"return" => Kind::Return,
        b"then" => Kind::Then,
        b"true" => Kind::True,
        b"until" => Kind::Until,
        b"while" => Kind::While,
        _ => Kind::Name,
    }
}

impl Kind {
    /// How messages spell a token that was expected.
    pub fn expected(self) -> String {
        let word = match self {
            Self::And => "and",
            Self::Break => "break",
            Self::Do => "do",
            Self::Else => "else",
            Self::Elseif => "elseif",
            Self::End => "end",
            Self::False => "false",
            Self::For => "for",
            Self::Function => "function",
            Self::Goto => "goto",
            Self::If => "if",
            Self::In => "in",
            Self::Local => "local",
            Self::Nil => "nil",
            Self::Not => "not",
            Self::Or => "or",
            Self::Repeat => "repeat",
            Self::Return => "return",
            Self::Then => "then",
            Self::True => "true",
            Self::Until => "until",
            Self::While => "while",
            Self::Concat => "..",
            Self::Dots => "...",
            Self::Equal => "==",
            Self::GreaterEqual => ">=",
            Self::LabelMark => "::",
            Self::LessEqual => "<=",
            Self::NotEqual => "~=",
            Self::Name => "<name>",
            Self::Number => "<number>",
            Self::Text => "<string>",
            Self::EndOfFile => "<eof>",
            Self::Char(byte) => return char::from(byte).to_string(),
        };
        word.to_owned()
    }
}
