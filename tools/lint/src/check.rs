//! Judging one file.

use std::path::Path;

use rsty_diag::{Severity, Source};

use crate::chunk::Chunk;
use crate::embed::{self, Map, Phase, Snippet, Subsystem};
use crate::finding::Finding;
use crate::inline;
use crate::lua::{self, SyntaxError};
use crate::rules::{SYNTAX_ERROR, Sink, uncached_code, undefined_field};
use crate::settings::{Inline, Settings, WrittenFiles};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// nginx configuration.
    Configuration,
    /// Lua.
    Lua,
    /// A spec file.
    Spec,
}

impl InputKind {
    /// What a file of this name holds, if the name tells.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "lua" => Some(Self::Lua),
            "t" | "t_" => Some(Self::Spec),
            "conf" | "nginx" => Some(Self::Configuration),
            _ => None,
        }
    }
}

/// A file to judge.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its content.
    pub source: Source,
    /// What it holds.
    pub kind: InputKind,
}

/// The findings in a file, in the order of their places.
pub fn check(input: &Input, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let bytes = input.source.bytes();
    match input.kind {
        InputKind::Lua => {
            // Compiled code is no text; there is nothing to say about it.
            if !bytes.starts_with(b"\x1bLJ") {
                check_chunk(bytes, &Place::file(), &input.source, settings, &mut findings);
            }
        }
        InputKind::Configuration => {
            let found = embed::conf_snippets(bytes, 0, Subsystem::Http);
            for snippet in &found {
                check_snippet(snippet, &input.source, settings, &mut findings);
            }
            if settings.is_on(uncached_code::RULE.id) {
                findings.extend(embed::uncached(bytes).into_iter().map(uncached_code::finding));
            }
        }
        InputKind::Spec => {
            let mut found = embed::spec_snippets(&input.source);
            found.retain(|snippet| !snippet.written_file || settings.written_files == WrittenFiles::Checked);
            for snippet in &found {
                check_snippet(snippet, &input.source, settings, &mut findings);
            }
        }
    }
    if input.kind != InputKind::Lua {
        forget_fields_set_elsewhere(bytes, &mut findings);
    }
    if !settings.filters.is_empty() {
        findings.retain(|finding| !settings.is_filtered(finding, &input.source));
    }
    findings.sort_by(|a, b| (a.span, a.rule).cmp(&(b.span, b.rule)));
    findings
}

/// Takes back findings about fields that another piece of the same file sets.
fn forget_fields_set_elsewhere(text: &[u8], findings: &mut Vec<Finding>) {
    let rule = undefined_field::RULE.id;
    if findings.iter().any(|found| found.rule == rule) {
        let set = undefined_field::names_set_in(text);
        let name = |found: &Finding| text.get(found.span.start..found.span.end).unwrap_or_default();
        findings.retain(|found| found.rule != rule || !set.contains(name(found)));
    }
}

/// What is known about a chunk from outside.
struct Place {
    map: Map,
    phase: Option<Phase>,
    subsystem: Subsystem,
    rewritten: bool,
}

impl Place {
    fn file() -> Self {
        Self { map: Map::shifted(0), phase: None, subsystem: Subsystem::Any, rewritten: false }
    }
}

fn check_snippet(snippet: &Snippet, source: &Source, settings: &Settings, findings: &mut Vec<Finding>) {
    let place = Place {
        map: snippet.map.clone(),
        phase: snippet.phase,
        subsystem: snippet.subsystem,
        rewritten: snippet.rewritten,
    };
    check_chunk(&snippet.text, &place, source, settings, findings);
}

fn check_chunk(text: &[u8], place: &Place, source: &Source, settings: &Settings, findings: &mut Vec<Finding>) {
    let tree = match lua::parse(text) {
        Ok(tree) => tree,
        Err(_) if place.rewritten => return,
        // A variable may stand for any text, statements too; here it is a number.
        Err(error) if is_variable(source, place.map.outer(error.range.start), text, error.range.start) => return,
        Err(error) => {
            findings.push(syntax_error(&error, &place.map));
            return;
        }
    };
    let chunk = Chunk::new(&tree, place.map.clone(), place.phase, place.subsystem);
    let from = findings.len();
    for rule in settings.rules() {
        (rule.check)(&chunk, &mut Sink { settings, file: source.path(), rule, findings });
    }
    if settings.inline == Inline::Obeyed {
        inline::apply(&chunk, source, settings, findings, from);
    }
}

/// Whether a variable that the test runner replaces stands at a place: the chunk has a digit for its dollar sign.
fn is_variable(source: &Source, at: usize, text: &[u8], inner: u32) -> bool {
    source.bytes().get(at) == Some(&b'$') && text.get(inner as usize).is_some_and(u8::is_ascii_digit)
}

fn syntax_error(error: &SyntaxError, map: &Map) -> Finding {
    let span = |range: lua::tree::Range| {
        let start = map.outer(range.start);
        rsty_diag::Span::new(start, map.outer(range.end.max(range.start)).max(start))
    };
    Finding {
        rule: SYNTAX_ERROR,
        severity: Severity::Error,
        message: error.message.clone(),
        span: span(error.range),
        help: None,
        notes: error.opened.iter().map(|range| (span(*range), "opened here".to_owned())).collect(),
        global: None,
        field: None,
        fix: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_stands_for_statements_is_no_syntax_error() {
        let rules = |text: &str| {
            let text = format!("__DATA__\n\n=== TEST 1: a\n--- config\n    content_by_lua_block {{ {text} }}\n");
            let input = Input { source: Source::new("a.t", text), kind: InputKind::Spec };
            check(&input, &Settings::default()).iter().map(|found| found.rule).collect::<Vec<_>>()
        };
        assert!(rules("$TEST_NGINX_KEYS local a = 1").is_empty());
        assert_eq!(rules("$keys local a = 1"), [SYNTAX_ERROR]);
        assert_eq!(rules("local p = $TEST_NGINX_PORT 1 = 2"), [SYNTAX_ERROR]);
    }
}
