//! Statements to a tree, with `include` resolved.
//!
//! The parser keeps its own stack, so that depth is a matter of [`DEPTH_MAX`] and never of the thread's
//! stack.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rsty_diag::{Diagnostic, Source, Span};

use super::glob;
use super::lexer::{End, Lexer, Origin, Statement};
use super::lua_block;
use super::tree::{Block, Directive, Word};

/// The deepest nesting of blocks. The tables walk the tree recursively, and nobody nests so deep by hand.
pub const DEPTH_MAX: usize = 200;
/// The deepest nesting of `include`.
const INCLUDE_MAX: usize = 32;
/// The most bytes of configuration, all files together.
const SIZE_MAX: usize = 256 << 20;

/// What was read: the directives of the top level, and all files in the order in which they were opened.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The directives of the top level.
    pub directives: Vec<Directive>,
    /// The files.
    pub sources: Vec<Source>,
    /// What stopped the reading. The directives before it are there, and blocks that were open end there: what is
    /// wrong with one of them comes first in the file, and nginx would name it.
    pub error: Option<Diagnostic>,
}

impl Parsed {
    /// The whole configuration, or what stopped the reading.
    pub fn complete(self) -> Result<Self, Diagnostic> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

/// Reads the configuration file at `path`; relative includes start from `folder`.
///
/// # Errors
/// When the file itself can't be read; what is wrong in it is in [`Parsed::error`].
pub fn parse_file(path: &Path, folder: &Path) -> Result<Parsed, Diagnostic> {
    Ok(parse_source(open(path)?, folder))
}

/// Reads a configuration that is already in memory.
pub fn parse_source(source: Source, folder: &Path) -> Parsed {
    let mut parser = Parser { folder, sources: vec![source.clone()], size: source.bytes().len() };
    let mut directives = Vec::new();
    let error = parser.file(&source, 0, 0, &mut directives).err();
    Parsed { directives, sources: parser.sources, error }
}

/// Reads the directives of the option `-g`.
pub fn parse_parameter(text: &[u8]) -> Result<Vec<Directive>, Diagnostic> {
    let source = Source::new(COMMAND_LINE, text);
    let mut lexer = Lexer::new(&source, Origin::CommandLine);
    let mut directives = Vec::new();
    loop {
        let statement = lexer.statement()?;
        match statement.end {
            End::Semicolon => directives.push(finish(&source, statement, Block::None)),
            End::Open => {
                let message = "block directives are not supported in -g option";
                return Err(lexer.error(message, Span::new(statement.at, statement.at + 1)));
            }
            End::Close => return Err(lexer.unexpected(b'}', statement.at)),
            End::File => return Ok(directives),
        }
    }
}

/// The name of the source that holds the option `-g`.
pub(super) const COMMAND_LINE: &str = "command line";

struct Parser<'a> {
    folder: &'a Path,
    sources: Vec<Source>,
    size: usize,
}

/// A block whose `}` has not come yet.
struct Open {
    head: Statement,
    /// The directives of the block around it, so far.
    outer: Vec<Directive>,
}

/// Whether a statement's first word is that.
fn names(statement: &Statement, name: &str) -> bool {
    statement.words.first().is_some_and(|word| word.is(name))
}

impl Parser<'_> {
    /// Appends the directives of one file. `depth` is the nesting of blocks around it. After an error, what came
    /// before it is there.
    fn file(
        &mut self,
        source: &Source,
        depth: usize,
        includes: usize,
        directives: &mut Vec<Directive>,
    ) -> Result<(), Diagnostic> {
        let mut stack = Vec::new();
        let read = self.statements(source, depth, includes, directives, &mut stack);
        while let Some(open) = stack.pop() {
            close(source, open, directives, source.bytes().len());
        }
        read
    }

    fn statements(
        &mut self,
        source: &Source,
        depth: usize,
        includes: usize,
        directives: &mut Vec<Directive>,
        stack: &mut Vec<Open>,
    ) -> Result<(), Diagnostic> {
        let mut lexer = Lexer::new(source, Origin::File);
        loop {
            let statement = lexer.statement()?;
            match statement.end {
                End::Semicolon if names(&statement, "include") => {
                    let directive = finish(source, statement, Block::None);
                    self.include(&directive, depth + stack.len(), includes, directives)?;
                }
                End::Semicolon => directives.push(finish(source, statement, Block::None)),
                End::Open if opens_lua(&statement.words) => {
                    let in_stream = stack.first().is_some_and(|open| names(&open.head, "stream"));
                    let span = lua_block::read(&mut lexer, source.bytes(), in_stream)?;
                    let code = source.slice(span).into();
                    directives.push(finish(source, statement, Block::Lua { code, span }));
                }
                End::Open if depth + stack.len() >= DEPTH_MAX => {
                    let message = format!("blocks are nested deeper than {DEPTH_MAX} levels");
                    return Err(lexer.error(message, Span::new(statement.at, statement.at + 1)));
                }
                End::Open => {
                    let outer = std::mem::take(directives);
                    stack.push(Open { head: statement, outer });
                }
                End::Close => {
                    let Some(open) = stack.pop() else { return Err(lexer.unexpected(b'}', statement.at)) };
                    close(source, open, directives, statement.at + 1);
                }
                End::File => {
                    let Some(open) = stack.last() else { return Ok(()) };
                    let end = Span::at(source.bytes().len());
                    let error = lexer.error("unexpected end of file, expecting \"}\"", end);
                    let opened = Span::new(open.head.at, open.head.at + 1);
                    return Err(error.label(source, opened, "this block has no end"));
                }
            }
        }
    }

    /// Puts the directives of the included files where the `include` stands.
    fn include(
        &mut self,
        directive: &Directive,
        depth: usize,
        includes: usize,
        directives: &mut Vec<Directive>,
    ) -> Result<(), Diagnostic> {
        let [word] = directive.args.as_slice() else {
            let message = "invalid number of arguments in \"include\" directive";
            return Err(directive.error("invalid_argument_count", message));
        };
        if includes >= INCLUDE_MAX {
            let message = format!("files are included deeper than {INCLUDE_MAX} levels");
            return Err(directive.error_at(word, "include_cycle", message).help("does a file include itself?"));
        }
        let path = self.folder.join(std::ffi::OsStr::from_bytes(&word.text));
        for path in Self::matching(directive, word, path)? {
            let source =
                open(&path).map_err(|error| Diagnostic { primary: None, ..error }.at(&directive.source, word.span))?;
            self.size += source.bytes().len();
            if self.size > SIZE_MAX {
                return Err(directive.error_at(word, "too_large", "the configuration is too large"));
            }
            self.sources.push(source.clone());
            self.file(&source, depth, includes + 1, directives)?;
        }
        Ok(())
    }

    /// The files that an `include` means: one, or those that match a pattern, sorted, maybe none.
    fn matching(directive: &Directive, word: &Word, path: PathBuf) -> Result<Vec<PathBuf>, Diagnostic> {
        if !word.text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
            return Ok(vec![path]);
        }
        glob::paths(&path).map_err(|error| {
            let message = format!("glob() \"{}\" failed ({error})", path.display());
            directive.error_at(word, "file_not_readable", message)
        })
    }
}

/// Makes a directive of an open block and what was read in it.
fn close(source: &Source, open: Open, directives: &mut Vec<Directive>, end: usize) {
    let inner = std::mem::replace(directives, open.outer);
    let mut directive = finish(source, open.head, Block::Directives(inner));
    directive.span.end = end;
    directives.push(directive);
}

fn opens_lua(words: &[Word]) -> bool {
    words.first().is_some_and(|word| word.text.ends_with(b"_by_lua_block"))
}

fn finish(source: &Source, statement: Statement, block: Block) -> Directive {
    let mut words = statement.words.into_iter();
    // A statement that is not the end of a block or file has a word.
    let name = words.next().unwrap_or(Word { text: Box::default(), span: Span::at(statement.at), quoted: false });
    let end = match &block {
        Block::Lua { span, .. } => span.end + 1,
        Block::None | Block::Directives(_) => statement.at + 1,
    };
    Directive {
        span: Span::new(name.span.start, end),
        name,
        args: words.collect(),
        block,
        source: source.clone(),
        head_end: statement.at,
    }
}

fn open(path: &Path) -> Result<Source, Diagnostic> {
    Source::read(path).map_err(|error| {
        let reason = super::message::errno_text(&error);
        Diagnostic::error("file_not_readable", format!("open() \"{}\" failed ({reason})", path.display()))
    })
}

#[cfg(test)]
mod tests;
