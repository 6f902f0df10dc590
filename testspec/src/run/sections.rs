//! Section names that nothing looks at: a misspelt assertion would pass for ever.

use std::collections::BTreeMap;

use rsty_diag::{Diagnostic, Span, closest};

use crate::load::INHERITED;
use crate::model::Regex;
use crate::syntax::Document;

/// Sections with a meaning beside those that a block may inherit.
const OTHERS: &[&str] = &[
    "LAST",
    "ONLY",
    "SKIP",
    "args",
    "chunked_body",
    "description",
    "dgram_response2",
    "dgram_response3",
    "err",
    "err_like",
    "expect_timeout",
    "middle_chunk_delay",
    "mock_nginx",
    "opts",
    "out",
    "out_like",
    "out_not_like",
    "request_headers",
    "response_body_eval",
    "ret",
    "skip_slave",
    "src",
    "stap2",
    "stap3",
    "stap_out2",
    "stap_out3",
    "stap_out_like",
    "stap_out_unlike",
    "start_chunk_delay",
    "stream_response2",
    "stream_response3",
    "tcp_no_close",
    "tcp_query",
    "tcp_query_auto_timeout",
    "tcp_query_len",
    "tcp_reply_delay",
    "tcp_shutdown",
    "tcp_shutdown_delay",
    "todo",
    "todo_nginx",
    "udp_listen",
    "udp_query",
    "udp_reply",
    "udp_reply_delay",
    "write_resp_body_file",
];

/// An unknown section of a file.
#[derive(Debug)]
pub struct UnknownSection {
    /// What to tell.
    pub diagnostic: Diagnostic,
    /// Whether it looks like a slip in a known name, and not like a section that some tool of the suite reads.
    pub is_slip: bool,
}

/// The unknown sections of the blocks that `is_chosen` takes by their number, each name once, at its first place.
///
/// A name that the prologue mentions is known: a preprocessor reads it. Where a module of the suite stands in for the
/// harness nothing can be said, and nothing is.
pub fn unknown_sections(document: &Document, is_chosen: impl Fn(usize) -> bool) -> Vec<UnknownSection> {
    let prologue = document.prologue.map(|span| document.slice(span)).unwrap_or_default();
    if is_opaque(prologue) {
        return Vec::new();
    }
    let mut places: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    let chosen = document.blocks.iter().enumerate().filter(|(index, _)| is_chosen(index + 1));
    for section in chosen.flat_map(|(_, block)| &block.sections) {
        places.entry(document.section_name(section)).or_default().push(section.name);
    }
    let known = || INHERITED.iter().chain(OTHERS).copied();
    let mut unknown: Vec<(Span, UnknownSection)> = Vec::new();
    for (name, spans) in places {
        let is_mentioned = || memchr::memmem::find(prologue, name.as_bytes()).is_some();
        let Some(first) = spans.first().filter(|_| !known().any(|known| known == name) && !is_mentioned()) else {
            continue;
        };
        let mut message = format!("nothing reads the section `{name}`");
        if spans.len() > 1 {
            message.push_str(&format!(" ({} times in this file)", spans.len()));
        }
        let mut diagnostic = Diagnostic::warning("unknown_section", message).at(&document.source, *first);
        let near = closest(name, known());
        if let Some(near) = near {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        unknown.push((*first, UnknownSection { diagnostic, is_slip: near.is_some() }));
    }
    unknown.sort_by_key(|(span, _)| span.start);
    unknown.into_iter().map(|(_, unknown)| unknown).collect()
}

/// Whether the prologue leaves the harness to a module of the suite, which may add anything to the blocks.
pub(crate) fn is_opaque(prologue: &[u8]) -> bool {
    let module = Regex::new(r"(?m)^\s*use\s+\w+::\w+", "");
    memchr::memmem::find(prologue, b"Test::Nginx").is_none() && module.is_match(prologue).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use rsty_diag::Source;

    use super::*;
    use crate::syntax::parse;

    fn unknown(text: &str) -> Vec<(String, bool)> {
        let document = parse(&Source::new("a.t", text));
        unknown_sections(&document, |_| true)
            .into_iter()
            .map(|unknown| (unknown.diagnostic.message, unknown.is_slip))
            .collect()
    }

    #[test]
    fn a_misspelt_section_is_told_apart_from_a_foreign_one() {
        let text = "=== TEST 1: a\n--- config\n--- reponse_body\nx\n--- zebra_count: 3\n";
        let expected = [
            ("nothing reads the section `reponse_body`".to_owned(), true),
            ("nothing reads the section `zebra_count`".to_owned(), false),
        ];
        assert_eq!(unknown(text), expected);
    }

    #[test]
    fn a_section_that_a_preprocessor_reads_is_known() {
        let prologue = "use Test::Nginx::Socket;\nadd_block_preprocessor(sub { shift->reponse_body });\nrun_tests;\n";
        assert!(unknown(&format!("{prologue}__DATA__\n\n=== TEST 1: a\n--- reponse_body\nx\n")).is_empty());
        assert!(unknown("use t::Suite;\nrun_tests;\n__DATA__\n\n=== TEST 1: a\n--- reponse_body\nx\n").is_empty());
    }

    #[test]
    fn a_repeated_name_is_told_once() {
        let found = unknown("=== TEST 1: a\n--- no_errorlog\n=== TEST 2: b\n--- no_errorlog\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].0.ends_with("(2 times in this file)"));
    }
}
