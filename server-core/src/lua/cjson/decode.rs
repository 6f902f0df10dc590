//! JSON to Lua values.

use std::ffi::c_int;
use std::ptr;
use std::slice;

use super::settings::{DEEPEST, Instance, Options};
use super::{ARRAY_MT, number, push_metatable};
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Error, Reply, State, c_function};

c_function! {
    /// `cjson.decode(text)`.
    pub(super) fn decode(state) {
        if sys::top(state) != 1 {
            return Err(Error::Argument(1, "expected 1 argument".into()));
        }
        let text = sys::check_bytes(state, 1)?;
        if let [first, second, ..] = text && (*first == 0 || *second == 0) {
            return Err("JSON parser does not support UTF-16 or UTF-32".into());
        }
        // SAFETY: Lua keeps a NUL behind each string, which stays where it is as long as the string is on the stack.
        let text = unsafe { slice::from_raw_parts(text.as_ptr(), text.len() + 1) };
        let options = Instance::of(state).options.get();
        let mut decoder =
            Decoder { state, text, at: 0, token_at: 0, depth: 0, options, number: 0.0, string: None, unescaped: Vec::new() };
        let token = decoder.token();
        decoder.value(token)?;
        match decoder.token() {
            Token::End => Ok(Reply::Return(1)),
            token => Err(decoder.unexpected("the end", token)),
        }
    }
}

/// A piece of JSON. The values of numbers and strings are in the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    ArrayBegin,
    ArrayEnd,
    /// None, for this reason.
    Bad(&'static str),
    Boolean(bool),
    Colon,
    Comma,
    End,
    Integer,
    Null,
    Number,
    ObjectBegin,
    ObjectEnd,
    String,
}

impl Token {
    /// As messages call it.
    fn name(self) -> &'static str {
        match self {
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Bad(reason) => reason,
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Integer => "T_INTEGER",
            Self::Null => "T_NULL",
            Self::Number => "T_NUMBER",
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::String => "T_STRING",
        }
    }
}

struct Decoder<'a> {
    state: State,
    /// With a NUL at its end.
    text: &'a [u8],
    at: usize,
    /// Where the last token starts, or what is wrong with it.
    token_at: usize,
    depth: c_int,
    options: Options,
    /// The value of the last number.
    number: f64,
    /// The value of the last string, if it is in the text as it is; else it is in `unescaped`.
    string: Option<&'a [u8]>,
    unescaped: Vec<u8>,
}

impl<'a> Decoder<'a> {
    /// Pushes the value that begins with a token.
    fn value(&mut self, token: Token) -> Result<(), Error> {
        // SAFETY: there is room for one value: `descend` has asked for it, or this is the function's result.
        unsafe {
            match token {
                Token::String => self.push_string(),
                Token::Integer | Token::Number => lua_pushnumber(self.state, self.number),
                Token::Boolean(value) => lua_pushboolean(self.state, c_int::from(value)),
                Token::Null => lua_pushlightuserdata(self.state, ptr::null_mut()),
                Token::ObjectBegin => return self.object(),
                Token::ArrayBegin => return self.array(),
                token => return Err(self.unexpected("value", token)),
            }
        }
        Ok(())
    }

    fn object(&mut self) -> Result<(), Error> {
        self.descend(3)?;
        // SAFETY: room was asked for.
        unsafe { lua_createtable(self.state, 0, 0) };
        let mut token = self.token();
        while token != Token::ObjectEnd {
            if token != Token::String {
                return Err(self.unexpected("object key string", token));
            }
            self.push_string();
            token = self.token();
            if token != Token::Colon {
                return Err(self.unexpected("colon", token));
            }
            token = self.token();
            self.value(token)?;
            // SAFETY: the table, a string and a value are on the stack.
            unsafe { lua_rawset(self.state, -3) };
            token = self.after_element(Token::ObjectEnd, "comma or object end")?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self) -> Result<(), Error> {
        self.descend(2)?;
        // SAFETY: room was asked for.
        unsafe {
            lua_createtable(self.state, 0, 0);
            if self.options.array_mt_on_decode {
                push_metatable(self.state, &ARRAY_MT);
                lua_setmetatable(self.state, -2);
            }
        }
        let mut token = self.token();
        let mut index = 0;
        while token != Token::ArrayEnd {
            self.value(token)?;
            index += 1;
            // SAFETY: the table and a value are on the stack.
            unsafe { lua_rawseti_(self.state, -2, index) };
            token = self.after_element(Token::ArrayEnd, "comma or array end")?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// The token after an element: the end, or the first one of the next element, which is not the end.
    fn after_element(&mut self, end: Token, expected: &'static str) -> Result<Token, Error> {
        match self.token() {
            token if token == end => Ok(token),
            Token::Comma => match self.token() {
                token if token == end => Err(match end {
                    Token::ObjectEnd => self.unexpected("object key string", token),
                    _ => self.unexpected("value", token),
                }),
                token => Ok(token),
            },
            token => Err(self.unexpected(expected, token)),
        }
    }

    fn descend(&mut self, slots: c_int) -> Result<(), Error> {
        self.depth = self.depth.saturating_add(1);
        // SAFETY: asks for room.
        if self.depth <= self.options.decode_max_depth.min(DEEPEST) && unsafe { lua_checkstack(self.state, slots) } != 0
        {
            return Ok(());
        }
        Err(format!("Found too many nested data structures ({}) at character {}", self.depth, self.at).into())
    }

    #[cold]
    #[inline(never)]
    fn unexpected(&self, expected: &str, found: Token) -> Error {
        format!("Expected {expected} but found {} at character {}", found.name(), self.token_at + 1).into()
    }

    fn push_string(&self) {
        sys::push(self.state, self.string.unwrap_or(&self.unescaped));
    }

    /// The byte at a place; behind the end it is NUL.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// The text from a place on.
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn bad(&mut self, reason: &'static str) -> Token {
        self.token_at = self.at;
        Token::Bad(reason)
    }

    /// Takes the next token. A bad one and the end stay.
    fn token(&mut self) -> Token {
        loop {
            let byte = self.byte(self.at);
            self.token_at = self.at;
            let token = match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {
                    self.at += 1;
                    continue;
                }
                b'"' => return self.string(),
                b',' => Token::Comma,
                b':' => Token::Colon,
                b'{' => Token::ObjectBegin,
                b'}' => Token::ObjectEnd,
                b'[' => Token::ArrayBegin,
                b']' => Token::ArrayEnd,
                0 => return Token::End,
                b'/' if self.options.comments && matches!(self.byte(self.at + 1), b'/' | b'*') => {
                    match self.skip_comment() {
                        Ok(()) => continue,
                        Err(reason) => return self.bad(reason),
                    }
                }
                _ => return self.word(byte),
            };
            self.at += 1;
            return token;
        }
    }

    /// A number or a constant.
    fn word(&mut self, first: u8) -> Token {
        let rest = self.rest();
        let is_invalid = || is_invalid_number(rest);
        match first {
            b'-' | b'0'..=b'9' if !self.options.decode_invalid_numbers && is_invalid() => self.bad("invalid number"),
            b'-' | b'0'..=b'9' => self.number(),
            b't' if rest.starts_with(b"true") => self.constant(Token::Boolean(true), 4),
            b'f' if rest.starts_with(b"false") => self.constant(Token::Boolean(false), 5),
            b'n' if rest.starts_with(b"null") => self.constant(Token::Null, 4),
            b'+' | b'i' | b'I' | b'n' | b'N' if self.options.decode_invalid_numbers && is_invalid() => self.number(),
            _ => self.bad("invalid token"),
        }
    }

    fn constant(&mut self, token: Token, length: usize) -> Token {
        self.at += length;
        token
    }

    fn number(&mut self) -> Token {
        let Some(read) = number::read(self.rest()) else { return self.bad("invalid number") };
        self.number = read.value;
        self.at += read.length;
        if read.is_integer { Token::Integer } else { Token::Number }
    }

    fn skip_comment(&mut self) -> Result<(), &'static str> {
        let is_line = self.byte(self.at + 1) == b'/';
        self.at += 2;
        loop {
            match self.byte(self.at) {
                0 if is_line => return Ok(()),
                0 => return Err("unclosed multi-line comment"),
                b'\n' if is_line => return Ok(()),
                b'*' if !is_line && self.byte(self.at + 1) == b'/' => {
                    self.at += 2;
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        let start = self.at;
        let run = self.plain_run();
        if self.byte(self.at) == b'"' {
            self.string = Some(run);
            self.at += 1;
            return Token::String;
        }
        self.unescaped.clear();
        self.unescaped.extend_from_slice(self.text.get(start..self.at).unwrap_or_default());
        loop {
            match self.byte(self.at) {
                b'"' => break,
                b'\\' => {
                    if let Err(reason) = self.unescape() {
                        return self.bad(reason);
                    }
                    let run = self.plain_run();
                    self.unescaped.extend_from_slice(run);
                }
                _ => return self.bad("unexpected end of string"),
            }
        }
        self.string = None;
        self.at += 1;
        Token::String
    }

    /// Takes everything up to a quote, a backslash or the end.
    fn plain_run(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| ENDS_RUN[usize::from(byte)]).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Takes what begins with a backslash.
    fn unescape(&mut self) -> Result<(), &'static str> {
        let byte = match self.byte(self.at + 1) {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 0x0c,
            b'r' => b'\r',
            b'u' => return self.unescape_unicode(),
            _ => return Err("invalid escape code"),
        };
        self.unescaped.push(byte);
        self.at += 2;
        Ok(())
    }

    fn unescape_unicode(&mut self) -> Result<(), &'static str> {
        const INVALID: &str = "invalid unicode escape code";
        let first = self.code_unit(self.at).ok_or(INVALID)?;
        let (code, length) = match first {
            0xd800..=0xdbff => {
                let second = self.code_unit(self.at + 6).filter(|unit| (0xdc00..=0xdfff).contains(unit));
                (0x10000 + ((first & 0x3ff) << 10) + (second.ok_or(INVALID)? & 0x3ff), 12)
            }
            _ => (first, 6),
        };
        let character = char::from_u32(code).ok_or(INVALID)?;
        self.unescaped.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += length;
        Ok(())
    }

    /// The value of `\uXXXX` at a place.
    fn code_unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
    }
}

/// Whether a text that may begin a number begins one that JSON doesn't have, but C does.
fn is_invalid_number(text: &[u8]) -> bool {
    let digits = match text.first() {
        Some(b'+') => return true,
        Some(b'-') => &text[1..],
        _ => text,
    };
    match digits {
        [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
        [first, second, third, ..] => {
            let word = [first.to_ascii_lowercase(), second.to_ascii_lowercase(), third.to_ascii_lowercase()];
            word == *b"inf" || word == *b"nan"
        }
        _ => false,
    }
}

/// Bytes that end a run of bytes which mean themselves.
const ENDS_RUN: [bool; 256] = {
    let mut table = [false; 256];
    table[0] = true;
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};
