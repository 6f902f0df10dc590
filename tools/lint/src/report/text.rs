//! Text for people.

use std::collections::HashMap;

use rsty_diag::{Severity, render};

use crate::driver::FileReport;
use crate::finding::{Finding, GlobalKind};

/// One line a finding.
pub fn concise(reports: &[FileReport]) -> String {
    let mut out = String::new();
    for report in reports {
        for finding in &report.findings {
            let at = report.source.location(finding.span.start);
            let name = render::printable(report.source.name().as_bytes());
            let word = finding.severity.word();
            out.push_str(&format!(
                "{name}:{}:{}: {word}: {} [{}]\n",
                at.line, at.column, finding.message, finding.rule
            ));
        }
    }
    out
}

/// Each finding with its line of code. A leak is shown once a file, with its later uses attached.
pub fn full(reports: &[FileReport]) -> String {
    let mut out = String::new();
    for report in reports {
        for finding in gathered(&report.findings) {
            out.push_str(&render::full(&finding.diagnostic(&report.source), render::Style::Coloured));
            out.push_str("\n\n");
        }
    }
    out
}

/// How many findings there are, in one line.
pub fn summary(reports: &[FileReport]) -> String {
    let count = |severity| reports.iter().flat_map(|r| &r.findings).filter(|f| f.severity == severity).count();
    let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    let files = counted(reports.len(), "file");
    if errors + warnings + notes == 0 {
        return format!("{files}, nothing found\n");
    }
    let parts = [(errors, "error"), (warnings, "warning"), (notes, "note")];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| counted(*count, word));
    format!("{files}, {}\n", parts.collect::<Vec<_>>().join(", "))
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Uses of a leaked global shown below its leak; more are only counted.
const USES_MAX: usize = 4;

fn gathered(findings: &[Finding]) -> Vec<Finding> {
    let mut leaks: HashMap<&str, usize> = HashMap::new();
    let mut out: Vec<Finding> = Vec::new();
    let mut hidden: HashMap<usize, usize> = HashMap::new();
    for finding in findings {
        let known = finding.global.as_ref().and_then(|(_, name)| leaks.get(name.as_str()).copied());
        match (known, &finding.global) {
            (Some(index), Some((kind, _))) => {
                let word = if *kind == GlobalKind::Set { "set here too" } else { "read here" };
                let leak = &mut out[index];
                if leak.notes.len() < USES_MAX {
                    leak.notes.push((finding.span, word.to_owned()));
                } else {
                    *hidden.entry(index).or_default() += 1;
                }
            }
            (None, Some((GlobalKind::Set, name))) => {
                leaks.insert(name, out.len());
                out.push(finding.clone());
            }
            _ => out.push(finding.clone()),
        }
    }
    for (index, leak) in out.iter_mut().enumerate() {
        if let Some(count) = hidden.get(&index) {
            let help = leak.help.take().unwrap_or_default();
            leak.help = Some(format!("{help} (and {} in this file)", counted(*count, "further use")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::{Input, InputKind, check};
    use rsty_diag::Source;

    fn report(text: &str) -> Vec<FileReport> {
        let source = Source::new("a.lua", text);
        let findings = check(&Input { source: source.clone(), kind: InputKind::Lua }, &Settings::default());
        vec![FileReport { source, findings }]
    }

    #[test]
    fn a_leak_is_shown_once_with_its_uses() {
        let reports = report("x = 1\nprint(x)\nx = 2\nfoo()\n");
        assert_eq!(reports[0].findings.len(), 4);
        assert_eq!(gathered(&reports[0].findings).len(), 2);
        assert_eq!(summary(&reports), "1 file, 4 errors\n");
        assert_eq!(summary(&report("return 1")), "1 file, nothing found\n");
    }

    #[test]
    fn concise_has_place_and_rule() {
        let text = concise(&report("x = 1\n"));
        assert_eq!(text, "a.lua:1:1: error: setting the undeclared global `x` [undeclared_global]\n");
    }
}
