//! JSON: one array of findings.

use rsty_diag::Severity;
use serde::Serialize;

use crate::driver::FileReport;
use crate::finding::GlobalKind;

#[derive(Serialize)]
struct Row<'a> {
    file: String,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    rule: &'a str,
    severity: Severity,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<GlobalKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

/// All findings as one array. Lines and columns count from 1, columns in bytes; the end is behind the last byte.
pub fn json(reports: &[FileReport]) -> String {
    let mut rows = Vec::new();
    for report in reports {
        for finding in &report.findings {
            let start = report.source.location(finding.span.start);
            let end = report.source.location(finding.span.end);
            rows.push(Row {
                file: report.source.name(),
                line: start.line,
                column: start.column,
                end_line: end.line,
                end_column: end.column,
                rule: finding.rule,
                severity: finding.severity,
                message: &finding.message,
                kind: finding.global.as_ref().map(|(kind, _)| *kind),
                name: finding.global.as_ref().map(|(_, name)| name.as_str()),
                help: finding.help.as_deref(),
            });
        }
    }
    // Rows hold strings and numbers only, which always serialise.
    serde_json::to_string_pretty(&rows).unwrap_or_else(|_| "[]".to_owned())
}
