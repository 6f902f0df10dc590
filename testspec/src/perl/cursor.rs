//! The lexer: a position in Perl text, and what can be read from there.
//!
//! Perl can't be cut into tokens without knowing what is expected: `/` divides behind a term and
//! starts a pattern before one. The parser knows, and asks for what it expects: a name, a number, a
//! delimited text, an operator.

use std::rc::Rc;

/// A position in a text.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    text: Rc<[u8]>,
    pos: usize,
    /// Where reading goes on behind the end of the current line, when here-documents follow it:
    /// (offset behind the line end, offset behind the documents).
    heredoc: Option<(usize, usize)>,
}

/// A delimited text as it stands in the source.
#[derive(Clone, Debug)]
pub(crate) struct Delimited {
    /// Offset of the first byte of the content.
    pub start: usize,
    pub content: Vec<u8>,
    pub open: u8,
}

impl Cursor {
    pub(crate) fn new(text: Rc<[u8]>) -> Self {
        Self { text, pos: 0, heredoc: None }
    }

    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    /// Goes back or forward to an offset that the cursor has been at.
    pub(crate) fn reset(&mut self, pos: usize) {
        self.pos = pos;
    }

    pub(crate) fn advance(&mut self, bytes: usize) {
        self.pos = (self.pos + bytes).min(self.text.len());
    }

    pub(crate) fn rest(&self) -> &[u8] {
        self.text.get(self.pos..).unwrap_or_default()
    }

    pub(crate) fn byte(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    pub(crate) fn byte_at(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.pos + ahead).copied()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.pos >= self.text.len()
    }

    pub(crate) fn slice(&self, from: usize, to: usize) -> &[u8] {
        self.text.get(from..to.min(self.text.len())).unwrap_or_default()
    }

    pub(crate) fn starts_with(&self, text: &[u8]) -> bool {
        self.rest().starts_with(text)
    }

    /// Skips blanks, comments, POD and here-documents that have been read. Stops at `__END__`.
    pub(crate) fn skip_space(&mut self) {
        loop {
            match self.byte() {
                Some(b'\n') => {
                    self.pos += 1;
                    if let Some((line_end, behind)) = self.heredoc
                        && self.pos >= line_end
                    {
                        self.pos = self.pos.max(behind);
                        self.heredoc = None;
                    }
                    self.skip_pod();
                }
                Some(b' ' | b'\t' | b'\r' | b'\x0c') => self.pos += 1,
                Some(b'#') => self.pos = self.line_end(self.pos),
                _ => break,
            }
        }
    }

    /// Skips POD at the start of a line: from `=word` to the line behind `=cut`.
    pub(crate) fn skip_pod(&mut self) {
        let at_line_start = self.pos == 0 || self.text.get(self.pos - 1) == Some(&b'\n');
        while at_line_start && self.byte() == Some(b'=') && self.byte_at(1).is_some_and(|b| b.is_ascii_alphabetic()) {
            loop {
                let start = self.pos;
                let end = self.line_end(start);
                let is_cut = self.slice(start, end).starts_with(b"=cut");
                self.pos = (end + 1).min(self.text.len());
                if is_cut || self.is_at_end() {
                    break;
                }
            }
        }
    }

    /// The offset of the line end at or behind an offset.
    pub(crate) fn line_end(&self, from: usize) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        memchr::memchr(b'\n', rest).map_or(self.text.len(), |at| from + at)
    }

    /// Reads an identifier without package: letters, digits, `_`.
    pub(crate) fn word(&mut self) -> Option<String> {
        if !self.byte().is_some_and(is_word_start) {
            return None;
        }
        let len = self.rest().iter().take_while(|byte| is_word(**byte)).count();
        let word = String::from_utf8_lossy(self.rest().get(..len)?).into_owned();
        self.pos += len;
        Some(word)
    }

    /// Reads a name that may hold packages: `a::b`, `::a`, `a::`.
    pub(crate) fn name(&mut self) -> Option<String> {
        let start = self.pos;
        loop {
            let _ = self.word();
            if !self.starts_with(b"::") || self.starts_with(b":::") {
                break;
            }
            self.pos += 2;
        }
        if self.pos == start {
            return None;
        }
        Some(String::from_utf8_lossy(self.slice(start, self.pos)).into_owned())
    }

    /// The word at the cursor, without moving.
    pub(crate) fn peek_word(&self) -> Option<&str> {
        if !self.byte().is_some_and(is_word_start) {
            return None;
        }
        let len = self.rest().iter().take_while(|byte| is_word(**byte)).count();
        std::str::from_utf8(self.rest().get(..len)?).ok()
    }

    /// Whether `=>` follows, blanks aside.
    pub(crate) fn fat_comma_follows(&self) -> bool {
        let rest = self.rest();
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        rest.get(blanks..).unwrap_or_default().starts_with(b"=>")
    }

    /// Reads the content of a delimited text whose opening delimiter is at the cursor. Brackets nest.
    /// Backslashes stay in the content. `None` where the end is missing.
    pub(crate) fn delimited(&mut self) -> Option<Delimited> {
        let open = self.byte()?;
        let close = closing(open);
        let start = self.pos + 1;
        let mut at = start;
        let mut depth = 1;
        loop {
            let byte = *self.text.get(at)?;
            if byte == b'\\' {
                at += 2;
                continue;
            }
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            } else if byte == open {
                depth += 1;
            }
            at += 1;
        }
        let content = self.slice(start, at).to_vec();
        self.pos = at + 1;
        // A text over several lines that starts on a line with a here-document ends behind the document.
        if self.heredoc.is_some_and(|(line_end, _)| self.pos >= line_end) {
            self.heredoc = None;
        }
        Some(Delimited { start, content, open })
    }

    /// Reads a here-document's lines, up to the line that is `terminator`. `None` where that is missing.
    pub(crate) fn heredoc(&mut self, terminator: &[u8], indented: bool) -> Option<Vec<u8>> {
        let line_end = (self.line_end(self.pos) + 1).min(self.text.len());
        let mut at = self.heredoc.map_or(line_end, |(_, behind)| behind);
        let mut lines: Vec<Vec<u8>> = Vec::new();
        loop {
            if at >= self.text.len() {
                return None;
            }
            let end = self.line_end(at);
            let line = self.slice(at, end);
            let next = (end + 1).min(self.text.len());
            let bare = line.strip_suffix(b"\r").unwrap_or(line);
            let bare = if indented { bare.trim_ascii_start() } else { bare };
            if bare == terminator {
                self.heredoc = Some((line_end, next));
                break;
            }
            let mut line = self.slice(at, next).to_vec();
            // Perl gives them the line ends of its own system.
            if line.ends_with(b"\r\n") {
                line.truncate(line.len() - 2);
                line.push(b'\n');
            }
            lines.push(line);
            at = next;
        }
        if indented {
            let content = lines.iter().filter(|line| !line.trim_ascii().is_empty());
            let indent = content.map(|line| line.len() - line.trim_ascii_start().len()).min().unwrap_or(0);
            for line in &mut lines {
                let cut = indent.min(line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count());
                line.drain(..cut);
            }
        }
        Some(lines.concat())
    }
}

pub(crate) fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The delimiter that closes what `open` opened.
pub(crate) fn closing(open: u8) -> u8 {
    match open {
        b'(' => b')',
        b'[' => b']',
        b'{' => b'}',
        b'<' => b'>',
        other => other,
    }
}
