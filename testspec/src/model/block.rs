//! A test block and its sections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rsty_diag::{Diagnostic, Span};

use super::Value;

/// One `--- name` entry of a block.
#[derive(Clone, Debug)]
pub struct Section {
    /// The name behind the dashes.
    pub name: String,
    /// The filters written in the header, in order.
    pub filters: Vec<String>,
    /// The value: filtered once the file is loaded, whatever a preprocessor set afterwards. A section
    /// whose value is [`Value::Undef`] counts as absent.
    pub value: Value,
    /// The bytes of the body, or of the inline value, before any filter. Empty for sections that a
    /// preprocessor added.
    pub raw: Rc<Vec<u8>>,
    /// The body in the file; `None` for a section that a preprocessor added.
    pub span: Option<Span>,
    /// The header line in the file; `None` for a section that a preprocessor added.
    pub header_span: Option<Span>,
}

/// One test: a name and sections, shared between the Perl side (preprocessors) and the runner.
///
/// Cloning gives another handle to the same block.
#[derive(Clone, Debug)]
pub struct Block {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: RefCell<Vec<u8>>,
    description: Vec<u8>,
    sections: RefCell<Vec<Section>>,
    /// Names of sections that stood again.
    repeated: RefCell<Vec<String>>,
    span: Span,
    line: usize,
    number: usize,
    preprocessed: Cell<bool>,
    problem: RefCell<Option<Diagnostic>>,
}

impl Block {
    /// A block at `span`, whose header stands in `line`, the `number`th of its file.
    pub fn new(name: Vec<u8>, description: Vec<u8>, span: Span, line: usize, number: usize) -> Self {
        Self {
            inner: Rc::new(Inner {
                name: RefCell::new(name),
                description,
                sections: RefCell::default(),
                repeated: RefCell::default(),
                span,
                line,
                number,
                preprocessed: Cell::new(false),
                problem: RefCell::default(),
            }),
        }
    }

    /// Adds a section; one of the same name gives way to it, but keeps its place.
    pub fn push_or_replace(&self, section: Section) {
        let mut sections = self.inner.sections.borrow_mut();
        match sections.iter().position(|known| known.name == section.name) {
            Some(at) => {
                self.inner.repeated.borrow_mut().push(section.name.clone());
                sections[at] = section;
            }
            None => sections.push(section),
        }
    }

    /// How often a section stands in the file.
    pub fn occurrences(&self, name: &str) -> usize {
        1 + self.inner.repeated.borrow().iter().filter(|repeated| *repeated == name).count()
    }

    /// The name, with trailing blanks as in the file.
    pub fn name(&self) -> Vec<u8> {
        self.inner.name.borrow().clone()
    }

    /// The name for messages.
    pub fn display_name(&self) -> String {
        String::from_utf8_lossy(&self.inner.name.borrow()).trim_end().to_owned()
    }

    /// The text between the header and the first section, or the name where there is none.
    pub fn description(&self) -> &[u8] {
        &self.inner.description
    }

    /// The whole block in the file.
    pub fn span(&self) -> Span {
        self.inner.span
    }

    /// The line of the header, from 1.
    pub fn line(&self) -> usize {
        self.inner.line
    }

    /// The place among all blocks of the file, dropped ones included, from 1.
    pub fn number(&self) -> usize {
        self.inner.number
    }

    /// Whether the preprocessors have run.
    pub fn is_preprocessed(&self) -> bool {
        self.inner.preprocessed.get()
    }

    /// The value of a section; `None` where the block lacks it or its value is undefined.
    pub fn value(&self, name: &str) -> Option<Value> {
        let sections = self.inner.sections.borrow();
        let section = sections.iter().find(|section| section.name == name)?;
        if matches!(section.value, Value::Undef) { None } else { Some(section.value.clone()) }
    }

    /// Whether the section is present and defined.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether the section is present, defined and true in Perl's sense (not empty, not `0`).
    pub fn is_true(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.is_true())
    }

    /// Sets a section's value, adding the section where the block lacks it.
    pub fn set_value(&self, name: &str, value: Value) {
        if name == "name" {
            *self.inner.name.borrow_mut() = value.to_bytes().to_vec();
            return;
        }
        let mut sections = self.inner.sections.borrow_mut();
        if let Some(section) = sections.iter_mut().find(|section| section.name == name) {
            section.value = value;
            return;
        }
        sections.push(Section {
            name: name.to_owned(),
            filters: Vec::new(),
            value,
            raw: Rc::default(),
            span: None,
            header_span: None,
        });
    }

    /// A snapshot of one section.
    pub fn section(&self, name: &str) -> Option<Section> {
        self.inner.sections.borrow().iter().find(|section| section.name == name).cloned()
    }

    /// A snapshot of all sections in the file's order; values are shared, not copied.
    pub fn sections(&self) -> Vec<Section> {
        self.inner.sections.borrow().clone()
    }

    /// Why the block can't run although its file can: a filter failed, or its Perl is outside the
    /// subset. Preprocessing such a block fails with this.
    pub fn problem(&self) -> Option<Diagnostic> {
        self.inner.problem.borrow().clone()
    }

    pub(crate) fn set_problem(&self, problem: Diagnostic) {
        let mut first = self.inner.problem.borrow_mut();
        if first.is_none() {
            *first = Some(problem);
        }
    }

    pub(crate) fn mark_preprocessed(&self) {
        self.inner.preprocessed.set(true);
    }
}
