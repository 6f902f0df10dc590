//! Lua in spec files.

use rsty_diag::{Source, Span};
use rsty_testspec::syntax::{self, Document, SectionNode};

use super::map::Map;
use super::phase::{Phase, Subsystem};
use super::variables::{Interpolation, blank_out};
use super::{Snippet, conf};

/// All Lua of a spec file, in the order of the file: in configuration sections and the prologue, in files that a block
/// writes, and in sections that are Lua themselves.
pub fn snippets(source: &Source) -> Vec<Snippet> {
    let document = syntax::parse(source);
    let mut found = Vec::new();
    if let Some(prologue) = document.prologue {
        found.extend(perl(&document, prologue, Subsystem::Http));
    }
    for section in &document.defaults {
        section_snippets(&document, section, &mut found);
    }
    for (index, block) in document.blocks.iter().enumerate() {
        let from = found.len();
        for section in &block.sections {
            section_snippets(&document, section, &mut found);
        }
        for snippet in found.iter_mut().skip(from) {
            snippet.group = index + 1;
        }
    }
    found
}

fn section_snippets(document: &Document, section: &SectionNode, found: &mut Vec<Snippet>) {
    let name = document.section_name(section);
    let span = section.value_span();
    let filters: Vec<&[u8]> = section.filters.iter().map(|filter| document.slice(*filter)).collect();
    let evaluated = filters.iter().any(|filter| matches!(*filter, b"eval" | b"decode" | b"exec"));
    let subsystem = if name.starts_with("stream") { Subsystem::Stream } else { Subsystem::Http };
    match name {
        _ if name.ends_with("config") && evaluated => found.extend(perl(document, span, subsystem)),
        _ if name.ends_with("config") => found.extend(configuration(document, span, subsystem)),
        "user_files" if !evaluated => user_files(document, span, found),
        "src" | "lua" if !evaluated => found.push(whole(document, span, None)),
        _ => {
            let stem = name.strip_suffix("_block").unwrap_or(name).strip_suffix("_by_lua");
            let stem = stem.map(|stem| stem.trim_start_matches("extra_"));
            if let Some(phase) = stem.and_then(Phase::of_directive)
                && !evaluated
            {
                found.push(whole(document, span, Some(phase)));
            }
        }
    }
}

fn configuration(document: &Document, span: Span, subsystem: Subsystem) -> Vec<Snippet> {
    let mut text = document.slice(span).to_vec();
    blank_out(&mut text, Interpolation::Environment);
    conf::snippets(&text, span.start, subsystem)
}

fn perl(document: &Document, span: Span, subsystem: Subsystem) -> Vec<Snippet> {
    let mut text = document.slice(span).to_vec();
    blank_out(&mut text, Interpolation::Perl);
    conf::scattered(&text, span.start, subsystem)
}

fn whole(document: &Document, span: Span, phase: Option<Phase>) -> Snippet {
    let mut text = document.slice(span).to_vec();
    blank_out(&mut text, Interpolation::Environment);
    Snippet {
        text,
        map: Map::shifted(span.start),
        phase,
        subsystem: Subsystem::Http,
        rewritten: false,
        group: 0,
        written_file: false,
    }
}

/// The files of a `user_files` section: `>>> name` lines, each followed by a body.
fn user_files(document: &Document, span: Span, found: &mut Vec<Snippet>) {
    let mut name: Option<&[u8]> = None;
    let mut start = span.start;
    let mut at = span.start;
    let mut finish = |name: Option<&[u8]>, start: usize, end: usize| {
        let lua = name.is_some_and(|name| name.ends_with(b".lua"));
        if lua {
            found.push(Snippet {
                written_file: true,
                subsystem: Subsystem::Any,
                ..whole(document, Span::new(start, end), None)
            });
        }
    };
    for line in document.slice(span).split_inclusive(|byte| *byte == b'\n') {
        if let Some(header) = line.strip_prefix(b">>>") {
            finish(name, start, at);
            name = header.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
            start = at + line.len();
        }
        at += line.len();
    }
    finish(name, start, span.end);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "\
our $conf = <<'_EOC_';
    init_by_lua_block { x = 1 }
_EOC_
__DATA__

=== TEST 1: a
--- http_config eval
\"lua_package_path '$::path;;'; init_by_lua '$::code y = 2';\"
--- stream_server_config
    content_by_lua_block { local p = $TEST_NGINX_PORT z = p }
--- user_files
>>> a.lua
m = 1
>>> b.txt
no lua
--- request
GET /
";

    #[test]
    fn all_places_are_found_with_their_lines() {
        let source = Source::new("a.t", SPEC);
        let found = snippets(&source);
        let lines: Vec<_> = found.iter().map(|s| source.location(s.map.outer(1)).line).collect();
        assert_eq!(lines, [2, 8, 10, 13]);
        assert_eq!(found.iter().map(|s| s.group).collect::<Vec<_>>(), [0, 1, 1, 1]);
        assert_eq!(found[2].subsystem, Subsystem::Stream);
        assert!(found[2].text.starts_with(b" local p = ") && found[2].text.ends_with(b" z = p "));
        assert_eq!(found[3].text, b"m = 1\n");
    }
}
