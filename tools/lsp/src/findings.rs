//! What is wrong in an open file, and how to mend it.

use rsty_diag::{Diagnostic, Fix, Severity, Span};
use rsty_lint::config::Config;
use rsty_lint::settings::Settings;
use rsty_lint::{Input, InputKind, check};
use rsty_testspec::syntax;
use serde_json::{Value, json};

use crate::documents::{Document, Documents};

/// Something to say about a place.
pub(crate) struct Remark {
    id: &'static str,
    severity: Severity,
    message: String,
    pub(crate) span: Span,
    notes: Vec<(Span, String)>,
    help: Option<String>,
    pub(crate) fix: Option<Fix>,
}

/// All remarks about a file, with the configuration that `rsty lint` would take.
pub(crate) fn remarks(document: &Document) -> Vec<Remark> {
    let path = document.source.path();
    let mut settings = Settings::default();
    let config = path.parent().and_then(|folder| Config::find(folder).ok().flatten());
    if let Some(config) = &config {
        if config.excludes(path) {
            return Vec::new();
        }
        // A name that means nothing was an error when the file was read.
        config.apply(path, &mut settings).ok();
    }
    settings.add_conventions(path);
    let findings = check(&Input { source: document.source.clone(), kind: document.kind }, &settings);
    let mut remarks: Vec<Remark> = findings
        .into_iter()
        .map(|finding| Remark {
            id: finding.rule,
            severity: finding.severity,
            message: finding.message,
            span: finding.span,
            notes: finding.notes,
            help: finding.help,
            fix: finding.fix,
        })
        .collect();
    if document.kind == InputKind::Spec {
        remarks.extend(rsty_reindex::check(&syntax::parse(&document.source)).into_iter().filter_map(of_spec));
    }
    remarks
}

fn of_spec(diagnostic: Diagnostic) -> Option<Remark> {
    Some(Remark {
        id: diagnostic.id,
        severity: diagnostic.severity,
        message: diagnostic.message,
        span: diagnostic.primary?.span,
        notes: diagnostic.labels.into_iter().map(|label| (label.span, label.text)).collect(),
        help: diagnostic.help.into_iter().next(),
        fix: diagnostic.fix.map(|fix| *fix),
    })
}

/// The remarks as the protocol wants them.
pub(crate) fn published(documents: &Documents, uri: &str, document: &Document) -> Value {
    let source = &document.source;
    let place = |span: Span| json!({ "uri": uri, "range": documents.range(source, span) });
    let show = |remark: Remark| {
        let message = match &remark.help {
            Some(help) => format!("{}\n{help}", remark.message),
            None => remark.message.clone(),
        };
        let related = remark.notes.iter().map(|(span, text)| json!({ "location": place(*span), "message": text }));
        json!({
            "range": documents.range(source, remark.span),
            "severity": match remark.severity { Severity::Error => 1, Severity::Warning => 2, Severity::Note => 3 },
            "code": remark.id,
            "source": "rsty",
            "message": message,
            "relatedInformation": related.collect::<Vec<_>>(),
        })
    };
    let diagnostics: Vec<Value> = remarks(document).into_iter().map(show).collect();
    json!({ "uri": uri, "version": document.version, "diagnostics": diagnostics })
}

/// Quick fixes for what stands in a span: each remark's own fix, and a comment that allows it.
pub(crate) fn actions(documents: &Documents, uri: &str, document: &Document, wanted: Span) -> Value {
    let source = &document.source;
    let mut actions = Vec::new();
    let edit = |span: Span, text: &[u8]| json!({ "range": documents.range(source, span), "newText": String::from_utf8_lossy(text) });
    let touched = |span: Span| span.start <= wanted.end && wanted.start <= span.end;
    for remark in remarks(document).into_iter().filter(|remark| touched(remark.span)) {
        if let Some(fix) = &remark.fix {
            let edits: Vec<Value> = fix.edits.iter().map(|(span, text)| edit(*span, text)).collect();
            actions.push(json!({
                "title": fix.title,
                "kind": "quickfix",
                "isPreferred": true,
                "edit": { "changes": { uri: edits } },
            }));
        }
        if rsty_lint::rules::find(remark.id).is_some() {
            let (at, text) = rsty_lint::allow::comment(source, remark.span.start, remark.id);
            actions.push(json!({
                "title": format!("allow {} here", remark.id),
                "kind": "quickfix",
                "edit": { "changes": { uri: [edit(Span::at(at), text.as_bytes())] } },
            }));
        }
    }
    Value::Array(actions)
}

/// The edits that format a spec file; `None` for another file or one that is refused.
pub(crate) fn formatted(documents: &Documents, document: &Document) -> Option<Value> {
    if document.kind != InputKind::Spec {
        return None;
    }
    let rewrite = rsty_reindex::format(&document.source, &rsty_reindex::Options::default()).ok()?;
    let Some(text) = rewrite.text else { return Some(json!([])) };
    let whole = Span::new(0, document.source.bytes().len());
    let text = String::from_utf8(text).ok()?;
    Some(json!([{ "range": documents.range(&document.source, whole), "newText": text }]))
}
