//! One assertion, and the list of those a block has made.

/// The most skipped assertions of a block.
const ASSERTIONS_MAX: usize = 10_000;

/// What became of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does not hold.
    Failed,
    /// It holds.
    Passed,
    /// It was not made.
    Skipped,
    /// It was not made, and nobody expects it to hold yet.
    Todo,
}

/// What a failed assertion shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Two texts that should be equal.
    Differs {
        /// As the spec says.
        expected: Vec<u8>,
        /// As it was; `None` where there was nothing at all.
        got: Option<Vec<u8>>,
    },
    /// A text that a pattern should match.
    NoMatch {
        /// The pattern.
        pattern: Vec<u8>,
        /// The text.
        got: Vec<u8>,
    },
    /// Something else worth knowing.
    Note(String),
    /// A text that a pattern should not match.
    Unwanted {
        /// The pattern.
        pattern: Vec<u8>,
        /// The text.
        got: Vec<u8>,
    },
}

/// One assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// What became of it.
    pub verdict: Verdict,
    /// The whole name, as in TAP.
    pub name: String,
    /// The section that it comes from, where one can be pointed at.
    pub section: Option<&'static str>,
    /// The line of that section in the spec file.
    pub line: Option<usize>,
    /// What to show where it failed.
    pub detail: Option<Detail>,
}

/// Collects the assertions of one run of a block.
#[derive(Debug, Default)]
pub struct Recorder {
    prefix: String,
    dry_run: Option<String>,
    section: Option<&'static str>,
    assertions: Vec<Assertion>,
    warnings: Vec<String>,
    notes: Vec<String>,
    extra: bool,
}

impl Recorder {
    /// A recorder for the block whose full name is `prefix`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// From now on no assertion is made: each is skipped for this reason.
    pub fn skip_everything(&mut self, reason: impl Into<String>) {
        self.dry_run = Some(reason.into());
    }

    /// Why no assertion is made, if so.
    pub fn dry_run(&self) -> Option<&str> {
        self.dry_run.as_deref()
    }

    /// The section that the next assertions come from.
    pub fn section(&mut self, section: &'static str) {
        self.section = Some(section);
    }

    /// Equality of bytes.
    pub fn is(&mut self, got: Option<&[u8]>, expected: Option<&[u8]>, what: &str) {
        let detail = Detail::Differs { expected: expected.unwrap_or_default().to_vec(), got: got.map(<[u8]>::to_vec) };
        self.push(got == expected, what, detail);
    }

    /// A pattern that should match.
    pub fn like(&mut self, got: &[u8], matched: bool, pattern: &[u8], what: &str) {
        self.push(matched, what, Detail::NoMatch { pattern: pattern.to_vec(), got: got.to_vec() });
    }

    /// A pattern that should not match.
    pub fn unlike(&mut self, got: &[u8], matched: bool, pattern: &[u8], what: &str) {
        self.push(!matched, what, Detail::Unwanted { pattern: pattern.to_vec(), got: got.to_vec() });
    }

    /// Something that holds.
    pub fn pass(&mut self, what: &str) {
        self.push(true, what, Detail::Note(String::new()));
    }

    /// Something that does not hold.
    pub fn fail(&mut self, what: &str, detail: Detail) {
        self.push(false, what, detail);
    }

    /// A failure that no plan counts: the end-of-run check of the original is off afterwards.
    pub fn extra_failure(&mut self, name: String) {
        self.extra = true;
        let detail = Some(Detail::Note(name.clone()));
        self.assertions.push(Assertion { verdict: Verdict::Failed, name, section: None, line: None, detail });
    }

    /// `count` assertions that are not made.
    pub fn skip(&mut self, count: u32, reason: &str) {
        self.not_made(Verdict::Skipped, count, reason);
    }

    /// `count` assertions that nobody expects to hold yet.
    pub fn todo(&mut self, count: u32, reason: &str) {
        self.not_made(Verdict::Todo, count, reason);
    }

    /// An assertion made elsewhere, such as in a callback of the spec file.
    pub fn adopt(&mut self, assertion: Assertion) {
        self.assertions.push(assertion);
    }

    /// A remark that changes no verdict.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// Something to tell beside the verdict.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Takes the notes.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Whether a failure was recorded.
    pub fn has_failed(&self) -> bool {
        self.assertions.iter().any(|assertion| assertion.verdict == Verdict::Failed)
    }

    /// The assertions, the remarks, and whether a failure was beyond every plan.
    pub fn finish(self) -> (Vec<Assertion>, Vec<String>, bool) {
        (self.assertions, self.warnings, self.extra)
    }

    fn not_made(&mut self, verdict: Verdict, count: u32, reason: &str) {
        // A count comes from the file: far beyond any plan it is a mistake, and must not fill the memory.
        let room = ASSERTIONS_MAX.saturating_sub(self.assertions.len());
        for _ in 0..room.min(count as usize) {
            let name = format!("{} - {reason}", self.prefix);
            self.assertions.push(Assertion { verdict, name, section: None, line: None, detail: None });
        }
    }

    fn push(&mut self, holds: bool, what: &str, detail: Detail) {
        if let Some(reason) = &self.dry_run {
            let reason = format!("tests skipped due to {reason}");
            self.skip(1, &reason);
            return;
        }
        let (verdict, detail) = if holds { (Verdict::Passed, None) } else { (Verdict::Failed, Some(detail)) };
        let name = format!("{} - {what}", self.prefix);
        self.assertions.push(Assertion { verdict, name, section: self.section, line: None, detail });
    }
}
