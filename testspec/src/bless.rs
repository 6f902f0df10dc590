//! Writing what came into the sections that expected something else.
//!
//! Only the bytes of an expectation change, and only where the text in the file is what was compared: a section with a
//! pattern, an evaluated value, a function or a variable says more than its text, and is left to its author. A block is
//! blessed whole or not at all. The new text is parsed again: every other section must have kept its bytes, and
//! the blessed ones must now mean what came.

use rsty_diag::{Source, Span};

use crate::load::{normalized, trimmed};
use crate::run::check::{Assertion, Detail};
use crate::run::outcome::BlockReport;
use crate::syntax::{self, BlockNode, Body, Document, SectionNode};

/// A replacement in a spec file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Which bytes go.
    pub span: Span,
    /// What comes in their place.
    pub text: Vec<u8>,
    section: Span,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Header(Vec<u8>, Vec<u8>),
    Value(Vec<u8>),
}

/// Why a block is not blessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It came out differently when it was repeated.
    #[error("`--- {0}` came out differently in two requests")]
    Ambiguous(&'static str),
    /// The block did not come to its end.
    #[error("the block did not run to its end")]
    BailedOut,
    /// The text in the file is not what was compared.
    #[error("`--- {0}` has a filter, a variable or a function: its text is not what was compared")]
    Computed(&'static str),
    /// A failure comes from no section.
    #[error("no section says what was expected: {0}")]
    NoSection(String),
    /// Nothing came.
    #[error("nothing came that could be written into `--- {0}`")]
    Nothing(&'static str),
    /// The section holds no exact text.
    #[error("`--- {0}` holds no exact text")]
    NotExact(&'static str),
    /// The file was changed since it was read for the run.
    #[error("the file was changed during the run")]
    Stale,
    /// What came can't be written as plain text.
    #[error("what came can't be written as the plain text of `--- {0}`")]
    Unwritable(&'static str),
}

/// The edits that make a failed block expect what came.
pub fn edits(report: &BlockReport, document: &Document) -> Result<Vec<Edit>, Refusal> {
    let attempt = report.last().filter(|attempt| attempt.bail_out.is_none() && !attempt.extra);
    let attempt = attempt.ok_or(Refusal::BailedOut)?;
    let block = report.id.number.checked_sub(1).and_then(|index| document.blocks.get(index)).ok_or(Refusal::Stale)?;
    let mut edits: Vec<Edit> = Vec::new();
    for assertion in attempt.failures() {
        let section = assertion.section.ok_or_else(|| {
            let name = assertion.name.rsplit(" - ").next().unwrap_or_default();
            Refusal::NoSection(name.to_owned())
        })?;
        let edit = Subject { document, block, section }.edit(assertion)?;
        match edits.iter().find(|known| known.span == edit.span) {
            Some(known) if *known == edit => {}
            Some(_) => return Err(Refusal::Ambiguous(section)),
            None => edits.push(edit),
        }
    }
    apply(document, &edits).map(|_| edits)
}

/// The file after the edits, which may be those of several blocks.
pub fn apply(document: &Document, edits: &[Edit]) -> Result<Vec<u8>, Refusal> {
    let mut ordered: Vec<&Edit> = edits.iter().collect();
    ordered.sort_by_key(|edit| edit.span.start);
    let bytes = document.source.bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for edit in &ordered {
        out.extend_from_slice(bytes.get(from..edit.span.start).ok_or(Refusal::Stale)?);
        out.extend_from_slice(&edit.text);
        from = edit.span.end;
    }
    out.extend_from_slice(bytes.get(from..).ok_or(Refusal::Stale)?);
    verify(document, &ordered, &syntax::parse(&Source::new(document.source.path(), out.clone())))?;
    Ok(out)
}

/// Whether only the edited sections changed, and mean now what they should.
fn verify(before: &Document, edits: &[&Edit], after: &Document) -> Result<(), Refusal> {
    let broken = Refusal::Unwritable("response_body");
    if before.blocks.len() != after.blocks.len() {
        return Err(broken);
    }
    for (old, new) in before.blocks.iter().zip(&after.blocks) {
        if old.sections.len() != new.sections.len() || before.slice(old.name) != after.slice(new.name) {
            return Err(broken);
        }
        for (old, new) in old.sections.iter().zip(&new.sections) {
            let mut own = edits.iter().filter(|edit| edit.section == old.span).peekable();
            if own.peek().is_none() {
                if before.slice(old.span) != after.slice(new.span) {
                    return Err(broken);
                }
                continue;
            }
            let name = name_of(before, old);
            let value = plain_value(after, new).ok_or(Refusal::Unwritable(name))?;
            for edit in own {
                let holds = match &edit.wanted {
                    Wanted::Value(wanted) => value == *wanted,
                    Wanted::Header(name, wanted) => {
                        let mut lines = value.split(|byte| *byte == b'\n').filter_map(header_line);
                        lines.any(|(known, text)| known == *name && text == *wanted)
                    }
                };
                if !holds {
                    return Err(Refusal::Unwritable(name));
                }
            }
        }
    }
    Ok(())
}

/// A section that expected something else.
struct Subject<'a> {
    document: &'a Document,
    block: &'a BlockNode,
    section: &'static str,
}

impl Subject<'_> {
    fn edit(&self, assertion: &Assertion) -> Result<Edit, Refusal> {
        let section = self.section;
        let Some(Detail::Differs { expected, got }) = &assertion.detail else {
            return Err(Refusal::NotExact(section));
        };
        let got = got.as_deref().ok_or(Refusal::Nothing(section))?;
        let computed = ["response_body_filters", "response_body_eval", "response_body_json_sort", "charset"];
        let node = self.node()?;
        let variable = |text: &[u8]| {
            [b"$TEST_NGINX_".as_slice(), b"$ServerPort", b"/t/servroot"]
                .iter()
                .any(|word| memchr::memmem::find(text, word).is_some())
        };
        if variable(got) {
            return Err(Refusal::Unwritable(section));
        }
        match section {
            "response_body" if computed.iter().any(|name| self.document.has_section(self.block, name)) => {
                Err(Refusal::Computed(section))
            }
            "response_body" | "error_code" => self.value(node, expected, got),
            "response_headers" => self.header(node, assertion, expected, got),
            _ => Err(Refusal::NotExact(section)),
        }
    }

    /// The section in the file.
    fn node(&self) -> Result<&SectionNode, Refusal> {
        let mut found = self.block.sections.iter().filter(|node| self.document.section_name(node) == self.section);
        match (found.next(), found.next()) {
            (Some(node), None) => Ok(node),
            (Some(_), Some(_)) => Err(Refusal::Computed(self.section)),
            (None, _) => Err(Refusal::NoSection(format!("--- {}", self.section))),
        }
    }

    /// The whole value.
    fn value(&self, node: &SectionNode, expected: &[u8], got: &[u8]) -> Result<Edit, Refusal> {
        let value = plain_value(self.document, node).ok_or(Refusal::Computed(self.section))?;
        if value != expected {
            return Err(Refusal::Computed(self.section));
        }
        let (span, text) = match node.value {
            Body::Inline(span) => (span, got.to_vec()),
            Body::Lines(span) => {
                let raw = self.document.slice(span);
                // At the end of a file it could be, until somebody formats the file.
                if !is_chomped(self.document, node) && !got.ends_with(b"\n") {
                    return Err(Refusal::Unwritable(self.section));
                }
                // The empty lines behind the value stay.
                let kept = raw.trim_ascii_end().len();
                let end =
                    raw.get(kept..).and_then(|tail| memchr::memchr(b'\n', tail)).map_or(raw.len(), |at| kept + at + 1);
                let mut text = got.to_vec();
                if is_chomped(self.document, node) {
                    text.push(b'\n');
                }
                (Span::new(span.start, span.start + if kept == 0 { 0 } else { end }), text)
            }
        };
        Ok(Edit { span, text, section: node.span, wanted: Wanted::Value(got.to_vec()) })
    }

    /// The value of one header.
    fn header(&self, node: &SectionNode, assertion: &Assertion, expected: &[u8], got: &[u8]) -> Result<Edit, Refusal> {
        let section = self.section;
        if plain_value(self.document, node).is_none() {
            return Err(Refusal::Computed(section));
        }
        let name = assertion.name.rsplit_once(" - header ").and_then(|(_, rest)| rest.strip_suffix(" ok"));
        let name = name.ok_or(Refusal::NotExact(section))?.as_bytes();
        if got.is_empty() || got != got.trim_ascii() || got.contains(&b'\n') {
            return Err(if got.is_empty() { Refusal::Nothing(section) } else { Refusal::Unwritable(section) });
        }
        let span = node.value_span();
        let mut at = span.start;
        let mut found = None;
        for line in self.document.slice(span).split_inclusive(|byte| *byte == b'\n') {
            if let Some((known, value)) = header_line(line)
                && known == name
            {
                if value != expected {
                    return Err(Refusal::Computed(section));
                }
                let colon = memchr::memchr(b':', line).unwrap_or(0) + 1;
                let tail = line.get(colon..).unwrap_or_default();
                let start = at + colon + (tail.len() - tail.trim_ascii_start().len()).min(tail.len());
                let end = start + tail.trim_ascii().len();
                if found.replace(Span::new(start.min(end), end)).is_some() {
                    return Err(Refusal::Ambiguous(section));
                }
            }
            at += line.len();
        }
        let span = found.ok_or(Refusal::Computed(section))?;
        let wanted = Wanted::Header(name.to_vec(), got.to_vec());
        Ok(Edit { span, text: got.to_vec(), section: node.span, wanted })
    }
}

/// A line `Name: value`.
fn header_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii();
    let colon = memchr::memchr(b':', line).filter(|_| !line.starts_with(b"!"))?;
    Some((line.get(..colon)?.trim_ascii_end(), line.get(colon + 1..)?.trim_ascii_start()))
}

fn is_chomped(document: &Document, node: &SectionNode) -> bool {
    node.filters.iter().any(|filter| document.slice(*filter) == b"chomp")
}

/// What the text of a section means where nothing but `chomp` filters it; `None` where something else does.
fn plain_value(document: &Document, node: &SectionNode) -> Option<Vec<u8>> {
    let filters: Vec<&[u8]> = node.filters.iter().map(|filter| document.slice(*filter)).collect();
    match (node.value, filters.as_slice()) {
        (Body::Inline(span), []) => Some(document.slice(span).trim_ascii().to_vec()),
        (Body::Lines(span), []) => Some(trimmed(&normalized(document.slice(span)))),
        (Body::Lines(span), [b"chomp"]) => {
            let value = trimmed(&normalized(document.slice(span)));
            Some(value.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or(value))
        }
        _ => None,
    }
}

/// The name among those that can be blessed.
fn name_of(document: &Document, node: &SectionNode) -> &'static str {
    let known = ["error_code", "response_headers"];
    known.into_iter().find(|name| *name == document.section_name(node)).unwrap_or("response_body")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::check::Recorder;
    use crate::run::outcome::{Attempt, BlockId};

    fn document(text: &str) -> Document {
        syntax::parse(&Source::new("t/a.t", text.as_bytes()))
    }

    fn report(check: impl FnOnce(&mut Recorder)) -> BlockReport {
        let mut recorder = Recorder::new("t/a.t TEST 1: a");
        check(&mut recorder);
        let (assertions, ..) = recorder.finish();
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 1, name: "TEST 1: a".to_owned() };
        BlockReport { id, attempts: vec![Attempt { assertions, ..Attempt::default() }] }
    }

    fn body(expected: &'static str, got: &'static str) -> BlockReport {
        report(|recorder| {
            recorder.section("response_body");
            recorder.is(Some(got.as_bytes()), Some(expected.as_bytes()), "response_body - response is expected");
        })
    }

    fn blessed(text: &str, report: &BlockReport) -> Result<String, Refusal> {
        let document = document(text);
        let edits = edits(report, &document)?;
        Ok(String::from_utf8(apply(&document, &edits)?).unwrap())
    }

    const HEAD: &str = "=== TEST 1: a\n--- config\nlocation = /t { }\n";
    const NEXT: &str = "\n\n\n=== TEST 2: b\n--- config\n--- response_body\nold\n";

    #[test]
    fn only_the_bytes_of_the_body_change() {
        let text = format!("{HEAD}--- response_body\nold\nlines\n--- error_code: 200{NEXT}");
        let expected = format!("{HEAD}--- response_body\nnew\n--- error_code: 200{NEXT}");
        assert_eq!(blessed(&text, &body("old\nlines\n", "new\n")), Ok(expected));
        let last = format!("{HEAD}--- response_body\nold{NEXT}");
        let expected = format!("{HEAD}--- response_body\nnew{NEXT}");
        assert_eq!(blessed(&last, &body("old\n", "new\n")), Ok(expected));
    }

    #[test]
    fn inline_values_and_chomped_ones_keep_their_form() {
        let text = format!("{HEAD}--- response_body chomp\nold\n");
        assert_eq!(blessed(&text, &body("old", "new")), Ok(format!("{HEAD}--- response_body chomp\nnew\n")));
        let code = report(|recorder| {
            recorder.section("error_code");
            recorder.is(Some(b"404"), Some(b"200"), "status code ok");
        });
        assert_eq!(blessed(&format!("{HEAD}--- error_code: 200\n"), &code), Ok(format!("{HEAD}--- error_code: 404\n")));
        assert_eq!(blessed(&format!("{HEAD}--- error_code\n200\n"), &code), Err(Refusal::Computed("error_code")));
    }

    #[test]
    fn one_header_changes_and_its_neighbours_stay() {
        let header = report(|recorder| {
            recorder.section("response_headers");
            recorder.is(Some(b"2; a"), Some(b"1"), "header X-A ok");
        });
        let text = format!("{HEAD}--- response_headers\nX-B: 1\nX-A:  1\n! X-C\n");
        let expected = format!("{HEAD}--- response_headers\nX-B: 1\nX-A:  2; a\n! X-C\n");
        assert_eq!(blessed(&text, &header), Ok(expected));
        let variable = format!("{HEAD}--- response_headers\nX-A: $ServerPort\n");
        assert_eq!(blessed(&variable, &header), Err(Refusal::Computed("response_headers")));
    }

    #[test]
    fn what_is_more_than_its_text_is_refused() {
        let refused = |sections: &str, report: &BlockReport| blessed(&format!("{HEAD}{sections}"), report).unwrap_err();
        let plain = body("old\n", "new\n");
        assert_eq!(refused("--- response_body eval\n\"old\\n\"\n", &plain), Refusal::Computed("response_body"));
        assert_eq!(refused("--- response_body\n$ServerPort\n", &plain), Refusal::Computed("response_body"));
        let filters = "--- response_body\nold\n--- response_body_filters\nuc\n";
        assert_eq!(refused(filters, &plain), Refusal::Computed("response_body"));
        let like = report(|recorder| {
            recorder.section("response_body_like");
            recorder.like(b"x", false, b"y", "like");
        });
        assert_eq!(refused("--- response_body_like: y\n", &like), Refusal::NotExact("response_body_like"));
        let status = report(|recorder| recorder.is(Some(b"500"), Some(b"200"), "status code ok"));
        assert_eq!(refused("", &status), Refusal::NoSection("status code ok".to_owned()));
    }

    #[test]
    fn what_would_break_the_file_is_refused() {
        let text = format!("{HEAD}--- response_body\nold\n");
        for got in ["new\n=== TEST 2: x\n", "--- error_code: 1\n", "no line end", "cr\r\n", "$TEST_NGINX_PORT\n", "\n"]
        {
            let refusal = blessed(&text, &body("old\n", got)).unwrap_err();
            assert_eq!(refusal, Refusal::Unwritable("response_body"), "{got:?}");
        }
        let twice = report(|recorder| {
            recorder.section("response_body");
            recorder.is(Some(b"a\n"), Some(b"old\n"), "response_body");
            recorder.is(Some(b"b\n"), Some(b"old\n"), "response_body");
        });
        assert_eq!(blessed(&text, &twice), Err(Refusal::Ambiguous("response_body")));
        let mut bailed = body("old\n", "new\n");
        bailed.attempts[0].bail_out = Some("x".to_owned());
        assert_eq!(blessed(&text, &bailed), Err(Refusal::BailedOut));
    }
}
