//! Annotations that GitHub shows beside the lines of a change.

use rsty_diag::render::printable;

use crate::run::outcome::{BlockReport, BlockVerdict};

/// Keeps what the log shows of bodies and names from being taken for commands: GitHub reads them from any line that
/// begins with `::`, blanks before it or not. Between commands of our own it is told to read none, until it sees a
/// word that nobody else can know.
#[derive(Clone, Debug)]
pub struct Shield {
    word: String,
}

impl Shield {
    /// A shield with a word of its own.
    pub fn new() -> Self {
        Self { word: format!("rsty-{:032x}", rand::random::<u128>()) }
    }

    /// From here on nothing is a command.
    pub fn up(&self) -> String {
        format!("::stop-commands::{}\n", self.word)
    }

    /// From here on commands are read.
    pub fn down(&self) -> String {
        format!("::{}::\n", self.word)
    }

    /// A command between lines that are none.
    pub fn through(&self, command: &str) -> String {
        format!("{}{command}{}", self.down(), self.up())
    }
}

impl Default for Shield {
    fn default() -> Self {
        Self::new()
    }
}

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
    // At the section that failed, where one did.
    let line = attempt.failures().find_map(|assertion| assertion.line).unwrap_or(report.id.line);
    Some(format!("::{level} file={file},line={line},title={title}::{text}\n"))
}

fn data(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| printable(line.trim_end_matches('\r').as_bytes())).collect();
    lines.join("\n").replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::outcome::{Attempt, BlockId};

    #[test]
    fn line_ends_and_separators_are_escaped() {
        assert_eq!(data("50%\r\n::error"), "50%25%0A::error");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
    }

    #[test]
    fn a_hostile_block_makes_one_command_of_one_line() {
        let name = "x\n::error::forged\r,title=%0A::".to_owned();
        let id = BlockId { file: std::sync::Arc::new("t/a\n::error::b.t".into()), number: 1, line: 1, name };
        let attempt = Attempt::impossible("why\n::add-mask::x\u{1b}[2J");
        let text = annotation(&BlockReport { id, attempts: vec![attempt] }).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("::error file="), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let (one, other) = (Shield::new(), Shield::new());
        assert_ne!(one.up(), other.up());
        assert!(one.through("::x::\n").ends_with(&one.up()));
    }
}
