//! What a rule says about a place.

use rsty_diag::{Diagnostic, Fix, Severity, Source, Span};

/// How a finding about a global uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GlobalKind {
    /// It is read.
    Get,
    /// It is assigned.
    Set,
}

/// A finding, placed in the file that the user knows.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule's id.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One phrase, without a full stop.
    pub message: String,
    /// The bytes meant.
    pub span: Span,
    /// What to do.
    pub help: Option<String>,
    /// Further places.
    pub notes: Vec<(Span, String)>,
    /// The global that it is about.
    pub global: Option<(GlobalKind, String)>,
    /// The field of a library that it is about, such as `ngx.mine`.
    pub field: Option<String>,
    /// How to mend it.
    pub fix: Option<Fix>,
}

impl Finding {
    /// The finding as a diagnostic of its file.
    pub fn diagnostic(&self, source: &Source) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(self.rule, self.severity, self.message.clone()).at(source, self.span);
        for (span, text) in &self.notes {
            diagnostic = diagnostic.label(source, *span, text.clone());
        }
        if let Some(help) = &self.help {
            diagnostic = diagnostic.help(help.clone());
        }
        if let Some(fix) = &self.fix {
            diagnostic = diagnostic.fix(fix.clone());
        }
        diagnostic
    }
}
