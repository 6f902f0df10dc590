//! From bytes to the tree.

use std::borrow::Cow;

use pest::Parser as _;
use pest::iterators::Pair;
use rsty_diag::{Diagnostic, Source, Span};

use super::document::{BlockNode, Body, Document, SectionNode};
use super::grammar::{Rule, SpecGrammar};

/// Splits a spec file. See the module's documentation for what it promises.
pub fn parse(source: &Source) -> Document {
    let bytes = source.bytes();
    let (prologue, marker) = split_prologue(bytes);
    let data = Span::new(marker.end, bytes.len());
    let mut document = Document {
        source: source.clone(),
        prologue,
        marker,
        preamble: data,
        defaults: Vec::new(),
        blocks: Vec::new(),
        problems: Vec::new(),
    };
    let text = ascii(source.slice(data));
    let reader = Reader { source, offset: data.start };
    match SpecGrammar::parse(Rule::document, &text) {
        Ok(pairs) => {
            for pair in pairs.flat_map(Pair::into_inner) {
                match pair.as_rule() {
                    Rule::lead => {
                        document.preamble = reader.span(&pair);
                        let mut problems = Vec::new();
                        document.defaults = reader.sections(pair, &mut problems);
                        if prologue.is_none() {
                            document.problems = problems;
                        }
                    }
                    Rule::block => document.blocks.push(reader.block(pair)),
                    _ => {}
                }
            }
        }
        // The grammar accepts every text; were it not so, the file would be one preamble.
        Err(error) => document.problems.push(Diagnostic::error("spec_syntax", error.variant.message().into_owned())),
    }
    document
}

/// The prologue and the line that ends it. A file without marker is either all prologue or all blocks.
fn split_prologue(bytes: &[u8]) -> (Option<Span>, Span) {
    let mut start = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text == b"__DATA__" || text == b"__END__" {
            return (Some(Span::new(0, start)), Span::new(start, start + line.len()));
        }
        start += line.len();
    }
    let mut content = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = content.find(|line| !line.is_empty() && !line.starts_with(b"#"));
    match first {
        Some(line) if !line.starts_with(b"===") && !line.starts_with(b"--- ") => {
            (Some(Span::new(0, bytes.len())), Span::at(bytes.len()))
        }
        _ => (None, Span::at(0)),
    }
}

/// The text for the grammar: as long as the bytes, with every byte above ASCII replaced by DEL.
fn ascii(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\x7f' }).collect(),
    }
}

/// Turns pairs of the grammar into nodes; `offset` is where the grammar's text starts in the file.
struct Reader<'a> {
    source: &'a Source,
    offset: usize,
}

impl Reader<'_> {
    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let span = pair.as_span();
        Span::new(self.offset + span.start(), self.offset + span.end())
    }

    fn block(&self, pair: Pair<'_, Rule>) -> BlockNode {
        let span = self.span(&pair);
        let mut block = BlockNode {
            span,
            name: Span::at(span.end),
            description: Span::at(span.end),
            sections: Vec::new(),
            problems: Vec::new(),
        };
        let mut has_line_end = false;
        for part in pair.clone().into_inner() {
            match part.as_rule() {
                Rule::name => {
                    block.name = self.span(&part);
                    has_line_end = block.name.end < span.end;
                    block.description = Span::at(block.name.end);
                }
                Rule::description => block.description = self.span(&part),
                _ => {}
            }
        }
        block.sections = self.sections(pair, &mut block.problems);
        if !has_line_end {
            self.name_at_end_of_file(&mut block);
        }
        block
    }

    /// Without a line end behind it, a name loses its last word to the description.
    fn name_at_end_of_file(&self, block: &mut BlockNode) {
        let name = self.source.slice(block.name);
        match name.iter().rposition(u8::is_ascii_whitespace) {
            Some(blank) => {
                block.description = Span::new(block.name.start + blank + 1, block.name.end);
                block.name.end = block.name.start + blank;
            }
            // The blank between the mark and the name stands in for the missing one.
            None if block.name.start > block.span.start + 3 => {
                block.description = block.name;
                block.name = Span::at(block.name.start);
            }
            None => block.problems.push(
                Diagnostic::error("block_without_line_end", "the last block has a header only, and no line end")
                    .at(self.source, block.span)
                    .help("add a line end and sections"),
            ),
        }
    }

    fn sections(&self, pair: Pair<'_, Rule>, problems: &mut Vec<Diagnostic>) -> Vec<SectionNode> {
        let sections = pair.into_inner().filter(|part| part.as_rule() == Rule::section);
        sections.map(|section| self.section(section, problems)).collect()
    }

    fn section(&self, pair: Pair<'_, Rule>, problems: &mut Vec<Diagnostic>) -> SectionNode {
        let span = self.span(&pair);
        let (mut header, mut name, mut rest, mut body) = (span, span, span, span);
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::header => {
                    header = self.span(&part);
                    for inner in part.into_inner() {
                        match inner.as_rule() {
                            Rule::section_name => name = self.span(&inner),
                            Rule::rest => rest = self.span(&inner),
                            _ => {}
                        }
                    }
                }
                Rule::body => body = self.span(&part),
                _ => {}
            }
        }
        let (filters_end, inline) = self.inline_value(rest);
        let filters = words(self.source.slice(Span::new(rest.start, filters_end)))
            .map(|(start, end)| Span::new(rest.start + start, rest.start + end))
            .collect();
        let section =
            SectionNode { span, header, name, filters, value: inline.map_or(Body::Lines(body), Body::Inline), body };
        self.check(&section, problems);
        section
    }

    /// Splits the rest of a header at its first colon that a blank or the end follows.
    fn inline_value(&self, rest: Span) -> (usize, Option<Span>) {
        let text = self.source.slice(rest);
        let colon = text
            .iter()
            .enumerate()
            .position(|(at, byte)| *byte == b':' && text.get(at + 1).is_none_or(|next| is_space(*next)));
        let Some(colon) = colon else {
            return (rest.end, None);
        };
        let value = text.get(colon + 1..).unwrap_or_default();
        let leading = value.iter().take_while(|byte| is_space(**byte)).count();
        let trailing = value.iter().rev().take_while(|byte| is_space(**byte)).count();
        let start = rest.start + colon + 1 + leading;
        (rest.start + colon, Some(Span::new(start, start.max(rest.end - trailing))))
    }

    fn check(&self, section: &SectionNode, problems: &mut Vec<Diagnostic>) {
        let name = String::from_utf8_lossy(self.source.slice(section.name)).into_owned();
        if name.starts_with('_') || RESERVED.contains(&name.as_str()) {
            problems.push(
                Diagnostic::error("reserved_section_name", format!("`{name}` is a reserved section name"))
                    .at(self.source, section.name)
                    .help("use another name"),
            );
        }
        let has_content = |byte: &u8| !is_space(*byte);
        if section.is_inline() && self.source.slice(section.body).iter().any(has_content) {
            problems.push(
                Diagnostic::error("extra_lines", format!("extra lines are not allowed in section `{name}`"))
                    .at(self.source, section.body)
                    .label(self.source, section.header, "the value stands here")
                    .help("remove the colon to give the value in lines, or remove the lines"),
            );
        }
    }
}

/// Section names that are methods of the original's block class.
const RESERVED: [&str; 16] = [
    "AUTOLOAD",
    "BEGIN",
    "DESTROY",
    "EXPORT",
    "ISA",
    "block_accessor",
    "blocks_object",
    "description",
    "import",
    "is_filtered",
    "name",
    "new",
    "original_values",
    "run_filters",
    "seq_num",
    "set_value",
];

/// Perl's `\s` on bytes.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Start and end of each run of bytes that are not blank.
fn words(text: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += text.get(at..)?.iter().take_while(|byte| is_space(**byte)).count();
        let start = at;
        at += text.get(at..)?.iter().take_while(|byte| !is_space(**byte)).count();
        (at > start).then_some((start, at))
    })
}
