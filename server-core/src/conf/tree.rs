//! What was written: directives, their words and blocks, each with its place.

use rsty_diag::{Diagnostic, Source, Span};

/// One argument (or name) as the lexer delivers it: quotes removed, escapes resolved.
#[derive(Clone, Debug)]
pub struct Word {
    /// The bytes after unquoting.
    pub text: Box<[u8]>,
    /// Where it stands, quotes included.
    pub span: Span,
    /// Whether it was quoted.
    pub quoted: bool,
}

impl Word {
    /// The text where it is UTF-8, with invalid sequences replaced: for messages and for names.
    pub fn lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.text)
    }

    /// Whether the word is exactly `text`.
    pub fn is(&self, text: &str) -> bool {
        &*self.text == text.as_bytes()
    }
}

/// What follows the words of a directive.
#[derive(Clone, Debug)]
pub enum Block {
    /// `;`
    None,
    /// `{ … }` with directives. `map`, `geo`, `types` and `split_clients` blocks parse the same way: their
    /// rows are directives whose names are keys.
    Directives(Vec<Directive>),
    /// `{ … }` of a `*_by_lua_block`: the code between the braces, as written.
    Lua {
        /// The bytes between the braces.
        code: Box<[u8]>,
        /// Where they stand.
        span: Span,
    },
}

/// One directive with its place.
#[derive(Clone, Debug)]
pub struct Directive {
    /// The first word.
    pub name: Word,
    /// The other words.
    pub args: Vec<Word>,
    /// The block or the semicolon.
    pub block: Block,
    /// The file in which it stands (an included file has its own).
    pub source: Source,
    /// From the first byte of the name to the closing `;` or `}`.
    pub span: Span,
    /// Offset of the `;` or `{` behind the words: the place whose line nginx names in its messages.
    pub head_end: usize,
}

impl Directive {
    /// The name as text.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        self.name.lossy()
    }

    /// An argument by index from 0.
    pub fn arg(&self, index: usize) -> Option<&Word> {
        self.args.get(index)
    }

    /// The line on which the directive starts, from 1.
    pub fn line(&self) -> usize {
        self.source.location(self.span.start).line
    }

    /// The line on which the words end, which nginx's messages and the chunk names of inline Lua show.
    pub fn head_line(&self) -> usize {
        self.source.location(self.head_end).line
    }

    /// An error about the whole directive, at its name.
    pub fn error(&self, id: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(id, message).at(&self.source, self.name.span)
    }

    /// nginx's complaint about a directive: `"name" directive PHRASE`.
    pub fn complaint(&self, id: &'static str, phrase: &str) -> Diagnostic {
        self.error(id, format!("\"{}\" directive {phrase}", self.name()))
    }

    /// [`Directive::complaint`] with the place of one word.
    pub fn complaint_at(&self, word: &Word, id: &'static str, phrase: &str) -> Diagnostic {
        self.error_at(word, id, format!("\"{}\" directive {phrase}", self.name()))
    }

    /// An error about one of its words.
    pub fn error_at(&self, word: &Word, id: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(id, message).at(&self.source, word.span)
    }
}
