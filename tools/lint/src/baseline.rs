//! Known findings of old code, so that only new ones are told.
//!
//! A baseline counts findings by file, rule and message, not by line: code may move.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::driver::FileReport;

/// Known findings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    version: u32,
    files: BTreeMap<String, BTreeMap<String, usize>>,
}

/// Why a baseline can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// It is no JSON, or not of this form.
    #[error("not a baseline: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A newer version wrote it.
    #[error("the baseline has version {0}, which this rsty does not know")]
    Version(u32),
}

const VERSION: u32 = 1;

impl Baseline {
    /// The findings of a run.
    pub fn of(reports: &[FileReport]) -> Self {
        let mut files: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for report in reports {
            for finding in &report.findings {
                let known = files.entry(report.source.name()).or_default();
                *known.entry(format!("{}: {}", finding.rule, finding.message)).or_default() += 1;
            }
        }
        Self { version: VERSION, files }
    }

    /// Reads a baseline.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let baseline: Self = serde_json::from_str(text)?;
        if baseline.version == VERSION { Ok(baseline) } else { Err(BaselineError::Version(baseline.version)) }
    }

    /// The baseline as a file's content.
    pub fn write(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Takes the known findings out of the reports; of equal ones, the first. Tells how many.
    pub fn remove_known(&self, reports: &mut [FileReport]) -> usize {
        let mut removed = 0;
        for report in reports {
            let Some(mut known) = self.files.get(&report.source.name()).cloned() else { continue };
            report.findings.retain(|finding| match known.get_mut(&format!("{}: {}", finding.rule, finding.message)) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    removed += 1;
                    false
                }
                _ => true,
            });
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use rsty_diag::Source;

    use super::*;
    use crate::settings::Settings;
    use crate::{Input, InputKind, check};

    fn reports(text: &str) -> Vec<FileReport> {
        let source = Source::new("a.lua", text);
        let findings = check(&Input { source: source.clone(), kind: InputKind::Lua }, &Settings::default());
        vec![FileReport { source, findings }]
    }

    #[test]
    fn only_new_findings_stay_though_lines_move() {
        let written = Baseline::of(&reports("x = 1\n")).write();
        let baseline = Baseline::parse(&written).expect("own format");
        let mut later = reports("\n\nx = 1\nx = 2\ny = 1\n");
        assert_eq!(baseline.remove_known(&mut later), 1);
        assert_eq!(later[0].findings.len(), 2);
        assert!(Baseline::parse("{}").is_err());
        assert!(matches!(Baseline::parse("{\"version\":9,\"files\":{}}"), Err(BaselineError::Version(9))));
    }
}
