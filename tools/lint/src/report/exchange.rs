//! Formats that other programs take: SARIF, JUnit, checkstyle and GitHub's annotations.

use std::collections::BTreeSet;

use rsty_diag::Severity;
use serde_json::json;

use crate::driver::FileReport;
use crate::rules;

/// SARIF 2.1.0, as code scanning services take it.
pub fn sarif(reports: &[FileReport]) -> String {
    let mut used = BTreeSet::new();
    let mut results = Vec::new();
    for report in reports {
        for finding in &report.findings {
            used.insert(finding.rule);
            let start = report.source.location(finding.span.start);
            let end = report.source.location(finding.span.end);
            results.push(json!({
                "ruleId": finding.rule,
                "level": finding.severity.word(),
                "message": { "text": finding.message },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": uri(&report.source.name()) },
                    "region": {
                        "startLine": start.line, "startColumn": start.column,
                        "endLine": end.line, "endColumn": end.column,
                    },
                }}],
            }));
        }
    }
    let described = |id: &&str| match rules::find(id) {
        Some(rule) => json!({
            "id": rule.id,
            "shortDescription": { "text": rule.summary },
            "help": { "text": rule.page, "markdown": rule.page },
        }),
        None => json!({ "id": id }),
    };
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "rsty lint",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": used.iter().map(described).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{document:#}\n")
}

/// A path as the URI that SARIF wants: relative, with what is no plain character escaped.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.strip_prefix("./").unwrap_or(path).bytes().map(escape).collect()
}

/// JUnit: a suite a file, a failed case a finding.
pub fn junit(reports: &[FileReport]) -> String {
    let failures: usize = reports.iter().map(|report| report.findings.len()).sum();
    let tests: usize = reports.iter().map(|report| report.findings.len().max(1)).sum();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"rsty lint\" tests=\"{tests}\" failures=\"{failures}\">\n"
    );
    for report in reports {
        let name = xml(&report.source.name());
        let count = report.findings.len();
        out.push_str(&format!("  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{count}\">\n", count.max(1)));
        if count == 0 {
            out.push_str(&format!("    <testcase name=\"{name}\" classname=\"{name}\"/>\n"));
        }
        for finding in &report.findings {
            let at = report.source.location(finding.span.start);
            let place = format!("{name}:{}:{}", at.line, at.column);
            let message = xml(&finding.message);
            out.push_str(&format!(
                "    <testcase name=\"{place}\" classname=\"{name}\">\n      <failure type=\"{}\" message=\"{message}\">{place}: {message}</failure>\n    </testcase>\n",
                finding.rule
            ));
        }
        out.push_str("  </testsuite>\n");
    }
    out + "</testsuites>\n"
}

/// checkstyle's XML.
pub fn checkstyle(reports: &[FileReport]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<checkstyle version=\"4.3\">\n");
    for report in reports.iter().filter(|report| !report.findings.is_empty()) {
        out.push_str(&format!("  <file name=\"{}\">\n", xml(&report.source.name())));
        for finding in &report.findings {
            let at = report.source.location(finding.span.start);
            let severity = match finding.severity {
                Severity::Note => "info",
                severity => severity.word(),
            };
            out.push_str(&format!(
                "    <error line=\"{}\" column=\"{}\" severity=\"{severity}\" message=\"{}\" source=\"rsty.{}\"/>\n",
                at.line,
                at.column,
                xml(&finding.message),
                finding.rule
            ));
        }
        out.push_str("  </file>\n");
    }
    out + "</checkstyle>\n"
}

/// Commands for GitHub Actions, which shows them in the changed files.
pub fn github(reports: &[FileReport]) -> String {
    let mut out = String::new();
    for report in reports {
        for finding in &report.findings {
            let at = report.source.location(finding.span.start);
            let command = match finding.severity {
                Severity::Note => "notice",
                severity => severity.word(),
            };
            let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
            out.push_str(&format!(
                "::{command} file={},line={},col={},title={}::{}\n",
                property(&report.source.name()),
                at.line,
                at.column,
                finding.rule,
                data(&finding.message)
            ));
        }
    }
    out
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text for an attribute or element. Characters that XML can't hold are replaced.
fn xml(text: &str) -> String {
    let escape = |character: char| match character {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        character if character.is_control() => "\u{fffd}".to_owned(),
        character => character.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use rsty_diag::Source;

    use super::*;
    use crate::settings::Settings;
    use crate::{Input, InputKind, check};

    fn reports() -> Vec<FileReport> {
        let source = Source::new("a b&.lua", "x = 1\n");
        let findings = check(&Input { source: source.clone(), kind: InputKind::Lua }, &Settings::default());
        vec![FileReport { source, findings }]
    }

    #[test]
    fn sarif_is_json_with_a_place() {
        let document: serde_json::Value = serde_json::from_str(&sarif(&reports())).expect("json");
        let result = &document["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "undeclared_global");
        assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "a%20b%26.lua");
        assert_eq!(document["runs"][0]["tool"]["driver"]["rules"][0]["id"], "undeclared_global");
    }

    #[test]
    fn xml_and_commands_are_escaped() {
        assert!(junit(&reports()).contains("<failure type=\"undeclared_global\""));
        assert!(checkstyle(&reports()).contains("<file name=\"a b&amp;.lua\">"));
        let expected =
            "::error file=a b&.lua,line=1,col=1,title=undeclared_global::setting the undeclared global `x`\n";
        assert_eq!(github(&reports()), expected);
    }
}
