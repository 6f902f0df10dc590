//! Annotations that GitHub shows beside the lines of a change.

use crate::run::outcome::{BlockReport, BlockVerdict};

/// The workflow command for a block; nothing for one that is fine.
pub fn annotation(report: &BlockReport) -> Option<String> {
    let level = match report.verdict() {
        BlockVerdict::Failed => "error",
        BlockVerdict::Flaky => "warning",
        BlockVerdict::Passed | BlockVerdict::Skipped => return None,
    };
    let attempt = report.attempts.iter().rev().find(|attempt| attempt.has_failed())?;
    let names = attempt.failures().map(|assertion| assertion.name.as_str());
    let text: Vec<&str> = attempt.bail_out.as_deref().into_iter().chain(names).take(5).collect();
    let file = property(&report.id.file.to_string_lossy());
    let title = property(&report.id.name);
    let text = data(&text.join("\n"));
    Some(format!("::{level} file={file},line={},title={title}::{text}\n", report.id.line))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_separators_are_escaped() {
        assert_eq!(data("50%\r\n::error"), "50%25%0D%0A::error");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
    }
}
