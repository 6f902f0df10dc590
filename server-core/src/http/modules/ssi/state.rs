//! What the pages of a request set: variables, blocks, captures; and texts with variables in them.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use pcre2::bytes::Regex;

use crate::http::request::Request;
use crate::log::Level;

/// What all pages of a client's request share.
#[derive(Default)]
pub(super) struct Shared {
    variables: RefCell<Vec<(Vec<u8>, Bytes)>>,
    blocks: RefCell<Vec<(Vec<u8>, Bytes)>>,
    captures: RefCell<Vec<Bytes>>,
}

impl Shared {
    /// That of a request.
    pub(super) fn of(r: &Rc<Request>) -> Rc<Self> {
        r.main_ref().ctx_or_default()
    }

    /// A variable that pages set, or a capture of the last regular expression.
    fn variable(&self, name: &[u8]) -> Option<Bytes> {
        if let [digit @ b'0'..=b'9'] = name
            && let Some(capture) = self.captures.borrow().get(usize::from(digit - b'0'))
        {
            return Some(capture.clone());
        }
        self.variables.borrow().iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// Sets a variable.
    pub(super) fn set(&self, name: &[u8], value: impl Into<Bytes>) {
        let name = name.to_ascii_lowercase();
        let mut variables = self.variables.borrow_mut();
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value.into(),
            None => variables.push((name, value.into())),
        }
    }

    /// Keeps a block; the first of a name counts.
    pub(super) fn add_block(&self, name: &[u8], text: impl Into<Bytes>) {
        self.blocks.borrow_mut().push((name.to_vec(), text.into()));
    }

    /// The text of a block.
    pub(super) fn block(&self, name: &[u8]) -> Option<Bytes> {
        self.blocks.borrow().iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
    }

    /// Matches a text; a match sets the captures, and variables by their names. The reason of a failure has been
    /// logged.
    pub(super) fn is_match(&self, r: &Request, pattern: &[u8], text: &[u8]) -> Result<bool, Failed> {
        let regex = Regex::new(&String::from_utf8_lossy(pattern)).map_err(|error| {
            r.log(Level::Error, format_args!("pcre2_compile() failed: {error}"));
            Failed
        })?;
        let found = regex.captures(text).map_err(|error| {
            r.log(Level::Alert, format_args!("pcre2_match() failed: {error}"));
            Failed
        })?;
        let Some(found) = found else { return Ok(false) };
        let group =
            |index: usize| found.get(index).map(|group| Bytes::copy_from_slice(group.as_bytes())).unwrap_or_default();
        *self.captures.borrow_mut() = (0..regex.captures_len()).map(group).collect();
        for (index, name) in regex.capture_names().iter().enumerate() {
            if let Some(name) = name {
                self.set(name.as_bytes(), group(index));
            }
        }
        Ok(true)
    }
}

/// A command failed; the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// The value of a variable: one of the pages, or one of the server.
pub(super) fn variable(r: &Rc<Request>, name: &[u8]) -> Option<Bytes> {
    let name = name.to_ascii_lowercase();
    Shared::of(r).variable(&name).or_else(|| r.variable_named(&name))
}

/// Replaces variables in a text, and takes the backslashes from quoted characters.
pub(super) fn evaluate(r: &Rc<Request>, text: &[u8]) -> Result<Vec<u8>, Failed> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'\\', [quoted @ (b'\\' | b'\'' | b'"' | b'$'), behind @ ..]) => {
                out.push(*quoted);
                behind
            }
            (b'$', tail) => {
                let (name, behind) = name(r, text, tail)?;
                out.extend_from_slice(&variable(r, name).unwrap_or_default());
                behind
            }
            (byte, tail) => {
                out.push(byte);
                tail
            }
        };
    }
    Ok(out)
}

/// Splits the text behind a `$` into the name of a variable and the rest.
fn name<'a>(r: &Request, whole: &[u8], tail: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Failed> {
    let (bracket, tail) = match tail.strip_prefix(b"{") {
        Some(tail) => (true, tail),
        None => (false, tail),
    };
    let length = tail.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(tail.len());
    let (name, behind) = tail.split_at(length);
    let closed = behind.strip_prefix(b"}");
    if bracket && closed.is_none() && !name.is_empty() {
        r.log_bytes(Level::Error, &[b"the closing bracket in \"", name, b"\" variable is missing"]);
        return Err(Failed);
    }
    if name.is_empty() {
        r.log_bytes(Level::Error, &[b"invalid variable name in \"", whole, b"\""]);
        return Err(Failed);
    }
    Ok((name, if bracket { closed.unwrap_or(behind) } else { behind }))
}
