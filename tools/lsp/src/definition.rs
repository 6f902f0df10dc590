//! Where a name was declared, and where a module stands.

use rsty_diag::{Source, Span};
use rsty_lint::embed::{self, Snippet, Subsystem};
use rsty_lint::lua::tree::{ExprKind, Tree};
use rsty_lint::modules::Modules;
use rsty_lint::{InputKind, lua};
use serde_json::{Value, json};

use crate::documents::{Document, Documents, uri_of};

/// The place that the name at an offset comes from.
pub(crate) fn find(documents: &Documents, uri: &str, document: &Document, offset: usize) -> Option<Value> {
    let source = &document.source;
    match document.kind {
        InputKind::Lua => in_chunk(documents, uri, source, source.bytes(), offset, |inner| inner),
        InputKind::Configuration => {
            embedded(documents, uri, source, offset, &embed::conf_snippets(source.bytes(), 0, Subsystem::Http))
        }
        InputKind::Spec => embedded(documents, uri, source, offset, &embed::spec_snippets(source)),
    }
}

fn embedded(documents: &Documents, uri: &str, source: &Source, offset: usize, snippets: &[Snippet]) -> Option<Value> {
    let around = |snippet: &&Snippet| {
        let end = snippet.map.outer(snippet.text.len() as u32);
        (snippet.map.outer(0)..=end).contains(&offset) && snippet.map.is_plain()
    };
    let snippet = snippets.iter().find(around)?;
    let start = snippet.map.outer(0);
    in_chunk(documents, uri, source, &snippet.text, offset - start, |inner| inner + start)
}

/// `outer` turns offsets of the chunk into those of the file.
fn in_chunk(
    documents: &Documents,
    uri: &str,
    source: &Source,
    text: &[u8],
    offset: usize,
    outer: impl Fn(usize) -> usize,
) -> Option<Value> {
    let tree = lua::parse(text).ok()?;
    let at = u32::try_from(offset).ok()?;
    let expr = tree.exprs.iter().find(|expr| {
        let short = matches!(expr.kind, ExprKind::Local(_) | ExprKind::Text);
        short && expr.range.start <= at && at <= expr.range.end
    })?;
    if let ExprKind::Local(local) = expr.kind {
        let range = tree.local(local).range;
        let span = Span::new(outer(range.start as usize), outer(range.end as usize));
        return Some(json!({ "uri": uri, "range": documents.range(source, span) }));
    }
    let name = module_name(&tree, expr.range.start)?;
    let path = Modules::default().locate(source.path(), &name)?;
    let start = json!({ "line": 0, "character": 0 });
    Some(json!({ "uri": uri_of(&path), "range": { "start": start, "end": start } }))
}

/// The string at an offset where it names a module: the argument of `require`.
fn module_name(tree: &Tree<'_>, at: u32) -> Option<String> {
    let mut calls = tree.exprs.iter().filter_map(|expr| match expr.kind {
        ExprKind::Call { callee, arguments } => Some((callee, arguments)),
        _ => None,
    });
    let text = calls.find_map(|(callee, arguments)| {
        let first = tree.expr_list(arguments).next()?;
        let required = tree.global_path(callee)?.as_slice() == [b"require"];
        (required && tree.expr(first).range.start == at).then(|| tree.string(first))?
    })?;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str, needle: &str) -> Option<Value> {
        let mut documents = Documents::default();
        let uri = format!("file:///x/{name}");
        documents.set(&uri, text, 1);
        let document = documents.find(&uri).expect("set");
        find(&documents, &uri, document, text.rfind(needle).expect("there"))
    }

    #[test]
    fn locals_lead_to_their_declaration() {
        let place = found("a.lua", "local first\nlocal second\nprint(first)", "first").expect("found");
        assert_eq!(place["range"]["start"], json!({ "line": 0, "character": 6 }));
        assert_eq!(found("a.lua", "print(first)", "first"), None);
        let conf = "content_by_lua_block {\n  local a = 1\n  ngx.say(a)\n}";
        assert_eq!(found("nginx.conf", conf, "a)").expect("found")["range"]["start"]["line"], 1);
    }
}
