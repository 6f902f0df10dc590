//! The message about a place.

use crate::source::{Source, Span};

/// How bad a finding is. Ordered from worst to mildest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The command can't do what was asked, or the code is wrong.
    Error,
    /// Very likely a mistake; the command went on.
    Warning,
    /// For information.
    Note,
}

impl Severity {
    /// The word printed in messages: `error`, `warning` or `note`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A place in a source with what there is to say about it.
#[derive(Clone, Debug)]
pub struct Label {
    /// The file.
    pub source: Source,
    /// The bytes meant.
    pub span: Span,
    /// A short text shown under the place; empty shows only the marker.
    pub text: String,
}

/// Whether a fix may be applied without a person looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applicability {
    /// Keeps the meaning.
    Safe,
    /// Right in nearly all cases, but can change the meaning.
    Unsafe,
    /// Only shown.
    DisplayOnly,
}

/// A set of edits in the primary source that removes the reason of a diagnostic.
#[derive(Clone, Debug)]
pub struct Fix {
    /// What the fix does, as an imperative phrase.
    pub title: String,
    /// Replacements, not overlapping, in the order of their spans.
    pub edits: Vec<(Span, Vec<u8>)>,
    /// Whether it may be applied unseen.
    pub applicability: Applicability,
}

/// One finding: id, severity, one phrase, places, advice.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Stable identifier, for machines and `rsty explain`; snake case for lint rules.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One phrase, lower case, without a full stop.
    pub message: String,
    /// The place the message is about. Boxed so that a `Result` with this error stays small.
    pub primary: Option<Box<Label>>,
    /// Further places that explain the first.
    pub labels: Vec<Label>,
    /// What to do next; each a sentence or phrase.
    pub help: Vec<String>,
    /// A fix, where there is one.
    pub fix: Option<Box<Fix>>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Severity::Error, message)
    }

    /// A warning without a place yet.
    pub fn warning(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Severity::Warning, message)
    }

    /// A finding of any severity without a place yet.
    pub fn new(id: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self { id, severity, message: message.into(), primary: None, labels: Vec::new(), help: Vec::new(), fix: None }
    }

    /// Sets the primary place.
    #[must_use]
    pub fn at(self, source: &Source, span: Span) -> Self {
        self.at_with(source, span, "")
    }

    /// Sets the primary place with a text beside the marker.
    #[must_use]
    pub fn at_with(mut self, source: &Source, span: Span, text: impl Into<String>) -> Self {
        self.primary = Some(Box::new(Label { source: source.clone(), span, text: text.into() }));
        self
    }

    /// Adds a further place.
    #[must_use]
    pub fn label(mut self, source: &Source, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { source: source.clone(), span, text: text.into() });
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Sets the fix.
    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(Box::new(fix));
        self
    }
}

impl std::fmt::Display for Diagnostic {
    /// The concise form: `file:line:column: severity: message`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::render::concise(self))
    }
}

impl std::error::Error for Diagnostic {}
