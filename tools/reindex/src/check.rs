//! What looks wrong in a spec file's structure.

use std::collections::HashMap;

use rsty_diag::{Diagnostic, Severity, Span};
use rsty_testspec::syntax::{BlockNode, Document};

use crate::header::Header;

/// All findings about headers, in the order of the file. What is wrong inside sections is the runner's to tell.
pub fn check(document: &Document) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut numbers: HashMap<Vec<u8>, Span> = HashMap::new();
    let mut last = None;
    for block in &document.blocks {
        let line = header_line(document, block);
        found.extend(header(document, line, &mut numbers));
        if !found.iter().any(|diagnostic| diagnostic.id == "number_gap") {
            found.extend(gap(document, line, &mut last));
        }
        found.extend(left_behind(document, block));
        found.extend(hidden_headers(document, block));
    }
    found.sort_by_key(|diagnostic| diagnostic.primary.as_ref().map(|label| label.span));
    found
}

fn header_line(document: &Document, block: &BlockNode) -> Span {
    let bytes = document.slice(block.span);
    let length = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    Span::new(block.span.start, block.span.start + length)
}

fn header(document: &Document, line: Span, numbers: &mut HashMap<Vec<u8>, Span>) -> Vec<Diagnostic> {
    let source = &document.source;
    let text = document.slice(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let mut found = Vec::new();
    if text.starts_with(b"====") {
        found.push(Diagnostic::warning("malformed_header", "a block header has three equals signs").at(source, line));
    } else if let Some(header) = Header::read(text) {
        if !header.suffix.is_empty() {
            found.push(Diagnostic::warning("malformed_header", "the number has letters behind it").at(source, line));
        } else if !header.exact {
            let form = "a numbered header is written `=== TEST 1: name`";
            found.push(Diagnostic::warning("malformed_header", form).at(source, line));
        }
        if text.ends_with(b" ") || text.ends_with(b"\t") {
            let blanks = Diagnostic::new("trailing_blanks", Severity::Note, "the block's name ends in blanks");
            found.push(blanks.at(source, line).help("`--style` removes them"));
        }
        if let Some(number) = header.number
            && let Some(first) = numbers.insert(number.to_vec(), line)
        {
            let number = String::from_utf8_lossy(number).into_owned();
            let message = format!("the number {number} is used twice");
            found.push(Diagnostic::warning("duplicate_number", message).at(source, line).label(
                source,
                first,
                "first here",
            ));
        }
    }
    found
}

/// A number that does not follow the one before. One a file is enough: all that come later are off as well.
fn gap(document: &Document, line: Span, last: &mut Option<u64>) -> Option<Diagnostic> {
    let text = document.slice(line);
    let number = Header::read(text.strip_suffix(b"\r").unwrap_or(text))?.number?;
    let number: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let before = last.replace(number)?;
    let follows = number == before || before.checked_add(1) == Some(number);
    (!follows).then(|| {
        let message = format!("the number {number} does not follow {before}");
        Diagnostic::new("number_gap", Severity::Note, message).at(&document.source, line)
    })
}

/// `ONLY` and `LAST` switch off other blocks; they are for a moment at the keyboard.
fn left_behind(document: &Document, block: &BlockNode) -> Vec<Diagnostic> {
    let switches = block.sections.iter().filter(|section| matches!(document.section_name(section), "ONLY" | "LAST"));
    let told = |section| {
        let name = document.section_name(section);
        Diagnostic::warning("blocks_switched_off", format!("`--- {name}` keeps other blocks from running"))
            .at(&document.source, section.name)
            .help("remove it before committing")
    };
    switches.map(told).collect()
}

/// Lines in a body that were meant as headers.
fn hidden_headers(document: &Document, block: &BlockNode) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut at = block.span.start;
    for (index, line) in document.slice(block.span).split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = line.trim_ascii();
        let indented = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        if index > 0 && indented && text.starts_with(b"=== TEST ") {
            found.push(
                Diagnostic::warning("malformed_header", "an indented header is text of the section above it")
                    .at(&document.source, Span::new(at, at + line.trim_ascii_end().len())),
            );
        }
        at += line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use rsty_diag::Source;
    use rsty_testspec::syntax;

    use super::*;

    fn ids(text: &str) -> Vec<String> {
        let source = Source::new("a.t", text);
        check(&syntax::parse(&source)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn slips_in_headers_are_told_with_their_places() {
        let text = "__DATA__\n\n=== TEST 1: a\n--- config\n=== TEST: 17: b\n--- config\n=== TEST 1: c\n--- ONLY\n  === TEST 3: x\n";
        assert_eq!(
            ids(text),
            [
                "a.t:5:1: warning: a numbered header is written `=== TEST 1: name`",
                "a.t:5:1: note: the number 17 does not follow 1",
                "a.t:7:1: warning: the number 1 is used twice",
                "a.t:8:5: warning: `--- ONLY` keeps other blocks from running",
                "a.t:9:1: warning: an indented header is text of the section above it",
            ]
        );
    }

    #[test]
    fn gaps_and_blanks_are_told() {
        let text = "__DATA__\n\n=== TEST 1: a \n--- config\n=== TEST 4: b\n--- config\n=== TEST 9: c\n";
        assert_eq!(
            ids(text),
            ["a.t:3:1: note: the block's name ends in blanks", "a.t:5:1: note: the number 4 does not follow 1"]
        );
    }

    #[test]
    fn a_clean_file_has_nothing_to_tell() {
        assert!(ids("use x;\n__DATA__\n\n=== TEST 1: a\n--- config\nx\n\n\n\n=== b\n--- config\n").is_empty());
    }
}
