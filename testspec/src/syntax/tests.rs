//! Rules of the block language, each with its case.

use proptest::prelude::*;
use rsty_diag::{Source, Span};

use super::*;

fn document(text: &str) -> Document {
    parse(&Source::new("t/x.t", text))
}

type SectionTexts = (String, Vec<String>, String);

fn block_texts(document: &Document) -> Vec<(String, Vec<SectionTexts>)> {
    let text = |span: Span| String::from_utf8_lossy(document.slice(span)).into_owned();
    let sections = |block: &BlockNode| {
        let each = |section: &SectionNode| {
            (text(section.name), section.filters.iter().map(|span| text(*span)).collect(), text(section.value_span()))
        };
        block.sections.iter().map(each).collect()
    };
    document.blocks.iter().map(|block| (text(block.name), sections(block))).collect()
}

fn one_section(text: &str) -> (String, Vec<String>, String) {
    let document = document(&format!("__DATA__\n=== a\n{text}"));
    block_texts(&document).remove(0).1.remove(0)
}

#[test]
fn the_data_starts_behind_the_first_marker_line() {
    for marker in ["__DATA__\n", "__END__\r\n"] {
        let text = format!("use X;\n  __DATA__\n{marker}=== a\n__DATA__\n=== b\n");
        let document = document(&text);
        assert_eq!(document.slice(document.prologue.unwrap()), b"use X;\n  __DATA__\n");
        assert_eq!(document.blocks.len(), 2);
    }
}

#[test]
fn a_file_without_marker_is_code_or_blocks_by_its_first_line() {
    assert_eq!(document("use strict;\n=== a\n").blocks.len(), 0);
    assert_eq!(document("=== a\n").blocks.len(), 1);
    let document = document("\n# comment\n--- timeout: 3\n--- config\nx\n=== a\n");
    assert_eq!(document.prologue, None);
    assert_eq!(document.defaults.len(), 2);
    assert_eq!(document.blocks.len(), 1);
}

#[test]
fn a_block_starts_at_any_line_with_three_equals_signs() {
    let document = document("__DATA__\nnoise\n=== a\n--- x\n ===\n====b\n");
    let names: Vec<_> = block_texts(&document).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "=b"]);
}

#[test]
fn a_name_keeps_trailing_blanks() {
    assert_eq!(block_texts(&document("__DATA__\n=== \t a b \n--- x\n"))[0].0, "a b ");
}

#[test]
fn blank_lines_and_indentation_before_the_first_section_are_skipped() {
    let document = document("__DATA__\n=== a\n\n \t\n   --- x\nbody\n");
    assert_eq!(block_texts(&document)[0].1, [("x".to_owned(), vec![], "body\n".to_owned())]);
}

#[test]
fn text_before_the_first_section_is_the_description() {
    let document = document("__DATA__\n=== a\n  some ---\n words\n--- x\n");
    assert_eq!(document.slice(document.blocks[0].description), b"some ---\n words\n");
    assert_eq!(document.blocks[0].sections.len(), 1);
}

#[test]
fn an_indented_block_mark_is_description() {
    let document = document("__DATA__\n=== a\n  === b\n--- x\n");
    assert_eq!(document.blocks.len(), 1);
    assert_eq!(document.slice(document.blocks[0].description), b"=== b\n");
}

#[test]
fn a_name_at_the_end_of_the_file_loses_its_last_word() {
    let at_end = document("__DATA__\n=== TEST 1: foo");
    assert_eq!(at_end.slice(at_end.blocks[0].name), b"TEST 1:");
    assert_eq!(at_end.slice(at_end.blocks[0].description), b"foo");
    assert!(document("__DATA__\n===foo").diagnostics().next().is_some());
}

#[test]
fn headers_need_blanks_a_word_and_a_line_end() {
    for line in ["---foo", "----", "-----BEGIN", "--- -x", " --- y", "---\ty"] {
        let document = document(&format!("__DATA__\n=== a\n--- x\n{line}\n"));
        assert_eq!(document.blocks[0].sections.len(), 1, "{line}");
    }
    assert_eq!(document("__DATA__\n=== a\n--- x\n--- y").blocks[0].sections.len(), 1);
    assert_eq!(document("__DATA__\n=== a\n--- x\n--- a/file\n").blocks[0].sections.len(), 2);
    assert_eq!(document("__DATA__\n=== a\n--- (x)eval\n").blocks[0].sections.len(), 1);
}

#[test]
fn filters_are_the_words_of_the_header() {
    assert_eq!(
        one_section("---  (x)  chop  eval\nb\n"),
        ("x".into(), vec!["chop".into(), "eval".into()], "b\n".into())
    );
    assert_eq!(one_section("--- x eval\r\n"), ("x".into(), vec!["eval".into()], String::new()));
}

#[test]
fn a_colon_before_a_blank_or_the_end_makes_the_value_inline() {
    let inline = |header: &str| {
        let (_, filters, value) = one_section(&format!("--- {header}\n"));
        (filters, value)
    };
    assert_eq!(inline("x: 1"), (vec![], "1".into()));
    assert_eq!(inline("x:"), (vec![], String::new()));
    assert_eq!(inline("x :  a b "), (vec![], "a b".into()));
    assert_eq!(inline("x: 3: < 1.7.5"), (vec![], "3: < 1.7.5".into()));
    assert_eq!(inline("x eval: $::X"), (vec!["eval".into()], "$::X".into()));
    assert_eq!(inline("x:200"), (vec![":200".into()], String::new()));
    assert_eq!(inline("x:200: y"), (vec![":200".into()], "y".into()));
}

#[test]
fn lines_below_an_inline_value_are_refused() {
    let with = |body: &str| document(&format!("__DATA__\n=== a\n--- x: 1\n{body}")).diagnostics().count();
    assert_eq!(with("\n \n"), 0);
    assert_eq!(with("y\n"), 1);
}

#[test]
fn reserved_names_are_refused() {
    for name in ["name", "new", "_x", "set_value", "run_filters"] {
        assert_eq!(document(&format!("__DATA__\n=== a\n--- {name}\n")).diagnostics().count(), 1, "{name}");
    }
    assert_eq!(document("__DATA__\n=== a\n--- names\n").diagnostics().count(), 0);
}

#[test]
fn only_skip_and_last_choose_blocks() {
    let chosen = |marks: &[&str]| {
        let blocks: Vec<String> = marks.iter().map(|mark| format!("=== b\n--- x\n{mark}\n")).collect();
        let blocks = blocks.concat();
        let selection = document(&format!("__DATA__\n{blocks}")).selection();
        (selection.blocks, selection.examined)
    };
    assert_eq!(chosen(&["", "--- SKIP", ""]), (vec![0, 2], 3));
    assert_eq!(chosen(&["", "--- LAST", ""]), (vec![0, 1], 2));
    assert_eq!(chosen(&["", "--- SKIP\n--- LAST", ""]), (vec![0, 2], 3));
    assert_eq!(chosen(&["--- LAST", "--- ONLY"]), (vec![0], 1));
    assert_eq!(chosen(&["", "--- ONLY\n--- SKIP", ""]), (vec![1], 2));
}

#[test]
fn bytes_that_are_not_text_keep_their_offsets() {
    let document = parse(&Source::new("x", b"__DATA__\n=== \xff\xe4\xb8\xad\n--- x\n\xc3\n--- y\n".to_vec()));
    assert_eq!(document.slice(document.blocks[0].name), b"\xff\xe4\xb8\xad");
    assert_eq!(document.slice(document.blocks[0].sections[0].body), b"\xc3\n");
}

/// All bytes of the tree in order.
fn rebuilt(document: &Document) -> Vec<u8> {
    let mut out = document.slice(document.prologue.unwrap_or_default()).to_vec();
    out.extend_from_slice(document.slice(document.marker));
    out.extend_from_slice(document.slice(document.preamble));
    for block in &document.blocks {
        let first = block.sections.first().map_or(block.span.end, |section| section.span.start);
        out.extend_from_slice(document.slice(Span::new(block.span.start, first)));
        for section in &block.sections {
            assert_eq!(section.header.end, section.body.start);
            out.extend_from_slice(document.slice(section.header));
            out.extend_from_slice(document.slice(section.body));
        }
    }
    out
}

proptest! {
    #[test]
    fn parsing_keeps_every_byte(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let document = parse(&Source::new("x", bytes.clone()));
        prop_assert_eq!(rebuilt(&document), bytes);
    }

    #[test]
    fn parsing_keeps_every_byte_of_near_specs(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("=== "), Just("\n"), Just("--- "), Just("x"), Just(" "), Just(":"), Just("__DATA__\n"),
                Just("\r\n"), Just("("), Just("\t"), Just("#"), Just("ONLY")
            ],
            0..60,
        )
    ) {
        let text = parts.concat();
        let document = document(&text);
        prop_assert_eq!(rebuilt(&document), text.as_bytes());
    }
}

/// Bytes that a file of somebody else may hold.
fn hostile_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("NUL bytes", b"=== TEST 1: a\0\n--- con\0fig\n\0\n--- request\nGET /\0\n".to_vec()),
        ("invalid UTF-8", b"\xff\xfe===\xff TEST\n--- \xff\n--- x\xc3(\n".repeat(50)),
        ("mixed line ends", b"=== a\r\n--- x\ry\r\n--- z\n\r\r\n".repeat(50)),
        ("a byte order mark", [b"\xef\xbb\xbf".as_slice(), b"=== TEST 1: a\n--- x\ny\n"].concat()),
        ("one long line", [b"=== ".to_vec(), vec![b'a'; 4 << 20]].concat()),
        ("a long filter list", [b"=== a\n--- x ".to_vec(), b"eval ".repeat(20_000), b"\n".to_vec()].concat()),
        ("many sections", [b"=== a\n".to_vec(), b"--- x\n".repeat(50_000)].concat()),
        ("many dashes", vec![b'-'; 1 << 20]),
        ("many equals signs", vec![b'='; 1 << 20]),
        ("many markers", b"__DATA__\n__END__\n".repeat(20_000)),
    ]
}

#[test]
fn any_bytes_are_read_in_bounded_time() {
    for (what, bytes) in hostile_files() {
        let start = std::time::Instant::now();
        let length = bytes.len();
        let document = parse(&Source::new("t/x.t", bytes));
        assert!(document.blocks.iter().all(|block| block.span.end <= length), "{what}");
        assert!(start.elapsed() < std::time::Duration::from_secs(30), "{what}: {:?}", start.elapsed());
    }
}

#[test]
fn reading_takes_time_in_proportion_to_the_size() {
    let time = |blocks: usize| {
        let text =
            b"=== TEST: a\n--- config\nlocation /t { }\n--- request\nGET /t\n--- error_code: 200\n".repeat(blocks);
        let source = Source::new("t/x.t", text);
        // The quickest of some runs: other work on the machine only adds.
        let runs = (0..3).map(|_| {
            let start = std::time::Instant::now();
            assert_eq!(parse(&source).blocks.len(), blocks);
            start.elapsed()
        });
        runs.min().unwrap_or_default()
    };
    let (small, large) = (time(1_000), time(10_000));
    assert!(large < small * 40 + std::time::Duration::from_millis(200), "{small:?} {large:?}");
}
