//! Which blocks run: paths, lines, numbers and names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rsty_diag::Source;

use crate::run::outcome::BlockId;
use crate::syntax::{self, Document};

/// What a command line argument points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The file or folder.
    pub path: PathBuf,
    /// Which of its blocks.
    pub part: Part,
}

/// Some blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    All,
    /// Those that stand in these lines, from the first to the last.
    Lines(usize, usize),
    /// Those whose name begins with `TEST n`.
    Test(u32),
}

/// A spec file with its chosen blocks.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    /// The path as given, or found below a folder as given.
    pub path: Arc<PathBuf>,
    /// The content.
    pub source: Source,
    /// Its syntax.
    pub document: Document,
    /// The chosen blocks, in the file's order.
    pub blocks: Vec<BlockId>,
    /// Whether only a part of the file's blocks was chosen.
    pub partial: bool,
}

/// Why the arguments select nothing that could be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// A name filter can't be read.
    #[error("read the filter `{0}`: {1}")]
    Filter(String, &'static str),
    /// A path can't be read.
    #[error("read {}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Selector {
    /// Reads `PATH`, `PATH:LINE`, `PATH:FROM-TO` or `PATH:TEST N`. A path that exists is taken whole.
    pub fn parse(argument: &str) -> Self {
        let whole = || Self { path: argument.into(), part: Part::All };
        if Path::new(argument).exists() {
            return whole();
        }
        let Some((path, part)) = argument.rsplit_once(':') else { return whole() };
        let part = part.trim();
        let test = part.get(..4).filter(|word| word.eq_ignore_ascii_case("test"));
        let found = if test.is_some() {
            part.get(4..).and_then(|number| number.trim().parse().ok()).map(Part::Test)
        } else {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            from.parse().ok().zip(to.parse().ok()).map(|(from, to)| Part::Lines(from, to))
        };
        found.map_or_else(whole, |part| Self { path: path.into(), part })
    }
}

/// All chosen blocks, by file. A file that is named more than once stays one file.
pub fn select(selectors: &[Selector], filter: Option<&NameFilter>) -> Result<Vec<PlannedFile>, SelectError> {
    let mut files: Vec<PlannedFile> = Vec::new();
    for selector in selectors {
        for path in spec_files(&selector.path)? {
            let index = match files.iter().position(|file| *file.path == path) {
                Some(index) => index,
                None => {
                    let source =
                        Source::read(&path).map_err(|source| SelectError::Io { path: path.clone(), source })?;
                    files.push(planned(path, source));
                    files.len() - 1
                }
            };
            if let Some(file) = files.get_mut(index) {
                choose(file, selector.part, filter);
            }
        }
    }
    files.retain(|file| !file.blocks.is_empty());
    Ok(files)
}

fn planned(path: PathBuf, source: Source) -> PlannedFile {
    let document = syntax::parse(&source);
    PlannedFile { path: Arc::new(path), source, document, blocks: Vec::new(), partial: false }
}

fn choose(file: &mut PlannedFile, part: Part, filter: Option<&NameFilter>) {
    let document = &file.document;
    let selection = document.selection();
    for &index in &selection.blocks {
        let Some(node) = document.blocks.get(index) else { continue };
        let name = String::from_utf8_lossy(document.slice(node.name)).trim_end().to_owned();
        let line = file.source.location(node.span.start).line;
        let last = file.source.location(node.span.end.saturating_sub(1)).line;
        let in_part = match part {
            Part::All => true,
            Part::Lines(from, to) => from <= last && line <= to,
            Part::Test(number) => test_number(&name) == Some(number),
        };
        let id = BlockId { file: Arc::clone(&file.path), number: index + 1, line, name };
        let named = filter.is_none_or(|filter| filter.matches(&format!("{} {}", file.path.display(), id.name)));
        if in_part && named && !file.blocks.contains(&id) {
            file.blocks.push(id);
        }
    }
    file.blocks.sort();
    file.partial = file.blocks.len() < selection.blocks.len();
}

/// The number in a name such as `TEST 12: what`.
pub fn test_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("TEST ")?.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

/// The spec files at or below a path, sorted.
fn spec_files(path: &Path) -> Result<Vec<PathBuf>, SelectError> {
    let failed = |source| SelectError::Io { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let is_wanted = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || (entry.file_type().is_dir() && name.starts_with("servroot")))
    };
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(path).sort_by_file_name().into_iter().filter_entry(is_wanted) {
        let entry = entry.map_err(|error| failed(error.into()))?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|end| end == "t") {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

/// A filter on names: words with `and`, `or`, `not` and parentheses. A word matches where it occurs in the path
/// or the block's name, in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFilter(Expression);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    And(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Or(Box<Self>, Box<Self>),
    Word(String),
}

impl NameFilter {
    /// Reads a filter.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let failed = |why| SelectError::Filter(text.to_owned(), why);
        let mut parser = FilterParser { tokens: tokens(text).map_err(failed)?, at: 0, depth: 0 };
        let expression = parser.or().map_err(failed)?;
        if parser.at < parser.tokens.len() {
            return Err(failed("something is left at its end"));
        }
        Ok(Self(expression))
    }

    /// Whether the text passes.
    pub fn matches(&self, text: &str) -> bool {
        self.0.matches(&text.to_lowercase())
    }
}

impl Expression {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::And(left, right) => left.matches(text) && right.matches(text),
            Self::Not(inner) => !inner.matches(text),
            Self::Or(left, right) => left.matches(text) || right.matches(text),
            Self::Word(word) => text.contains(word),
        }
    }
}

/// Words, quoted words, and parentheses.
fn tokens(text: &str) -> Result<Vec<String>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '(' | ')' => rest.split_at(1),
            '"' | '\'' => {
                let inside = rest.get(1..).unwrap_or_default();
                let end = inside.find(first).ok_or("a quote is not closed")?;
                tokens.push(format!("\"{}", inside.get(..end).unwrap_or_default()));
                rest = inside.get(end + 1..).unwrap_or_default().trim_start();
                continue;
            }
            _ => rest.split_at(rest.find([' ', '\t', '(', ')']).unwrap_or(rest.len())),
        };
        tokens.push(token.to_owned());
        rest = after.trim_start();
    }
    Ok(tokens)
}

struct FilterParser {
    tokens: Vec<String>,
    at: usize,
    depth: usize,
}

impl FilterParser {
    fn take(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token == word);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<Expression, &'static str> {
        let mut left = self.and()?;
        while self.take("or") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, &'static str> {
        let mut left = self.not()?;
        while self.take("and") {
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression, &'static str> {
        self.depth += 1;
        if self.depth > 100 {
            return Err("it is nested too deeply");
        }
        let result = if self.take("not") {
            Expression::Not(Box::new(self.not()?))
        } else if self.take("(") {
            let inner = self.or()?;
            if !self.take(")") {
                return Err("a parenthesis is not closed");
            }
            inner
        } else {
            self.words()?
        };
        self.depth -= 1;
        Ok(result)
    }

    /// One or more words in a row, which stand for the text that they make.
    fn words(&mut self) -> Result<Expression, &'static str> {
        let is_word = |token: &&String| !matches!(token.as_str(), "and" | "or" | "not" | "(" | ")");
        let words: Vec<&String> = self.tokens.iter().skip(self.at).take_while(is_word).collect();
        if words.is_empty() {
            return Err("a word is missing");
        }
        let text: Vec<&str> = words.iter().map(|word| word.trim_start_matches('"')).collect();
        let expression = Expression::Word(text.join(" ").to_lowercase());
        self.at += words.len();
        Ok(expression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_name_lines_and_tests() {
        for (text, part) in [
            ("no.t", Part::All),
            ("no.t:12", Part::Lines(12, 12)),
            ("no.t:3-9", Part::Lines(3, 9)),
            ("no.t:TEST 4", Part::Test(4)),
            ("no.t:test4", Part::Test(4)),
        ] {
            assert_eq!(Selector::parse(text), Selector { path: "no.t".into(), part }, "{text}");
        }
        assert_eq!(Selector::parse("no.t:x").path, Path::new("no.t:x"));
    }

    #[test]
    fn filters_combine_words() {
        let matches = |filter: &str, text: &str| NameFilter::parse(filter).unwrap().matches(text);
        assert!(matches("set", "t/001-set.t TEST 1"));
        assert!(matches("SET and not (say or exit)", "t/001-set.t TEST 1"));
        assert!(!matches("set and not test", "t/001-set.t TEST 1"));
        assert!(matches("test 1 or x", "t/001-set.t TEST 1"));
        assert!(matches("'and' or set", "set"));
        for wrong in ["", "a and", "(a", "a)", "\"a", "not"] {
            assert!(NameFilter::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn folders_are_searched_and_server_roots_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let t = folder.path().join("t");
        std::fs::create_dir_all(t.join("servroot/html")).unwrap();
        std::fs::create_dir_all(t.join("sub")).unwrap();
        let text = "=== TEST 1: a\n--- config\n\n=== TEST 2: b\n--- config\n";
        for name in ["b.t", "sub/a.t", "servroot/html/x.t", "c.txt"] {
            std::fs::write(t.join(name), text).unwrap();
        }
        let all = select(&[Selector { path: t.clone(), part: Part::All }], None).unwrap();
        let names: Vec<_> = all.iter().map(|file| file.path.strip_prefix(&t).unwrap().to_owned()).collect();
        assert_eq!(names, [Path::new("b.t"), Path::new("sub/a.t")]);
        assert_eq!(all[0].blocks.len(), 2);
        let one = select(&[Selector { path: t.join("b.t"), part: Part::Lines(5, 5) }], None).unwrap();
        assert_eq!(one[0].blocks.iter().map(|block| block.line).collect::<Vec<_>>(), [4]);
        assert!(one[0].partial);
    }
}
