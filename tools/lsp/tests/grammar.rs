//! The TextMate grammar in `tools/editor` against the parser of spec files: each header of a block or section gets its
//! scope, with the name that the parser finds, and nothing else does.
//!
//! `RSTY_SPECS=FOLDER:… cargo test -p rsty-lsp --test grammar` looks at other people's specs, too.

use std::path::{Path, PathBuf};

use regex::Regex;
use rsty_diag::{Source, Span};
use rsty_testspec::syntax;
use serde_json::Value;

/// The patterns that a header line can meet, in the order of the grammar.
struct Grammar {
    block: Regex,
    /// Configuration, Lua, any other section. The name is the second group.
    sections: [Regex; 3],
    /// What ends the sections that hold other languages, whatever those think of the text before.
    boundary: Regex,
}

fn grammar() -> Grammar {
    let text = include_str!("../../editor/test-nginx.tmLanguage.json");
    let grammar: Value = serde_json::from_str(text).expect("the grammar is JSON");
    let rule = |name: &str, key: &str| {
        let pattern = grammar.pointer(&format!("/repository/{name}/{key}")).and_then(Value::as_str);
        pattern.unwrap_or_else(|| panic!("{name} has {key}")).to_owned()
    };
    let regex = |pattern: &str| Regex::new(pattern).expect("a pattern");
    let order = grammar.pointer("/repository/blocks/patterns").and_then(Value::as_array).expect("patterns");
    let order: Vec<_> = order.iter().filter_map(|rule| rule["include"].as_str()).collect();
    assert_eq!(order, ["#block", "#configuration", "#lua", "#section"]);
    let stays = rule("configuration", "while");
    assert_eq!(stays, rule("lua", "while"));
    let boundary = stays.strip_prefix("^(?!").and_then(|rest| rest.strip_suffix(')')).expect("a line that is not");
    Grammar {
        block: regex(&rule("block", "match")),
        sections: [
            regex(&rule("configuration", "begin")),
            regex(&rule("lua", "begin")),
            regex(&rule("section", "match")),
        ],
        boundary: regex(&format!("^(?:{boundary})")),
    }
}

impl Grammar {
    /// Compares a spec; the number of headers in it, and what differs.
    fn check(&self, source: &Source) -> (usize, Vec<String>) {
        let document = syntax::parse(source);
        let mut wrong = Vec::new();
        let mut headers = 0;
        let blocks = document.blocks.iter().flat_map(|block| {
            let sections = block.sections.iter().map(|section| (section.span.start, Some(section.name)));
            std::iter::once((block.span.start, None)).chain(sections)
        });
        // Right below a title the original takes an indented header, too. A grammar of lines can't know the line before.
        let in_line = |start: usize| start > 0 && source.bytes().get(start - 1) != Some(&b'\n');
        let mut expected = blocks.filter(|(start, _)| !in_line(*start)).peekable();
        let mut at = document.blocks.first().map_or(source.bytes().len(), |block| block.span.start);
        while at < source.bytes().len() {
            let rest = source.slice(Span::new(at, source.bytes().len()));
            let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |found| found + 1);
            let line = String::from_utf8_lossy(rest.get(..length).unwrap_or_default());
            let line = line.trim_end_matches(['\n', '\r']);
            let found = expected.next_if(|(start, _)| *start == at);
            headers += usize::from(found.is_some());
            let section = self.sections.iter().find_map(|rule| rule.captures(line)?.get(2));
            let right = self.boundary.is_match(line) == found.is_some()
                && match found {
                    None => section.is_none() && !self.block.is_match(line),
                    Some((_, None)) => self.block.is_match(line),
                    Some((_, Some(name))) => section.is_some_and(|text| text.as_str().as_bytes() == source.slice(name)),
                };
            if !right {
                wrong.push(format!("{}:{}: {line}", source.path().display(), source.location(at).line));
            }
            at += length;
        }
        (headers, wrong)
    }
}

/// The specs below a folder. Links are not followed.
fn specs(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            specs(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "t") {
            found.push(path);
        }
    }
}

#[test]
fn every_header_of_the_specs_has_its_scope() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../t")];
    if let Some(more) = std::env::var_os("RSTY_SPECS") {
        folders.extend(std::env::split_paths(&more));
    }
    let mut files = Vec::new();
    for folder in &folders {
        specs(folder, &mut files);
    }
    assert!(!files.is_empty(), "specs of our own");
    let grammar = grammar();
    let (mut headers, mut wrong) = (0, Vec::new());
    for file in files {
        let Ok(text) = std::fs::read(&file) else { continue };
        let (more, differences) = grammar.check(&Source::new(file, text));
        headers += more;
        wrong.extend(differences);
    }
    assert!(wrong.is_empty(), "{} of {headers}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(headers > 0, "no header was seen");
}

#[test]
fn odd_headers_are_understood_as_the_parser_does() {
    let text = "=== a\n  --- skipped\n===\n---  (abc) eval\nx\n---no\n--- \n --- no\n--- a_b:c: d :e\n--- http_config eval: $::x\n===TEST\n\
                --- header_filter_by_lua\nlocal a = [[\n=== TEST 2: x\n--- config\nset $a '\n--- more_config\n=======\n";
    let (headers, wrong) = grammar().check(&Source::new("a.t", text));
    assert_eq!((headers, wrong), (11, Vec::new()));
}
