//! What there is to say about the word under the cursor.

use rsty_diag::Span;
use rsty_lint::embed::Phase;
use rsty_lint::{InputKind, api};
use serde_json::{Value, json};

use crate::documents::{Document, Documents};
use crate::sections;

/// The text for a place, if there is one.
pub(crate) fn find(documents: &Documents, document: &Document, offset: usize) -> Option<Value> {
    let span = word(document.source.bytes(), offset)?;
    let word = std::str::from_utf8(document.source.slice(span)).ok()?;
    let text = section(document, span, word).or_else(|| function(word)).or_else(|| directive(word))?;
    Some(json!({
        "contents": { "kind": "markdown", "value": text },
        "range": documents.range(&document.source, span),
    }))
}

/// The dotted word around an offset.
fn word(text: &[u8], offset: usize) -> Option<Span> {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let before = text.get(..offset)?.iter().rev().take_while(|byte| inside(byte)).count();
    let after = text.get(offset..)?.iter().take_while(|byte| inside(byte)).count();
    (before + after > 0).then(|| Span::new(offset - before, offset + after))
}

/// The section of a spec file whose header the word is in.
fn section(document: &Document, span: Span, word: &str) -> Option<String> {
    if document.kind != InputKind::Spec {
        return None;
    }
    let before = document.source.bytes().get(..span.start)?;
    let line = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let header = before.get(line..)?.trim_ascii() == b"---";
    header.then(|| sections::about(word)).flatten().map(|text| format!("`--- {word}`\n\n{text}"))
}

/// A function or field of the server's API.
fn function(word: &str) -> Option<String> {
    if !api::exists(word) {
        return None;
    }
    let phases = api::phases(word);
    let told = if phases.len() == Phase::every().count() {
        "Works in all phases.".to_owned()
    } else {
        let names: Vec<String> = phases.iter().map(|phase| format!("`{}`", phase.context())).collect();
        format!("Works in {}.", names.join(", "))
    };
    Some(format!("`{word}`\n\n{told}"))
}

/// A directive that runs Lua.
fn directive(word: &str) -> Option<String> {
    let stem = word.strip_suffix("_block").or_else(|| word.strip_suffix("_file")).unwrap_or(word);
    let phase = Phase::of_directive(stem.strip_suffix("_by_lua")?)?;
    let names: Vec<String> = api::refused(phase).iter().map(|name| format!("`{name}`")).collect();
    let told = if names.is_empty() { String::new() } else { format!("\n\nNot allowed here: {}.", names.join(", ")) };
    Some(format!("`{word}` runs Lua in {}.{told}", phase.context()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, text: &str, needle: &str) -> Option<String> {
        let mut documents = Documents::default();
        documents.set(name, text, 1);
        let document = documents.find(name).expect("set");
        let found = find(&documents, document, text.find(needle).expect("there") + 1)?;
        found["contents"]["value"].as_str().map(str::to_owned)
    }

    #[test]
    fn functions_directives_and_sections_have_texts() {
        let say = text("a.lua", "ngx.say(1)", "say").expect("known");
        assert!(say.contains("`content_by_lua*`") && !say.contains("`log_by_lua*`"), "{say}");
        assert!(text("a.lua", "ngx.log(1)", "log").expect("known").contains("all phases"));
        assert_eq!(text("a.lua", "ngx.nothing(1)", "nothing"), None);
        let log = text("nginx.conf", "log_by_lua_block { }", "log").expect("known");
        assert!(log.contains("`ngx.say`"), "{log}");
        assert!(text("a.t", "=== a\n--- error_code: 200\n", "error_code").expect("known").contains("status"));
    }
}
