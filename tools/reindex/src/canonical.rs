//! The canonical form of a spec file.
//!
//! The file is split into its structure; edits touch only what lies between blocks: header lines, the empty lines
//! before a header and the end of the file. The prologue, section bodies and everything else keep their
//! bytes. The result is parsed again, and unless each block still has the same sections with
//! the same values, the file is refused. Formatting the result again gives the result.
//!
//! Line ends have one rule: a file most of whose header lines end in CRLF keeps CRLF on the lines that are rewritten,
//! every other file gets LF there; lines inside bodies are never changed.

use rsty_diag::{Diagnostic, Source, Span};
use rsty_testspec::syntax::{self, BlockNode, Document, SectionNode};

use crate::check::check;
use crate::clean::is_surely_canonical;
use crate::header::Header;
use crate::style;

/// What the canonical form should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of the first block.
    pub first: i64,
    /// Whether blocks are numbered.
    pub numbers: bool,
    /// What else is mended.
    pub style: Style,
}

/// Edits besides numbers and spacing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Style {
    /// None.
    #[default]
    Kept,
    /// Blanks at the end of headers and inline values go.
    Safe,
    /// Sections are put into the usual order, too, and configuration and Lua are indented: line numbers may change.
    Full,
}

impl Default for Options {
    fn default() -> Self {
        Self { first: 1, numbers: true, style: Style::Kept }
    }
}

/// The result of formatting.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The new content; `None` where the file is in its canonical form.
    pub text: Option<Vec<u8>>,
    /// What looks wrong in the file as it was.
    pub diagnostics: Vec<Diagnostic>,
    /// What looks wrong in it still once it is formatted.
    pub remaining: Vec<Diagnostic>,
}

/// Why a file is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The result would not mean the same.
    #[error("formatting would change the content of block {0}, so the file was left alone")]
    BlockWouldChange(usize),
    /// Blocks would appear or vanish.
    #[error("formatting would change the number of blocks, so the file was left alone")]
    BlocksWouldMove,
}

/// Formats a spec file.
pub fn format(source: &Source, options: &Options) -> Result<Rewrite, Refusal> {
    if options.numbers && options.style == Style::Kept && is_surely_canonical(source.bytes(), options.first) {
        return Ok(Rewrite { text: None, diagnostics: Vec::new(), remaining: Vec::new() });
    }
    format_parsed(source, options)
}

/// Formats by way of the structure, always.
pub(crate) fn format_parsed(source: &Source, options: &Options) -> Result<Rewrite, Refusal> {
    let document = syntax::parse(source);
    let diagnostics = check(&document);
    let new = rewritten(&document, options);
    if new == source.bytes() {
        return Ok(Rewrite { text: None, remaining: diagnostics.clone(), diagnostics });
    }
    let after = syntax::parse(&Source::new(source.path(), new.clone()));
    compare(&document, &after, options.style)?;
    Ok(Rewrite { text: Some(new), diagnostics, remaining: check(&after) })
}

/// Empty lines between two blocks.
const SPACING: usize = 3;

fn rewritten(document: &Document, options: &Options) -> Vec<u8> {
    let bytes = document.source.bytes();
    let line_end: &[u8] = if mostly_crlf(document) { b"\r\n" } else { b"\n" };
    let mut writer = Writer { out: Vec::with_capacity(bytes.len() + 256), line_end };
    let lead = document.blocks.first().map_or(bytes.len(), |block| block.span.start);
    let marker_ends = !document.marker.is_empty() && document.preamble.end <= lead;
    let after_marker = document.slice(Span::new(document.marker.end, lead));
    writer.text(document.slice(Span::new(0, lead)));
    let mut number = options.first;
    for (index, block) in document.blocks.iter().enumerate() {
        if index > 0 || lead > 0 {
            let close = index == 0 && marker_ends && after_marker.iter().all(u8::is_ascii_whitespace);
            writer.end_with_empty_lines(if close { 1 } else { SPACING }, protected(document, index));
        }
        write_block(document, block, options, &mut number, &mut writer);
    }
    if !bytes.is_empty() {
        writer.end_with_empty_lines(0, protected(document, document.blocks.len()));
    }
    writer.out
}

/// How many bytes from the start of the output may not be touched by spacing: the value of the last section before block
/// `index` keeps its line ends where a filter makes them count.
fn protected(document: &Document, index: usize) -> Protection {
    let block = index.checked_sub(1).and_then(|before| document.blocks.get(before));
    let last = block.and_then(|block| block.sections.last());
    match last {
        Some(section) if keeps_trailing_lines(document, section) => Protection::EmptyLines,
        _ => Protection::None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protection {
    /// Empty lines at the end belong to a value.
    EmptyLines,
    None,
}

/// Empty lines at the end of a value are dropped before any filter, unless `-trim` or `-norm` is asked for.
fn keeps_trailing_lines(document: &Document, section: &SectionNode) -> bool {
    let filters = || section.filters.iter().map(|filter| document.slice(*filter));
    !section.is_inline() && filters().any(|filter| filter == b"-trim" || filter == b"-norm")
}

fn write_block(document: &Document, block: &BlockNode, options: &Options, number: &mut i64, writer: &mut Writer<'_>) {
    let bytes = document.slice(block.span);
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let text = bytes.get(..line).unwrap_or_default();
    // All of them: one that stayed would look like a line end the next time.
    let text = text.get(..text.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1)).unwrap_or_default();
    match Header::read(text) {
        Some(header) => {
            writer.text(&header.written(options.numbers.then_some(*number), options.style >= Style::Safe));
            *number = number.saturating_add(1);
        }
        None if options.style >= Style::Safe => writer.text(text.trim_ascii_end()),
        None => writer.text(text),
    }
    if line < bytes.len() {
        writer.text(writer.line_end);
    }
    let mut rest = block.span.start + (line + 1).min(bytes.len());
    if options.style >= Style::Safe {
        let mut sections: Vec<&SectionNode> = block.sections.iter().collect();
        let reordered = options.style == Style::Full && put_in_order(document, &mut sections);
        if let Some(first) = block.sections.first() {
            writer.text(document.slice(Span::new(rest, first.header.start.max(rest))));
        }
        for section in sections {
            write_section(document, section, options.style, reordered, writer);
        }
        rest = block.sections.last().map_or(rest, |last| last.span.end.max(rest));
    }
    writer.text(document.slice(Span::new(rest, block.span.end)));
}

/// Sorts sections by their rank. `false`, with nothing done, where that is no change or might lose empty lines that count.
fn put_in_order(document: &Document, sections: &mut [&SectionNode]) -> bool {
    let rank = |section: &&SectionNode| style::rank(document.section_name(section));
    if sections.is_sorted_by_key(rank) || sections.iter().any(|section| keeps_trailing_lines(document, section)) {
        return false;
    }
    sections.sort_by_key(rank);
    true
}

fn write_section(document: &Document, section: &SectionNode, style: Style, reordered: bool, writer: &mut Writer<'_>) {
    let header = document.slice(section.header);
    writer.text(header.trim_ascii_end());
    if header.ends_with(b"\n") || reordered {
        writer.text(writer.line_end);
    }
    let body = document.slice(Span::new(section.header.end, section.span.end));
    let indents = style == Style::Full && section.filters.is_empty() && !section.is_inline();
    let indented = if indents { style::section(document.section_name(section), body) } else { None };
    let body = indented.as_deref().unwrap_or(body);
    if !reordered {
        return writer.text(body);
    }
    // The empty lines at the end of the last section stand before the next block; they don't move.
    let kept = body.get(..content_end(body)).unwrap_or_default();
    writer.text(kept);
    if !kept.is_empty() {
        writer.text(writer.line_end);
    }
}

fn mostly_crlf(document: &Document) -> bool {
    let crlf = |block: &&BlockNode| {
        let bytes = document.slice(block.span);
        bytes.split(|byte| *byte == b'\n').next().is_some_and(|line| line.ends_with(b"\r"))
    };
    document.blocks.iter().filter(crlf).count() * 2 > document.blocks.len()
}

struct Writer<'a> {
    out: Vec<u8>,
    line_end: &'a [u8],
}

impl Writer<'_> {
    fn text(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    /// Makes the output end in a line end and `count` empty lines.
    fn end_with_empty_lines(&mut self, count: usize, protection: Protection) {
        if protection == Protection::None {
            let kept = content_end(&self.out);
            self.out.truncate(kept);
        }
        if !self.out.ends_with(b"\n") {
            self.out.extend_from_slice(self.line_end);
        }
        let present = if protection == Protection::None { 0 } else { empty_lines_at_end(&self.out) };
        for _ in present..count {
            self.out.extend_from_slice(self.line_end);
        }
    }
}

/// The end of the last line that holds more than its line end, without that line end. Lines of blanks are content: a value
/// may need them.
fn content_end(text: &[u8]) -> usize {
    text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1)
}

fn empty_lines_at_end(text: &[u8]) -> usize {
    let tail = text.get(content_end(text)..).unwrap_or_default();
    memchr::memchr_iter(b'\n', tail).count().saturating_sub(1)
}

/// Checks that both documents have the same prologue and blocks with the same sections and values.
fn compare(before: &Document, after: &Document, style: Style) -> Result<(), Refusal> {
    let prologue = |document: &Document| document.prologue.map(|span| document.slice(span).to_vec());
    let only_space = before.blocks.is_empty();
    if before.blocks.len() != after.blocks.len() || (!only_space && prologue(before) != prologue(after)) {
        return Err(Refusal::BlocksWouldMove);
    }
    for (index, (old, new)) in before.blocks.iter().zip(&after.blocks).enumerate() {
        let (mut old_sections, mut new_sections): (Vec<_>, Vec<_>) =
            (old.sections.iter().collect(), new.sections.iter().collect());
        if style == Style::Full {
            old_sections.sort_by_key(|section| style::rank(before.section_name(section)));
            new_sections.sort_by_key(|section| style::rank(after.section_name(section)));
        }
        let same = old_sections.len() == new_sections.len()
            && before.slice(old.description).trim_ascii() == after.slice(new.description).trim_ascii()
            && old_sections.iter().zip(&new_sections).all(|(a, b)| same_section(before, a, after, b, style));
        if !same {
            return Err(Refusal::BlockWouldChange(index + 1));
        }
    }
    Ok(())
}

fn same_section(before: &Document, a: &SectionNode, after: &Document, b: &SectionNode, style: Style) -> bool {
    let filters = |document: &Document, section: &SectionNode| -> Vec<Vec<u8>> {
        section.filters.iter().map(|filter| document.slice(*filter).to_vec()).collect()
    };
    let value = |document: &Document, section: &SectionNode| -> Vec<u8> {
        let text = document.slice(section.value_span());
        if keeps_trailing_lines(document, section) || section.is_inline() {
            return text.to_vec();
        }
        let name = document.section_name(section);
        if style == Style::Full && (style::is_configuration(name) || style::is_lua(name)) {
            return text
                .split(|byte| *byte == b'\n')
                .flat_map(|line| [line.trim_ascii(), b"\n"].concat())
                .collect::<Vec<u8>>()
                .trim_ascii()
                .to_vec();
        }
        let mut kept = text.get(..content_end(text)).unwrap_or_default().to_vec();
        if !kept.is_empty() {
            kept.push(b'\n');
        }
        kept
    };
    before.slice(a.name) == after.slice(b.name)
        && filters(before, a) == filters(after, b)
        && value(before, a) == value(after, b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn formatted(text: &str, options: Options) -> Option<String> {
        let rewrite = format(&Source::new("a.t", text), &options).expect("not refused");
        rewrite.text.map(|text| String::from_utf8(text).expect("tests use text"))
    }

    #[test]
    fn headers_are_numbered_and_spaced() {
        let text = "use x;\n__DATA__\n=== TEST 3: a\n--- config\nx\n=== test  7 : b\n--- config\ny\n\n\n";
        let expected = "use x;\n__DATA__\n\n=== TEST 1: a\n--- config\nx\n\n\n\n=== TEST 2: b\n--- config\ny\n";
        assert_eq!(formatted(text, Options::default()).as_deref(), Some(expected));
        assert_eq!(formatted(expected, Options::default()), None);
    }

    #[test]
    fn carriage_returns_behind_a_header_go_all_at_once() {
        let text = "=== a\r\r\n--- config\nx\n=== b\n--- config\ny\n";
        let expected = "=== a\n--- config\nx\n\n\n\n=== b\n--- config\ny\n";
        assert_eq!(formatted(text, Options::default()).as_deref(), Some(expected));
        assert_eq!(formatted(expected, Options::default()), None);
    }

    #[test]
    fn the_prologue_keeps_its_bytes() {
        let text = "my $x = <<'_';\n=== TEST 9: no\n_\nrun;\n\n\n__DATA__\n\n=== TEST 1: a\n--- config\n";
        assert_eq!(formatted(text, Options::default()), None);
    }

    #[test]
    fn what_formatting_mends_does_not_remain() {
        let text = "__DATA__\n\n=== TEST 5: a\n--- ONLY\n--- config\n=== TEST 5: b\n--- config\n";
        let rewrite = format(&Source::new("a.t", text), &Options::default()).expect("not refused");
        let ids = |found: &[Diagnostic]| found.iter().map(|diagnostic| diagnostic.id).collect::<Vec<_>>();
        assert_eq!(ids(&rewrite.diagnostics), ["blocks_switched_off", "duplicate_number"]);
        assert_eq!(ids(&rewrite.remaining), ["blocks_switched_off"]);
    }

    #[test]
    fn text_that_looks_like_headers_or_markers_stays() {
        let marker = "my $x = '__DATA__';\nmy $y = '=== TEST 3';\n__DATA__\n\n=== TEST 1: a\n--- config\n";
        assert_eq!(formatted(marker, Options::default()), None);
        let joined = "__DATA__\n\n=== TEST 1: a\n--- response_body\n ===\nTEST 5 of 7\n";
        assert_eq!(formatted(joined, Options::default()), None);
        // A line of blanks does not hide the empty lines around it from the rule for spacing.
        let blanks = "__DATA__\n\n=== TEST 1: a\n--- config\nx\n\n\n\n\n\n=== TEST 2: b\n--- config\ny\n\n";
        let expected = "__DATA__\n\n=== TEST 1: a\n--- config\nx\n\n\n\n=== TEST 2: b\n--- config\ny\n";
        assert_eq!(formatted(blanks, Options::default()).as_deref(), Some(expected));
    }

    #[test]
    fn malformed_headers_are_mended() {
        let text = "__DATA__\n\n=== TEST: 17: a\n--- config\n\n\n\n=== Test 5 b\n--- config\n";
        let expected = "__DATA__\n\n=== TEST 1: a\n--- config\n\n\n\n=== TEST 2: b\n--- config\n";
        assert_eq!(formatted(text, Options::default()).as_deref(), Some(expected));
    }

    #[test]
    fn other_headers_keep_their_text_and_take_no_number() {
        let text = "__DATA__\n\n=== says hello\n--- config\n\n\n\n=== TEST 4: b\n--- config\n";
        let expected = "__DATA__\n\n=== says hello\n--- config\n\n\n\n=== TEST 1: b\n--- config\n";
        assert_eq!(formatted(text, Options::default()).as_deref(), Some(expected));
    }

    #[test]
    fn numbers_can_be_dropped_or_start_elsewhere() {
        let text = "__DATA__\n\n=== TEST 1: a\n--- config\n";
        let none = Options { numbers: false, ..Options::default() };
        assert_eq!(formatted(text, none).as_deref(), Some("__DATA__\n\n=== TEST: a\n--- config\n"));
        let zero = Options { first: 0, ..Options::default() };
        assert_eq!(formatted(text, zero).as_deref(), Some("__DATA__\n\n=== TEST 0: a\n--- config\n"));
    }

    #[test]
    fn bodies_keep_blanks_carriage_returns_and_wanted_empty_lines() {
        let text = "__DATA__\n\n=== TEST 1: a\n--- request\nGET /\r\n\r\n--- x -trim\na\n\n\n\n\n\n";
        assert_eq!(formatted(text, Options::default()), None);
    }

    #[test]
    fn style_removes_blanks_after_headers_only() {
        let text = "__DATA__\n\n=== TEST 1: a  \n--- config  \nx  \n--- error_code: 200 \n";
        let style = Options { style: Style::Safe, ..Options::default() };
        let expected = "__DATA__\n\n=== TEST 1: a\n--- config\nx  \n--- error_code: 200\n";
        assert_eq!(formatted(text, style).as_deref(), Some(expected));
    }

    #[test]
    fn full_style_orders_sections_and_indents_configuration() {
        let text = "__DATA__\n\n=== TEST 1: a\n--- request\nGET /t\n--- config\nlocation /t {\necho a;\n}\n--- no_error_log\n[error]\n--- response_body\na\n\n\n\n=== TEST 2: b\n--- config\n";
        let expected = "__DATA__\n\n=== TEST 1: a\n--- config\n    location /t {\n        echo a;\n    }\n--- request\nGET /t\n--- response_body\na\n--- no_error_log\n[error]\n\n\n\n=== TEST 2: b\n--- config\n";
        let full = Options { style: Style::Full, ..Options::default() };
        assert_eq!(formatted(text, full).as_deref(), Some(expected));
        assert_eq!(formatted(expected, full), None);
        // Filters that make empty lines count keep their block's order.
        let kept = "__DATA__\n\n=== TEST 1: a\n--- request -trim\nGET /t\n\n--- config\n    a;\n";
        assert_eq!(formatted(kept, full), None);
    }

    #[test]
    fn crlf_files_stay_so() {
        let text = "__DATA__\r\n\r\n=== TEST 2: a\r\n--- config\r\nx\r\n";
        let expected = "__DATA__\r\n\r\n=== TEST 1: a\r\n--- config\r\nx\r\n";
        assert_eq!(formatted(text, Options::default()).as_deref(), Some(expected));
    }

    #[test]
    fn a_file_without_blocks_only_gets_its_last_line_end() {
        assert_eq!(formatted("", Options::default()), None);
        assert_eq!(formatted("use x;", Options::default()).as_deref(), Some("use x;\n"));
    }

    proptest! {
        #[test]
        fn formatting_twice_is_formatting_once(words in proptest::collection::vec(0..16_usize, 0..40)) {
            let known = ["=== TEST 1: a\n", "=== TEST: 2\n", "===\n", "TEST 5\n", "\n", "--- config\n", "--- x -trim\n",
                "--- y: 1\n", "__DATA__\n", "text", "\r\n", " \n", "=== b\n", "--- ONLY\n", "==== TEST 3:\n", "\n\n\n"];
            let text: String = words.iter().map(|word| known[*word]).collect();
            for style in [Style::Kept, Style::Safe, Style::Full] {
                let options = Options { style, ..Options::default() };
                if let Ok(Rewrite { text: Some(once), .. }) = format(&Source::new("a.t", text.as_str()), &options) {
                    let twice = format(&Source::new("a.t", once.clone()), &options).expect("not refused twice");
                    prop_assert_eq!(twice.text, None, "{:?}", String::from_utf8_lossy(&once));
                }
            }
        }

        #[test]
        fn any_bytes_are_formatted_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = format(&Source::new("a.t", bytes), &Options::default());
        }
    }
}
